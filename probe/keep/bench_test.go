package keep

import (
	"os"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
)

// benchFrames are the frames of TAPWATCH_BENCH_PCAP, or of a mix of real traffic.
func benchFrames(b *testing.B) []frame {
	path := os.Getenv("TAPWATCH_BENCH_PCAP")
	if path == "" {
		path = corpus.Path(b, "bench/mix.pcap")
	}
	frames := readFrames(b, path, 200000)
	// One behind the other, as in a mapped file or the kernel's ring.
	const head = 16
	size := 0
	for i := range frames {
		size += head + len(frames[i].Data)
	}
	all := make([]byte, 0, size)
	for i := range frames {
		f := &frames[i]
		at := len(all) + head
		all = append(all, make([]byte, head)...)
		all = append(all, f.Data...)
		f.Data, f.packet.Payload = all[at:len(all):len(all)], nil
	}
	return frames
}

// BenchmarkAdd is the cost of one packet in the capture goroutine: with the default
// cut-off, without one, and when the disk lags so that blocks are dropped.
func BenchmarkAdd(b *testing.B) {
	frames := benchFrames(b)
	for _, c := range []struct {
		name  string
		set   func(*Config)
		drops bool
	}{
		{"cutoff", func(c *Config) { c.CutoffBytes = DefaultConfig().CutoffBytes }, false},
		{"all", func(*Config) {}, false},
		{"first16k", func(c *Config) { c.CutoffBytes = 16 << 10 }, false},
		{"lagging", func(*Config) {}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Dir, cfg.MinFree, cfg.CutoffBytes, cfg.MaxBytes = b.TempDir(), 0, 0, 256<<20
			c.set(&cfg)
			r := openRing(b, cfg)
			w := r.Writer(0)
			w.Wait = !c.drops
			if c.drops { // nobody takes the blocks
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			var octets int64
			b.ReportAllocs()
			cpu := threadTime(b)
			b.ResetTimer()
			for i := range b.N {
				f := &frames[i%len(frames)]
				f.add(w)
				octets += int64(len(f.Data))
			}
			b.StopTimer()
			cpu(b)
			b.SetBytes(octets / int64(b.N))
			w.Close()
		})
	}
}
