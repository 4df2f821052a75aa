// Package meter is the Metering Process (RFC 7011): it sorts packets into
// bidirectional flows (RFC 5103) and makes flow records of them.
//
// In come decode.Packets in the order of capture. Out go flow.Records through
// the emit function given to New; a record is valid until emit returns. All
// time is the packets' own: nothing here reads a clock, so that a file gives
// the same records at any speed. A Table belongs to one goroutine, holds at
// most Config.MaxFlows flows in at most Config.MaxBytes of memory, and
// allocates nothing per packet. What happens when there are more is told in
// emergency.go: records are made early or added up, packets are never lost.
package meter

import (
	"time"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Table is the flow table of one worker.
type Table struct {
	active, idle, unanswered, linger int64 // ns
	resume                           int64 // ns, 0: not at all
	maxFlows, maxBytes               int
	vlan                             bool
	inspector                        *dpi.Inspector // nil: no inspection
	emit                             func(*flow.Record)

	index     index
	hash      hasher
	entries   pool[entry]
	talks     pool[talk]
	firsts    pool[firsts]
	conns     pool[conn]
	carriers  pool[carrier]
	found     pool[found]
	ifaces    ifaces
	wheel     wheel
	order     order
	services  *services
	histories histories

	time    Clock // unless follows
	now     int64 // traffic time, of time or as Follow says
	running bool  // now is set
	follows bool
	clocks  []int64 // of packets, when it follows
	clocked int     // of clocks, that have come
	clock   int64   // what Clock returns

	emergency bool
	grown     bool // open flows take more memory than before
	cursor    ref  // where prune and victim look next
	flood     flood

	dormant int // entries kept for Config.ResumeTime
	nextID  uint64
	stats   Stats
	scratch flow.Record    // for flows without inspection
	records []*flow.Record // free ones for flows under inspection
	single  talk           // for segments of one packet
	quoted  decode.Packet
	block   block
	lists   lists
	touched uint64 // keeps the loads of prepare
}

// New returns an empty Table that hands its records to emit. in inspects
// payloads and may be nil.
func New(cfg Config, in *dpi.Inspector, emit func(*flow.Record)) *Table {
	def := DefaultConfig()
	pick := func(d, def time.Duration) int64 {
		if d <= 0 {
			d = def
		}
		return int64(d)
	}
	t := &Table{
		active:     pick(cfg.ActiveTimeout, def.ActiveTimeout),
		idle:       pick(cfg.IdleTimeout, def.IdleTimeout),
		unanswered: pick(cfg.UnansweredTimeout, def.UnansweredTimeout),
		linger:     pick(cfg.LingerTime, def.LingerTime),
		maxFlows:   cfg.MaxFlows,
		maxBytes:   cfg.MaxBytes,
		vlan:       !cfg.IgnoreVLAN,
		inspector:  in,
		emit:       emit,
		index:      newIndex(),
		hash:       newHasher(),
		services:   newServices(),
		ifaces:     newIfaces(),
		histories:  make(histories),
	}
	if cfg.ResumeTime >= 0 {
		t.resume = pick(cfg.ResumeTime, def.ResumeTime)
	}
	if t.maxFlows <= 0 {
		t.maxFlows = def.MaxFlows
	}
	if t.maxBytes <= 0 {
		t.maxBytes = def.MaxBytes
	}
	switch {
	case cfg.FloodRate == 0:
		cfg.FloodRate = def.FloodRate
	case cfg.FloodRate < 0:
		cfg.FloodRate = 0
	}
	t.flood = newFlood(cfg.FloodRate)
	return t
}

// Open returns the number of flows with packets that are in no record yet.
func (t *Table) Open() int { return t.entries.used - t.dormant + t.flood.open() }

// Clock returns the greatest packet time seen, or given to Advance, in ns
// since the Unix epoch; 0 before the first.
func (t *Table) Clock() int64 { return t.clock }

// Watermark returns a time such that every record made so far or later from
// the packets seen so far, and starting before it, has been handed to emit; in
// ns since the Unix epoch, 0 before the first packet. Packets whose time goes
// backwards can still begin flows before it.
func (t *Table) Watermark() int64 {
	if start, ok := t.flood.oldest(t.oldest()); ok {
		return min(start, t.clock)
	}
	return t.clock
}

// Stats returns the counters so far.
func (t *Table) Stats() Stats { return t.stats }

// Observe is ObserveOn without the name of an interface.
func (t *Table) Observe(p *decode.Packet) { t.ObserveOn(p, "") }

// ObserveOn counts p, which decode.Decoder returned as OK, into its flow. iface
// is where it was captured; a record tells that of its flow's first packet. p
// and its payload are not kept.
func (t *Table) ObserveOn(p *decode.Packet, iface string) {
	var k key
	from := makeKey(&k, p, t.vlan)
	t.tick(p.Time)
	t.observe(p, &k, t.hash.sum(&k), 0, from, iface)
}

// observe is ObserveOn for a packet whose key has been made. hint is the entry
// that had its hash a while ago; 0: not known.
func (t *Table) observe(p *decode.Packet, k *key, hash uint32, hint ref, from int, iface string) {
	if t.grown {
		t.grown = false
		if t.pressed() {
			t.shrink()
		}
	}
	if p.Quoted.Protocol != 0 {
		t.quote(p)
	}
	var e *entry
	r := hint
	if r != 0 {
		e = t.entries.at(r)
	}
	if r == 0 || e.id == 0 || !e.key.equal(k) {
		if r = t.index.find(&t.entries, k, hash); r != 0 {
			e = t.entries.at(r)
		}
	}
	if r != 0 {
		if t.expired(e) && t.canRest(e) {
			t.rest(e)
		}
		if t.expired(e) || e.protocol == flow.ProtoTCP && p.Flags&flagSYN != 0 && t.reused(e, p) {
			t.unschedule(e)
			t.finish(r, e, t.endReason(e))
			r = 0
		}
	}
	if r != 0 && e.onlySYN() {
		t.connect(e)
	}
	switch {
	case r == 0 && len(t.flood.sums) > 0 && t.absorb(p, iface):
		return
	case r == 0:
		r, e = t.start(k, hash, from, p, iface)
	case e.dormant:
		t.wake(r, e, p.Time)
	default:
		if e.cutPending || p.Time-e.start >= t.active {
			t.cut(r, e, p.Time)
		}
		e.end = max(e.end, p.Time)
	}
	e.touched = t.now
	t.count(r, e, from, p)
}

// count adds p to the flow.
func (t *Table) count(r ref, e *entry, from int, p *decode.Packet) {
	s := &e.side[from]
	s.ecn |= ecnBit(p.TOS)
	if e.answered {
		if uint8(from) == e.initiator {
			e.complete = true
		}
	}
	if !s.sent {
		s.sent = true
		s.ttl, s.dscp = p.TTL, p.TOS>>2
		if e.side[from^1].sent {
			e.answered, e.complete = true, e.protocol != flow.ProtoTCP
			e.reply = int64(micros(p.Time - e.reply))
		}
	}
	told := p.PayloadLen > 0
	if e.protocol == flow.ProtoTCP && !p.Bare {
		s.flags |= p.Flags
		if p.Flags&flagSYN != 0 && p.MSS != 0 {
			s.mss = p.MSS
		}
		if e.conn != 0 {
			wasClosed := e.closed
			kind := t.tcp(e, from, p)
			told = told && kind != resentData && kind != keepAlive
			if e.closed && !wasClosed { // times out sooner than its slot says
				t.unschedule(e)
				t.schedule(r, e)
			}
		}
	}
	t.volume(e, from, p, told)
	if !p.FragmentPending && (p.PayloadLen > 0 && !p.Bare || p.Reassembled != nil) {
		t.offer(e, from, p)
	}
	e.steady = e.complete && !e.closed && !e.cutPending && !e.dormant && e.talk != 0 && (e.conn != 0 || e.protocol == flow.ProtoUDP)
}

// ordinary does what observe does for the next packet in order of a steady flow:
// nearly all packets of all but short ones. It reports whether p was one; if
// not, nothing has changed.
func (t *Table) ordinary(e *entry, from int, p *decode.Packet) bool {
	if t.grown || t.emergency || t.now-e.touched >= t.idle || p.Time-e.start >= t.active || p.Bare || p.Fragment || p.Quoted.Protocol != 0 {
		return false
	}
	s := &e.side[from]
	if e.conn != 0 {
		c := t.conns.at(e.conn)
		if !c.ordinary(&c.end[from], &c.end[from^1], p) {
			return false
		}
		s.flags |= p.Flags
	}
	s.ecn |= ecnBit(p.TOS)
	e.end = max(e.end, p.Time)
	e.touched = t.now
	t.volume(e, from, p, p.PayloadLen > 0)
	if p.PayloadLen > 0 {
		t.offer(e, from, p)
	}
	e.steady = !e.cutPending
	return true
}

// offer gives the payload to the inspector unless that needs no more.
func (t *Table) offer(e *entry, from int, p *decode.Packet) {
	if t.inspector != nil && !e.dpiDone && !t.unwanted(e, from, p) {
		t.inspect(e, from, p)
	}
}

// inspect hands the payload to the inspector.
func (t *Table) inspect(e *entry, from int, p *decode.Packet) {
	switch e.protocol {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP:
	default:
		e.dpiDone = true
		return
	}
	if e.found == 0 {
		e.found = t.found.take()
		t.grown = true
		t.found.at(e.found).rec = t.takeRecord()
		e.turned = true
	}
	f := t.found.at(e.found)
	if e.turned {
		e.turned = false
		t.observation(f.rec, e)
	}
	f.rec.Start = e.start
	full := false
	f.state, full = t.inspector.Inspect(f.state, p, uint8(from) == e.initiator, f.rec)
	e.dpiDone = f.state.Done()
	e.cutPending = e.cutPending || full
	if e.conn != 0 {
		c := t.conns.at(e.conn)
		for i := range c.end {
			c.end[i].deafTo, c.end[i].deaf = f.state.Unwanted(uint8(i) == e.initiator)
		}
	}
}

// unwanted tells whether the inspector has said that it does not need p, as
// most of a body: neither its state nor the record are looked at.
func (t *Table) unwanted(e *entry, from int, p *decode.Packet) bool {
	if e.conn == 0 {
		return false
	}
	s := &t.conns.at(e.conn).end[from]
	return s.deaf && int32(p.Seq+p.PayloadLen-s.deafTo) <= 0 && uint32(len(p.Payload)) == p.PayloadLen && p.Flags&flagSYN == 0 && !p.Fragment
}

// start opens a flow with its first packet.
func (t *Table) start(k *key, hash uint32, from int, p *decode.Packet, iface string) (ref, *entry) {
	t.makeRoom()
	r := t.entries.take()
	e := t.entries.at(r)
	t.nextID++
	t.stats.FlowsStarted++
	e.key, e.hash, e.id = *k, hash, t.nextID
	e.iface = t.ifaces.number(iface)
	e.protocol = p.Protocol
	e.initiator = uint8(from)
	e.loneSide = -1
	e.srcPort, e.dstPort = p.SrcPort, p.DstPort
	e.srcMAC, e.dstMAC = packMAC(p.SrcMAC), packMAC(p.DstMAC)
	e.start, e.end, e.reply = p.Time, p.Time, p.Time
	e.touched = t.now
	if p.Tunnel != flow.TunnelNone || !t.vlan && p.VLAN != 0 {
		e.carrier = t.carriers.take()
		*t.carriers.at(e.carrier) = carrier{p.TunnelID, p.VLAN, p.VLANInner, p.OuterSrc, p.OuterDst}
	}
	if p.Protocol == flow.ProtoTCP {
		if pureSYN(p) {
			e.lone.payload = p.Seq
		} else {
			e.conn = t.conns.take()
		}
	}
	t.guess(e, p)
	t.index.insert(hash, r)
	t.schedule(r, e)
	t.orderInsert(r, e)
	return r, e
}

// guess decides who began the flow when its first packet does not say it.
func (t *Table) guess(e *entry, p *decode.Packet) {
	if p.EtherType != 0 {
		if op := arpReply(p.SrcPort); e.key[5]&oneWay == 0 && op != 0 && op < p.SrcPort {
			t.flip(e)
			e.srcPort, e.dstPort = op, 0
			e.guessed = true
		}
		return
	}
	switch p.Protocol {
	case flow.ProtoICMP, flow.ProtoICMPv6:
		reply, request, pair := flow.ICMPReply(p.Protocol, uint8(p.SrcPort))
		if pair && !request && unicast(&p.Dst) {
			t.flip(e)
			e.srcPort, e.dstPort = uint16(reply), 0
			e.guessed = true
		}
		return
	case flow.ProtoTCP:
		e.guessed = p.Bare || p.Flags&(flagSYN|flagACK) != flagSYN
	}
	if t.services.backwards(p) {
		t.flip(e)
		e.guessed = true
		if e.conn != 0 {
			t.conns.at(e.conn).append('^')
		}
	}
}

// timeout is how long the flow may be silent, in ns.
func (t *Table) timeout(e *entry) int64 {
	timeout := t.unanswered
	switch {
	case e.dormant:
		timeout = t.resume
	case e.closed:
		timeout = t.linger
	case e.answered:
		timeout = t.idle
	}
	if t.emergency {
		return t.shortened(e, timeout)
	}
	return timeout
}

func (t *Table) expired(e *entry) bool { return t.now-e.touched >= t.timeout(e) }

// endReason is why a flow ended that is ended by time or by its successor.
func (t *Table) endReason(e *entry) flow.EndReason {
	if e.closed || !t.expired(e) {
		return flow.EndDetected
	}
	return flow.EndIdle
}
