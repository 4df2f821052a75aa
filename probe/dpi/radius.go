package dpi

import (
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// RADIUS (RFC 2865, RFC 2866, RFC 5176).
func radiusProtocol() protocol {
	return protocol{app: "radius", udp: []uint16{1812, 1813, 1645, 1646, 3799}, datagram: func(b []byte, h *hint) bool {
		return looksRADIUS(b, h.onPort)
	}, message: (*Inspector).radiusMessage}
}

// radiusCode names the codes in use (IANA RADIUS packet type codes).
func radiusCode(c byte) string {
	switch c {
	case 1:
		return "Access-Request"
	case 2:
		return "Access-Accept"
	case 3:
		return "Access-Reject"
	case 4:
		return "Accounting-Request"
	case 5:
		return "Accounting-Response"
	case 11:
		return "Access-Challenge"
	case 12:
		return "Status-Server"
	case 13:
		return "Status-Client"
	case 40:
		return "Disconnect-Request"
	case 41:
		return "Disconnect-ACK"
	case 42:
		return "Disconnect-NAK"
	case 43:
		return "CoA-Request"
	case 44:
		return "CoA-ACK"
	case 45:
		return "CoA-NAK"
	}
	return ""
}

const (
	radiusHeader = 20
	maxRADIUS    = 4096 // octets (RFC 2865, section 3)
)

// looksRADIUS wants the length to be right and attributes that fill it;
// elsewhere than on its ports, two of them at least.
func looksRADIUS(b []byte, onPort bool) bool {
	if len(b) < radiusHeader || radiusCode(b[0]) == "" {
		return false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size < radiusHeader || size > maxRADIUS || size > len(b) || size < len(b) && !onPort {
		return false
	}
	n := 0
	for a := b[radiusHeader:size]; len(a) > 0; n++ {
		if len(a) < 2 || a[1] < 2 || int(a[1]) > len(a) || a[0] == 0 {
			return false
		}
		a = a[a[1]:]
	}
	return onPort || n >= 3
}

func (in *Inspector) radiusMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	if !looksRADIUS(b, true) {
		in.stats.Malformed++
		return
	}
	in.scratch = append(in.scratch[:0], radiusCode(b[0])...)
	for a := b[radiusHeader:binary.BigEndian.Uint16(b[2:])]; len(a) > 0; a = a[a[1]:] {
		switch v := a[2:a[1]]; a[0] {
		case 1:
			in.setOnce(&rec.User, v, rec)
		case 8: // Framed-IP-Address
			if len(v) == 4 && len(in.scratch) < 64 {
				in.scratch = netip.AddrFrom4([4]byte(v)).AppendTo(append(in.scratch, ' '))
			}
		case 31: // Calling-Station-Id: the station's MAC or number
			in.setOnce(&rec.AppHost, v, rec)
		}
	}
	switch b[0] {
	case 1, 4, 12, 13, 40, 43:
		in.addRequest(st, in.scratch, rec)
	default:
		if b[0] == 3 || b[0] == 42 || b[0] == 45 {
			rec.AppErrors++
		}
		in.addResponse(st, in.scratch, rec)
	}
}
