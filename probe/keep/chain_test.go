package keep

import (
	"runtime"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// BenchmarkChain is decoder, recognisers and flow table for each packet, without
// and with packets kept; the disk's side runs beside it.
func BenchmarkChain(b *testing.B) {
	frames := benchFrames(b)
	for _, c := range []struct {
		name string
		keep bool
		cut  kit.Bytes
		lags bool
	}{{"off", false, 0, false}, {"default", true, DefaultConfig().CutoffBytes, false}, {"first16k", true, 16 << 10, false}, {"all", true, 0, false},
		{"first16k, nobody writes", true, 16 << 10, true}, {"all, nobody writes", true, 0, true}} {
		b.Run(c.name, func(b *testing.B) {
			var w *Writer
			if c.keep {
				cfg := DefaultConfig()
				cfg.Dir, cfg.MinFree, cfg.MaxBytes = b.TempDir(), 0, 256<<20
				cfg.CutoffBytes = c.cut
				r := openRing(b, cfg)
				w = r.Writer(0)
				if c.lags { // what the capture goroutine does, without the other one beside it
					if err := r.Close(); err != nil {
						b.Fatal(err)
					}
				}
				defer w.Close()
			}
			runtime.GC()
			dec := decode.New(decode.DefaultConfig())
			table := meter.New(meter.DefaultConfig(), dpi.NewInspector(dpi.DefaultConfig()), func(*flow.Record) {})
			var p decode.Packet
			span := frames[len(frames)-1].Time - frames[0].Time + 1e9
			b.ReportAllocs()
			cpu := threadTime(b)
			b.ResetTimer()
			for i := range b.N {
				f := frames[i%len(frames)].Frame
				f.Time += span * int64(i/len(frames))
				if dec.Decode(&f, &p) != decode.OK {
					if w != nil {
						w.Add(&f, nil, "bench")
					}
					continue
				}
				table.ObserveOn(&p, "bench")
				if w != nil { // after the recognisers, which have read the first packets of a flow
					w.Add(&f, &p, "bench")
				}
			}
			b.StopTimer()
			cpu(b)
			if w != nil {
				b.ReportMetric(float64(w.droppedPackets)/float64(b.N)*100, "%dropped")
				b.ReportMetric(float64(w.cutPackets)/float64(b.N)*100, "%cut")
			}
		})
	}
}
