package meter

import (
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestFull: a flood of unanswered SYNs costs neither packets nor the
// established flows.
func TestFull(t *testing.T) {
	const established, flood = 100, 50_000
	l := newLab(Config{MaxFlows: 1000, FloodRate: -1})
	packets, records := uint64(0), map[flow.EndReason]int{}
	l.emit = func(r *flow.Record) { packets += r.Packets(); records[r.EndReason]++ }
	talk := func(i int, at float64) {
		for _, k := range []packet{{at, 'c', "S 100"}, {at, 's', "SA 500 101"}} {
			p := k.decoded()
			if k.from == 'c' {
				p.SrcPort = uint16(i + 1)
			} else {
				p.DstPort = uint16(i + 1)
			}
			l.Observe(p)
		}
	}
	for i := range established {
		talk(i, 0)
	}
	for i := range flood {
		p := packet{1 + float64(i)/20_000, 'c', "S 1"}.decoded()
		p.Src[12], p.Src[13], p.Src[14], p.Src[15] = 203, byte(i>>16), byte(i>>8), byte(i)
		l.Observe(p)
		if l.Open() > 1000 {
			t.Fatalf("%d flows open", l.Open())
		}
	}
	alive := 0
	for i := range established {
		before := l.Stats().FlowsStarted
		p := packet{4, 'c', "A 101 501"}.decoded()
		p.SrcPort = uint16(i + 1)
		l.Observe(p)
		if l.Stats().FlowsStarted == before {
			alive++
		}
	}
	l.Flush(flow.EndForced)
	if s := l.Stats(); alive < established*99/100 || packets != 2*established+flood+established || s.Evicted < flood-1000 || s.FlowsStarted != s.FlowsEnded {
		t.Errorf("%d of %d established flows kept, %d packets, stats %+v, ends %v", alive, established, packets, s, records)
	}
	if n := len(l.entries.pages) * pageSize; n > 1000+pageSize {
		t.Errorf("%d entries allocated", n)
	}
}

// TestSegmentsOfInspectedFlows: a DNS flow with more names than a record holds
// is cut, and no name and no packet is lost.
func TestSegmentsOfInspectedFlows(t *testing.T) {
	names, packets := 0, uint64(0)
	reasons := ""
	tbl := New(Config{}, dpi.NewInspector(dpi.DefaultConfig()), func(r *flow.Record) {
		if len(r.DNSNames) > flow.MaxList || r.App != "dns" {
			t.Errorf("record with %d names, application %q", len(r.DNSNames), r.App)
		}
		names += len(r.DNSNames)
		packets += r.Packets()
		reasons += r.EndReason.String() + " "
	})
	for i := range 100 {
		query := append([]byte{byte(i >> 8), byte(i), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 'a' + byte(i%26), 'a' + byte(i/26), 4, 't', 'e', 's', 't', 0}, 0, 1, 0, 1)
		for _, answer := range []bool{false, true} {
			p := datagram(float64(i)/10, 17, answer, 40000, 53, 0)
			b := append([]byte(nil), query...)
			if answer {
				p.SrcPort, p.DstPort = 53, 40000
				b[2], b[3] = 0x81, 0x80
			}
			p.Payload, p.PayloadLen = b, uint32(len(b))
			tbl.Observe(p)
		}
	}
	tbl.Flush(flow.EndForced)
	if names != 100 || packets != 200 || !strings.Contains(reasons, "list_full") {
		t.Errorf("%d names, %d packets, ends %s", names, packets, reasons)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	tbl := New(Config{MaxFlows: 2000}, dpi.NewInspector(dpi.DefaultConfig()), func(*flow.Record) {})
	conversation := []*decode.Packet{}
	for _, k := range []packet{{0, 'c', "S 100"}, {0, 's', "SA 500 101"}, {0, 'c', "A 101 501 10"}, {0, 's', "A 501 111 10"}, {0, 'c', "FA 111 511"}, {0, 's', "FA 511 112"}} {
		conversation = append(conversation, k.decoded())
	}
	payload := []byte("0123456789")
	at, n := base, uint16(0)
	round := func() {
		for range 100 {
			n++
			for i, p := range conversation {
				at += 1e6
				p.Time = at
				if i%2 == 0 {
					p.SrcPort = n
				} else {
					p.DstPort = n
				}
				p.Payload = payload[:p.PayloadLen]
				tbl.Observe(p)
			}
		}
	}
	for range 700 { // every port once, so that pools and tables have their size
		round()
	}
	if a := testing.AllocsPerRun(50, round); a != 0 {
		t.Errorf("%v allocations per 600 packets", a)
	}
	if tbl.Stats().Records == 0 {
		t.Error("no flow ended")
	}
}
