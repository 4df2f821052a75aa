package contract

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/ledger"
)

// flowsOf sends captures through the whole probe up to its output; a panic ends
// the test, as nothing recovers from one.
func flowsOf(cfg probe.Config, format string, paths ...string) (ledger.Totals, error) {
	cfg.Capture.Files = paths
	return probe.Flows(context.Background(), cfg, format, io.Discard, slog.New(slog.DiscardHandler))
}

// whole is the configuration of one worker, with a table that is too small at
// times.
func whole() probe.Config {
	cfg := probe.DefaultConfig()
	cfg.Capture.Workers = 1
	return cfg
}

// TestEveryCapture is section 9 of what the probe shall reach, and R19 on what
// was recorded: every capture, the malformed among them, goes through the whole
// probe; the ledger closes and nothing panics.
func TestEveryCapture(t *testing.T) {
	paths := recorded(t)
	packets := uint64(0)
	each := func(name, path string) {
		n, err := flowsOf(whole(), probe.FormatBatch, path)
		packets += n.SeenPackets
		if err != nil && !errors.Is(err, capture.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if err := closed(n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && (full() || info.Size() < 1<<20) {
			each(path, path)
		}
	}
	path, n := filepath.Join(t.TempDir(), "capture"), 0
	corpus.EachCapture(t, func(name string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		each(name, path)
		n++
	})
	t.Logf("%d recorded captures and %d of the corpora, %d packets", len(paths), n, packets)
}

// sample is a frame of a real capture.
type sample struct {
	data []byte
	link uint16
	time int64
}

// samples are the first frames of all captures, of the corpora too, capture by
// capture.
func samples(t *testing.T, most int) (all [][]sample) {
	t.Helper()
	add := func(path string) {
		src, err := capture.OpenFile(path, capture.FileOptions{})
		if err != nil {
			return // what is no capture is of other tests
		}
		defer src.Close()
		var list []sample
		var f capture.Frame
		for len(list) < most && src.Next(&f) == nil {
			if len(f.Data) <= 4096 {
				list = append(list, sample{bytes.Clone(f.Data), f.LinkType, f.Time})
			}
		}
		if len(list) > 0 {
			all = append(all, list)
		}
	}
	for _, path := range recorded(t) {
		add(path)
	}
	path := filepath.Join(t.TempDir(), "capture")
	corpus.EachCapture(t, func(_ string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		add(path)
	})
	return all
}

// linkTypes are those the decoder knows, and one that it does not.
var linkTypes = []uint16{0, 1, 9, 12, 50, 51, 101, 105, 108, 113, 127, 228, 229, 239, 253, 276, 147}

// mutate damages b in one of the ways that have broken decoders.
func mutate(rng *rand.Rand, b []byte, other []byte) []byte {
	b = bytes.Clone(b)
	if len(b) == 0 {
		return b
	}
	lies := []uint16{0, 1, 2, 4, 7, 8, 0x14, 0x28, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff}
	for range 1 + rng.IntN(3) {
		at := rng.IntN(len(b))
		if rng.IntN(2) == 0 { // headers are in front
			at = rng.IntN(min(len(b), 120))
		}
		switch rng.IntN(8) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = byte(rng.Uint32())
		case 2, 3:
			b[at] = byte(lies[rng.IntN(len(lies))])
		case 4:
			if at+2 <= len(b) {
				binary.BigEndian.PutUint16(b[at:], lies[rng.IntN(len(lies))])
			}
		case 5:
			if at+4 <= len(b) {
				binary.BigEndian.PutUint32(b[at:], uint32(lies[rng.IntN(len(lies))])<<16|0xffff)
			}
		case 6:
			b = b[:at]
			if at == 0 {
				return b
			}
		default: // the end of another packet
			b = append(b[:at:at], other[min(at, len(other)):]...)
			if len(b) == 0 {
				return b
			}
		}
	}
	return b
}

// TestMutatedCaptures is R19 on what nobody has recorded: captures with bits,
// lengths and ends changed, and under other link types, go through the whole
// probe. The seed is fixed, so that what fails once fails again; the full form
// takes other seeds for an hour, or as TAPWATCH_CONTRACT_TIME says.
func TestMutatedCaptures(t *testing.T) {
	list := samples(t, 40)
	time1, seed := 10*time.Second, uint64(1)
	if full() {
		time1, seed = time.Hour, uint64(time.Now().UnixNano())
		if d, err := time.ParseDuration(os.Getenv("TAPWATCH_CONTRACT_TIME")); err == nil {
			time1 = d
		}
	}
	path := filepath.Join(t.TempDir(), "mutated.pcap")
	packets, variants, began := uint64(0), 0, time.Now()
	for round := uint64(0); ; round++ {
		rng := rand.New(rand.NewPCG(seed, round))
		for first := 0; first < len(list); first += 60 {
			if variants >= 3000 && time.Since(began) > time1 || !full() && variants >= 3*len(list) {
				t.Logf("%d captures mutated, %d packets, seed %d", variants, packets, seed)
				return
			}
			// Captures of one link type together; each time one of them under another.
			parts := map[uint16][][]sample{}
			for _, c := range list[first:min(first+60, len(list))] {
				link := c[0].link
				if rng.IntN(4) == 0 {
					link = linkTypes[rng.IntN(len(linkTypes))]
				}
				parts[link] = append(parts[link], c)
				variants++
			}
			for link, captures := range parts {
				var file bytes.Buffer
				w := newWire(&file, uint32(link))
				for _, c := range captures {
					for _, s := range c {
						b := s.data
						if rng.IntN(3) == 0 {
							b = mutate(rng, b, c[rng.IntN(len(c))].data)
						}
						w.put(max(s.time, 0), b, uint32(len(b)+max(rng.IntN(40)-38, 0)*rng.IntN(9000)))
					}
				}
				if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				cfg := whole()
				if rng.IntN(4) == 0 {
					cfg.Meter.MaxFlows = 1 + rng.IntN(30)
				}
				if rng.IntN(8) == 0 {
					cfg.Capture.Workers = 2
				}
				what := fmt.Sprintf("seed %d, round %d, captures %d to %d, link type %d", seed, round, first, first+60, link)
				n, err := watched(t, what, func() (ledger.Totals, error) { return flowsOf(cfg, probe.FormatBatch, path) })
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if err := closed(n); err != nil || n.SeenPackets != w.packets || n.SeenFrameBytes != w.octets {
					t.Fatalf("%s: %d packets, %d octets: %v %+v", what, w.packets, w.octets, err, n)
				}
				packets += n.SeenPackets
			}
		}
	}
}

// watched runs f and ends the process with all stacks when it hangs, or panics;
// what says which input it was.
func watched(t *testing.T, what string, f func() (ledger.Totals, error)) (ledger.Totals, error) {
	t.Helper()
	done := false
	defer func() {
		if !done {
			t.Errorf("%s: panic", what)
		}
	}()
	timer := time.AfterFunc(time.Minute, func() { panic(what + ": hangs") })
	n, err := f()
	timer.Stop()
	done = true
	return n, err
}
