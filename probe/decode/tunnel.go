package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// tunnelDepth is what one tunnel takes of a frame's maxLayers: packets within
// packets are opened at most five deep.
const tunnelDepth = 4

func opensTunnel(proto uint8) bool {
	return proto == protoIPv4 || proto == protoIPv6 || proto == protoGRE
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
		return true
	}
	*p = outer
	return false
}

// tunnel reads IP in IP (RFC 2003, RFC 4213, RFC 2473) and GRE. A tunnel that
// cannot be read is a flow of its own with ports 0.
func (d *Decoder) tunnel(l *layer, p *Packet) Verdict {
	outer := *l
	opened := false
	if !p.Fragment {
		switch p.Protocol {
		case protoIPv4:
			opened = d.inside(flow.TunnelIPIP, 0, l, p, (*Decoder).ipv4)
		case protoIPv6:
			kind := flow.TunnelIPIP
			if p.Src.Is4() {
				kind = flow.Tunnel6in4
			}
			opened = d.inside(kind, 0, l, p, (*Decoder).ipv6)
		case protoGRE:
			opened = d.gre(l, p)
		}
	}
	if !opened {
		*l = outer
		body(l, p, 0)
	}
	return OK
}

// gre reads GRE version 0 (RFC 2784, RFC 2890) and the enhanced version 1 that
// PPTP uses (RFC 2637). ERSPAN is GRE with its own header before the frame.
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
	case etherERSPAN:
		kind, et = flow.TunnelERSPAN, etherTEB
		if flags&0x1000 != 0 { // type II has a header of 8 octets, type I none
			if len(l.b) < 8 {
				return false
			}
			key = uint32(binary.BigEndian.Uint16(l.b[2:]) & 0x3ff) // session
			l.skip(8)
		}
	case etherERSPAN3:
		if len(l.b) < 12 {
			return false
		}
		kind, et = flow.TunnelERSPAN, etherTEB
		key = uint32(binary.BigEndian.Uint16(l.b[2:]) & 0x3ff)
		n := 12
		if l.b[11]&1 != 0 { // platform specific sub-header
			n += 8
		}
		if len(l.b) < n {
			return false
		}
		l.skip(n)
	}
	return d.insideEther(kind, key, et, l, p)
}

// insideEther is inside for a payload named by an EtherType.
func (d *Decoder) insideEther(kind flow.Tunnel, id uint32, et uint16, l *layer, p *Packet) bool {
	switch et {
	case etherIPv4:
		return d.inside(kind, id, l, p, (*Decoder).ipv4)
	case etherIPv6:
		return d.inside(kind, id, l, p, (*Decoder).ipv6)
	case etherTEB:
		return d.inside(kind, id, l, p, (*Decoder).ethernet)
	case etherPPP:
		return d.inside(kind, id, l, p, (*Decoder).ppp)
	case etherMPLS, etherMPLSUp:
		return d.inside(kind, id, l, p, (*Decoder).mpls)
	}
	return false
}

// Ports of the tunnels over UDP (IANA).
const (
	portVXLAN  = 4789
	portGENEVE = 6081
	portGTPU   = 2152
)

// udpTunnel looks into a datagram sent to the port of a tunnel. l is the UDP
// header with its payload, p is filled for the datagram.
func (d *Decoder) udpTunnel(l *layer, p *Packet) Verdict {
	switch {
	case p.DstPort == portVXLAN:
		l.skip(udpHeader)
		// RFC 7348 section 5: only the I flag is set, reserved octets are 0.
		if l.b[0] == 0x08 && l.b[7] == 0 {
			id := binary.BigEndian.Uint32(l.b[4:]) >> 8
			l.skip(8)
			d.inside(flow.TunnelVXLAN, id, l, p, (*Decoder).ethernet)
		}
	case p.DstPort == portGENEVE:
		l.skip(udpHeader)
		// RFC 8926 section 3.4: version 0, options in words, no control packet.
		n := 8 + int(l.b[0]&0x3f)*4
		if l.b[0]>>6 == 0 && l.b[1]&0x80 == 0 && len(l.b) >= n {
			id, et := binary.BigEndian.Uint32(l.b[4:])>>8, binary.BigEndian.Uint16(l.b[2:])
			l.skip(n)
			d.insideEther(flow.TunnelGENEVE, id, et, l, p)
		}
	case p.DstPort == portGTPU || p.SrcPort == portGTPU:
		l.skip(udpHeader)
		d.gtpu(l, p)
	}
	return OK
}

// gtpu reads a G-PDU (3GPP TS 29.281 section 5.1) with its extension headers.
func (d *Decoder) gtpu(l *layer, p *Packet) {
	const gPDU = 0xff
	if l.b[0]>>5 != 1 || l.b[0]&0x10 == 0 || l.b[1] != gPDU {
		return
	}
	id := binary.BigEndian.Uint32(l.b[4:])
	n := 8
	if l.b[0]&7 != 0 { // sequence number, N-PDU number, next extension
		n = 12
		if len(l.b) < n {
			return
		}
		next := l.b[11]
		for range maxExtensions {
			if next == 0 || l.b[0]&4 == 0 {
				break
			}
			if len(l.b) <= n || l.b[n] == 0 {
				return
			}
			n += int(l.b[n]) * 4
			if len(l.b) < n {
				return
			}
			next = l.b[n-1]
		}
	}
	if len(l.b) < n {
		return
	}
	l.skip(n)
	d.inside(flow.TunnelGTPU, id, l, p, (*Decoder).raw)
}

// mpls pops a label stack (RFC 3032). What follows is told by its first
// nibble, as routers do (RFC 4928): IP, or a pseudowire's control word before
// an Ethernet frame (RFC 4448).
func (d *Decoder) mpls(l *layer, p *Packet) Verdict {
	for ; l.depth > 0; l.depth-- {
		if len(l.b) < 4 {
			return short(4, l.wire)
		}
		entry := binary.BigEndian.Uint32(l.b)
		l.skip(4)
		if entry&0x100 == 0 { // not the bottom of the stack
			continue
		}
		if p.Tunnel == flow.TunnelNone {
			p.Tunnel, p.TunnelID = flow.TunnelMPLS, entry>>12
		}
		if len(l.b) < 1 {
			return short(1, l.wire)
		}
		switch l.b[0] >> 4 {
		case 4:
			return d.ipv4(l, p)
		case 6:
			return d.ipv6(l, p)
		case 0:
			if len(l.b) < 4 {
				return short(4, l.wire)
			}
			l.skip(4)
			l.depth--
			return d.ethernet(l, p)
		}
		return NonIP
	}
	return Unsupported
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
