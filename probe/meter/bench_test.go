//go:build unix

package meter

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// benchFrames reads TAPWATCH_BENCH_PCAP (a capture made by
// ../shared/bench/mixscale.go), or the small mix, into memory.
func benchFrames(b testing.TB) []capture.Frame {
	path := os.Getenv("TAPWATCH_BENCH_PCAP")
	if path == "" {
		path = corpus.Path(b, "bench/mix.pcap")
	}
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	var frames []capture.Frame
	for {
		var f capture.Frame
		if src.Next(&f) != nil {
			return frames
		}
		f.Data = bytes.Clone(f.Data)
		frames = append(frames, f)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPackets counts packets per second of CPU time through Decode alone,
// Decode and ObserveAll, and with inspection. One operation is one packet.
func BenchmarkPackets(b *testing.B) {
	frames := benchFrames(b)
	for _, c := range []struct {
		name           string
		meter, inspect bool
	}{{"decode", false, false}, {"meter", true, false}, {"inspect", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			var in *dpi.Inspector
			if c.inspect {
				in = dpi.NewInspector(dpi.DefaultConfig())
			}
			dec := decode.New(decode.DefaultConfig())
			records := 0
			tbl := New(DefaultConfig(), in, func(*flow.Record) { records++ })
			packets := make([]decode.Packet, 64)
			n := 0
			b.ReportAllocs()
			b.ResetTimer()
			start := cpuTime()
			for i := range b.N {
				j := i % len(frames)
				if j == 0 {
					tbl.Flush(flow.EndForced)
				}
				if dec.Decode(&frames[j], &packets[n]) == decode.OK {
					n++
				}
				if n == len(packets) {
					if c.meter {
						tbl.ObserveAll(packets, "")
					}
					n = 0
				}
			}
			b.ReportMetric(float64(b.N)/(cpuTime()-start).Seconds()/1e6, "Mpkt/cpu-s")
			b.ReportMetric(float64(records)/float64(b.N), "records/op")
		})
	}
}

// BenchmarkObserve is the flow table alone: packets decoded before, in k copies
// with other addresses one after the other, as ../shared/bench/mixscale.go
// makes them; so k times as many flows are open, and k packets in a row belong
// to k flows. With one packet at a time and in blocks.
func BenchmarkObserve(b *testing.B) {
	frames := benchFrames(b)
	dec := decode.New(decode.DefaultConfig())
	packets := make([]decode.Packet, 0, len(frames))
	for i := range frames {
		var p decode.Packet
		if dec.Decode(&frames[i], &p) == decode.OK {
			p.Payload = nil
			packets = append(packets, p)
		}
	}
	for _, k := range []int{1, 24} {
		for _, block := range []int{1, 32, 64} {
			b.Run(fmt.Sprintf("copies=%d/block=%d", k, block), func(b *testing.B) {
				tbl := New(DefaultConfig(), nil, func(*flow.Record) {})
				batch := make([]decode.Packet, 0, block)
				b.ReportAllocs()
				// Others use this machine too: of each stretch of the packets the
				// quickest of all passes counts.
				const stretch = 1 << 16
				var best []time.Duration
				start, place, done := cpuTime(), 0, 0
				from, copy := 0, 0
				for n := 0; n < b.N; n += len(batch) {
					if done += block; done >= stretch {
						took := cpuTime() - start
						if place == len(best) {
							best = append(best, took)
						}
						best[place] = min(best[place], took)
						start, place, done = cpuTime(), place+1, 0
					}
					batch = batch[:0]
					for len(batch) < block {
						batch = append(batch, packets[from])
						p := &batch[len(batch)-1]
						p.Src[13] ^= byte(copy)
						p.Dst[13] ^= byte(copy)
						if copy++; copy == k {
							copy = 0
							if from++; from == len(packets) {
								from = 0
								tbl.Flush(flow.EndForced)
								start, place, done = cpuTime(), 0, 0
							}
						}
					}
					if block == 1 {
						tbl.Observe(&batch[0])
					} else {
						tbl.ObserveAll(batch, "")
					}
				}
				var sum time.Duration
				for _, d := range best {
					sum += d
				}
				if len(best) > 0 {
					b.ReportMetric(float64(sum.Nanoseconds())/float64(len(best)*stretch), "cpu-ns/op")
				}
			})
		}
	}
}
