package probe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
)

// flowID is what differs between numbers of workers.
var flowID = regexp.MustCompile(`"flow_id":\d+,?`)

// sortedRecords are the lines of JSON in an order of their own.
func sortedRecords(text string) []string {
	lines := strings.Split(strings.TrimSuffix(flowID.ReplaceAllString(text, ""), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// Several workers make the very records that one makes, on plain files and on
// compressed ones; and all together on
// a stream whose clock steps from capture to capture.
func TestWorkersMakeTheSameRecords(t *testing.T) {
	paths := []string{demo, filepath.Join(demo, "3-protocols.pcap.gz")}
	const shared = "../../shared/captures"
	for _, name := range []string{"bench/mix.pcap", "zeek/mixed-vlan-mpls.pcap", "zeek/ipv4/fragmented-1.pcap", "zeek/tunnels", "pcapplusplus", "zeek/smb", "icsnpp"} {
		if _, err := os.Stat(filepath.Join(shared, name)); err == nil {
			paths = append(paths, filepath.Join(shared, name))
		}
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Capture.Files = []string{path}
			read := func(workers int) (string, uint64) {
				cfg.Capture.Workers = workers
				var out strings.Builder
				totals, err := Flows(context.Background(), cfg, FormatJSON, &out, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Log(err) // a damaged capture among the others
				}
				checkTotals(t, totals)
				return out.String(), totals.SeenPackets
			}
			one, packets := read(1)
			want := sortedRecords(one)
			for _, workers := range []int{2, 5} {
				many, n := read(workers)
				got := sortedRecords(many)
				if n != packets || len(got) != len(want) {
					t.Errorf("%d workers: %d packets, %d records; one: %d, %d", workers, n, len(got), packets, len(want))
				}
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Fatalf("%d workers (-got +want)\n-%s\n+%s", workers, got[i], want[i])
					}
				}
			}
		})
	}
}

// Each worker writes batches of its own, and each says its end.
func TestWorkersBatches(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Capture.Files, cfg.Capture.Workers = []string{demo}, 3
	text, totals := flowsWith(t, cfg, FormatBatch)
	checkTotals(t, totals)
	ends, records, seen := make(map[uint32]int), uint64(0), uint64(0)
	next := make(map[uint32]uint64)
	for _, b := range batchesOf(t, text) {
		h := b.Header()
		if next[h.Worker]++; h.Seq != next[h.Worker] {
			t.Errorf("worker %d: batch %d after %d", h.Worker, h.Seq, next[h.Worker]-1)
		}
		if h.EndOfStream {
			ends[h.Worker]++
		}
		records += uint64(b.Len())
		for _, s := range h.Ledger {
			seen += s.SeenPackets
		}
	}
	if fmt.Sprint(ends) != "map[0:1 1:1 2:1]" || records != totals.Records || seen != totals.SeenPackets {
		t.Errorf("ends %v, %d records, %d packets in batches; %+v", ends, records, seen, totals)
	}
}

// A file that shrinks while two workers read it ends the capture there, and
// every packet dealt out is accounted for.
func TestWorkersShrinkingFile(t *testing.T) {
	mix, err := os.ReadFile(corpus.Path(t, "bench/mix.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []int64{1 << 20, 8192} {
		path := filepath.Join(t.TempDir(), "shrinks.pcap")
		if err := os.WriteFile(path, mix, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.Capture.Files, cfg.Capture.Workers = []string{path}, 2
		// The first lines of output come when much of the file is read.
		cut := &onFirstWrite{do: func() error { return os.Truncate(path, keep) }}
		totals, err := Flows(context.Background(), cfg, FormatBatch, cut, slog.New(slog.DiscardHandler))
		if err != nil && !strings.Contains(err.Error(), "shrank") {
			t.Error(err)
		}
		checkTotals(t, totals)
	}
}

// onFirstWrite does something once and throws away what is written.
type onFirstWrite struct {
	do func() error
}

func (w *onFirstWrite) Write(b []byte) (int, error) {
	if w.do != nil {
		if err := w.do(); err != nil {
			return 0, err
		}
		w.do = nil
	}
	return io.Discard.Write(b)
}
