package decode

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
)

const shared = "../../../shared/captures/"

// frames reads a whole capture into memory.
func frames(t testing.TB, path string) (fs []capture.Frame) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the captures of ../shared are missing: %v", err)
	}
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Skipf("%s: %v", path, err)
	}
	defer src.Close()
	var arena []byte // as in a file, one frame behind the other
	for {
		var f capture.Frame
		switch err := src.Next(&f); {
		case errors.Is(err, io.EOF):
			return fs
		case err != nil:
			t.Logf("%s: %v", path, err)
			return fs
		}
		if cap(arena)-len(arena) < len(f.Data) {
			arena = make([]byte, 0, max(len(f.Data), 4<<20))
		}
		arena = append(arena, f.Data...)
		f.Data = arena[len(arena)-len(f.Data) : len(arena) : len(arena)]
		fs = append(fs, f)
	}
}

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
