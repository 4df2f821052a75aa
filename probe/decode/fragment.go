package decode

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// fragmentTime is how long a datagram may take to arrive, in ns of packet time.
// Linux gives up after 30 s (ipfrag_time), RFC 8200 section 4.5 after 60 s.
const fragmentTime = 30e9

// fragmentKey identifies a datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
type fragmentKey struct {
	src, dst flow.Addr
	id       uint32
	tunnel   uint32
	vlan     uint16
	proto    uint8
	six      bool
}

// fragmentEntry is what the pieces of a datagram share.
type fragmentEntry struct {
	key              fragmentKey
	time             int64 // of the first fragment, or of the first piece seen
	srcPort, dstPort uint16
	icmpID           uint16
	proto            uint8 // transport protocol, behind further extension headers
	used             bool
	ports            bool   // the first fragment was seen
	closed           bool   // done with, or cannot be put together: later pieces are not kept
	datagram         uint16 // number of the datagram in assembly, 0 none
}

// fragmentWays is the number of places a datagram may have in the table.
const fragmentWays = 4

// fragments is a set-associative table of fixed size: the oldest of a set gives
// way, so that a flood of fragments costs neither memory nor time.
type fragments struct {
	sets     [][fragmentWays]fragmentEntry
	seed     uint64
	assembly assembly
	offering bool // a whole datagram is being decoded: its buffer is in use
	stats    Stats
}

func newFragments(n, bytes int) fragments {
	n = max(1, n/fragmentWays)
	sets := 1 << bits.Len(uint(n-1))
	return fragments{sets: make([][fragmentWays]fragmentEntry, sets), seed: maphash.String(maphash.MakeSeed(), "fragments") | 1,
		assembly: newAssembly(bytes)}
}

func (t *fragments) set(k *fragmentKey) uint32 {
	le := binary.LittleEndian
	h := t.seed
	for _, w := range [...]uint64{
		le.Uint64(k.src[:]), le.Uint64(k.src[8:]), le.Uint64(k.dst[:]), le.Uint64(k.dst[8:]),
		uint64(k.id)<<32 | uint64(k.vlan)<<8 | uint64(k.proto), uint64(k.tunnel),
	} {
		hi, lo := bits.Mul64(h^w, 0x9e3779b97f4a7c15)
		h = hi ^ lo
	}
	return uint32(h & uint64(len(t.sets)-1))
}

// entry returns where k is, or an empty entry in place of the oldest of its
// set, and its number.
func (t *fragments) entry(k *fragmentKey, now int64) (*fragmentEntry, uint32) {
	n := t.set(k)
	set := &t.sets[n]
	oldest := 0
	for i := range set {
		e := &set[i]
		if !e.used {
			oldest = i
			break
		}
		if e.key == *k {
			if age := now - e.time; age <= fragmentTime && age >= -fragmentTime {
				return e, n*fragmentWays + uint32(i)
			}
			oldest = i
			break
		}
		if e.time < set[oldest].time {
			oldest = i
		}
	}
	e := &set[oldest]
	if e.used && e.datagram != 0 {
		t.stats.FragmentsEvicted++
		t.release(e)
	}
	*e = fragmentEntry{key: *k, time: now, used: true}
	return e, n*fragmentWays + uint32(oldest)
}

func (t *fragments) at(n uint32) *fragmentEntry {
	return &t.sets[n/fragmentWays][n%fragmentWays]
}

// fragment decodes a piece: the first holds the transport header and leaves its
// ports for the others, a later one takes them; where the first has not been
// seen, the later is of a flow with ports 0. offset is in octets, more says
// that the piece is not the last.
func (d *Decoder) fragment(k *fragmentKey, offset int, more bool, l *layer, p *Packet) Verdict {
	t := &d.frags
	t.stats.Fragments++
	piece := *l
	if offset == 0 {
		v := OK
		if k.six {
			v = d.extensions(l, p)
		} else {
			v = d.upper(l, p)
		}
		if v != OK {
			return v
		}
	} else {
		p.Bare = true
		p.PayloadLen = uint32(l.wire)
	}
	t.expire(p.Time) // before the place of one is taken
	e, number := t.entry(k, p.Time)
	if offset == 0 {
		if e.ports {
			e.time, e.closed = p.Time, false // the identifier is used again
		}
		e.srcPort, e.dstPort, e.icmpID, e.proto, e.ports = p.SrcPort, p.DstPort, p.ICMPID, p.Protocol, true
	} else if e.ports {
		p.SrcPort, p.DstPort, p.ICMPID, p.Protocol = e.srcPort, e.dstPort, e.icmpID, e.proto
	}
	if !e.closed && !t.offering && t.assembly.limit > 0 && d.assembles(k.proto) {
		d.assemble(e, number, offset, more, piece, p)
	}
	return OK
}
