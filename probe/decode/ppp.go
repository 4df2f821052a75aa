package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// PPP protocol numbers (IANA).
const (
	pppIPv4   = 0x0021
	pppIPv6   = 0x0057
	pppMPLS   = 0x0281
	pppMPLSUp = 0x0283
)

// ppp reads a PPP header, with or without address and control (RFC 1662) and
// with the protocol in one or two octets (RFC 1661 section 6.5).
func (d *Decoder) ppp(l *layer, p *Packet) Verdict {
	if len(l.b) >= 2 && l.b[0] == 0xff && l.b[1] == 3 {
		l.skip(2)
	}
	if len(l.b) < 2 {
		return short(2, l.wire)
	}
	proto, n := binary.BigEndian.Uint16(l.b), 2
	if l.b[0]&1 != 0 {
		proto, n = uint16(l.b[0]), 1
	}
	l.skip(n)
	switch proto {
	case pppIPv4:
		return d.ipv4(l, p)
	case pppIPv6:
		return d.ipv6(l, p)
	case pppMPLS, pppMPLSUp:
		return d.mpls(l, p)
	}
	return NonIP
}

// pppoe reads a PPPoE session packet (RFC 2516).
func (d *Decoder) pppoe(l *layer, p *Packet) Verdict {
	if len(l.b) < 8 {
		return short(8, l.wire)
	}
	if l.b[0] != 0x11 || l.b[1] != 0 { // version 1, type 1, session data
		return NonIP
	}
	if p.Tunnel == flow.TunnelNone {
		p.Tunnel, p.TunnelID = flow.TunnelPPPoE, uint32(binary.BigEndian.Uint16(l.b[2:]))
	}
	if n := int(binary.BigEndian.Uint16(l.b[4:])) + 6; n < l.wire {
		l.wire = n
		l.b = l.b[:min(n, len(l.b))]
		if len(l.b) < 8 {
			return Malformed
		}
	}
	l.skip(6)
	return d.ppp(l, p)
}

// l2tp reads a data message of version 2 (RFC 2661 section 3.1), which carries
// PPP, or version 3 over UDP (RFC 3931 section 4.1.2.2).
func (d *Decoder) l2tp(l *layer, p *Packet) {
	const (
		control  = 0x8000
		length   = 0x4000
		sequence = 0x0800
		offset   = 0x0200
		reserved = 0x34f0
	)
	flags := binary.BigEndian.Uint16(l.b)
	if flags&(control|reserved) != 0 {
		return
	}
	switch flags & 15 {
	case 3:
		d.l2tp3(4, l, p)
		return
	case 2:
	default:
		return
	}
	n := 6
	if flags&length != 0 {
		if size := int(binary.BigEndian.Uint16(l.b[2:])); size >= 8 {
			l.trim(size)
		}
		n += 2
	}
	if flags&sequence != 0 {
		n += 4
	}
	if flags&offset != 0 {
		if len(l.b) < n+2 {
			return
		}
		n += 2 + int(binary.BigEndian.Uint16(l.b[n:]))
	}
	if len(l.b) < n {
		return
	}
	l.skip(n)
	d.inside(flow.TunnelL2TP, 0, l, p, (*Decoder).ppp)
}

// l2tp3 reads a data message of version 3 from its session identifier on, at
// octet n. Whether a cookie of 4 or 8 octets and a sublayer of 4 follow is only
// agreed between the ends (RFC 3931 section 4.1): the frame is where one can be.
func (d *Decoder) l2tp3(n int, l *layer, p *Packet) bool {
	if len(l.b) < n+4 || binary.BigEndian.Uint32(l.b[n:]) == 0 { // 0: control
		return false
	}
	n += 4
	for range 4 {
		if len(l.b) < n {
			break
		}
		if looksFramed(l.b[n:]) {
			l.skip(n)
			return d.inside(flow.TunnelL2TP, 0, l, p, (*Decoder).ethernet)
		}
		n += 4
	}
	return false
}
