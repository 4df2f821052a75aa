package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/iana"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// fast decodes what nearly every frame is: Ethernet with at most two tags, IPv4
// without options or IPv6 without extension headers, not fragmented, and TCP
// or UDP that is no tunnel, with whole headers. It says false, with p in any
// state, for all else and whenever something is odd. TestFastIsSlow holds it
// against the general way over all captures.
func fast(f *capture.Frame, p *Packet) bool {
	b := f.Data
	if len(b) < etherHeader+ipv4Header+udpHeader {
		return false
	}
	be := binary.BigEndian
	// Both hardware addresses in two loads.
	m0, m1 := be.Uint64(b), be.Uint64(b[4:])
	p.DstMAC, p.SrcMAC = flow.MAC(m0>>16), flow.MAC(m1&(1<<48-1))
	wire := max(int(f.Len), len(b))
	et, off := be.Uint16(b[12:]), etherHeader
	var vlan, inner uint16
	if et == iana.EtherVLAN || et == iana.EtherQinQ {
		vlan, et = be.Uint16(b[14:])&0xfff, be.Uint16(b[16:])
		off += etherVLANHeader
		if et == iana.EtherVLAN {
			if vlan == 0 { // a priority tag: the next may take its place
				return false
			}
			inner, et = be.Uint16(b[18:])&0xfff, be.Uint16(b[20:])
			off += etherVLANHeader
		}
	}
	b = b[off:]
	wire -= off
	var proto uint8
	var total, header int
	switch et {
	case iana.EtherIPv4:
		if len(b) < ipv4Header+udpHeader || b[0] != 0x45 || be.Uint16(b[6:])&0x3fff != 0 {
			return false
		}
		total, header = int(be.Uint16(b[2:])), ipv4Header
		proto = b[9]
		p.TOS, p.TTL = b[1], b[8]
		setIPv4(&p.Src, b[12:16])
		setIPv4(&p.Dst, b[16:20])
	case iana.EtherIPv6:
		if len(b) < ipv6Header+udpHeader || b[0]>>4 != 6 {
			return false
		}
		total, header = ipv6Header+int(be.Uint16(b[4:])), ipv6Header
		proto = b[6]
		p.TOS, p.TTL = b[0]<<4|b[1]>>4, b[7]
		p.Src, p.Dst = flow.Addr(b[8:24]), flow.Addr(b[24:40])
	default:
		return false
	}
	if total < header+udpHeader || total > wire {
		return false
	}
	b = b[header:min(total, len(b))]
	wire = total - header
	switch proto {
	case flow.ProtoTCP:
		if len(b) < tcpHeader {
			return false
		}
		n := int(b[12]>>4) * 4
		if n < tcpHeader || n > len(b) {
			return false
		}
		p.Seq, p.Ack = be.Uint32(b[4:]), be.Uint32(b[8:])
		p.Flags, p.Window, p.MSS = b[13], be.Uint16(b[14:]), 0
		if p.Flags&SYN != 0 && n > tcpHeader {
			p.MSS = segmentSize(b[tcpHeader:n])
		}
		p.PayloadLen = uint32(wire - n)
		p.SrcPort, p.DstPort = be.Uint16(b), be.Uint16(b[2:])
		p.Payload = b[n:]
	case flow.ProtoUDP:
		if len(b) < udpHeader {
			return false
		}
		n := int(be.Uint16(b[4:]))
		src, dst := be.Uint16(b), be.Uint16(b[2:])
		if n < udpHeader || n > wire || tunnelPorts(src, dst) {
			return false
		}
		b = b[udpHeader:min(n, len(b))]
		if len(b) >= ipv6Header && b[0]>>4 == 6 && looksTeredo(b) {
			return false
		}
		p.SrcPort, p.DstPort = src, dst
		p.PayloadLen = uint32(n - udpHeader)
		p.Payload = b
		p.Seq, p.Ack, p.Flags, p.Window, p.MSS = 0, 0, 0, 0, 0
	default:
		return false
	}
	p.Time, p.FrameLen, p.IPLen, p.Protocol = f.Time, f.Len, uint32(total), proto
	p.VLAN, p.VLANInner = vlan, inner
	p.Tunnel, p.TunnelID, p.EtherType, p.ICMPID = 0, 0, 0, 0
	p.Fragment, p.Bare, p.FragmentPending = false, false, false
	if p.rare {
		p.resetRare()
	}
	return true
}
