package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// VNC: the remote framebuffer protocol (RFC 6143, section 7).
func vncProtocol() protocol {
	return protocol{app: "vnc", tcp: []uint16{5900, 5901, 5902, 5800}, risks: flow.RiskDesktopOrFileSharingSession, stream: looksVNC, parse: (*Inspector).vncStream}
}

const vncVersion = 12 // "RFB 003.008\n"

func looksVNC(b []byte, _ *hint) verdict {
	if v := prefixOf(b, "RFB 00"); v != yes {
		return v
	}
	switch {
	case len(b) < vncVersion:
		return undecided
	case b[7] != '.' || b[11] != '\n' || !digits(b[8:11]):
		return no
	}
	return yes
}

// State.phase of VNC; both sides begin with their version, the server first.
const (
	vncHello = iota
	vncTypes
	vncSecurity // client: chosen type; server: 3.3 says it alone
	vncChallenge
	vncResult
	vncInit
)

// vncSecurityType names the types of section 7.1.2 and of IANA.
func vncSecurityType(n uint32) string {
	switch n {
	case 1:
		return "None"
	case 2:
		return "VNC"
	case 5, 6:
		return "RA2"
	case 16:
		return "Tight"
	case 18:
		return "TLS"
	case 19:
		return "VeNCrypt"
	case 30, 33, 35, 36:
		return "Apple Remote Desktop"
	}
	return ""
}

// vncStream follows the handshake to the result of the login. word[server] is
// the type in use, count[server] the minor version.
func (in *Inspector) vncStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	if st.phase[d] == vncHello {
		if len(b) < vncVersion {
			return 0
		}
		if looksVNC(b, nil) != yes {
			return in.vncEnd(st, d, b)
		}
		minor := uint32(number(b[8:11]))
		rec.AppVersion = in.printable(appendInt(append(in.scratch[:0], b[6], '.'), minor), rec) // the client's, which comes last, holds
		st.phase[d] = vncTypes
		st.count = [2]uint32{minor, minor}
		return vncVersion
	}
	if d == sideSrc {
		return in.vncClient(st, b, rec)
	}
	return in.vncServer(st, b, rec)
}

func (in *Inspector) vncClient(st *State, b []byte, rec *flow.Record) int {
	switch st.phase[sideSrc] {
	case vncTypes:
		if st.count[0] < 7 { // 3.3: the server has chosen
			st.phase[sideSrc] = vncChallenge
			return in.vncClient(st, b, rec)
		}
		st.word[sideDst] = uint64(b[0])
		st.phase[sideSrc] = vncChallenge
		in.vncChosen(st, uint32(b[0]), rec)
		return 1
	case vncChallenge:
		switch st.word[sideDst] {
		case 2: // 16 octets that answer the challenge
			if len(b) < 16 {
				return 0
			}
			st.phase[sideSrc] = vncInit
			return 16
		case 30: // its key, and 128 octets of name and password encrypted with it
			n := 128 + int(st.word[sideSrc])
			if st.word[sideSrc] > 1024 {
				break
			}
			if st.word[sideSrc] == 0 || len(b) < n { // the server's comes first
				return 0
			}
			st.phase[sideSrc] = vncInit
			return n
		case 1:
			st.half[sideSrc].dead = true
			return len(b)
		}
	}
	st.half[sideSrc].dead = true
	return len(b)
}

func (in *Inspector) vncChosen(st *State, kind uint32, rec *flow.Record) {
	if name := vncSecurityType(kind); name != "" {
		in.addRequest(st, append(append(in.scratch[:0], "AUTH "...), name...), rec)
	} else {
		in.addRequest(st, appendInt(append(in.scratch[:0], "AUTH "...), kind), rec)
	}
}

func (in *Inspector) vncServer(st *State, b []byte, rec *flow.Record) int {
	switch st.phase[sideDst] {
	case vncTypes:
		if st.count[0] < 7 {
			if len(b) < 4 {
				return 0
			}
			kind := binary.BigEndian.Uint32(b)
			st.word[sideDst] = uint64(kind)
			st.phase[sideDst] = vncChallenge
			in.vncChosen(st, kind, rec)
			return 4
		}
		n := 1 + int(b[0])
		if n == 1 { // refused, with a reason
			rec.AppErrors++
			return in.vncEnd(st, sideDst, b)
		}
		if len(b) < n {
			return 0
		}
		st.phase[sideDst] = vncChallenge
		return n
	case vncChallenge:
		switch st.word[sideDst] {
		case 2:
			if len(b) < 16 {
				return 0
			}
			st.phase[sideDst] = vncResult
			return 16
		case 30: // Apple's Diffie-Hellman: generator, length of keys, prime, key
			if len(b) < 4 {
				return 0
			}
			size := int(binary.BigEndian.Uint16(b[2:]))
			if size == 0 || size > 1024 {
				break
			}
			if len(b) < 4+2*size {
				return 0
			}
			st.word[sideSrc] = uint64(size)
			st.phase[sideDst] = vncResult
			return 4 + 2*size
		case 1:
			st.phase[sideDst] = vncResult
			if st.count[0] < 8 { // no result (section 7.1.2)
				st.phase[sideDst] = vncInit
			}
			return in.vncServer(st, b, rec)
		}
		return in.vncEnd(st, sideDst, b)
	case vncResult:
		if len(b) < 4 {
			return 0
		}
		if binary.BigEndian.Uint32(b) != 0 {
			rec.AppErrors++
			in.addResponse(st, append(in.scratch[:0], "failed"...), rec)
			return in.vncEnd(st, sideDst, b)
		}
		st.phase[sideDst] = vncInit
		in.addResponse(st, append(in.scratch[:0], "OK"...), rec)
		return 4
	}
	if len(b) < 24 { // ServerInit ends with the desktop's name
		return 0
	}
	if n := binary.BigEndian.Uint32(b[20:]); n < 256 {
		if len(b) < 24+int(n) {
			return 0
		}
		in.software(sideDst, b[24:24+n], rec)
	}
	return in.vncEnd(st, sideDst, b)
}

func (in *Inspector) vncEnd(st *State, d side, b []byte) int {
	if st.half[d].dead = true; d == sideDst {
		st.finished = true
	}
	return len(b)
}
