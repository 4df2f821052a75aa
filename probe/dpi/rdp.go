package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// RDP: the X.224 connection of MS-RDPBCGR, sections 2.2.1.1 and 2.2.1.2. Its
// answer says whether TLS follows.
func rdpProtocol() protocol {
	return protocol{app: "rdp", tcp: []uint16{3389}, udp: []uint16{3389}, risks: flow.RiskDesktopOrFileSharingSession,
		stream: looksRDP, parse: (*Inspector).rdpStream, datagram: looksRDPDatagram, message: (*Inspector).rdpDatagram}
}

// looksRDPDatagram recognises the SYN of RDP over UDP (MS-RDPEUDP, section
// 3.1.5.1.1): no datagram is acknowledged yet, and it is filled up.
// Later ones carry records of TLS or DTLS a few octets behind the head.
func looksRDPDatagram(b []byte, h *hint) bool {
	if !h.onPort || len(b) < 16 {
		return false
	}
	if binary.BigEndian.Uint32(b) == 0xffffffff && binary.BigEndian.Uint16(b[6:])&1 != 0 {
		return true
	}
	for i := 8; i < 32 && i+5 <= len(b); i++ {
		if (b[i] == 22 || b[i] == 23) && (b[i+1] == 3 && b[i+2] <= 4 || b[i+1] == 0xfe && b[i+2] >= 0xfd) {
			return true
		}
	}
	return false
}

// rdpDatagram reads nothing: what matters is within DTLS after the next datagrams.
func (in *Inspector) rdpDatagram(st *State, _ side, _ []byte, _ *flow.Record, _ int64) {
	st.finished = true
}

const (
	rdpCookie     = "Cookie: mstshash="
	rdpRouting    = "Cookie: msts="
	x224Request   = 0xe0
	x224Confirm   = 0xd0
	rdpMaxConnect = 512
)

// looksRDP wants a TPKT (RFC 1006, section 6) whose length agrees with that of
// X.224, and then what only RDP writes.
func looksRDP(b []byte, h *hint) verdict {
	if v := prefixOf(b, "\x03\x00"); v != yes {
		return v
	}
	if len(b) < 7 {
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size < 11 || size > rdpMaxConnect || int(b[4]) != size-5 && size < 260 || b[5] != x224Request && b[5] != x224Confirm || b[6] != 0 {
		return no
	}
	if len(b) < size {
		return undecided
	}
	rest := b[11:size]
	switch {
	case b[5] == x224Confirm:
		if len(rest) == 8 && (rest[0] == 2 || rest[0] == 3) && rest[2] == 8 && rest[3] == 0 {
			return yes
		}
	case bytes.HasPrefix(rest, []byte(rdpCookie)), bytes.HasPrefix(rest, []byte(rdpRouting)):
		return yes
	case len(rest) >= 8 && rest[len(rest)-8] == 1 && rest[len(rest)-6] == 8 && rest[len(rest)-5] == 0 && rest[len(rest)-3]|rest[len(rest)-2]|rest[len(rest)-1] == 0:
		return yes
	}
	if h.onPort && len(rest) == 0 {
		return yes
	}
	return no
}

// rdpSecurity names the protocols that can be asked for and chosen (MS-RDPBCGR,
// section 2.2.1.1.1).
func rdpSecurity(n uint32) string {
	switch {
	case n == 0:
		return "RDP"
	case n&8 != 0:
		return "HYBRID_EX"
	case n&16 != 0:
		return "RDSAAD"
	case n&2 != 0:
		return "HYBRID"
	case n&4 != 0:
		return "RDSTLS"
	}
	return "SSL"
}

func (in *Inspector) rdpStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	s := &st.half[d]
	if len(b) < 4 {
		return 0
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if b[0] != 3 || size < 11 || size > rdpMaxConnect {
		return in.endSide(st, d, b)
	}
	if len(b) < size {
		return 0
	}
	rest := b[11:size]
	switch b[5] {
	case x224Request:
		if bytes.HasPrefix(rest, []byte(rdpCookie)) {
			user := rest[len(rdpCookie):]
			if i := bytes.Index(user, []byte("\r\n")); i >= 0 {
				rest, user = user[i+2:], user[:i]
				in.setOnce(&rec.User, user, rec)
			}
		}
		in.scratch = append(in.scratch[:0], "CONNECT"...)
		if n := len(rest); n >= 8 && rest[n-8] == 1 {
			in.scratch = append(append(in.scratch, ' '), rdpSecurity(binary.LittleEndian.Uint32(rest[n-4:]))...)
		}
		in.addRequest(st, in.scratch, rec)
		return size
	case x224Confirm:
		if len(rest) < 8 {
			in.addResponse(st, append(in.scratch[:0], "CONFIRM RDP"...), rec)
			break
		}
		n := binary.LittleEndian.Uint32(rest[4:])
		if rest[0] == 3 {
			rec.AppErrors++
			in.addResponse(st, appendInt(append(in.scratch[:0], "FAILURE "...), n), rec)
			break
		}
		in.addResponse(st, append(append(in.scratch[:0], "CONFIRM "...), rdpSecurity(n)...), rec)
		if n != 0 {
			in.become(st, "tls")
			return size
		}
	}
	s.dead = true // what follows is binary, or encrypted by RDP itself
	st.finished = b[5] == x224Confirm
	return len(b)
}
