package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Most ports are told from a tunnel's by one bit: port*sieveFactor, of whose 16
// bits the upper six number a bit of sieve. The factor is one of those with
// which the tunnels share the fewest bits and none with DNS, HTTPS and other
// common services.
const (
	sieveFactor = 6633
	sieve       = 1<<(iana.PortL2TP*sieveFactor&0xffff>>10) | 1<<(iana.PortGTPU*sieveFactor&0xffff>>10) | 1<<(iana.PortTeredo*sieveFactor&0xffff>>10) |
		1<<(iana.PortLISP*sieveFactor&0xffff>>10) | 1<<(iana.PortGRE*sieveFactor&0xffff>>10) | 1<<(iana.PortVXLAN*sieveFactor&0xffff>>10) |
		1<<(iana.PortVXLANGPE*sieveFactor&0xffff>>10) | 1<<(iana.PortAYIYA*sieveFactor&0xffff>>10) | 1<<(iana.PortGENEVE*sieveFactor&0xffff>>10) |
		1<<(iana.PortMPLS*sieveFactor&0xffff>>10) | 1<<(iana.PortVXLANOld*sieveFactor&0xffff>>10)
)

// tunnelPorts reports whether one of two ports is that of a tunnel.
func tunnelPorts(src, dst uint16) bool {
	const bits = uint64(sieve)
	if (bits>>(src*sieveFactor>>10)|bits>>(dst*sieveFactor>>10))&1 == 0 {
		return false
	}
	return tunnelPort(dst) || tunnelPort(src)
}

func tunnelPort(port uint16) bool {
	switch port {
	case iana.PortL2TP, iana.PortGTPU, iana.PortTeredo, iana.PortLISP, iana.PortGRE, iana.PortVXLAN, iana.PortVXLANGPE, iana.PortAYIYA, iana.PortGENEVE, iana.PortMPLS, iana.PortVXLANOld:
		return true
	}
	return false
}

// udpTunnel looks into a datagram sent to the port of a tunnel, or from it
// where the header can be told from other contents. l is the UDP header with
// its payload, of at least 8 octets; p is filled for the datagram and stays so
// if there is no tunnel.
func (d *Decoder) udpTunnel(l *layer, p *Packet) {
	l.skip(udpHeader)
	port, sent := p.DstPort, true
	if !tunnelPort(port) {
		port, sent = p.SrcPort, false
	}
	switch port {
	case iana.PortVXLAN, iana.PortVXLANGPE, iana.PortVXLANOld:
		d.vxlan(port, l, p)
	case iana.PortGENEVE:
		// RFC 8926 section 3.4: version 0, options in words, no control packet.
		n := 8 + int(l.b[0]&0x3f)*4
		if l.b[0]>>6 == 0 && l.b[1]&0x80 == 0 && l.b[7] == 0 && len(l.b) >= n {
			id, et := binary.BigEndian.Uint32(l.b[4:])>>8, binary.BigEndian.Uint16(l.b[2:])
			l.skip(n)
			d.insideEther(flow.TunnelGENEVE, id, et, l, p)
		}
	case iana.PortGTPU:
		d.gtpu(l, p)
	case iana.PortL2TP:
		d.l2tp(l, p)
	case iana.PortTeredo:
		d.teredo(l, p)
	case iana.PortAYIYA:
		d.ayiya(l, p)
	case iana.PortGRE: // RFC 8086
		if sent {
			d.gre(l, p)
		}
	case iana.PortMPLS: // RFC 7510
		if sent {
			d.inside(flow.TunnelMPLS, 0, l, p, (*Decoder).mpls)
		}
	case iana.PortLISP:
		if sent {
			d.lisp(l, p)
		}
	default:
		if looksTeredo(l.b) {
			d.inside(flow.TunnelTeredo, 0, l, p, (*Decoder).ipv6)
		}
	}
}

// vxlan reads VXLAN (RFC 7348), with or without a group policy, and the
// generic extension that names what follows (draft-ietf-nvo3-vxlan-gpe), which
// some senders do on its port without the flag that says so.
func (d *Decoder) vxlan(port uint16, l *layer, p *Packet) {
	const (
		hasID       = 0x08
		hasProtocol = 0x04
		reserved    = 0x70
	)
	flags := l.b[0]
	if flags&hasID == 0 || l.b[7] != 0 || flags&reserved != 0 {
		return
	}
	id := binary.BigEndian.Uint32(l.b[4:]) >> 8
	read := (*Decoder).ethernet
	if flags&hasProtocol != 0 || port == iana.PortVXLANGPE && l.b[3] != 0 {
		if read = nextProtocol(l.b[3]); read == nil {
			return
		}
	}
	l.skip(8)
	d.inside(flow.TunnelVXLAN, id, l, p, read)
}

// nextProtocol is the registry that VXLAN-GPE and NSH share (RFC 8300 section
// 9.1.4), nil for what is not read.
func nextProtocol(n byte) func(*Decoder, *layer, *Packet) Verdict {
	switch n {
	case 1:
		return (*Decoder).ipv4
	case 2:
		return (*Decoder).ipv6
	case 3:
		return (*Decoder).ethernet
	case 4:
		return (*Decoder).nsh
	case 5:
		return (*Decoder).mpls
	}
	return nil
}

// nsh reads a network service header (RFC 8300).
func (d *Decoder) nsh(l *layer, p *Packet) Verdict {
	if len(l.b) < 8 {
		return short(8, l.wire)
	}
	n := int(l.b[1]&0x3f) * 4
	if l.b[0]>>6 != 0 || n < 8 {
		return Malformed
	}
	if l.b[0]&0x20 != 0 { // operations and maintenance
		return NonIP
	}
	if len(l.b) < n {
		return short(n, l.wire)
	}
	if l.depth--; l.depth <= 0 {
		return Unsupported
	}
	read := nextProtocol(l.b[3])
	if read == nil {
		return NonIP
	}
	l.skip(n)
	return read(d, l, p)
}

// lisp reads a data packet of the Locator/ID Separation Protocol (RFC 9300
// section 5.3). There is no kind of tunnel for it: it counts as IP in IP, with
// the instance as its identifier.
func (d *Decoder) lisp(l *layer, p *Packet) {
	id := uint32(0)
	if l.b[0]&0x08 != 0 {
		id = binary.BigEndian.Uint32(l.b[4:]) >> 8
	}
	l.skip(8)
	d.inside(flow.TunnelIPIP, id, l, p, (*Decoder).raw)
}

// ayiya reads SixXS's "anything in anything" (draft-massar-v6ops-ayiya-02): IPv6
// behind an identity and a signature, whose lengths the header gives. It
// counts as 6in4.
func (d *Decoder) ayiya(l *layer, p *Packet) {
	const header, forward = 8, 1
	n := header + 1<<(l.b[0]>>4) + int(l.b[1]>>4)*4
	if l.b[2]&15 != forward || l.b[3] != iana.ProtoIPv6 || len(l.b) < n {
		return
	}
	l.skip(n)
	d.inside(flow.Tunnel6in4, 0, l, p, (*Decoder).ipv6)
}

// teredo reads IPv6 behind the indications that servers and relays put before
// it (RFC 4380 section 5.1.1).
func (d *Decoder) teredo(l *layer, p *Packet) {
	if len(l.b) >= 13 && l.b[0] == 0 && l.b[1] == 1 { // authentication
		n := 13 + int(l.b[2]) + int(l.b[3])
		if len(l.b) < n {
			return
		}
		l.skip(n)
	}
	if len(l.b) >= 8 && l.b[0] == 0 && l.b[1] == 0 { // origin
		l.skip(8)
	}
	if len(l.b) < ipv6Header || l.b[0]>>4 != 6 {
		return
	}
	d.inside(flow.TunnelTeredo, 0, l, p, (*Decoder).ipv6)
}

// looksTeredo reports whether a datagram of any port is IPv6 of the very
// length between addresses of which one is Teredo's (2001::/32), as its clients
// send to each other.
func looksTeredo(b []byte) bool {
	const prefix = 0x20010000
	be := binary.BigEndian
	return len(b) >= ipv6Header && b[0]>>4 == 6 && int(be.Uint16(b[4:]))+ipv6Header == len(b) &&
		(be.Uint32(b[8:]) == prefix || be.Uint32(b[24:]) == prefix)
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
