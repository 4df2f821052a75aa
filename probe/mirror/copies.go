package mirror

import (
	"encoding/binary"
	"math/bits"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// firstCopy is a frame that may come again.
type firstCopy struct {
	print          uint64
	time           int64
	on             *Counts
	srcMAC, dstMAC flow.MAC
	vlan           uint16
	ttl            uint8
	copies         uint8
}

const (
	// copyWindow is how long, in ns, the second copy of a frame may take: through a router, or from another switch.
	copyWindow = 20e6
	// anonymousWindow is the same for packets without an IPv4 identification: a sender's repetition would look the same.
	anonymousWindow = 2e6
	// clockWindow bounds the disagreement of two interfaces' clocks that is looked for.
	clockWindow = 2e9
	checkEvery  = 8 // samples, of which one has its checksum computed, after the first fullChecks
	fullChecks  = 2048
)

// compare looks for the first copy of a frame, and checks lengths and, of a few, the checksum. A TCP retransmission is no copy: it has
// another IPv4 identification, or another timestamp and so another checksum.
func (o *Observer) compare(f *capture.Frame, p *decode.Packet) {
	o.sampled()
	if p.Fragment || p.Bare || len(p.Payload) == 0 {
		return
	}
	c := o.on
	c.Compared++
	var h header
	h.read(f)
	if h.ip != nil {
		c.Lengths++
		if h.claims > h.wire {
			c.SwitchCut++
		}
		if o.tick++; o.seen < fullChecks || o.tick%checkEvery == 0 {
			c.checksum(&h, p)
		}
	}
	print := uint64(h.id)<<32 | uint64(h.sum)<<16 | uint64(p.IPLen&0xffff)
	print = mix(print ^ uint64(p.SrcPort)<<48 ^ uint64(p.DstPort)<<16)
	print = mix(print ^ uint64(p.Seq)<<32 ^ uint64(p.Ack) ^ uint64(p.Flags)<<24)
	for _, a := range [...]*flow.Addr{&p.Src, &p.Dst} {
		print = mix(print ^ binary.LittleEndian.Uint64(a[:8]))
		print = mix(print ^ binary.LittleEndian.Uint64(a[8:]))
	}
	b := p.Payload[:min(len(p.Payload), 64)]
	for ; len(b) >= 8; b = b[8:] {
		print = mix(print ^ binary.LittleEndian.Uint64(b))
	}
	for _, x := range b {
		print = mix(print ^ uint64(x))
	}
	e := &o.copies[print%tableSize]
	apart := f.Time - e.time
	switch {
	case e.print != print:
	case e.on != c:
		if apart < clockWindow && apart > -clockWindow {
			c.Across++
			c.AcrossSum += apart
			c.Doubled[copyInterface]++
			return
		}
	case apart < 0 || apart > copyWindow || h.id == 0 && apart > anonymousWindow:
	default:
		if e.copies++; e.copies == 0 {
			e.copies--
		}
		c.Doubled[e.kind(p)]++
		return
	}
	*e = firstCopy{print, f.Time, c, p.SrcMAC, p.DstMAC, p.VLAN, p.TTL, 0}
}

// copyKind is why a frame is there twice.
type copyKind uint8

const (
	copySame      copyKind = iota // nothing differs
	copyRouted                    // TTL differs: before and after a router
	copyVLAN                      // the tag differs
	copyMAC                       // only the MAC addresses differ
	copyInterface                 // on two interfaces of the probe
	copyKinds
)

func (e *firstCopy) kind(p *decode.Packet) copyKind {
	switch {
	case e.ttl != p.TTL:
		return copyRouted
	case e.vlan != p.VLAN:
		return copyVLAN
	case e.srcMAC != p.SrcMAC || e.dstMAC != p.DstMAC:
		return copyMAC
	}
	return copySame
}

func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// header is what is read of the outermost IP header.
type header struct {
	ip     []byte // captured octets from the IP header on; nil: not found
	l4     int    // offset of the transport header in ip
	claims int    // octets that the IP header claims
	wire   int    // octets that the frame had for it on the wire
	id     uint16 // IPv4 identification, 0 none
	sum    uint16 // TCP or UDP checksum
	proto  uint8
}

// read finds the IP header behind the plain link layers and VLAN tags.
func (h *header) read(f *capture.Frame) {
	b := f.Data
	var et uint16
	off := 0
	switch f.LinkType {
	case capture.LinkEthernet:
		if len(b) < 14 {
			return
		}
		et, off = binary.BigEndian.Uint16(b[12:]), 14
		for range 3 {
			if (et == 0x8100 || et == 0x88a8 || et == 0x9100) && len(b) >= off+4 {
				et = binary.BigEndian.Uint16(b[off+2:])
				off += 4
			}
		}
	case capture.LinkLinuxSLL:
		if len(b) < 16 {
			return
		}
		et, off = binary.BigEndian.Uint16(b[14:]), 16
	case capture.LinkLinuxSLL2:
		if len(b) < 20 {
			return
		}
		et, off = binary.BigEndian.Uint16(b), 20
	case capture.LinkRaw, capture.LinkIPv4, capture.LinkIPv6:
		if len(b) > 0 {
			et = map4or6(b[0])
		}
	}
	ip := b[off:]
	h.wire = int(f.Len) - off
	switch {
	case et == 0x0800 && len(ip) >= 20 && ip[0]>>4 == 4:
		h.l4 = int(ip[0]&15) * 4
		h.claims, h.id, h.proto = int(binary.BigEndian.Uint16(ip[2:])), binary.BigEndian.Uint16(ip[4:]), ip[9]
	case et == 0x86dd && len(ip) >= 40 && ip[0]>>4 == 6:
		h.l4, h.proto = 40, ip[6]
		if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 { // 0: a jumbogram, or left to the card
			h.claims = 40 + n
		}
	default:
		return
	}
	if at := h.sumAt(); at > 0 && len(ip) >= at+2 {
		h.sum = binary.BigEndian.Uint16(ip[at:])
	}
	h.ip = ip
}

func map4or6(first byte) uint16 {
	if first>>4 == 4 {
		return 0x0800
	}
	return 0x86dd
}

// sumAt is the offset of the transport checksum, 0 none.
func (h *header) sumAt() int {
	switch h.proto {
	case protoTCP:
		return h.l4 + 16
	case protoUDP:
		return h.l4 + 6
	}
	return 0
}

// checksum checks that of TCP and UDP. A sender that leaves it to its card writes the sum of the pseudo-header alone
// (Linux, CHECKSUM_PARTIAL), which a capture on that host sees.
func (c *Counts) checksum(h *header, p *decode.Packet) {
	at := h.sumAt()
	if at == 0 || p.Fragment || h.claims < at+2 || h.claims > len(h.ip) || h.l4 < 20 || h.proto == protoUDP && h.sum == 0 {
		return
	}
	c.Checked++
	addresses := h.ip[12:20]
	if h.ip[0]>>4 == 6 {
		addresses = h.ip[8:40]
	}
	pseudo := sum(addresses) + uint64(h.proto) + uint64(h.claims-h.l4)
	switch fold(pseudo + sum(h.ip[h.l4:h.claims])) {
	case 0xffff:
		return
	}
	if fold(pseudo) == h.sum {
		c.Partial++
	} else {
		c.Damaged++
	}
}

// sum is the sum of the 16-bit words of b (RFC 1071), an odd octet padded.
func sum(b []byte) (n uint64) {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.BigEndian.Uint64(b)
		n += x>>48 + x>>32&0xffff + x>>16&0xffff + x&0xffff
	}
	for ; len(b) >= 2; b = b[2:] {
		n += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		n += uint64(b[0]) << 8
	}
	return n
}

func fold(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
