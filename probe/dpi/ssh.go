package dpi

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	sshKexInit = 20 // SSH_MSG_KEXINIT (RFC 4253, section 12)
	// sshMaxPacket is the greatest packet every implementation must take (RFC
	// 4253, section 6.1). No list of algorithms needs more than streamLimit.
	sshMaxPacket = 35000
	sshMaxBanner = 255 // RFC 4253, section 4.2, with CR LF
)

func sshProtocol() protocol {
	return protocol{app: "ssh", kind: kindSSH, tcp: []uint16{22},
		stream: func(b []byte, _ *hint) verdict { return looksSSH(b) }, parse: (*Inspector).sshStream}
}

// looksSSH recognises an identification string (RFC 4253, section 4.2).
func looksSSH(b []byte) verdict {
	const id = "SSH-"
	n := min(len(b), len(id))
	switch {
	case string(b[:n]) != id[:n]:
		return no
	case n < len(id):
		return undecided
	case len(b) > 4 && (b[4] < '1' || b[4] > '2'):
		return no
	}
	return yes
}

// sshStream reads the identification string, then the KEXINIT of each side.
// src is the client.
func (in *Inspector) sshStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	s := &st.half[d]
	if !s.used {
		if looksSSH(b) == no {
			return in.sshEnd(st, s, len(b))
		}
		n := bytes.IndexByte(b[:min(len(b), sshMaxBanner)], '\n')
		if n < 0 {
			if len(b) >= sshMaxBanner {
				in.malformed(rec)
				return in.sshEnd(st, s, len(b))
			}
			return 0
		}
		line := in.printable(bytes.TrimSuffix(b[:n], []byte{'\r'}), rec)
		if d == sideSrc {
			rec.SSHClient = line
		} else {
			rec.SSHServer = line
		}
		if obsoleteSSH(line) {
			rec.Risks |= [2]flow.Risk{flow.RiskSSHObsoleteClient, flow.RiskSSHObsoleteServer}[d]
		}
		if len(line) > 6 && line[4] == '1' && line[:7] != "SSH-1.9" { // SSH 1 has another exchange
			return in.sshEnd(st, s, len(b))
		}
		return n + 1
	}
	if len(b) < 6 {
		return 0
	}
	size := binary.BigEndian.Uint32(b)
	if size > sshMaxPacket || size < 2 || b[5] != sshKexInit {
		return in.sshEnd(st, s, len(b))
	}
	end := 4 + int(size) - int(b[4]) // without padding
	if end > streamLimit {
		in.cutStream(rec)
		return in.sshEnd(st, s, len(b))
	}
	if end < 22 {
		in.malformed(rec)
		return in.sshEnd(st, s, len(b))
	}
	if len(b) < end {
		return 0
	}
	in.kexInit(b[22:end], d, rec)
	return in.sshEnd(st, s, len(b))
}

func (in *Inspector) sshEnd(st *State, s *stream, all int) int {
	s.dead = true
	st.packets = 0
	in.checkDone(st)
	return all
}

// kexInit makes HASSH of the name-lists (RFC 4253, section 7.1): key exchange,
// encryption, MAC and compression of the sender's direction (salesforce/hassh).
func (in *Inspector) kexInit(b []byte, d side, rec *flow.Record) {
	var lists [8][]byte
	r := reader{b: b}
	for i := range lists {
		size := r.take(4)
		if size == nil {
			break
		}
		lists[i] = r.take(int(min(binary.BigEndian.Uint32(size), streamLimit+1)))
	}
	if r.bad {
		in.malformed(rec)
		return
	}
	own := 2 // kex, host key, then pairs client to server, server to client
	if d == sideDst {
		own = 3
	}
	h := append(append(in.scratch[:0], lists[0]...), ';')
	h = append(append(h, lists[own]...), ';')
	h = append(append(h, lists[own+2]...), ';')
	h = append(h, lists[own+4]...)
	if d == sideSrc {
		rec.HASSH = in.md5(h)
	} else {
		rec.HASSHServer = in.md5(h)
	}
}

// obsoleteSSH tells identifications of SSH 1, and of OpenSSH before 7.0 and
// Dropbear before 2016, as nDPI does.
func obsoleteSSH(line string) bool {
	if strings.HasPrefix(line, "SSH-1.") && !strings.HasPrefix(line, "SSH-1.99") {
		return true
	}
	if _, version, ok := strings.Cut(line, "OpenSSH_"); ok && len(version) > 1 {
		return version[0] >= '1' && version[0] < '7' && version[1] == '.'
	}
	if _, version, ok := strings.Cut(line, "dropbear_"); ok && len(version) >= 4 {
		return version[:4] < "2016"
	}
	return false
}
