package meter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// address is 10.x.y.z of n for clients, 203… for others.
func address(net byte, n uint32) flow.Addr {
	return flow.Addr{10: 0xff, 11: 0xff, 12: net, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

// attack makes the i-th packet of a flood.
type attack func(i uint32, rng *rand.Rand, p *decode.Packet)

var attacks = map[string]attack{
	// Spoofed sources, one service.
	"one service": func(i uint32, rng *rand.Rand, p *decode.Packet) {
		p.Src, p.SrcPort = address(100+byte(i>>24), i), uint16(1024+rng.Uint32N(60_000))
		p.Dst, p.DstPort = address(192, 1), 443
	},
	// Spoofed sources, any port of one host.
	"one address": func(i uint32, rng *rand.Rand, p *decode.Packet) {
		p.Src, p.SrcPort = address(100+byte(i>>24), i), uint16(1024+rng.Uint32N(60_000))
		p.Dst, p.DstPort = address(192, 1), uint16(rng.Uint32())
	},
	// A scan: one source, every address.
	"one source": func(i uint32, rng *rand.Rand, p *decode.Packet) {
		p.Src, p.SrcPort = address(192, 66), uint16(1024+rng.Uint32N(60_000))
		p.Dst, p.DstPort = address(100+byte(i>>24), i), 22
	},
	// The service answers each SYN, as one that lives does, and hears no more.
	"half open": func(i uint32, rng *rand.Rand, p *decode.Packet) {
		p.Src, p.SrcPort, p.Flags, p.Ack = address(100+byte(i>>24), i/2), 1024, flagSYN, 0
		p.Dst, p.DstPort = address(192, 1), 443
		if i%2 == 1 {
			p.Src, p.Dst, p.SrcPort, p.DstPort, p.Flags, p.Ack = p.Dst, p.Src, 443, 1024, flagSYN|flagACK, 2
		}
	},
	// Nothing in common: only eviction helps.
	"all differs": func(i uint32, rng *rand.Rand, p *decode.Packet) {
		p.Src, p.SrcPort = address(100+byte(i>>24), i), uint16(rng.Uint32())
		p.Dst, p.DstPort = address(150, rng.Uint32()), uint16(rng.Uint32())
	},
}

func resident(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status on this system")
	}
	var kb int
	if _, rest, ok := bytes.Cut(b, []byte("VmRSS:")); ok {
		fmt.Sscan(string(rest), &kb)
	}
	return kb << 10
}

// TestFlood replays SYNs with distinct 5-tuples among established connections:
// memory stays under its bound, the established flows are kept whole, the table
// is in an emergency and comes out of it, and every packet and every connection
// is accounted for. Ten million of them with TAPWATCH_FLOOD=10000000.
func TestFlood(t *testing.T) {
	flood := uint32(1_000_000)
	if testing.Short() {
		flood = 300_000
	}
	if s := os.Getenv("TAPWATCH_FLOOD"); s != "" {
		fmt.Sscan(s, &flood)
	}
	for _, name := range []string{"one service", "one address", "one source", "half open", "all differs"} {
		t.Run(name, func(t *testing.T) { testFlood(t, attacks[name], flood, name != "all differs") })
		if os.Getenv("TAPWATCH_FLOOD") == "" {
			flood = 300_000
		}
	}
}

func testFlood(t *testing.T, next attack, flood uint32, sums bool) {
	const established, limit = 2000, 256 << 20
	runtime.GC()
	debug.FreeOSMemory()
	before := resident(t)
	cfg := Config{MaxFlows: 1 << 18, MaxBytes: limit}
	if flood < 1_000_000 {
		cfg.MaxFlows = 1 << 15
	}
	var packets, frames, connections, whole, sent uint64
	tbl := New(cfg, nil, func(r *flow.Record) {
		packets += r.Packets()
		frames += r.FrameBytes()
		switch {
		case r.AggregatedFlows > 0:
			connections += uint64(r.AggregatedFlows)
		case r.Segment == 0:
			connections++
		}
		if r.SrcIP[12] == 10 && r.Segment == 0 && r.SrcPackets == 4 && r.DstPackets == 3 && r.History == "ShADd" {
			whole++
		}
	})
	at := base
	observe := func(p *decode.Packet) {
		p.Time = at
		sent++
		tbl.Observe(p)
	}
	talk := func(i uint32, tcp string, from byte) {
		p := packet{0, from, tcp}.decoded()
		if from == 'c' {
			p.Src, p.SrcPort = address(10, i), uint16(20_000+i)
		} else {
			p.Dst, p.DstPort = address(10, i), uint16(20_000+i)
		}
		observe(p)
	}
	for i := range uint32(established) {
		talk(i, "S 100", 'c')
		talk(i, "SA 500 101", 's')
		talk(i, "A 101 501", 'c')
	}
	rng := rand.New(rand.NewPCG(1, 1))
	peak, entered := 0, false
	p := packet{0, 'c', "S 1"}.decoded()
	step := 20 * second / int64(flood) // 20 s of it
	for i := range flood {
		at += step
		next(i, rng, p)
		observe(p)
		if i%(flood/(2*established)) == 0 { // each talks twice
			n := i / (flood / (2 * established))
			had := n / established * 10
			n %= established
			talk(n, fmt.Sprint("A ", 101+had, " ", 501+had, " 10"), 'c')
			talk(n, fmt.Sprint("A ", 501+had, " ", 111+had, " 10"), 's')
		}
		entered = entered || tbl.emergency
		if i%4096 == 0 {
			if tbl.Bytes() > limit || tbl.entries.used > cfg.MaxFlows {
				t.Fatalf("%d octets, %d flows", tbl.Bytes(), tbl.entries.used)
			}
			if i%(flood/20) < 4096 {
				peak = max(peak, resident(t)-before)
			}
		}
	}
	for range 20 { // quiet
		at += second
		tbl.Advance(at)
	}
	left := !tbl.emergency
	s := tbl.Stats()
	tbl.Flush(flow.EndForced)
	end := tbl.Stats()
	if packets != sent || frames != 54*sent+sentPayload(established) {
		t.Errorf("%d packets sent, %d in records; %d frame octets", sent, packets, frames)
	}
	if end.FlowsStarted != end.FlowsEnded || connections != end.FlowsStarted {
		t.Errorf("%d connections in records, %+v", connections, end)
	}
	if whole < established*99/100 {
		t.Errorf("%d of %d established flows are in one record", whole, established)
	}
	if !entered || !left || s.EmergenciesEntered == 0 || s.EmergenciesEntered != s.EmergenciesLeft {
		t.Errorf("emergency entered %v, left %v, %+v", entered, left, s)
	}
	if sums && s.AggregatedPackets < uint64(flood)/2 {
		t.Errorf("only %d of %d packets were added up", s.AggregatedPackets, flood)
	}
	if peak > limit+limit/10 {
		t.Errorf("the table took %d MiB", peak>>20)
	}
	t.Logf("%d SYNs: %d MiB at most; %d of %d established whole; %+v", flood, peak>>20, whole, established, s)
}

// TestFloodInspected: the bound holds for what inspection keeps, too, when every
// flow has payload and nothing in common with another.
func TestFloodInspected(t *testing.T) {
	const limit = 32 << 20
	var packets, sent uint64
	tbl := New(Config{MaxBytes: limit}, dpi.NewInspector(dpi.Config{BufferBytes: 1 << 20}), func(r *flow.Record) { packets += r.Packets() })
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rng := rand.New(rand.NewPCG(1, 1))
	payload := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
	p := packet{0, 'c', "A 1 1"}.decoded()
	p.Payload, p.PayloadLen = payload, uint32(len(payload))
	most := uint64(0)
	for i := range uint32(100_000) {
		attacks["all differs"](i, rng, p)
		p.Time += 1000
		tbl.Observe(p)
		sent++
		if b := tbl.Bytes(); b > limit+4*foundBytes {
			t.Fatalf("%d octets after %d packets", b, i)
		}
		if i%25_000 == 24_999 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			most = max(most, after.HeapAlloc-before.HeapAlloc)
		}
	}
	s := tbl.Stats()
	tbl.Flush(flow.EndForced)
	if packets != sent || s.EmergenciesEntered == 0 || s.Evicted == 0 {
		t.Errorf("%d of %d packets in records, %+v", packets, sent, s)
	}
	if most > limit*5/4 {
		t.Errorf("%d MiB of heap, %d are allowed", most>>20, limit>>20)
	}
	t.Logf("%d MiB of heap at most; %+v", most>>20, s)
}

// TestGrowth: flows that are open already come to take more memory than is
// allowed, without a new one: some of them give way.
func TestGrowth(t *testing.T) {
	const flows, limit = 20_000, 12 << 20
	var packets, sent uint64
	tbl := New(Config{MaxBytes: limit}, nil, func(r *flow.Record) { packets += r.Packets() })
	p := packet{0, 'c', "S 1"}.decoded()
	for _, flags := range []uint8{flagSYN, flagACK} {
		for i := range uint32(flows) {
			p.Src, p.Flags, p.Seq = address(10, i), flags, 2-uint32(flags)&1
			tbl.Observe(p)
			sent++
			if b := tbl.Bytes(); b > limit+4096 {
				t.Fatalf("%d octets", b)
			}
		}
	}
	s := tbl.Stats()
	tbl.Flush(flow.EndForced)
	if packets != sent || s.EmergenciesEntered != 1 || s.Evicted == 0 {
		t.Errorf("%d of %d packets, %+v", packets, sent, s)
	}
}

func sentPayload(established uint64) uint64 { return 2 * 2 * 10 * established }
