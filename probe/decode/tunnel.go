package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// tunnelDepth is what one tunnel takes of a frame's maxLayers: packets within
// packets are opened at most five deep.
const tunnelDepth = 4

func opensTunnel(proto uint8) bool {
	switch proto {
	case iana.ProtoIPv4, iana.ProtoIPv6, iana.ProtoGRE, iana.ProtoEtherIP, iana.ProtoL2TP, iana.ProtoMPLS, iana.ProtoEthernet:
		return true
	}
	return false
}

// inside decodes what a tunnel of kind and id carries by calling read. If that
// yields no flow, p becomes again what it was: the packet of the tunnel itself.
func (d *Decoder) inside(kind flow.Tunnel, id uint32, l *layer, p *Packet, read func(*Decoder, *layer, *Packet) Verdict) bool {
	if l.depth <= tunnelDepth {
		return false
	}
	l.depth -= tunnelDepth
	outer := *p
	p.Tunnel, p.TunnelID = kind, id
	p.SrcPort, p.DstPort, p.ICMPID, p.Fragment, p.Bare = 0, 0, 0, false, false
	p.PayloadLen, p.Payload = 0, nil
	if read(d, l, p) == OK {
		d.tunnels++
		p.OuterSrc, p.OuterDst, p.rare = outer.Src, outer.Dst, true // what an inner tunnel has set gives way
		return true
	}
	*p = outer
	return false
}

// tunnel reads what IP carries as another packet: IP (RFC 2003, RFC 4213, RFC
// 2473), GRE, Ethernet (RFC 3378, RFC 8986 section 4.12), MPLS (RFC 4023) and
// L2TP version 3. The three that have no kind of their own count as IP in IP or
// MPLS. A tunnel that cannot be read is a flow of its own with ports 0.
func (d *Decoder) tunnel(l *layer, p *Packet) Verdict {
	outer := *l
	opened := false
	if !p.Fragment {
		switch p.Protocol {
		case iana.ProtoIPv4:
			opened = d.inside(flow.TunnelIPIP, 0, l, p, (*Decoder).ipv4)
		case iana.ProtoIPv6:
			kind := flow.TunnelIPIP
			if p.Src.Is4() {
				kind = flow.Tunnel6in4
			}
			opened = d.inside(kind, 0, l, p, (*Decoder).ipv6)
		case iana.ProtoGRE:
			opened = d.gre(l, p)
		case iana.ProtoEtherIP:
			if len(l.b) >= 2 && l.b[0]>>4 == 3 {
				l.skip(2)
				opened = d.inside(flow.TunnelIPIP, 0, l, p, (*Decoder).ethernet)
			}
		case iana.ProtoEthernet:
			opened = d.inside(flow.TunnelIPIP, 0, l, p, (*Decoder).ethernet)
		case iana.ProtoMPLS:
			opened = d.inside(flow.TunnelMPLS, 0, l, p, (*Decoder).mpls)
		case iana.ProtoL2TP:
			opened = d.l2tp3(0, l, p)
		}
	}
	if !opened {
		*l = outer
		body(l, p, 0)
	}
	return OK
}

// greAruba is the first of the protocols under which Aruba's access points
// send 802.11 frames.
const greAruba = 0x8200

// gre reads GRE version 0 (RFC 2784, RFC 2890) and the enhanced version 1 that
// PPTP uses (RFC 2637). ERSPAN is GRE with its own header before the frame, and
// NVGRE one with a key of its own make.
func (d *Decoder) gre(l *layer, p *Packet) bool {
	if len(l.b) < 4 {
		return false
	}
	flags, et := binary.BigEndian.Uint16(l.b), binary.BigEndian.Uint16(l.b[2:])
	version := flags & 7
	if version > 1 || flags&0x4000 != 0 { // source routes (RFC 1701) are gone
		return false
	}
	n, key := 4, uint32(0)
	if flags&0x8000 != 0 { // checksum and reserved
		n += 4
	}
	if flags&0x2000 != 0 {
		if len(l.b) < n+4 {
			return false
		}
		key = binary.BigEndian.Uint32(l.b[n:])
		n += 4
	}
	if flags&0x1000 != 0 { // sequence number
		n += 4
	}
	if version == 1 {
		if flags&0x80 != 0 { // acknowledgement number
			n += 4
		}
		key = 0 // a length, and a call number that differs by direction (RFC 2637 section 4.1)
	}
	if len(l.b) < n {
		return false
	}
	l.skip(n)
	kind := flow.TunnelGRE
	switch et {
	case iana.EtherERSPAN:
		kind, et = flow.TunnelERSPAN, iana.EtherTEB
		if flags&0x1000 != 0 { // type II has a header of 8 octets, type I none
			if len(l.b) < 8 || l.b[0]>>4 != 1 {
				return false
			}
			key = uint32(binary.BigEndian.Uint16(l.b[2:]) & 0x3ff) // session
			l.skip(8)
		}
	case iana.EtherERSPAN3:
		if len(l.b) < 12 {
			return false
		}
		kind, et = flow.TunnelERSPAN, iana.EtherTEB
		key = uint32(binary.BigEndian.Uint16(l.b[2:]) & 0x3ff)
		n := 12
		if l.b[11]&1 != 0 { // platform specific sub-header
			n += 8
		}
		if len(l.b) < n {
			return false
		}
		ip := l.b[10]>>2&0x1f == 2 // frame type: 0 Ethernet, 2 IP
		l.skip(n)
		if ip {
			return d.inside(kind, key, l, p, (*Decoder).raw)
		}
	case iana.EtherTEB:
		// NVGRE (RFC 7637): the key is a virtual subnet and a hash of the
		// flow. Subnets below 0x1000 are reserved, so a key that would give
		// one is a plain key.
		if flags&0x8000 == 0 && flags&0x1000 == 0 && key>>8 >= 0x1000 {
			key >>= 8
		}
	case iana.EtherWCCP: // version 2 has a header of its own, of 4 octets
		if len(l.b) >= 4 && l.b[0]>>4 != 4 {
			l.skip(4)
		}
		et = iana.EtherIPv4
	}
	if et >= greAruba && et < greAruba+0x10 {
		return d.inside(kind, key, l, p, (*Decoder).wifi)
	}
	return d.insideEther(kind, key, et, l, p)
}

// insideEther is inside for a payload named by an EtherType.
func (d *Decoder) insideEther(kind flow.Tunnel, id uint32, et uint16, l *layer, p *Packet) bool {
	switch et {
	case iana.EtherIPv4:
		return d.inside(kind, id, l, p, (*Decoder).ipv4)
	case iana.EtherIPv6:
		return d.inside(kind, id, l, p, (*Decoder).ipv6)
	case iana.EtherTEB:
		return d.inside(kind, id, l, p, (*Decoder).ethernet)
	case iana.EtherPPP:
		return d.inside(kind, id, l, p, (*Decoder).ppp)
	case iana.EtherMPLS, iana.EtherMPLSUp:
		return d.inside(kind, id, l, p, (*Decoder).mpls)
	case iana.EtherNSH:
		return d.inside(kind, id, l, p, (*Decoder).nsh)
	case iana.EtherARP:
		return d.inside(kind, id, l, p, (*Decoder).arp)
	}
	return false
}
