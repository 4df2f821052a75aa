package meter

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestMemoryPerFlow measures the heap that open flows take, the index and what
// inspection holds included. TAPWATCH_FLOWS=10000000 measures so many flows of
// one packet.
func TestMemoryPerFlow(t *testing.T) {
	single := 100_000
	if s := os.Getenv("TAPWATCH_FLOWS"); s != "" {
		fmt.Sscan(s, &single)
	}
	hello := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: test\r\n\r\n")
	for _, c := range []struct {
		name    string
		flows   int
		packets []packet
		inspect bool
		most    int // octets
	}{
		{"one packet", single, []packet{{0, 'c', "S 1"}}, false, 250},
		{"two SYNs", 20_000, []packet{{0, 'c', "S 1"}, {0, 'c', "S 1"}}, false, 850},
		{"established", 20_000, []packet{{0, 'c', "S 100"}, {0, 's', "SA 500 101"}, {0, 'c', "A 101 501"}}, false, 850},
		{"established, with payload", 20_000, []packet{{0, 'c', "S 100"}, {0, 's', "SA 500 101"}, {0, 'c', "A 101 501 10"}}, false, 950},
		{"inspected", 20_000, []packet{{0, 'c', "S 100"}, {0, 's', "SA 500 101"}, {0, 'c', fmt.Sprint("A 101 501 ", len(hello))}}, true, 6000},
	} {
		var in *dpi.Inspector
		if c.inspect {
			in = dpi.NewInspector(dpi.DefaultConfig())
		}
		tbl := New(Config{MaxFlows: 2 * c.flows, MaxBytes: 1 << 40}, in, func(*flow.Record) {})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range c.flows {
			for _, k := range c.packets {
				p := k.decoded()
				if k.from == 'c' {
					p.Src = address(10+byte(i>>24), uint32(i))
				} else {
					p.Dst = address(10+byte(i>>24), uint32(i))
				}
				if c.inspect && p.PayloadLen > 0 {
					p.Payload = hello
				}
				tbl.Observe(p)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if tbl.Open() != c.flows {
			t.Fatalf("%s: %d flows open", c.name, tbl.Open())
		}
		n := int(after.HeapAlloc-before.HeapAlloc) / c.flows
		t.Logf("%s: %d octets a flow with %d flows (the table says %d), %d MiB", c.name, n, c.flows, tbl.Bytes()/c.flows, (after.HeapAlloc-before.HeapAlloc)>>20)
		if n > c.most {
			t.Errorf("%s: %d octets a flow, at most %d are meant", c.name, n, c.most)
		}
		if said := tbl.Bytes() / c.flows; !c.inspect && (said > n*11/10 || said < n*9/10) {
			t.Errorf("%s: the table says %d octets a flow, the heap %d", c.name, said, n)
		}
		runtime.KeepAlive(tbl)
	}
}
