package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	ipv4Header = 20
	ipv6Header = 40
	// maxExtensions bounds a chain of IPv6 extension headers. RFC 8200
	// section 4.1 allows seven; RFC 8504 section 5.3 lets hosts limit them.
	maxExtensions = 16
)

// ipv4 reads an IPv4 header (RFC 791).
func (d *Decoder) ipv4(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < ipv4Header {
		return short(ipv4Header, l.wire)
	}
	header := int(b[0]&15) * 4
	if b[0]>>4 != 4 || header < ipv4Header {
		return Malformed
	}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 || total > l.wire {
		// 0: left to the card by segmentation offload. More than the frame:
		// the frame is what was on the wire.
		total = l.wire
	}
	if total < header {
		return Malformed
	}
	l.wire = total
	l.b = b[:min(total, len(b))]

	setIPv4(&p.Src, b[12:16])
	setIPv4(&p.Dst, b[16:20])
	p.IPLen, p.TOS, p.TTL, p.Protocol = uint32(total), b[1], b[8], b[9]

	if len(l.b) < header {
		return d.clipped(l, p)
	}
	offset := binary.BigEndian.Uint16(b[6:])
	if offset&0x3fff != 0 { // more fragments, or an offset
		p.Fragment = true
		l.skip(header)
		k := fragmentKey{src: p.Src, dst: p.Dst, id: uint32(binary.BigEndian.Uint16(b[4:])), proto: p.Protocol, vlan: p.VLAN, tunnel: p.TunnelID}
		return d.fragment(&k, int(offset&0x1fff)*8, offset&0x2000 != 0, l, p)
	}
	l.skip(header)
	return d.upper(l, p)
}

// clipped is the packet of which addresses and protocol were captured but not
// the whole IP header: enough for protocols without ports.
func (d *Decoder) clipped(l *layer, p *Packet) Verdict {
	if hasPorts(p.Protocol) || opensTunnel(p.Protocol) {
		return Truncated
	}
	p.Bare = true
	return OK
}

func hasPorts(proto uint8) bool {
	switch proto {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP, flow.ProtoICMP, flow.ProtoICMPv6, iana.ProtoDCCP, iana.ProtoUDPLite:
		return true
	}
	return false
}

func setIPv4(a *flow.Addr, b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], 0xffff0000|uint64(binary.LittleEndian.Uint32(b))<<32)
}

// ipv6 reads an IPv6 header and its extension headers (RFC 8200).
func (d *Decoder) ipv6(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < ipv6Header {
		return short(ipv6Header, l.wire)
	}
	if b[0]>>4 != 6 {
		return Malformed
	}
	total := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	if total == ipv6Header && b[6] != iana.ProtoNone || total > l.wire {
		// Payload length 0: a jumbogram (RFC 2675) or segmentation offload.
		total = l.wire
	}
	l.wire = total
	l.b = b[:min(total, len(b))]

	p.Src, p.Dst = flow.Addr(b[8:24]), flow.Addr(b[24:40])
	p.IPLen, p.TOS, p.TTL = uint32(total), b[0]<<4|b[1]>>4, b[7]
	p.Protocol = b[6]
	l.skip(ipv6Header)
	return d.extensions(l, p)
}

// extensions walks IPv6 extension headers up to the transport header; for an
// authentication header see authenticated. p.Protocol names the header that l
// begins with.
func (d *Decoder) extensions(l *layer, p *Packet) Verdict {
	for range maxExtensions {
		var n int
		switch p.Protocol {
		case iana.ProtoMobility, iana.ProtoHIP, iana.ProtoShim6:
			// As good as always the message itself: nothing follows (RFC 6275
			// section 6.1.1, RFC 7401 section 5.1, RFC 5533 section 5.3).
			if len(l.b) >= 1 && l.b[0] == iana.ProtoNone {
				return d.upper(l, p)
			}
			fallthrough
		case iana.ProtoHopByHop, iana.ProtoRouting, iana.ProtoDstOpts:
			if len(l.b) < 2 {
				return short(2, l.wire)
			}
			n = 8 + int(l.b[1])*8
		case iana.ProtoFragment:
			if len(l.b) < 8 {
				return short(8, l.wire)
			}
			offset := binary.BigEndian.Uint16(l.b[2:])
			k := fragmentKey{src: p.Src, dst: p.Dst, id: binary.BigEndian.Uint32(l.b[4:]), proto: l.b[0], vlan: p.VLAN, tunnel: p.TunnelID, six: true}
			p.Protocol = l.b[0]
			l.skip(8)
			if offset&0xfff9 == 0 { // an atomic fragment is whole (RFC 6946)
				continue
			}
			p.Fragment = true
			return d.fragment(&k, int(offset&0xfff8), offset&1 != 0, l, p)
		default:
			return d.upper(l, p)
		}
		if len(l.b) < n {
			return short(n, l.wire)
		}
		p.Protocol = l.b[0]
		l.skip(n)
	}
	return Malformed
}
