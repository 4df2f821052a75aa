package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
)

// arpHeader is what precedes the addresses of an ARP packet (RFC 826).
const arpHeader = 8

// arp reads ARP and RARP (RFC 826, RFC 903) for IPv4 over hardware of any kind.
// It makes a packet with EtherType 0x0806.
func (d *Decoder) arp(l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < arpHeader {
		return short(arpHeader, l.wire)
	}
	if binary.BigEndian.Uint16(b[2:]) != iana.EtherIPv4 || b[5] != 4 {
		return NonIP
	}
	hard := int(b[4])
	n := arpHeader + 2*hard + 8
	if len(b) < n {
		return short(n, l.wire)
	}
	p.EtherType = iana.EtherARP
	p.Protocol, p.TOS, p.TTL, p.DstPort = 0, 0, 0, 0 // of a tunnel around it
	p.SrcPort = binary.BigEndian.Uint16(b[6:])
	setIPv4(&p.Src, b[arpHeader+hard:])
	setIPv4(&p.Dst, b[arpHeader+4+2*hard:])
	p.IPLen = uint32(n)
	return OK
}
