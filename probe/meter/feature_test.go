package meter

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// seenPacket is what the features of a record are computed from.
type seenPacket struct {
	at           int64
	src          flow.Addr
	port         uint16
	size, octets uint32
	tos          uint8
	zeroWindow   bool
	fresh        bool // payload is new
}

type segmentName struct {
	id      uint64
	segment uint32
}

// notebook keeps the packets of each open segment, and compares each record with
// what a plain computation from its packets gives.
type notebook struct {
	t          *testing.T
	path       string
	packets    map[segmentName][]seenPacket
	seen       map[uint64]map[uint64]uint64 // connection -> side and sequence number of the octets sent, 64 at a time
	ecn        map[uint64][2]uint8
	asked      map[uint64]int64
	dirty      map[uint64]bool
	records    int
	exchanges  int // flows whose transactions were compared
	skipped    int
	mismatches int
}

func (n *notebook) note(tbl *Table, p *decode.Packet) {
	var k key
	from := makeKey(&k, p, tbl.vlan)
	e := tbl.entries.at(tbl.index.find(&tbl.entries, &k, tbl.hash.sum(&k)))
	s := seenPacket{at: p.Time, src: p.Src, port: p.SrcPort, size: p.IPLen, octets: p.PayloadLen, tos: p.TOS, fresh: p.PayloadLen > 0}
	if p.Protocol == flow.ProtoTCP && !p.Bare {
		s.zeroWindow = p.Window == 0 && p.Flags&flagRST == 0
		if n.seen[e.id] == nil {
			n.seen[e.id] = map[uint64]uint64{}
		}
		s.fresh = false
		seq := p.Seq
		if p.Flags&flagSYN != 0 {
			seq++
		}
		side := uint64(from) << 40
		word, bits := uint64(math.MaxUint64), uint64(0)
		for i := range min(p.PayloadLen, 70_000) {
			o := side | uint64(seq+i)
			if bit := uint64(1) << (o & 63); bits&bit == 0 || o>>6 != word {
				if o>>6 != word {
					n.seen[e.id][word] |= bits
					word, bits = o>>6, n.seen[e.id][o>>6]
				}
				s.fresh = s.fresh || bits&bit == 0
				bits |= bit
			}
		}
		n.seen[e.id][word] |= bits
		if p.PayloadLen > 0 && !s.fresh {
			n.dirty[e.id] = true
		}
	}
	name := segmentName{e.id, e.segment}
	n.packets[name] = append(n.packets[name], s)
}

func (n *notebook) compare(r *flow.Record) {
	name := segmentName{r.FlowID, r.Segment}
	list := n.packets[name]
	delete(n.packets, name)
	n.records++
	if r.SrcIP == r.DstIP && r.Protocol != flow.ProtoTCP && r.Protocol != flow.ProtoUDP {
		return
	}
	wrong := func(what string, got, want any) {
		if n.mismatches++; n.mismatches <= 10 {
			n.t.Errorf("%s: flow %d.%d %v:%d %v:%d protocol %d: %s %v, the packets give %v", n.path, r.FlowID, r.Segment, r.SrcIP, r.SrcPort, r.DstIP, r.DstPort, r.Protocol, what, got, want)
		}
	}
	forward := func(s *seenPacket) bool {
		return s.src == r.SrcIP && (r.SrcIP != r.DstIP || s.port == r.SrcPort)
	}
	ecn := n.ecn[r.FlowID]
	for side, got := range []struct {
		bins                   []uint32
		min, max               uint16
		std                    float32
		gapMin, gapMax         uint32
		gapMean, gapStd, zeros uint32
		ecn                    uint8
		packets                uint64
	}{
		{r.SrcSizeBins, r.SrcSizeMin, r.SrcSizeMax, r.SrcSizeStd, r.SrcIATMin, r.SrcIATMax, r.SrcIATMean, r.SrcIATStd, r.SrcZeroWindows, r.SrcECN, r.SrcPackets},
		{r.DstSizeBins, r.DstSizeMin, r.DstSizeMax, r.DstSizeStd, r.DstIATMin, r.DstIATMax, r.DstIATMean, r.DstIATStd, r.DstZeroWindows, r.DstECN, r.DstPackets},
	} {
		var sizes, gaps []float64
		var bins [8]uint32
		var zeros uint32
		last := int64(-1)
		for i := range list {
			s := &list[i]
			if forward(s) != (side == 0) {
				continue
			}
			sizes = append(sizes, float64(s.size))
			if len(sizes) > 1 {
				gaps = append(gaps, math.Floor(math.Max(0, float64(s.at-last))/1000))
			}
			last = s.at
			for b := range bins {
				low, high := 1<<(b+5), 1<<(b+6)
				if b == 0 {
					low = 0
				}
				if b == 7 {
					high = math.MaxInt
				}
				if int(s.size) >= low && int(s.size) < high {
					bins[b]++
				}
			}
			if s.zeroWindow {
				zeros++
			}
			ecn[side] |= []uint8{0, 1, 2, 4}[s.tos&3]
		}
		if uint64(len(sizes)) != got.packets {
			wrong("packets", got.packets, len(sizes))
			return
		}
		padded := append(slices.Clone(got.bins), make([]uint32, 8-len(got.bins))...)
		if !slices.Equal(padded, bins[:]) || len(got.bins) > 0 && got.bins[len(got.bins)-1] == 0 {
			wrong("size bins", got.bins, bins)
		}
		low, high, _, std := moments(sizes)
		if float64(got.min) != low || float64(got.max) != high || math.Abs(float64(got.std)-std) > 1e-4*(1+std) {
			wrong("sizes", []any{got.min, got.max, got.std}, []any{low, high, std})
		}
		low, high, mean, std := moments(gaps)
		if float64(got.gapMin) != low || float64(got.gapMax) != high || math.Abs(float64(got.gapMean)-mean) > 0.501 || math.Abs(float64(got.gapStd)-std) > 0.501+1e-9*std {
			wrong("gaps", []any{got.gapMin, got.gapMax, got.gapMean, got.gapStd}, []any{low, high, mean, std})
		}
		if got.zeros != zeros {
			wrong("zero windows", got.zeros, zeros)
		}
		if got.ecn != ecn[side] {
			wrong("ECN", got.ecn, ecn[side])
		}
	}
	n.ecn[r.FlowID] = ecn
	n.firsts(r, list, forward, wrong)
	n.transactions(r, list, forward, wrong)
}

func (n *notebook) firsts(r *flow.Record, list []seenPacket, forward func(*seenPacket) bool, wrong func(string, any, any)) {
	var sizes []int32
	var gaps []uint32
	last := int64(0)
	for i := range list {
		s := &list[i]
		if s.octets == 0 || len(sizes) == 16 || r.Segment > 0 {
			continue
		}
		size, gap := int32(s.octets), uint32(0)
		if !forward(s) {
			size = -size
		}
		if len(sizes) > 0 && s.at > last {
			gap = uint32((s.at - last) / 1000)
		}
		last = s.at
		sizes, gaps = append(sizes, size), append(gaps, gap)
	}
	if !slices.Equal(sizes, r.FirstSizes) || !slices.Equal(gaps, r.FirstGaps) {
		wrong("first packets", []any{r.FirstSizes, r.FirstGaps}, []any{sizes, gaps})
	}
}

func (n *notebook) transactions(r *flow.Record, list []seenPacket, forward func(*seenPacket) bool, wrong func(string, any, any)) {
	var waits []float64
	asked := n.asked[r.FlowID]
	for i := range list {
		s := &list[i]
		switch {
		case !s.fresh:
		case forward(s) && asked == 0:
			asked = s.at
		case !forward(s) && asked != 0:
			waits = append(waits, math.Max(1, math.Floor(float64(s.at-asked)/1000)))
			asked = 0
		}
	}
	n.asked[r.FlowID] = asked
	if r.SrcRetransmits+r.DstRetransmits > 0 {
		n.dirty[r.FlowID] = true
	}
	if n.dirty[r.FlowID] { // which octets are new is then a matter of how many gaps are remembered
		n.skipped++
		return
	}
	n.exchanges++
	low, high, mean, _ := moments(waits)
	if int(r.Transactions) != len(waits) || float64(r.TransactionMin) != low || float64(r.TransactionMax) != high || math.Abs(float64(r.TransactionMean)-mean) > 0.501 {
		wrong("transactions", []any{r.Transactions, r.TransactionMin, r.TransactionMean, r.TransactionMax}, []any{len(waits), low, mean, high})
	}
}

// moments: 0 for what is not there.
func moments(v []float64) (low, high, mean, std float64) {
	if len(v) == 0 {
		return
	}
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	mean = sum / float64(len(v))
	for _, x := range v {
		std += (x - mean) * (x - mean)
	}
	if len(v) > 1 {
		std = math.Sqrt(std / float64(len(v)-1))
	} else {
		std = 0
	}
	return slices.Min(v), slices.Max(v), mean, std
}

// TestFeatures recomputes the behaviour columns of every record of every
// capture from its packets, in the plainest way.
func TestFeatures(t *testing.T) {
	records, compared, skipped := 0, 0, 0
	for i, c := range corpus.Captures(t) {
		if testing.Short() && i%4 != 0 {
			continue
		}
		for _, cfg := range []Config{{}, {ActiveTimeout: time.Second, IdleTimeout: 500 * time.Millisecond, MaxFlows: 50, FloodRate: -1}} {
			n := &notebook{t: t, path: c.Name, packets: map[segmentName][]seenPacket{}, seen: map[uint64]map[uint64]uint64{},
				ecn: map[uint64][2]uint8{}, asked: map[uint64]int64{}, dirty: map[uint64]bool{}}
			n.run(c.Path, cfg)
			records, compared, skipped = records+n.records, compared+n.exchanges, skipped+n.skipped
		}
	}
	t.Logf("%d records; transactions compared in %d, left out in %d", records, compared, skipped)
	if skipped*10 > records {
		t.Errorf("transactions were compared in %d of %d records only", compared, records)
	}
}

func (n *notebook) run(path string, cfg Config) {
	n.t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	tbl := New(cfg, nil, n.compare)
	var f capture.Frame
	var p decode.Packet
	for i := 0; i < 30_000; i++ {
		if err := src.Next(&f); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, capture.ErrCorrupt) && !errors.Is(err, capture.ErrTruncatedFile) {
				n.t.Fatal(err)
			}
			break
		}
		if dec.Decode(&f, &p) != decode.OK {
			continue
		}
		tbl.Observe(&p)
		n.note(tbl, &p)
	}
	tbl.Flush(flow.EndForced)
	for name, list := range n.packets {
		n.t.Errorf("%s: %d packets of flow %v are in no record", path, len(list), name)
	}
}

// TestDeviation: values far from zero and close together, of which a sum of
// squares in floating point would keep nothing.
func TestDeviation(t *testing.T) {
	for _, c := range []struct {
		base, spread uint64
		n            int
	}{{1e6, 3, 1000}, {60e6, 2, 100}, {40, 1400, 100_000}, {0, 1, 2}} {
		rng := rand.New(rand.NewPCG(1, c.base))
		var values []float64
		var sum, squares uint64
		for range c.n {
			v := c.base + rng.Uint64N(c.spread)
			values = append(values, float64(v))
			sum, squares = sum+v, squares+v*v
		}
		_, _, _, want := moments(values)
		if got := deviation(uint64(c.n), sum, squares); math.Abs(got-want) > 1e-9*(1+want) {
			t.Errorf("%+v: %v, want %v", c, got, want)
		}
	}
	if got := deviation(1, 5, 25); got != 0 {
		t.Errorf("one value: %v", got)
	}
	if got, want := gapDeviation(3, 3e9, 1e18+2e18), 0.0; got != want {
		t.Errorf("three great equal gaps: %v", got)
	}
}
