package decode

import (
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
)

// BenchmarkDecode decodes the frames of a mix of real traffic, held in memory:
// all of them, and the first thousand, which stay in the cache.
func BenchmarkDecode(b *testing.B) {
	all := frames(b, shared+"bench/mix.pcap")
	for _, c := range []struct {
		name string
		fs   []capture.Frame
	}{{"mix", all}, {"cached", all[:1000]}} {
		b.Run(c.name, func(b *testing.B) {
			d := New(DefaultConfig())
			var p Packet
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for i := range c.fs {
					d.Decode(&c.fs[i], &p)
				}
				n += len(c.fs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/packet")
		})
	}
}
