package dpi

import (
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// STUN (RFC 8489) and TURN (RFC 8656), also of the first edition (RFC 3489),
// which had no magic cookie. What a relay carries in channels is not read.
func stunProtocol() protocol {
	return protocol{app: "stun", tcp: []uint16{3478, 5349, 19302}, udp: []uint16{3478, 3479, 5349, 19302},
		stream: looksSTUNStream, datagram: looksSTUN, parse: (*Inspector).stunStream, message: (*Inspector).stunMessage}
}

const (
	stunCookie = 0x2112a442
	stunHeader = 20
	// stunPatience is how many packets of other kinds end the search: media.
	stunPatience = 24
)

// stunMethods are the names of methods (IANA STUN Methods).
var stunMethods = map[uint16]string{1: "Binding", 3: "Allocate", 4: "Refresh", 6: "Send", 7: "Data", 8: "CreatePermission", 9: "ChannelBind",
	10: "Connect", 11: "ConnectionBind", 12: "ConnectionAttempt"}

func looksSTUN(b []byte, h *hint) bool {
	if len(b) < stunHeader || b[0]&0xc0 != 0 || int(binary.BigEndian.Uint16(b[2:]))+stunHeader != len(b) || b[3]&3 != 0 && binary.BigEndian.Uint32(b[4:]) == stunCookie {
		return false
	}
	method, _ := stunType(b)
	if _, known := stunMethods[method]; binary.BigEndian.Uint32(b[4:]) == stunCookie {
		return known || h.onPort || method >= 0x80
	} else if !known || method != 1 {
		return false
	}
	// RFC 3489: the attributes have to end where the message does.
	for a := b[stunHeader:]; len(a) > 0; {
		if len(a) < 4 || int(binary.BigEndian.Uint16(a[2:]))+4 > len(a) {
			return false
		}
		if kind := binary.BigEndian.Uint16(a); kind == 0 || kind > 0x30 && kind < 0x8000 {
			return false
		}
		a = a[4+int(binary.BigEndian.Uint16(a[2:])):]
	}
	return len(b) > stunHeader || h.onPort
}

func looksSTUNStream(b []byte, _ *hint) verdict {
	switch {
	case len(b) > 0 && b[0]&0xfe != 0 && b[0] != 0 || len(b) > 3 && b[3]&3 != 0:
		return no
	case len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != stunCookie:
		return no
	case len(b) < 8:
		return undecided
	}
	return yes
}

// stunType takes method and class out of the message type (RFC 8489, section 5).
func stunType(b []byte) (method uint16, class uint8) {
	t := binary.BigEndian.Uint16(b)
	return t&0xf | t>>1&0x70 | t>>2&0xf80, uint8(t>>4&1 | t>>7&2)
}

func (in *Inspector) stunStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if len(b) < stunHeader {
		return 0
	}
	size := stunHeader + int(binary.BigEndian.Uint16(b[2:]))
	if b[0]&0xc0 == 0x40 { // ChannelData (RFC 8656, section 12.4), padded to four
		st.half[d].skip = uint64(4+int(binary.BigEndian.Uint16(b[2:]))+3) &^ 3
		return skipped(&st.half[d], len(b))
	}
	if b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie || size > maxLine*2 {
		return in.endSide(st, d, b)
	}
	if len(b) < size {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	in.stunMessage(st, d, b[:size], rec, now)
	return size
}

func (in *Inspector) stunMessage(st *State, d side, b []byte, rec *flow.Record, now int64) {
	if !looksSTUN(b, &hint{onPort: true}) {
		if looksDTLS(b, nil) { // on the path that STUN has found (RFC 8842)
			rec.App = "dtls"
			in.become(st, "dtls")
			in.dtlsMessage(st, d, b, rec, now)
			return
		}
		if st.count[0]++; st.count[0] >= stunPatience {
			st.finished = true
		}
		return
	}
	method, class := stunType(b)
	name := stunMethods[method]
	if name == "" {
		name = "method " + string(appendInt(nil, method))
	}
	var code int
	var mapped netip.AddrPort
	for a := b[stunHeader:]; len(a) >= 4; {
		kind, size := binary.BigEndian.Uint16(a), int(binary.BigEndian.Uint16(a[2:]))
		if 4+size > len(a) {
			in.malformed(rec)
			break
		}
		v := a[4 : 4+size]
		switch kind {
		case 0x0009: // ERROR-CODE
			if size >= 4 {
				code = int(v[2]&7)*100 + int(v[3])
			}
		case 0x0014: // REALM
			in.setOnce(&rec.Domain, v, rec)
		case 0x0020: // XOR-MAPPED-ADDRESS
			mapped = stunAddress(v, b[4:20])
		case 0x0001: // MAPPED-ADDRESS
			if !mapped.IsValid() {
				mapped = stunAddress(v, nil)
			}
		case 0x8022: // SOFTWARE
			for len(v) > 0 && v[len(v)-1] == 0 {
				v = v[:len(v)-1]
			}
			in.software(d, v, rec)
		case 0x0006: // USERNAME: of a relay, elsewhere it is drawn by lot (RFC 8445)
			if method == 3 {
				in.setOnce(&rec.User, v, rec)
			}
		}
		a = a[min(4+(size+3)&^3, len(a)):]
	}
	switch class {
	case 0, 1:
		in.addRequest(st, in.verb(name, nil), rec)
	case 2:
		var object []byte
		if mapped.IsValid() {
			in.text = mapped.AppendTo(in.text[:0])
			object = in.text
		}
		in.addResponse(st, in.verb(name, object), rec)
	case 3:
		rec.AppErrors++
		in.addResponse(st, appendInt(in.verb(name+" error ", nil), code), rec)
	}
	if st.word[0]++; st.word[0] >= 4*flow.MaxList { // keep-alives say nothing new
		st.finished = true
	}
}

// stunAddress reads an address; xor is cookie and transaction id, nil: as it is.
func stunAddress(v, xor []byte) netip.AddrPort {
	if len(v) != 8 && len(v) != 20 || v[1] != 1 && v[1] != 2 {
		return netip.AddrPort{}
	}
	var raw [16]byte
	n := copy(raw[:], v[4:])
	port := binary.BigEndian.Uint16(v[2:])
	if xor != nil {
		port ^= binary.BigEndian.Uint16(xor)
		for i := range n {
			raw[i] ^= xor[i]
		}
	}
	a, _ := netip.AddrFromSlice(raw[:n])
	return netip.AddrPortFrom(a, port)
}
