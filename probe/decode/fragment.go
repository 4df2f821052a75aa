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
	vlan     uint16
	proto    uint8
	six      bool
}

// fragmentEntry is what later pieces take from the first.
type fragmentEntry struct {
	key              fragmentKey
	time             int64
	srcPort, dstPort uint16
	icmpID           uint16
	proto            uint8 // transport protocol, behind further extension headers
	used             bool
}

// fragmentWays is the number of places a datagram may have in the table.
const fragmentWays = 4

// fragments is a set-associative table of fixed size: the oldest of a set gives
// way, so that a flood of fragments costs neither memory nor time.
type fragments struct {
	sets [][fragmentWays]fragmentEntry
	seed uint64
}

func newFragments(n int) fragments {
	n = max(1, n/fragmentWays)
	sets := 1 << bits.Len(uint(n-1))
	return fragments{sets: make([][fragmentWays]fragmentEntry, sets), seed: maphash.String(maphash.MakeSeed(), "fragments") | 1}
}

func (t *fragments) set(k *fragmentKey) *[fragmentWays]fragmentEntry {
	le := binary.LittleEndian
	h := t.seed
	for _, w := range [...]uint64{
		le.Uint64(k.src[:]), le.Uint64(k.src[8:]), le.Uint64(k.dst[:]), le.Uint64(k.dst[8:]),
		uint64(k.id)<<32 | uint64(k.vlan)<<8 | uint64(k.proto),
	} {
		hi, lo := bits.Mul64(h^w, 0x9e3779b97f4a7c15)
		h = hi ^ lo
	}
	return &t.sets[h&uint64(len(t.sets)-1)]
}

// firstFragment decodes the piece that holds the transport header and
// remembers its ports for the others.
func (d *Decoder) firstFragment(k *fragmentKey, l *layer, p *Packet) Verdict {
	v := d.extensionsOrUpper(k.six, l, p)
	if v != OK {
		return v
	}
	set := d.frags.set(k)
	e := &set[0]
	for i := range set {
		if set[i].used && set[i].key == *k {
			e = &set[i]
			break
		}
		if !set[i].used || e.used && set[i].time < e.time {
			e = &set[i]
		}
	}
	*e = fragmentEntry{key: *k, time: p.Time, srcPort: p.SrcPort, dstPort: p.DstPort, icmpID: p.ICMPID, proto: p.Protocol, used: true}
	return v
}

func (d *Decoder) extensionsOrUpper(six bool, l *layer, p *Packet) Verdict {
	if six {
		return d.extensions(l, p)
	}
	return d.upper(l, p)
}

// laterFragment attributes a piece to the flow of its first piece; if that has
// not been seen it is a flow with ports 0.
func (d *Decoder) laterFragment(k *fragmentKey, l *layer, p *Packet) Verdict {
	p.Bare = true
	p.PayloadLen = uint32(l.wire)
	set := d.frags.set(k)
	for i := range set {
		e := &set[i]
		if age := p.Time - e.time; e.used && e.key == *k && age <= fragmentTime && age >= -fragmentTime {
			p.SrcPort, p.DstPort, p.ICMPID, p.Protocol = e.srcPort, e.dstPort, e.icmpID, e.proto
			break
		}
	}
	return OK
}
