package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Diameter (RFC 6733) over TCP or SCTP.
func diameterProtocol() protocol {
	return protocol{app: "diameter", tcp: []uint16{3868}, stream: func(b []byte, _ *hint) verdict { return looksDiameter(b) },
		parse: (*Inspector).diameterStream, resume: looksDiameter}
}

const diameterHeader = 20

// diameterCommand names the codes in use (IANA AAA parameters).
func diameterCommand(n uint32) string {
	switch n {
	case 257:
		return "Capabilities-Exchange"
	case 258:
		return "Re-Auth"
	case 265:
		return "AA"
	case 268:
		return "Diameter-EAP"
	case 271:
		return "Accounting"
	case 272:
		return "Credit-Control"
	case 274:
		return "Abort-Session"
	case 275:
		return "Session-Termination"
	case 280:
		return "Device-Watchdog"
	case 282:
		return "Disconnect-Peer"
	case 300, 301, 302, 303, 304, 305, 306, 307, 308, 309:
		return "Cx"
	case 316:
		return "Update-Location"
	case 317:
		return "Cancel-Location"
	case 318:
		return "Authentication-Information"
	case 319:
		return "Insert-Subscriber-Data"
	case 320:
		return "Delete-Subscriber-Data"
	case 321:
		return "Purge-UE"
	case 322:
		return "Reset"
	case 323:
		return "Notify"
	}
	return ""
}

// looksDiameter reads the header (section 3): version 1, a length in words of
// four, no reserved flag, a known command.
func looksDiameter(b []byte) verdict {
	if len(b) > 0 && b[0] != 1 || len(b) > 1 && b[1] != 0 {
		return no
	}
	if len(b) < diameterHeader {
		return undecided
	}
	size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	command := uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7])
	if size < diameterHeader+8 || size&3 != 0 || b[4]&15 != 0 || diameterCommand(command) == "" || binary.BigEndian.Uint32(b[8:]) > 1<<25 && binary.BigEndian.Uint32(b[8:]) != 0xffffffff {
		return no
	}
	return yes
}

func (in *Inspector) diameterStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < diameterHeader {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	if b[0] != 1 || size < diameterHeader || size&3 != 0 {
		in.stats.Malformed++
		return in.endSide(st, d, b)
	}
	if len(b) < min(size, streamLimit/4) {
		return 0
	}
	in.diameterMessage(st, d, b[:min(size, len(b))], rec)
	return st.stepOver(d, size, b)
}

// diameterMessage lists the command, and the result of an answer.
func (in *Inspector) diameterMessage(st *State, d side, b []byte, rec *flow.Record) {
	command := uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7])
	result := uint32(0)
	for a := b[diameterHeader:]; len(a) >= 8; { // AVPs (section 4.1)
		code, size, head := binary.BigEndian.Uint32(a), int(a[5])<<16|int(a[6])<<8|int(a[7]), 8
		if a[4]&0x80 != 0 {
			head = 12
		}
		if size < head || size > len(a) {
			break
		}
		v := a[head:size]
		switch code {
		case 1:
			in.setOnce(&rec.User, v, rec)
		case 264:
			if d == sideSrc {
				in.setOnce(&rec.AppHost, v, rec)
			}
		case 296:
			if d == sideSrc {
				in.setOnce(&rec.Domain, v, rec)
			}
		case 269:
			in.software(d, v, rec)
		case 268:
			if len(v) == 4 {
				result = binary.BigEndian.Uint32(v)
			}
		}
		a = a[min((size+3)&^3, len(a)):]
	}
	name := diameterCommand(command)
	if name == "" {
		name = "Command"
	}
	in.scratch = append(in.scratch[:0], name...)
	if diameterCommand(command) == "" || name == "Cx" {
		in.scratch = appendInt(append(in.scratch, ' '), command)
	}
	if b[4]&0x80 != 0 {
		in.addRequest(st, in.scratch, rec)
		return
	}
	if result != 0 {
		in.scratch = appendInt(append(in.scratch, ' '), result)
	}
	if result >= 3000 {
		rec.AppErrors++
	}
	in.addResponse(st, in.scratch, rec)
}
