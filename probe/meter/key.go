package meter

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// key is the flow key, the same for both directions: the address that sorts
// first is side 0. Words: 0-1 address of side 0, 2-3 of side 1, 4 ports and
// VLANs, 5 tunnel identifier, ICMP identifier, protocol, tunnel kind, and a bit
// for messages that have only one direction.
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
	last := uint64(p.TunnelID)<<32 | uint64(p.ICMPID)<<16 | uint64(p.Protocol)<<8 | uint64(p.Tunnel)<<1
	swap := s0 > d0 || s0 == d0 && (s1 > d1 || s1 == d1 && sp > dp)
	if p.Protocol == flow.ProtoICMP || p.Protocol == flow.ProtoICMPv6 {
		reply, request, pair := flow.ICMPReply(p.Protocol, uint8(p.SrcPort))
		switch {
		case !pair:
			last |= oneWay
			swap = false
		case request:
			dp = 0 // the answer's code may differ
		default:
			sp, dp = uint64(reply), 0 // ICMPReply of an answer is its request
		}
		if pair {
			swap = s0 > d0 || s0 == d0 && s1 > d1
			if swap {
				sp, dp = dp, sp // the type belongs to no side: keep its place
			}
		}
	}
	word4 := uint64(0)
	if vlan {
		word4 = uint64(p.VLAN)<<16 | uint64(p.VLANInner)
	}
	if swap {
		*k = key{d0, d1, s0, s1, dp<<48 | sp<<32 | word4, last}
		return 1
	}
	*k = key{s0, s1, d0, d1, sp<<48 | dp<<32 | word4, last}
	return 0
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
