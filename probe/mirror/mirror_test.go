package mirror

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// withheld drops one packet in n at random of another source, and counts the TCP payload that it passes and drops.
type withheld struct {
	capture.Source
	dec             *decode.Decoder
	random          *rand.Rand
	n               int
	passed, dropped uint64
}

func (w *withheld) Next(f *capture.Frame) error {
	for {
		if err := w.Source.Next(f); err != nil {
			return err
		}
		var p decode.Packet
		octets := uint64(0)
		if w.dec.Decode(f, &p) == decode.OK && p.Protocol == protoTCP {
			octets = uint64(p.PayloadLen)
		}
		if w.random.IntN(w.n) != 0 {
			w.passed += octets
			return nil
		}
		w.dropped += octets
	}
}

// TestLossEstimate: one packet in 100 is withheld from captures that have no loss of their own; the estimate over all of them is within 0.2 points of
// the truth.
func TestLossEstimate(t *testing.T) {
	var passed, dropped, acked, unseen uint64
	for _, listed := range corpus.Captures(t) {
		whole := New(DefaultConfig())
		observeFile(t, whole, listed.Path)
		clean := true
		for _, c := range whole.list {
			clean = clean && (c.Packets+c.Records == 0 || c.Unseen == 0 && c.OneWay == 0 && c.copies() == 0 && c.Acked > 0)
		}
		if !clean {
			continue
		}
		for seed := range uint64(8) { // more of the same, with other packets withheld
			src, err := capture.OpenFile(listed.Path, capture.FileOptions{})
			if err != nil {
				t.Fatal(err)
			}
			o := New(DefaultConfig())
			w := &withheld{Source: src, dec: decode.New(decode.DefaultConfig()), random: rand.New(rand.NewPCG(seed, 7)), n: 100}
			observe(t, o, w)
			src.Close()
			passed, dropped = passed+w.passed, dropped+w.dropped
			for _, c := range o.list {
				acked, unseen = acked+c.Acked, unseen+c.Unseen
			}
		}
	}
	truth, estimate := 100*float64(dropped)/float64(passed+dropped), 100*float64(unseen)/float64(acked)
	t.Logf("%d octets: withheld %.3f %%, estimated %.3f %%", passed+dropped, truth, estimate)
	if dropped < 100_000 || math.Abs(truth-estimate) > 0.2 {
		t.Errorf("withheld %d octets, %.3f %%, estimated %.3f %%", dropped, truth, estimate)
	}
}

// The wall clock against the capture's: the least difference counts, and only if it is large.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		name   string
		behind []int64
		want   bool
	}{{"right", []int64{5e6, 200e6}, false}, {"a full ring", []int64{3e9, 5e9, 8e6}, false}, {"behind", []int64{3e9, 5e9, 2e9}, true}, {"ahead", []int64{-90e9, -89e9}, true}} {
		o := New(DefaultConfig())
		src := &crafted{list: makeTalks(2, false)}
		o.On("eth0")
		var f capture.Frame
		var p decode.Packet
		dec := decode.New(decode.DefaultConfig())
		for _, d := range c.behind {
			src.Next(&f)
			dec.Decode(&f, &p)
			o.Packet(&f, &p)
			o.Clock(f.Time + d)
		}
		list := o.Findings()
		if found := len(list) == 1 && list[0].Kind == ClockOffset; found != c.want || len(list) > 1 {
			t.Errorf("%s: %+v", c.name, list)
		}
	}
}

// What was put right is forgotten.
func TestDecay(t *testing.T) {
	o := New(DefaultConfig())
	observe(t, o, &crafted{list: change(makeTalks(40, false), func(s *segment) bool { return s.up })})
	if len(o.Findings()) != 1 || len(o.News()) != 1 || len(o.News()) != 0 {
		t.Fatalf("%+v", o.Findings())
	}
	reg := prometheus.NewRegistry()
	NewMetrics(reg).Update("0", o)
	if families, err := reg.Gather(); err != nil || len(families) != 2 || len(families[0].Metric) < 10 {
		t.Errorf("%v, %v", families, err)
	}
	for range 3 {
		o.Decay()
	}
	if list := o.Findings(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// prepared decodes a crafted capture in which the sample is what it is after a while.
func prepared(tb testing.TB, connections int) (o *Observer, frames []capture.Frame, packets []decode.Packet) {
	o = New(DefaultConfig())
	o.On("eth0")
	o.seen = fullSample - 1
	o.sampled()
	list := makeTalks(connections, false)
	dec := decode.New(decode.DefaultConfig())
	frames, packets = make([]capture.Frame, len(list)), make([]decode.Packet, len(list))
	src := &crafted{list: list}
	for i := range list {
		src.Next(&frames[i])
		if dec.Decode(&frames[i], &packets[i]) != decode.OK {
			tb.Fatal("a frame does not decode")
		}
	}
	return o, frames, packets
}

func TestAllocations(t *testing.T) {
	o, frames, packets := prepared(t, 100)
	r := &flow.Record{Interface: "eth0", Protocol: 6, SrcPackets: 3, SrcTCPFlags: ack}
	if n := testing.AllocsPerRun(10, func() {
		for i := range frames {
			o.Packet(&frames[i], &packets[i])
		}
		o.Record(r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	o, frames, packets := prepared(b, 5) // a packet that was just decoded is in the cache
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		o.Packet(&frames[i], &packets[i])
		if i++; i == len(frames) {
			i = 0
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	o := New(DefaultConfig())
	r := &flow.Record{Interface: "eth0", Protocol: 6, SrcPackets: 3, DstPackets: 3, SrcTCPFlags: ack}
	for b.Loop() {
		o.Record(r)
	}
}

// FuzzPacket: whatever is on the wire, nothing panics and counts stay within what they are a share of.
func FuzzPacket(f *testing.F) {
	for _, s := range makeTalks(1, false)[:4] {
		b, _ := s.frame()
		f.Add(b, uint32(len(b)), uint16(1))
		f.Add(b[14:], uint32(1000), uint16(101))
	}
	for _, s := range makeTalks(1, true)[:4] {
		b, _ := s.frame()
		f.Add(b, uint32(len(b)), uint16(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, length uint32, link uint16) {
		o := New(DefaultConfig())
		dec := decode.New(decode.DefaultConfig())
		var p decode.Packet
		for cut := range 4 { // pieces of it, too, as other segments of the same connection
			fr := capture.Frame{Time: int64(cut) * 1000, Data: b[:len(b)-len(b)*cut/8], Len: length, LinkType: link}
			if dec.Decode(&fr, &p) == decode.OK {
				o.Packet(&fr, &p)
				p.Seq += uint32(cut) * 7919
				p.Src, p.Dst = p.Dst, p.Src
				p.SrcPort, p.DstPort, p.Seq, p.Ack = p.DstPort, p.SrcPort, p.Ack, p.Seq
				o.Packet(&fr, &p)
			}
		}
		for _, s := range o.Shares() {
			if s.Count > s.Of || s.Value < 0 || s.Value > 1 {
				t.Errorf("%+v", s)
			}
		}
		o.Findings()
	})
}
