package meter

import (
	"math"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// flood adds up connections that are too many to be kept. What it sees are
// connections that ended unanswered, or whose handshake was never completed, in
// an emergency: more than Config.FloodRate of them in a second of traffic to one
// service, from one source (a scan) or to one address open a sum, into which
// further new ones with that side go. Known flows are not touched, and a client
// whose first packet went into a sum shows itself with its second: only SYNs go
// into the sum of SYNs.
type flood struct {
	rate   int // 0: never
	second int64
	seen   [3]map[attacked]int // connections of this second, by what
	sums   []*sum
	by     map[attacked]*sum
}

// attacked is the side of the tuple that many connections have in common.
type attacked struct {
	what     uint8 // toService, fromSource, toAddress
	protocol uint8
	syn      bool // TCP: they begin with a SYN
	port     uint16
	addr     flow.Addr
}

const (
	toService  = iota // destination address and port
	fromSource        // source address
	toAddress         // destination address, any port

	maxSeen = 4096 // keys counted in a second, of each kind
	maxSums = 256
)

// sum is the one record of many connections.
type sum struct {
	of             attacked
	id             uint64
	flows          uint64
	packets        uint64 // ever
	before         uint64 // packets a second ago
	start, end     int64
	tuple          tuple // what all have in common
	talk           talk
	flags, ttl     [2]uint8
	checked        int64
	vlan, innerTag uint16
	iface          uint16
	tunnel         flow.Tunnel
}

type tuple struct {
	src, dst         flow.Addr
	srcPort, dstPort uint16
}

func newFlood(rate int) flood {
	f := flood{rate: rate, by: map[attacked]*sum{}}
	for i := range f.seen {
		f.seen[i] = map[attacked]int{}
	}
	return f
}

func (f *flood) forget() {
	for _, m := range f.seen {
		clear(m)
	}
}

// lost counts a connection that has ended without being completed, and
// opens a sum when there have been too many of its kind.
func (t *Table) lost(e *entry) {
	f := &t.flood
	if f.rate == 0 || e.key.etherType() != 0 || len(f.sums) >= maxSums {
		return
	}
	if s := t.now / 1e9; s != f.second {
		f.second = s
		f.forget()
	}
	src, dst := e.address(e.initiator), e.address(e.initiator^1)
	syn := e.side[e.initiator].flags&flagSYN != 0
	for _, of := range [...]attacked{
		{toService, e.protocol, syn, e.dstPort, dst},
		{fromSource, e.protocol, syn, 0, src},
		{toAddress, e.protocol, syn, 0, dst},
	} {
		m := f.seen[of.what]
		n, known := m[of]
		if !known && len(m) >= maxSeen {
			continue
		}
		m[of] = n + 1
		if n+1 >= f.rate && f.by[of] == nil {
			s := &sum{of: of, checked: t.now}
			f.by[of] = s
			f.sums = append(f.sums, s)
			f.forget()
			return
		}
	}
}

// absorb puts a packet that belongs to no flow into a sum, if there is one for it.
func (t *Table) absorb(p *decode.Packet, iface string) bool {
	if p.EtherType != 0 {
		return false
	}
	s, forward := t.sumOf(p)
	if s == nil {
		return false
	}
	if s.id == 0 {
		t.nextID++
		s.id, s.start, s.end = t.nextID, p.Time, p.Time
		s.vlan, s.innerTag, s.tunnel, s.iface = p.VLAN, p.VLANInner, p.Tunnel, t.ifaces.number(iface)
	}
	s.start, s.end = min(s.start, p.Time), max(s.end, p.Time)
	s.add(p, forward)
	s.packets++
	t.stats.AggregatedPackets++
	if forward || !s.of.syn {
		s.flows++
		t.stats.FlowsStarted++
		t.stats.Aggregated++
	}
	return true
}

// sumOf returns the sum that p goes into, and whether it goes the way of the
// connections' initiators; nil if there is none.
func (t *Table) sumOf(p *decode.Packet) (s *sum, forward bool) {
	f := &t.flood
	tcp := p.Protocol == flow.ProtoTCP
	if t.answers(p) {
		if s = f.find(p.Protocol, tcp, p.Dst, p.Src, p.SrcPort); s != nil {
			return s, false
		}
		if s = f.find(p.Protocol, false, p.Dst, p.Src, p.SrcPort); s != nil {
			return s, false
		}
	}
	if s = f.find(p.Protocol, tcp && p.Flags&flagSYN != 0, p.Src, p.Dst, p.DstPort); s == nil && !tcp {
		return f.by[attacked{toService, p.Protocol, false, p.SrcPort, p.Src}], false
	}
	return s, true
}

// answers: p is what the attacked side sends back, not the begin of a connection.
func (t *Table) answers(p *decode.Packet) bool {
	switch p.Protocol {
	case flow.ProtoTCP:
		return p.Flags&(flagSYN|flagACK) == flagSYN|flagACK || p.Flags&flagRST != 0
	case flow.ProtoICMP, flow.ProtoICMPv6:
		_, request, pair := flow.ICMPReply(p.Protocol, uint8(p.SrcPort))
		return pair && !request
	}
	return t.services.backwards(p)
}

func (f *flood) find(protocol uint8, syn bool, src, dst flow.Addr, port uint16) *sum {
	if s := f.by[attacked{toService, protocol, syn, port, dst}]; s != nil {
		return s
	}
	if s := f.by[attacked{fromSource, protocol, syn, 0, src}]; s != nil {
		return s
	}
	return f.by[attacked{toAddress, protocol, syn, 0, dst}]
}

func (s *sum) add(p *decode.Packet, forward bool) {
	u, side := tuple{p.Src, p.Dst, p.SrcPort, p.DstPort}, 0
	if !forward {
		u, side = tuple{p.Dst, p.Src, p.DstPort, p.SrcPort}, 1
	}
	if first := &s.talk.half[0]; first.packets+s.talk.half[1].packets == 0 {
		s.tuple = u
	} else {
		s.tuple.keep(&u)
	}
	if s.vlan != p.VLAN || s.innerTag != p.VLANInner {
		s.vlan, s.innerTag = 0, 0
	}
	if s.tunnel != p.Tunnel {
		s.tunnel = flow.TunnelNone
	}
	h := &s.talk.half[side]
	if h.packets == 0 {
		s.ttl[side] = p.TTL
	}
	h.add(p.Time, p.IPLen, p.FrameLen, p.PayloadLen)
	if p.Protocol == flow.ProtoTCP && !p.Bare {
		s.flags[side] |= p.Flags
	}
}

// keep unsets what differs from u.
func (a *tuple) keep(u *tuple) {
	if a.src != u.src {
		a.src = flow.Addr{}
	}
	if a.dst != u.dst {
		a.dst = flow.Addr{}
	}
	if a.srcPort != u.srcPort {
		a.srcPort = 0
	}
	if a.dstPort != u.dstPort {
		a.dstPort = 0
	}
}

// checkSums runs every tick of the wheel: it cuts sums at the active timeout,
// and ends those that have gone down to a quarter of the rate.
func (t *Table) checkSums() {
	f := &t.flood
	kept := f.sums[:0]
	for _, s := range f.sums {
		if t.now-s.checked < 1e9 && t.now >= s.checked {
			kept = append(kept, s)
			continue
		}
		if (s.packets-s.before)*4 < uint64(f.rate) {
			t.emitSum(s, flow.EndIdle)
			delete(f.by, s.of)
			continue
		}
		s.checked, s.before = t.now, s.packets
		if t.now-s.start >= t.active || s.talk.half[0].packets > math.MaxUint32/2 || s.talk.half[1].packets > math.MaxUint32/2 {
			t.emitSum(s, flow.EndActive)
		}
		kept = append(kept, s)
	}
	clear(f.sums[len(kept):])
	f.sums = kept
}

// endSums hands on all sums.
func (t *Table) endSums(reason flow.EndReason) {
	f := &t.flood
	for _, s := range f.sums {
		t.emitSum(s, reason)
	}
	clear(f.sums)
	f.sums = f.sums[:0]
	clear(f.by)
	t.calm()
}

// emitSum hands on what is in s and empties it.
func (t *Table) emitSum(s *sum, reason flow.EndReason) {
	if s.id == 0 {
		return
	}
	if s.flows == 0 { // answers alone
		s.flows = 1
		t.stats.FlowsStarted++
	}
	rec := &t.scratch
	*rec = flow.Record{SrcSizeBins: rec.SrcSizeBins, DstSizeBins: rec.DstSizeBins, FirstSizes: rec.FirstSizes[:0], FirstGaps: rec.FirstGaps[:0]}
	rec.Interface, rec.VLAN, rec.VLANInner, rec.Tunnel = t.ifaces.names[s.iface], s.vlan, s.innerTag, s.tunnel
	u := &s.tuple
	rec.SrcIP, rec.DstIP, rec.SrcPort, rec.DstPort, rec.Protocol = u.src, u.dst, u.srcPort, u.dstPort, s.of.protocol
	rec.Start, rec.End, rec.EndReason, rec.FlowID = s.start, s.end, reason, s.id
	rec.AggregatedFlows = saturate32(s.flows)
	rec.SrcTCPFlags, rec.DstTCPFlags, rec.SrcTTL, rec.DstTTL = s.flags[0], s.flags[1], s.ttl[0], s.ttl[1]
	if s.talk.half[1].packets == 0 {
		rec.ConnState = flow.ConnS0
	}
	s.talk.describe(rec, 0)
	t.stats.FlowsEnded += s.flows
	t.stats.Records++
	t.stats.AggregateRecords++
	t.emit(rec)
	*rec = flow.Record{SrcSizeBins: rec.SrcSizeBins, DstSizeBins: rec.DstSizeBins, FirstSizes: rec.FirstSizes[:0], FirstGaps: rec.FirstGaps[:0]}
	*s = sum{of: s.of, checked: s.checked, packets: s.packets, before: s.before}
}

// oldest is the start of the oldest sum that is not in a record yet.
func (f *flood) oldest(start int64, ok bool) (int64, bool) {
	for _, s := range f.sums {
		if s.id != 0 && (!ok || s.start < start) {
			start, ok = s.start, true
		}
	}
	return start, ok
}

// open is the number of sums with packets that are in no record yet.
func (f *flood) open() (n int) {
	for _, s := range f.sums {
		if s.id != 0 {
			n++
		}
	}
	return n
}
