package meter

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestFollow: flows dealt out to three tables that follow one clock end as in
// one table, also when packets come out of order and when the clock steps back.
func TestFollow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var packets []packet
	ports := make([]uint16, 0, 20_000)
	at := 0.0
	for i := range cap(ports) {
		at += rng.ExpFloat64() * 0.05
		if i == 12_000 {
			at -= 500 // another capture
		}
		from := byte('c')
		if rng.IntN(2) == 0 {
			from = 's'
		}
		packets = append(packets, packet{at - float64(rng.IntN(3))*0.4, from, "A 1 1"})
		ports = append(ports, uint16(1000+rng.IntN(60)))
	}
	record := func(out *[]flow.Record) func(*flow.Record) {
		return func(r *flow.Record) {
			one := *r
			one.FlowID = 0
			*out = append(*out, one)
		}
	}
	observe := func(l *lab, i int) {
		p := packets[i].decoded()
		if packets[i].from == 'c' {
			p.SrcPort = ports[i]
		} else {
			p.DstPort = ports[i]
		}
		l.Observe(p)
	}
	var one, many []flow.Record
	single := newLab(Config{})
	single.emit = record(&one)
	var clock Clock
	parts := make([]*lab, 3)
	for i := range parts {
		parts[i] = newLab(Config{})
		parts[i].emit = record(&many)
	}
	for i, p := range packets {
		observe(single, i)
		clock.Tick(p.decoded().Time)
		part := parts[ports[i]%3]
		if i%2 == 0 {
			part.Follow(clock.Now())
		} else {
			part.FollowAll([]int64{clock.Now()})
		}
		observe(part, i)
		if i%100 == 0 || i > 12_000 && i < 12_100 {
			for _, part := range parts {
				part.Follow(clock.Now())
			}
		}
	}
	single.Flush(flow.EndForced)
	for _, part := range parts {
		part.Follow(clock.Now())
		part.Flush(flow.EndForced)
	}
	key := func(a, b flow.Record) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(a.SrcPort) + int(a.DstPort) - int(b.SrcPort) - int(b.DstPort)
	}
	slices.SortFunc(one, key)
	slices.SortFunc(many, key)
	if single.Stats().ClockSteps != 1 || len(one) != len(many) {
		t.Fatalf("%d records of one table, %d of three; %+v", len(one), len(many), single.Stats())
	}
	reasons := make(map[flow.EndReason]int)
	for i := range one {
		reasons[one[i].EndReason]++
		if a, b := one[i], many[i]; a.Start != b.Start || a.End != b.End || a.EndReason != b.EndReason || a.SrcPackets != b.SrcPackets ||
			a.DstPackets != b.DstPackets || a.Segment != b.Segment || a.SrcPort != b.SrcPort || a.ConnState != b.ConnState || a.History != b.History {
			t.Fatalf("record %d: (-three +one)\n-%+v\n+%+v", i, b, a)
		}
	}
	if len(reasons) < 3 {
		t.Errorf("the packets make only ends %v", reasons)
	}
}

// TestSetLimits: a running table takes new limits and loses nothing.
func TestSetLimits(t *testing.T) {
	l := newLab(Config{IdleTimeout: 30 * time.Second, UnansweredTimeout: 30 * time.Second})
	packets := uint64(0)
	l.emit = func(r *flow.Record) { packets += r.Packets(); l.out = append(l.out, *r) }
	send := func(at float64, port uint16) {
		p := packet{at, 'c', "S 1"}.decoded()
		p.SrcPort = port
		l.Observe(p)
	}
	for port := range uint16(100) {
		send(0, port)
	}
	l.SetLimits(Limits{UnansweredTimeout: 2 * time.Second, MaxFlows: 50})
	if l.Open() != 100 || len(l.out) != 0 {
		t.Fatalf("%d flows open, %d records, after new limits", l.Open(), len(l.out))
	}
	for port := range uint16(60) {
		send(1, 1000+port)
	}
	if l.Open() != 50 {
		t.Errorf("%d flows open, at most 50 are allowed", l.Open())
	}
	send(3.5, 1059) // silent for 2.5 s: another flow
	l.Flush(flow.EndForced)
	if s := l.Stats(); packets != 161 || s.FlowsStarted != 161 || s.FlowsEnded != 161 {
		t.Errorf("%d packets in records, %+v", packets, s)
	}
}

// TestRest: what was counted is handed on at once, and the flow goes on.
func TestRest(t *testing.T) {
	l := newLab(Config{})
	for _, k := range []packet{{0, 'c', "S 100"}, {0.1, 's', "SA 500 101"}, {0.2, 'c', "A 101 501"}} {
		l.Observe(k.decoded())
	}
	l.Rest()
	if len(l.out) != 1 || l.out[0].Packets() != 3 || l.Open() != 0 {
		t.Fatalf("%d records, %d flows open", len(l.out), l.Open())
	}
	for _, k := range []packet{{1, 'c', "A 101 501 10"}, {1.1, 's', "A 501 111"}} {
		l.Observe(k.decoded())
	}
	l.Flush(flow.EndForced)
	if len(l.out) != 2 {
		t.Fatalf("%d records", len(l.out))
	}
	if a, b := l.out[0], l.out[1]; a.FlowID != b.FlowID || b.Segment != 1 || b.Packets() != 2 || b.SrcPort != 40000 || b.InitiatorGuessed || a.EndReason != flow.EndActive {
		t.Errorf("%+v goes on as %+v", a, b)
	}
	if s := l.Stats(); s.FlowsStarted != 1 || s.FlowsEnded != 1 {
		t.Errorf("%+v", s)
	}
}
