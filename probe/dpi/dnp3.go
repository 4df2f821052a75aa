package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// DNP3 (IEEE 1815) over TCP and UDP.
func dnp3Protocol() protocol {
	return protocol{app: "dnp3", tcp: []uint16{20000}, udp: []uint16{20000}, stream: func(b []byte, _ *hint) verdict { return looksDNP3(b) },
		datagram: func(b []byte, _ *hint) bool { return looksDNP3(b) == yes }, parse: (*Inspector).dnp3Stream, resume: looksDNP3}
}

// dnp3Functions are function codes of the application layer (IEEE 1815, table 4-2).
var dnp3Functions = map[byte]string{0: "CONFIRM", 1: "READ", 2: "WRITE", 3: "SELECT", 4: "OPERATE", 5: "DIRECT_OPERATE", 6: "DIRECT_OPERATE_NR", 7: "IMMED_FREEZE",
	13: "COLD_RESTART", 14: "WARM_RESTART", 16: "INITIALIZE_APPL", 17: "START_APPL", 18: "STOP_APPL", 20: "ENABLE_UNSOLICITED", 21: "DISABLE_UNSOLICITED",
	22: "ASSIGN_CLASS", 23: "DELAY_MEASURE", 24: "RECORD_CURRENT_TIME", 25: "OPEN_FILE", 26: "CLOSE_FILE", 27: "DELETE_FILE", 28: "GET_FILE_INFO",
	129: "RESPONSE", 130: "UNSOLICITED_RESPONSE", 131: "AUTHENTICATE_RESP"}

// looksDNP3 checks the start octets, the length and the header's CRC.
func looksDNP3(b []byte) verdict {
	switch v := prefixOf(b, "\x05\x64"); {
	case v != yes:
		return v
	case len(b) < 10:
		return undecided
	case b[2] < 5 || dnp3CRC(b[:8]) != binary.LittleEndian.Uint16(b[8:]):
		return no
	}
	return yes
}

// dnp3CRC is the CRC of the link layer: polynomial 0x3d65, reflected, inverted.
func dnp3CRC(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xa6bc
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}

func (in *Inspector) dnp3Stream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 10 {
		return 0
	}
	if looksDNP3(b) != yes {
		return in.astray(st, d, b, rec)
	}
	data := int(b[2]) - 5
	size := 10 + data + 2*((data+15)/16) // each 16 octets have a CRC
	if len(b) < min(size, 13) {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	if data >= 3 && b[10]&0x40 != 0 { // the first segment of a fragment
		code := b[12]
		name := dnp3Functions[code]
		if name == "" {
			name = "FUNCTION_" + string(appendInt(nil, code))
		}
		if code >= 129 {
			in.addResponse(st, in.verb(name, nil), rec)
		} else {
			in.addRequest(st, in.verb(name, nil), rec)
		}
	}
	return st.stepOver(d, size, b)
}
