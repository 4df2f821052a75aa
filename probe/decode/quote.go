package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// quotes reports whether an ICMP message carries the start of a packet: the
// errors and redirects of RFC 792 and RFC 4443, and ICMPv6 redirects (RFC
// 4861 section 4.5), whose quote is an option.
func quotes(proto, typ uint8) bool {
	if proto == flow.ProtoICMPv6 {
		return typ >= 1 && typ <= 4
	}
	return typ == 3 || typ == 4 || typ == 5 || typ == 11 || typ == 12
}

const (
	icmpv6Redirect = 137
	// Of a redirect: 8 octets, target and destination; then options, of
	// which number 4 holds the packet behind 8 octets of its own.
	redirectHeader   = 40
	redirectedHeader = 4
)

// redirected returns the packet that an ICMPv6 redirect quotes, nil if none. b
// is the message.
func redirected(b []byte) []byte {
	if len(b) < redirectHeader {
		return nil
	}
	for b = b[redirectHeader:]; len(b) >= 8; {
		n := int(b[1]) * 8
		if n == 0 {
			return nil
		}
		if b[0] == redirectedHeader {
			return b[8:min(max(n, 8), len(b))]
		}
		if n > len(b) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// quote fills p.Quoted from the start of an IP packet.
func (p *Packet) quote(b []byte) {
	var q Quoted
	if len(b) < ipv4Header {
		return
	}
	fragmented := false // a later piece: no transport header
	switch b[0] >> 4 {
	case 4:
		header := int(b[0]&15) * 4
		if header < ipv4Header {
			return
		}
		setIPv4(&q.Src, b[12:16])
		setIPv4(&q.Dst, b[16:20])
		q.Protocol = b[9]
		fragmented = binary.BigEndian.Uint16(b[6:])&0x1fff != 0
		b = b[min(header, len(b)):]
	case 6:
		if len(b) < ipv6Header {
			return
		}
		q.Src, q.Dst = flow.Addr(b[8:24]), flow.Addr(b[24:40])
		var offset uint16
		q.Protocol, offset, b = upperOf(b[6], b[ipv6Header:])
		fragmented = offset != 0
	default:
		return
	}
	if q.Protocol == 0 {
		return
	}
	if !fragmented && len(b) >= 4 {
		switch q.Protocol {
		case flow.ProtoICMP, flow.ProtoICMPv6:
			q.SrcPort, q.DstPort = uint16(b[0]), uint16(b[1])
			if len(b) >= 6 && hasIdentifier(q.Protocol, b[0]) {
				q.ICMPID = binary.BigEndian.Uint16(b[4:])
			}
		default:
			if hasPorts(q.Protocol) {
				q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
			}
		}
	}
	p.Quoted, p.rare = q, true
}

// upperOf walks IPv6 extension headers from next on and returns the transport
// protocol, the offset of a fragment in units of 8 octets, and what follows.
// Protocol 0: the chain does not end in b.
func upperOf(next uint8, b []byte) (proto uint8, offset uint16, rest []byte) {
	for range maxExtensions {
		n := 8
		switch next {
		case iana.ProtoHopByHop, iana.ProtoRouting, iana.ProtoDstOpts:
			if len(b) < 2 {
				return 0, 0, nil
			}
			n += int(b[1]) * 8
		case iana.ProtoFragment:
			if len(b) < 8 {
				return 0, 0, nil
			}
			if offset = binary.BigEndian.Uint16(b[2:]) >> 3; offset != 0 {
				return b[0], offset, b[8:]
			}
		default:
			return next, 0, b
		}
		if len(b) < n {
			return 0, 0, nil
		}
		next, b = b[0], b[n:]
	}
	return 0, 0, nil
}
