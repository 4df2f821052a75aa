package dpi

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// DHCP (RFC 2131) with its options (RFC 2132), and BOOTP. What the client asks
// is a request, whoever the flow takes for its initiator.
func dhcpProtocol() protocol {
	return protocol{app: "dhcp", udp: []uint16{67, 68}, datagram: func(b []byte, _ *hint) bool { return looksDHCP(b) },
		message: (*Inspector).dhcpMessage}
}

const dhcpOptions = 240 // fixed part and cookie

// dhcpTypes are the names of option 53 (RFC 2132, section 9.6; RFC 6926).
var dhcpTypes = [...]string{"BOOTP", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM", "FORCERENEW",
	"LEASEQUERY", "LEASEUNASSIGNED", "LEASEUNKNOWN", "LEASEACTIVE"}

// maxDHCPOptions is how many options of a message are looked at, pads included.
const maxDHCPOptions = 512

func looksDHCP(b []byte) bool {
	return len(b) >= dhcpOptions && (b[0] == 1 || b[0] == 2) && b[1] != 0 && b[2] <= 16 && binary.BigEndian.Uint32(b[236:]) == 0x63825363
}

func (in *Inspector) dhcpMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	if !looksDHCP(b) {
		in.stats.Malformed++
		return
	}
	var asked, fqdn []byte
	kind := 0
	r := reader{b: b[dhcpOptions:]}
	for n := 0; n < maxDHCPOptions && len(r.b) > 0 && !r.bad; n++ {
		code := r.u8()
		if code == 255 {
			break
		}
		if code == 0 {
			continue
		}
		v := r.take(r.u8())
		switch {
		case code == 53 && len(v) == 1:
			kind = int(v[0])
		case code == 50 && len(v) == 4:
			asked = v
		case code == 12:
			in.setOnce(&rec.AppHost, bytes.TrimRight(v, "\x00"), rec)
		case code == 81 && len(v) > 3: // flags and two rcodes first (RFC 4702, section 2)
			if fqdn = v[3:]; v[0]&4 != 0 { // in DNS form
				if name, _, ok := appendName(nil, fqdn, 0); ok {
					fqdn = name
				}
			}
		case code == 60:
			in.software(sideSrc, v, rec)
		}
	}
	in.setOnce(&rec.AppHost, fqdn, rec)
	if r.bad {
		in.stats.Malformed++
	}
	name := "TYPE"
	if kind < len(dhcpTypes) {
		name = dhcpTypes[kind]
	}
	in.scratch = append(in.scratch[:0], name...)
	if b[0] == 1 {
		if asked == nil && kind != 1 {
			asked = b[12:16] // its own
		}
		in.scratch = appendIPv4(in.scratch, asked)
		in.addRequest(st, in.scratch, rec)
		return
	}
	if kind == 6 {
		rec.AppErrors++
	}
	in.scratch = appendIPv4(in.scratch, b[16:20])
	in.addResponse(st, in.scratch, rec)
}

// appendIPv4 appends a blank and the address unless it is none.
func appendIPv4(dst, a []byte) []byte {
	if len(a) != 4 || a[0]|a[1]|a[2]|a[3] == 0 {
		return dst
	}
	return netip.AddrFrom4([4]byte(a)).AppendTo(append(dst, ' '))
}
