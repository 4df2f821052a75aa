package capture

import (
	"io"
	"os"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
)

// benchCapture is the file of BenchmarkFile: TAPWATCH_BENCH_PCAP, or the mix of
// ../shared.
func benchCapture(b *testing.B) string {
	if p := os.Getenv("TAPWATCH_BENCH_PCAP"); p != "" {
		return p
	}
	return corpus.Path(b, "bench/mix.pcap")
}

// BenchmarkFile reads a whole capture per run and reports packets per second of
// CPU, which one goroutine without waiting is about the same as of time.
func BenchmarkFile(b *testing.B) {
	path := benchCapture(b)
	for name, opt := range map[string]FileOptions{"streamed": {}, "filtered": {Filter: "tcp port 443"}} {
		b.Run(name, func(b *testing.B) {
			var n uint64
			for b.Loop() {
				src, err := OpenFile(path, opt)
				if err != nil {
					b.Fatal(err)
				}
				var f Frame
				for {
					if err := src.Next(&f); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				st := src.Stats()
				n += st.Received + st.Filtered
				src.Close()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkMatch runs a usual filter on one frame that passes.
func BenchmarkMatch(b *testing.B) {
	f, err := CompileFilter("tcp port 80 and host 10.0.0.1", LinkEthernet, 0)
	if err != nil {
		b.Skip(err)
	}
	frame := tcpFrame()
	for b.Loop() {
		f.Match(frame, uint32(len(frame)))
	}
}
