package probe

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
)

// BenchmarkFlows reads a capture through decoder, recognisers and flow table:
// TAPWATCH_BENCH_PCAP, or the demo's. It reports packets per second of one core.
func BenchmarkFlows(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Capture.Files = []string{demo}
	if path := os.Getenv("TAPWATCH_BENCH_PCAP"); path != "" {
		cfg.Capture.Files = []string{path}
	}
	for _, format := range []string{FormatNone, FormatBatch} {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			var packets uint64
			for b.Loop() {
				totals, err := Flows(context.Background(), cfg, format, io.Discard, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				packets += totals.SeenPackets
			}
			b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}
