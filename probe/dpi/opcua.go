package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// OPC UA connection protocol (OPC 10000-6, section 7.1).
func opcuaProtocol() protocol {
	return protocol{app: "opcua", tcp: []uint16{4840}, stream: func(b []byte, _ *hint) verdict { return looksOPCUA(b) }, parse: (*Inspector).opcuaStream}
}

func looksOPCUA(b []byte) verdict {
	best := no
	for _, kind := range [...]string{"HELF", "ACKF", "ERRF", "RHEF", "OPNF", "MSGF", "MSGC", "CLOF"} {
		best = max(best, prefixOf(b, kind))
	}
	if best != yes {
		return best
	}
	if len(b) < 8 {
		return undecided
	}
	if size := binary.LittleEndian.Uint32(b[4:]); size < 8 || size > 1<<24 {
		return no
	}
	return yes
}

func (in *Inspector) opcuaStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 8 {
		return 0
	}
	size := int(binary.LittleEndian.Uint32(b[4:]))
	if looksOPCUA(b) != yes {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if len(b) < min(size, 300) {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	m := b[8:min(size, len(b))]
	switch kind := string(b[:3]); kind {
	case "HEL": // version, buffers, sizes; then the endpoint
		if len(m) >= 24 {
			n := int(min(binary.LittleEndian.Uint32(m[20:]), uint32(len(m)-24)))
			in.addRequest(st, in.verb("HELLO", m[24:24+n]), rec)
		}
	case "OPN": // channel; then the security policy
		if len(m) >= 8 {
			n := int(min(binary.LittleEndian.Uint32(m[4:]), uint32(len(m)-8)))
			in.opcuaSay(st, d, "OPEN", m[8:8+n], rec)
		}
	case "CLO":
		in.opcuaSay(st, d, "CLOSE", nil, rec)
	case "ERR":
		rec.AppErrors++
		if len(m) >= 4 {
			in.addResponse(st, appendInt(in.verb("ERROR ", nil), binary.LittleEndian.Uint32(m)), rec)
		}
	}
	return st.stepOver(d, size, b)
}

func (in *Inspector) opcuaSay(st *State, d side, verb string, object []byte, rec *flow.Record) {
	if d == sideSrc {
		in.addRequest(st, in.verb(verb, object), rec)
	} else {
		in.addResponse(st, in.verb(verb, object), rec)
	}
}
