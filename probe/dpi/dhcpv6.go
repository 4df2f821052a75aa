package dpi

import (
	"encoding/binary"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// DHCPv6 (RFC 8415).
func dhcpv6Protocol() protocol {
	return protocol{app: "dhcpv6", udp: []uint16{546, 547}, datagram: func(b []byte, h *hint) bool { return h.onPort && looksDHCPv6(b) },
		message: (*Inspector).dhcpv6Message}
}

// dhcpv6Types are the names of section 7.3.
var dhcpv6Types = [...]string{"", "SOLICIT", "ADVERTISE", "REQUEST", "CONFIRM", "RENEW", "REBIND", "REPLY", "RELEASE", "DECLINE", "RECONFIGURE",
	"INFORMATION-REQUEST", "RELAY-FORW", "RELAY-REPL"}

const (
	dhcpv6RelayForward = 12
	dhcpv6RelayReply   = 13
)

// looksDHCPv6 wants options that fill the datagram.
func looksDHCPv6(b []byte) bool {
	if len(b) < 4 || b[0] == 0 || int(b[0]) >= len(dhcpv6Types) {
		return false
	}
	r := reader{b: b[4:]}
	if b[0] == dhcpv6RelayForward || b[0] == dhcpv6RelayReply {
		r.take(30)
	}
	for len(r.b) > 0 && !r.bad {
		r.u16()
		r.take(r.u16())
	}
	return !r.bad
}

func (in *Inspector) dhcpv6Message(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	for range 4 { // relays wrap (section 9)
		if !looksDHCPv6(b) {
			in.stats.Malformed++
			return
		}
		if b[0] != dhcpv6RelayForward && b[0] != dhcpv6RelayReply {
			break
		}
		r := reader{b: b[34:]}
		b = nil
		for len(r.b) > 0 {
			if code, v := r.u16(), r.take(r.u16()); code == 9 {
				b = v
			}
		}
	}
	if len(b) < 4 {
		return
	}
	kind := b[0]
	in.scratch = append(in.scratch[:0], dhcpv6Types[kind]...)
	for r := (reader{b: b[4:]}); len(r.b) > 0 && !r.bad; {
		code, v := r.u16(), r.take(r.u16())
		switch {
		case code == 3 && len(v) > 12, code == 4 && len(v) > 4: // addresses leased, for a while or temporarily
			skip := 12
			if code == 4 {
				skip = 4
			}
			for ia := (reader{b: v[skip:]}); len(ia.b) > 0 && !ia.bad; {
				code, v := ia.u16(), ia.take(ia.u16())
				if code == 5 && len(v) >= 16 && len(in.scratch) < 256 {
					in.scratch = netip.AddrFrom16([16]byte(v)).AppendTo(append(in.scratch, ' '))
				}
				in.dhcpv6Status(code, v, rec)
			}
		case code == 39 && len(v) > 1: // flags, then a name in DNS form (RFC 4704, section 4)
			n := len(in.scratch)
			in.scratch = append(append(in.scratch, v[1:]...), 0) // it may lack the root
			wire := in.scratch[n:]
			if all, _, ok := appendName(in.scratch, wire, 0); ok {
				in.setOnce(&rec.AppHost, all[n+len(wire):], rec)
			}
			in.scratch = in.scratch[:n]
		case code == 16 && len(v) > 6:
			in.software(sideSrc, v[6:], rec)
		}
		in.dhcpv6Status(code, v, rec)
	}
	switch kind {
	case 2, 7, 10:
		in.addResponse(st, in.scratch, rec)
	default:
		in.addRequest(st, in.scratch, rec)
	}
}

// dhcpv6Status counts a status other than success (section 21.13).
func (in *Inspector) dhcpv6Status(code int, v []byte, rec *flow.Record) {
	if code == 13 && len(v) >= 2 && binary.BigEndian.Uint16(v) != 0 {
		rec.AppErrors++
	}
}
