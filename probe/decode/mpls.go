package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Labels below 16 are reserved (RFC 3032, RFC 6790).
const (
	labelEntropyIndicator = 7
	labelExtension        = 15
	labelFirst            = 16
)

// mpls pops a label stack (RFC 3032); the tunnel's identifier is the last label
// that stands for a path. What follows is told by its first nibble, as routers
// do (RFC 4928): IP, or an Ethernet frame behind a pseudowire's control word
// (RFC 4448), or one without it, which may look like either: then it is what
// reads as such.
func (d *Decoder) mpls(l *layer, p *Packet) Verdict {
	path, entropy := uint32(0), false
	for ; l.depth > 0; l.depth-- {
		if len(l.b) < 4 {
			return short(4, l.wire)
		}
		entry := binary.BigEndian.Uint32(l.b)
		l.skip(4)
		label := entry >> 12
		if label >= labelFirst && !entropy {
			path = label
		}
		entropy = label == labelEntropyIndicator || label == labelExtension
		if entry&0x100 == 0 { // not the bottom of the stack
			continue
		}
		if p.Tunnel == flow.TunnelNone || p.Tunnel == flow.TunnelMPLS && p.TunnelID == 0 {
			p.Tunnel, p.TunnelID = flow.TunnelMPLS, path
		}
		return d.pseudowire(l, p)
	}
	return Unsupported
}

func (d *Decoder) pseudowire(l *layer, p *Packet) Verdict {
	if len(l.b) < 1 {
		return short(1, l.wire)
	}
	nibble, framed := l.b[0]>>4, looksFramed(l.b)
	switch {
	case nibble == 4 && (!framed || len(l.b) >= 4 && l.b[0]&15 >= 5 && int(binary.BigEndian.Uint16(l.b[2:])) <= l.wire):
		return d.ipv4(l, p)
	case nibble == 6 && !framed:
		return d.ipv6(l, p)
	case nibble == 0 && (!framed || len(l.b) >= 4 && looksFramed(l.b[4:])):
		return d.ethernetAfter(4, l, p)
	case framed:
		return d.ethernetAfter(0, l, p)
	}
	return NonIP
}

// looksFramed reports whether b can be an Ethernet frame with something that
// is looked into: a known EtherType with what must follow it.
func looksFramed(b []byte) bool {
	for n := 12; n+4 <= len(b) && n <= 20; n += etherVLANHeader {
		switch binary.BigEndian.Uint16(b[n:]) {
		case iana.EtherIPv4:
			return b[n+2]>>4 == 4 && b[n+2]&15 >= 5
		case iana.EtherIPv6:
			return b[n+2]>>4 == 6
		case iana.EtherARP, iana.EtherRARP:
			return b[n+2] == 0
		case iana.EtherMPLS, iana.EtherPPPoE:
			return true
		case iana.EtherVLAN, iana.EtherQinQ, iana.EtherQinQOld:
		default:
			return false
		}
	}
	return false
}
