package trace

import (
	"encoding/binary"
	"net/netip"
)

// TCP flag bits (RFC 9293 section 3.1).
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	PSH = 0x08
	ACK = 0x10
)

// IP protocol numbers (IANA).
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Head is what the recorder needs to know of a frame. IPv4 without fragments and IPv6 without extension
// headers, with at most one VLAN tag: more than that is never recorded here.
type Head struct {
	VLAN     uint16 // 0: untagged
	Protocol uint8
	Src, Dst netip.AddrPort // ports are 0 for other protocols than TCP and UDP
	Flags    uint8          // TCP only
	ip, l4   int            // offsets in Data
	Payload  int            // offset of the payload of TCP and UDP; may lie behind a cut packet's end
	Size     int            // payload octets on the wire, from the IP length
	IPLength int            // octets of the IP packet on the wire
}

// Parse reads the headers of a frame. It reports false for what is not IP, or too short to tell.
func Parse(data []byte) (Head, bool) {
	var h Head
	if len(data) < 14 {
		return h, false
	}
	kind, off := binary.BigEndian.Uint16(data[12:]), 14
	if kind == 0x8100 {
		if len(data) < 18 {
			return h, false
		}
		h.VLAN = binary.BigEndian.Uint16(data[14:]) & 0xfff
		kind, off = binary.BigEndian.Uint16(data[16:]), 18
	}
	h.ip = off
	ip := data[off:]
	var src, dst netip.Addr
	switch kind {
	case 0x0800:
		if len(ip) < 20 || ip[0]>>4 != 4 {
			return h, false
		}
		header := int(ip[0]&15) * 4
		h.IPLength = int(binary.BigEndian.Uint16(ip[2:]))
		if header < 20 || len(ip) < header || h.IPLength < header || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return h, false
		}
		src, dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		h.Protocol, h.l4 = ip[9], off+header
	case 0x86dd:
		if len(ip) < 40 || ip[0]>>4 != 6 {
			return h, false
		}
		h.IPLength = 40 + int(binary.BigEndian.Uint16(ip[4:]))
		src, dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		h.Protocol, h.l4 = ip[6], off+40
	default:
		return h, false
	}
	l4 := data[h.l4:]
	var sport, dport uint16
	header := 8
	switch h.Protocol {
	case TCP:
		if len(l4) < 20 || l4[12]>>4 < 5 {
			return h, false
		}
		header, h.Flags = int(l4[12]>>4)*4, l4[13]
	case UDP:
		if len(l4) < 8 {
			return h, false
		}
	default:
		h.Src, h.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
		h.Payload = h.l4
		h.Size = h.IPLength - (h.l4 - h.ip)
		return h, h.Size >= 0
	}
	sport, dport = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	h.Src, h.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	h.Payload = h.l4 + header
	h.Size = h.IPLength - (h.Payload - h.ip)
	return h, h.Size >= 0
}

// setPort replaces the port at offset at and repairs the TCP or UDP checksum by RFC 1624 equation 3. A UDP checksum
// of zero means "none" (RFC 768) and stays.
func (h Head) setPort(data []byte, at int, port uint16) {
	sum := h.l4 + 6
	if h.Protocol == TCP {
		sum = h.l4 + 16
	}
	old := binary.BigEndian.Uint16(data[at:])
	binary.BigEndian.PutUint16(data[at:], port)
	check := binary.BigEndian.Uint16(data[sum:])
	if h.Protocol == UDP && check == 0 {
		return
	}
	s := uint32(^check) + uint32(^old) + uint32(port)
	s = s&0xffff + s>>16
	s = s&0xffff + s>>16
	check = ^uint16(s)
	if h.Protocol == UDP && check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(data[sum:], check)
}
