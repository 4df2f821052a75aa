package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// EtherNet/IP encapsulation (ODVA, CIP volume 2, chapter 2), explicit messages.
func ethernetipProtocol() protocol {
	return protocol{app: "ethernetip", tcp: []uint16{44818}, udp: []uint16{44818, 2222}, stream: looksENIP, parse: (*Inspector).enipStream,
		datagram: func(b []byte, h *hint) bool { return looksENIP(b, h) == yes && h.onPort }, message: (*Inspector).enipMessage}
}

const enipHeader = 24

var enipCommands = map[uint16]string{0x0001: "ListTargets", 0x0004: "ListServices", 0x0063: "ListIdentity", 0x0064: "ListInterfaces", 0x0065: "RegisterSession",
	0x0066: "UnregisterSession", 0x006f: "SendRRData", 0x0070: "SendUnitData", 0x0072: "IndicateStatus", 0x0073: "Cancel"}

// looksENIP wants a known command, a length, a status in use and options of 0.
func looksENIP(b []byte, h *hint) verdict {
	switch {
	case len(b) >= 2 && (b[1] != 0 || enipCommands[binary.LittleEndian.Uint16(b)] == ""): // all are below 256
		return no
	case len(b) >= 12 && binary.LittleEndian.Uint32(b[8:]) > 0x69:
		return no
	case len(b) < enipHeader:
		return undecided
	case binary.LittleEndian.Uint32(b[20:]) != 0:
		return no
	}
	size := enipHeader + int(binary.LittleEndian.Uint16(b[2:]))
	if h.onPort || size == len(b) {
		return yes
	}
	return no
}

func (in *Inspector) enipStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if len(b) < enipHeader {
		return 0
	}
	size := enipHeader + int(binary.LittleEndian.Uint16(b[2:]))
	if enipCommands[binary.LittleEndian.Uint16(b)] == "" {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	in.enipMessage(st, d, b, rec, now)
	return st.stepOver(d, size, b)
}

func (in *Inspector) enipMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if len(b) < enipHeader {
		in.malformed(rec)
		return
	}
	name := enipCommands[binary.LittleEndian.Uint16(b)]
	if name == "SendUnitData" { // cyclic
		if st.count[d]++; st.count[d] > 4 {
			return
		}
	}
	if status := binary.LittleEndian.Uint32(b[8:]); status != 0 {
		rec.AppErrors++
		in.addResponse(st, appendInt(in.verb(name+" status ", nil), status), rec)
		return
	}
	if d == sideSrc {
		in.addRequest(st, in.verb(name, nil), rec)
	} else {
		in.addResponse(st, in.verb(name, nil), rec)
	}
}
