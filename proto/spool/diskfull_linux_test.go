package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// TestDiskFull fills a file system of 8 MB, from inside and from outside.
func TestDiskFull(t *testing.T) { inBothModes(t, testDiskFull) }

func testDiskFull(t *testing.T, key *seal.Key) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mount a tmpfs of 8 MB: %v: needs root", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	reg := prometheus.NewRegistry()
	cfg := Config{Dir: filepath.Join(dir, "spool"), Sync: true, Key: key} // 1 GiB is allowed, 8 MB are there
	s, err := Open(cfg, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	epoch := s.Epoch()
	var all account
	seq := uint64(0)
	refused := 0
	add := func(n int) {
		for range n {
			r := testRecord(epoch, 0, seq)
			seq++
			if err := s.Append(r); err != nil {
				if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
				refused++
			}
			all.meta(r.Meta)
		}
	}
	add(30_000) // about 13 MB
	if refused > 0 {
		t.Errorf("%d records refused while older ones could go", refused)
	}
	if n := s.Stats().Bytes; n < 5<<20 {
		t.Errorf("only %d bytes of 8 MB are used", n)
	}
	// Somebody else takes the rest, and more: whatever is freed.
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := filler.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	add(2_000)
	for range 200 {
		filler.Write(make([]byte, 64<<10))
		add(20)
	}
	// It is given back: no restart is needed.
	filler.Close()
	os.Remove(filler.Name())
	refused = 0
	add(5_000)
	if refused > 0 {
		t.Errorf("%d records refused after there was room again", refused)
	}
	var got, counted account
	ranges := s.Dropped()
	got.add(ranges)
	counted = account{metric(t, reg, "tapwatch_spool_dropped_records_total"), metric(t, reg, "tapwatch_spool_dropped_rows_total"),
		metric(t, reg, "tapwatch_spool_dropped_packets_total"), metric(t, reg, "tapwatch_spool_dropped_frame_bytes_total")}
	if got != counted || got.records == 0 {
		t.Errorf("declared %+v, counted %+v", got, counted)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	defer s.Close()
	if again := s.Dropped(); fmt.Sprint(again) != fmt.Sprint(ranges) {
		t.Errorf("declared after a restart %v, before %v", again, ranges)
	}
	kept := drain(t, s)
	for _, m := range kept {
		got.meta(m)
	}
	if got != all {
		t.Errorf("kept and dropped (-got +want)\n-%+v\n+%+v", got, all)
	}
	t.Logf("%d appended, %d kept, %d dropped in %d ranges", all.records, len(kept), counted.records, len(ranges))
}
