package meter

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestObserveAll: blocks of any size make the records that single packets make,
// also when flows end and begin again within a block.
func TestObserveAll(t *testing.T) {
	root := corpus.Dir(t)
	for _, path := range []string{"bench/mix.pcap", "zeek/wikipedia.pcap", "ndpi/6in4tunnel.pcap"} {
		src, err := capture.OpenFile(filepath.Join(root, path), capture.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dec := decode.New(decode.DefaultConfig())
		var packets []decode.Packet
		var f capture.Frame
		var p decode.Packet
		for len(packets) < 30_000 && src.Next(&f) == nil {
			if dec.Decode(&f, &p) == decode.OK {
				p.Payload = nil
				packets = append(packets, p)
			}
		}
		src.Close()
		for _, cfg := range []Config{{}, {ActiveTimeout: time.Second, IdleTimeout: 100 * time.Millisecond, UnansweredTimeout: 10 * time.Millisecond, ResumeTime: -1, MaxFlows: 40, FloodRate: 2}} {
			observe := func(block int) (lines []string, s Stats) {
				tbl := New(cfg, nil, func(r *flow.Record) { lines = append(lines, string(r.AppendJSON(nil))) })
				for i := 0; i < len(packets); i += block {
					if block == 1 {
						tbl.ObserveOn(&packets[i], "eth7")
					} else {
						tbl.ObserveAll(packets[i:min(i+block, len(packets))], "eth7")
					}
				}
				tbl.Flush(flow.EndForced)
				return lines, tbl.Stats()
			}
			want, stats := observe(1)
			for _, block := range []int{2, 31, 32, 100} {
				got, s := observe(block)
				if len(got) != len(want) || s != stats {
					t.Fatalf("%s, blocks of %d: %d records, want %d; %+v, want %+v", path, block, len(got), len(want), s, stats)
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("%s, blocks of %d, record %d (-got +want)\n-%s\n+%s", path, block, i, got[i], want[i])
					}
				}
			}
			if cfg.FloodRate != 0 {
				t.Log(path, fmt.Sprintf("%d records, %+v", len(want), stats))
			}
		}
	}
}
