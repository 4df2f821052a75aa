package meter

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// key is the flow key, the same for both directions: the side that sorts
// first is side 0. Words: 0-1 address of side 0, 2-3 of side 1, 4 ports and
// VLANs, 5 tunnel identifier, ICMP identifier or EtherType, protocol, tunnel
// kind, and a bit for messages that have only one direction.
type key [6]uint64

// oneWay marks ICMP messages that nothing answers: both directions of them are
// flows of their own.
const oneWay = 1

// makeKey fills k from p and returns the side that sent it.
func makeKey(k *key, p *decode.Packet, vlan bool) int {
	le := binary.LittleEndian
	s0, s1 := le.Uint64(p.Src[:8]), le.Uint64(p.Src[8:])
	d0, d1 := le.Uint64(p.Dst[:8]), le.Uint64(p.Dst[8:])
	sp, dp := uint64(p.SrcPort), uint64(p.DstPort)
	last := uint64(p.ICMPID)<<16 | uint64(p.Protocol)<<8 | uint64(p.Tunnel)<<1
	if p.EtherType != 0 {
		last = uint64(p.EtherType)<<16 | uint64(p.Tunnel)<<1
		if s0 == d0 && s1 == d1 { // gratuitous (RFC 5227): nothing answers it
			last |= oneWay
		} else {
			dp = uint64(arpReply(p.SrcPort))
		}
	}
	switch p.Tunnel {
	case flow.TunnelMPLS, flow.TunnelGTPU, flow.TunnelERSPAN: // each direction has its own label, TEID or session
	default:
		last |= uint64(p.TunnelID) << 32
	}
	if p.Protocol == flow.ProtoICMP || p.Protocol == flow.ProtoICMPv6 {
		// As in the Community ID: each side has the type of its own message;
		// codes are left out, an answer's may differ.
		reply, _, pair := flow.ICMPReply(p.Protocol, uint8(p.SrcPort))
		if !pair {
			last |= oneWay
		} else {
			dp = uint64(reply)
		}
	}
	word4 := uint64(0)
	if vlan {
		word4 = uint64(p.VLAN)<<16 | uint64(p.VLANInner)
	}
	// The greater side second, without a branch: which way packets go cannot be
	// predicted. less is 1 if the destination sorts first.
	_, less := bits.Sub64(dp, sp, 0)
	_, less = bits.Sub64(d1, s1, less)
	_, less = bits.Sub64(d0, s0, less)
	less &^= last & oneWay
	mask := -less
	x0, x1, xp := (s0^d0)&mask, (s1^d1)&mask, (sp^dp)&mask
	k[0], k[1], k[2], k[3] = s0^x0, s1^x1, d0^x0, d1^x1
	k[4], k[5] = (sp^xp)<<48|(dp^xp)<<32|word4, last
	return int(less)
}

func (k *key) equal(o *key) bool {
	return (k[0]^o[0])|(k[1]^o[1])|(k[2]^o[2])|(k[3]^o[3])|(k[4]^o[4])|(k[5]^o[5]) == 0
}

// arpReply returns the ARP operation that answers op, or that op answers (IANA
// ARP parameters: requests are odd up to 3, InARP has 8 and 9); 0 for others.
func arpReply(op uint16) uint16 {
	switch op {
	case 1, 3:
		return op + 1
	case 2, 4:
		return op - 1
	case 8:
		return 9
	case 9:
		return 8
	}
	return 0
}

// vlans are the tags in the key; 0 with Config.IgnoreVLAN.
func (k *key) vlans() (outer, inner uint16) { return uint16(k[4] >> 16), uint16(k[4]) }

func (k *key) tunnel() flow.Tunnel { return flow.Tunnel(k[5] >> 1 & 0x7f) }

// etherType is 0 for IP.
func (k *key) etherType() uint16 {
	if uint8(k[5]>>8) != 0 { // the bits are an ICMP identifier
		return 0
	}
	return uint16(k[5] >> 16)
}

// hasher mixes a key with secrets of its own, so that who sends packets cannot
// choose which of them collide.
type hasher [6]uint64

func newHasher() hasher {
	var h hasher
	for i := range h {
		h[i] = rand.Uint64() | 1
	}
	return h
}

func (h *hasher) sum(k *key) uint32 {
	a := fold(k[0]^h[0], k[1]^h[1])
	b := fold(k[2]^h[2], k[3]^h[3])
	c := fold(k[4]^h[4], k[5]^h[5])
	return uint32(fold(a^h[1]+c, b^h[3]^c))
}

// fold multiplies to 128 bits and folds the halves together (the mixing step of wyhash).
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
