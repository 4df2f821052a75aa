package keep

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// maxCutoffPackets is what the 16 bits of a counter can tell from "no end".
const maxCutoffPackets = 1<<16 - 2

// counted is what a Writer remembers of a flow.
type counted struct {
	tag     uint32 // of the hash; with the set's number 32 bits and more tell flows apart
	octets  uint32 // kept so far
	block   uint32 // the last one it was in
	packets uint16 // kept so far, stops at its largest value
	last    uint16 // second of its last packet, modulo 2^16
	number  uint16 // within that block
	used    bool
}

// cutoffWays flows share a set of one cache line.
const cutoffWays = 3

type cutoffSet struct {
	flows [cutoffWays]counted
	_     [4]byte
}

// cutoff counts what was kept of each flow, in a table of fixed size: when a set
// is full the flow that was silent longest gives way, and would start from zero.
type cutoff struct {
	sets    []cutoffSet
	mask    uint64
	seed    [2]uint64
	octets  uint32
	packets uint16
	idle    uint16 // seconds
}

func newCutoff(cfg Config) cutoff {
	n := uint64(1) << bits.Len(uint(max(0, (cfg.CutoffFlows-1)/cutoffWays)))
	c := cutoff{sets: make([]cutoffSet, n), mask: n - 1, seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1},
		octets: 1<<32 - 1, packets: 1<<16 - 1, idle: uint16(cfg.CutoffIdle.Seconds())}
	if cfg.CutoffBytes > 0 {
		c.octets = uint32(cfg.CutoffBytes)
	}
	if cfg.CutoffPackets > 0 {
		c.packets = uint16(cfg.CutoffPackets)
	}
	return c
}

// hash is the same for both directions of a flow. The seed is secret, so that who
// sends packets cannot choose which flows collide.
func (c *cutoff) hash(p *decode.Packet) uint64 {
	le := binary.LittleEndian
	s := fold(le.Uint64(p.Src[:8])^c.seed[0], le.Uint64(p.Src[8:])^c.seed[1])
	d := fold(le.Uint64(p.Dst[:8])^c.seed[0], le.Uint64(p.Dst[8:])^c.seed[1])
	sp, dp := uint64(p.SrcPort), uint64(p.DstPort)
	if p.Protocol == flow.ProtoICMP || p.Protocol == flow.ProtoICMPv6 {
		// As in the Community ID: each side has the type of its own message, so a
		// request and its reply are one flow; what nothing replies to has a direction.
		if reply, _, pair := flow.ICMPReply(p.Protocol, uint8(p.SrcPort)); pair {
			dp = uint64(reply)
		} else {
			d = bits.RotateLeft64(d, 21)
		}
	}
	if p.Tunnel != flow.TunnelNone { // the same flow in another tunnel is another
		s, d = s^fold(le.Uint64(p.OuterSrc[8:])^c.seed[0], c.seed[1]), d^fold(le.Uint64(p.OuterDst[8:])^c.seed[0], c.seed[1])
	}
	return fold(fold(s^sp, c.seed[1])+fold(d^dp, c.seed[1]), c.seed[0]^uint64(p.Protocol)<<32)
}

// fold multiplies to 128 bits and folds the halves together (the mixing step of wyhash).
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns the flow of a packet of n octets, or nil when it is beyond its
// flow's cut-off; the packet is then counted.
func (c *cutoff) find(p *decode.Packet, n int, second uint16) *counted {
	h := c.hash(p)
	tag := uint32(h >> 32)
	set := &c.sets[h&c.mask]
	victim, age := &set.flows[0], -1
	for i := range set.flows {
		e := &set.flows[i]
		if e.used && e.tag == tag {
			idle := second - e.last
			if idle > c.idle && idle < 1<<16-60 || p.Protocol == flow.ProtoTCP && p.Flags&(decode.SYN|decode.ACK) == decode.SYN && !p.Bare {
				e.octets, e.packets = 0, 0
			}
			e.last = second
			if e.octets >= c.octets || e.packets >= c.packets {
				return nil
			}
			e.count(n)
			return e
		}
		if !e.used {
			victim, age = e, 1<<17
		} else if a := int(second - e.last); a > age {
			victim, age = e, a
		}
	}
	*victim = counted{tag: tag, last: second, used: true}
	victim.count(n)
	return victim
}

func (e *counted) count(n int) {
	if sum := e.octets + uint32(n); sum >= e.octets {
		e.octets = sum
	} else {
		e.octets = 1<<32 - 1
	}
	if e.packets < 1<<16-1 {
		e.packets++
	}
}
