package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// upper reads what IP carries. p.Protocol and the addresses are set; l is the
// IP payload.
func (d *Decoder) upper(l *layer, p *Packet) Verdict {
	switch p.Protocol {
	case flow.ProtoTCP:
		return tcp(l, p)
	case flow.ProtoUDP:
		return d.udp(l, p)
	case flow.ProtoICMP, flow.ProtoICMPv6:
		return icmp(l, p)
	case flow.ProtoSCTP:
		return withPorts(12, l, p)
	case iana.ProtoUDPLite: // RFC 3828: in place of a length, what the checksum covers
		return withPorts(udpHeader, l, p)
	case iana.ProtoDCCP: // RFC 4340 section 5.1: the data offset in words
		n := 12
		if len(l.b) > 4 {
			n = max(n, int(l.b[4])*4)
		}
		return withPorts(n, l, p)
	case iana.ProtoAH:
		return d.authenticated(l, p)
	}
	if opensTunnel(p.Protocol) && !d.outerOnly {
		return d.tunnel(l, p)
	}
	body(l, p, 0)
	return OK
}

// authenticated reads an authentication header (RFC 4302). Like ESP it makes a
// flow of its own protocol, without ports, so that IPsec is seen as such; in
// tunnel mode the packet inside is taken, as of every tunnel in the clear.
func (d *Decoder) authenticated(l *layer, p *Packet) Verdict {
	if len(l.b) >= 2 && !d.outerOnly {
		next, n := l.b[0], 8+int(l.b[1])*4
		if (next == iana.ProtoIPv4 || next == iana.ProtoIPv6) && len(l.b) >= n && !p.Fragment {
			p.Protocol = next
			l.skip(n)
			return d.tunnel(l, p)
		}
	}
	body(l, p, 0)
	return OK
}

// withPorts reads a header of n octets that begins with the ports.
func withPorts(n int, l *layer, p *Packet) Verdict {
	if len(l.b) < 4 {
		return short(4, l.wire)
	}
	ports(l, p)
	body(l, p, n)
	return OK
}

func ports(l *layer, p *Packet) {
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(l.b), binary.BigEndian.Uint16(l.b[2:])
}

// body takes what follows a transport header of n octets as the payload.
func body(l *layer, p *Packet, n int) {
	if l.wire < n {
		p.Bare = true
		return
	}
	p.PayloadLen = uint32(l.wire - n)
	if len(l.b) < n {
		p.Bare = true
		return
	}
	p.Payload = l.b[n:]
}

const tcpHeader = 20

// tcp reads a TCP header (RFC 9293 section 3.1).
func tcp(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < 4 {
		return short(4, l.wire)
	}
	ports(l, p)
	if len(b) < tcpHeader {
		p.Bare = true
		p.PayloadLen = uint32(max(0, l.wire-tcpHeader)) // without options, which were not captured
		return OK
	}
	n := int(b[12]>>4) * 4
	if n < tcpHeader || n > l.wire {
		p.Bare = true
		return OK
	}
	p.Seq, p.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	p.Flags = b[13]
	p.Window = binary.BigEndian.Uint16(b[14:])
	p.PayloadLen = uint32(l.wire - n)
	if len(b) >= n {
		p.Payload = b[n:]
		if p.Flags&SYN != 0 && n > tcpHeader {
			p.MSS = segmentSize(b[tcpHeader:n])
		}
	}
	return OK
}

// segmentSize returns the maximum segment size option (RFC 9293 section 3.7.1)
// among options, 0 if there is none.
func segmentSize(options []byte) uint16 {
	for len(options) > 0 {
		switch options[0] {
		case 0:
			return 0
		case 1:
			options = options[1:]
			continue
		}
		if len(options) < 2 {
			return 0
		}
		n := int(options[1])
		if n < 2 || n > len(options) {
			return 0
		}
		if options[0] == 2 && n == 4 {
			return binary.BigEndian.Uint16(options[2:])
		}
		options = options[n:]
	}
	return 0
}

const udpHeader = 8

// udp reads a UDP header (RFC 768) and looks into the tunnels that are known
// by their port.
func (d *Decoder) udp(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < 4 {
		return short(4, l.wire)
	}
	ports(l, p)
	if len(b) < udpHeader {
		body(l, p, udpHeader)
		return OK
	}
	// A length of 0 is a jumbogram (RFC 2675) or left to the card. One that is
	// less than IP's leaves room for UDP options (RFC 9868), which are no
	// payload; in a first fragment it is that of the whole datagram.
	if n := int(binary.BigEndian.Uint16(b[4:])); n >= udpHeader && n < l.wire {
		l.wire = n
		l.b = b[:min(n, len(b))]
	}
	body(l, p, udpHeader)
	if d.outerOnly || p.Fragment || len(p.Payload) < 8 {
		return OK
	}
	d.udpTunnel(l, p)
	return OK
}

// icmp reads type, code and, for messages that ask and answer, the identifier
// (RFC 792, RFC 950, RFC 4443), and what an error quotes.
func icmp(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < 2 {
		return short(2, l.wire)
	}
	p.SrcPort, p.DstPort = uint16(b[0]), uint16(b[1])
	body(l, p, 8)
	if len(b) >= 6 && hasIdentifier(p.Protocol, b[0]) {
		p.ICMPID = binary.BigEndian.Uint16(b[4:])
	}
	switch {
	case quotes(p.Protocol, b[0]) && len(b) > 8:
		p.quote(b[8:])
	case p.Protocol == flow.ProtoICMPv6 && b[0] == icmpv6Redirect:
		p.quote(redirected(b))
	}
	return OK
}

func hasIdentifier(proto, typ uint8) bool {
	if proto == flow.ProtoICMPv6 {
		return typ == 128 || typ == 129 || typ == 144 || typ == 145
	}
	switch typ {
	case 0, 8, 13, 14, 15, 16, 17, 18:
		return true
	}
	return false
}
