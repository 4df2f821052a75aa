package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Siemens S7 communication and its successor S7comm-plus, over ISO transport
// on TCP (RFC 1006, ISO 8073).
func s7commProtocol() protocol {
	return protocol{app: "s7comm", tcp: []uint16{102}, stream: looksS7, parse: (*Inspector).s7Stream,
		resume: func(b []byte) verdict { return looksS7(b, &hint{onPort: true}) }}
}

// s7Functions are the functions of jobs.
var s7Functions = map[byte]string{0x00: "CPU_SERVICES", 0xf0: "SETUP_COMMUNICATION", 0x04: "READ_VAR", 0x05: "WRITE_VAR", 0x1a: "REQUEST_DOWNLOAD", 0x1b: "DOWNLOAD_BLOCK",
	0x1c: "DOWNLOAD_ENDED", 0x1d: "START_UPLOAD", 0x1e: "UPLOAD", 0x1f: "END_UPLOAD", 0x28: "PI_SERVICE", 0x29: "PLC_STOP"}

// looksS7 wants a TPKT with a COTP header: on port 102 that of a connection
// request too, elsewhere S7's own sign after a data header.
func looksS7(b []byte, h *hint) verdict {
	switch v := prefixOf(b, "\x03\x00"); {
	case v != yes:
		return v
	case len(b) < 8:
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case size < 7 || int(b[4]) > size-5:
		return no
	case b[5] == 0xe0 || b[5] == 0xd0: // connect, confirm: RDP has them too
		if h.onPort {
			return yes
		}
		return no
	case b[5] == 0xf0 && b[4] == 2 && (b[7] == 0x32 || b[7] == 0x72):
		return yes
	}
	return no
}

func (in *Inspector) s7Stream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 7 {
		return 0
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if b[0] != 3 || size < 7 {
		return in.astray(st, d, b, rec)
	}
	if len(b) < min(size, 24) {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	m := b[:min(size, len(b))]
	if m[5] == 0xf0 && len(m) > 7 {
		in.s7Message(st, m[7:], rec)
	}
	return st.stepOver(d, size, b)
}

// s7Message notes jobs and their answers: header of 10 octets, 12 in answers,
// which hold an error class and code, then the function.
func (in *Inspector) s7Message(st *State, m []byte, rec *flow.Record) {
	switch {
	case m[0] == 0x72:
		rec.AppVersion = "plus"
	case m[0] != 0x32 || len(m) < 11:
	case m[1] == 1 || m[1] == 7:
		in.addRequest(st, in.verb(s7Name(m, 10), nil), rec)
	case m[1] == 2 || m[1] == 3:
		if len(m) < 13 {
			return
		}
		if m[10] != 0 {
			rec.AppErrors++
			in.addResponse(st, appendInt(in.verb(s7Name(m, 12)+" error ", nil), uint32(m[10])<<8|uint32(m[11])), rec)
			return
		}
		in.addResponse(st, in.verb(s7Name(m, 12), nil), rec)
	}
}

func s7Name(m []byte, at int) string {
	if m[1] == 7 {
		return "USER_DATA"
	}
	if name := s7Functions[m[at]]; name != "" {
		return name
	}
	return "FUNCTION_" + string(appendInt(nil, m[at]))
}
