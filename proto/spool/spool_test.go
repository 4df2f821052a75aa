package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// testRecord is a record whose content follows from its identity, so that an altered byte shows.
func testRecord(epoch uint64, worker uint32, seq uint64) Record {
	r := rand.New(rand.NewPCG(epoch, uint64(worker)<<40|seq))
	v := make([]byte, 20+r.IntN(600))
	binary.BigEndian.PutUint64(v, seq)
	for i := 8; i < len(v); i++ {
		v[i] = byte(r.Uint32())
	}
	return Record{Partition: int32(worker), Key: fmt.Appendf(nil, "probe/%d", worker), Value: v,
		Meta: Meta{Epoch: epoch, Worker: worker, Seq: seq, Rows: uint32(seq%7 + 1), Packets: seq%100 + 1, FrameBytes: seq * 3}}
}

func same(a, b Record) bool {
	return a.Partition == b.Partition && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Meta == b.Meta
}

func mustOpen(t testing.TB, cfg Config) *Spool {
	t.Helper()
	s, err := Open(cfg, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustAppend(t testing.TB, s *Spool, recs ...Record) {
	t.Helper()
	for _, r := range recs {
		if err := s.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes everything out; the records must be as testRecord makes them.
func drain(t testing.TB, s *Spool) (got []Meta) {
	t.Helper()
	return take(t, s, true)
}

func take(t testing.TB, s *Spool, ack bool) (got []Meta) {
	t.Helper()
	for {
		r, pos, ok, err := s.tryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return got
		}
		if want := testRecord(r.Meta.Epoch, r.Meta.Worker, r.Meta.Seq); !same(r, want) {
			t.Fatalf("record %+v is not what was appended", r.Meta)
		}
		if ack {
			if err := s.Ack(pos); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, r.Meta)
	}
}

func TestOrderOverRestarts(t *testing.T) { inBothModes(t, testOrderOverRestarts) }

func testOrderOverRestarts(t *testing.T, key *seal.Key) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 8 << 20, SegmentBytes: minSegmentBytes, Key: key}
	var want []Meta
	for range 4 {
		s := mustOpen(t, cfg)
		for seq := range uint64(200) {
			r := testRecord(s.Epoch(), 0, seq)
			mustAppend(t, s, r)
			want = append(want, r.Meta)
		}
		for range 50 { // a part is acknowledged, always of the oldest
			r, pos, err := s.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if r.Meta != want[0] {
				t.Fatalf("got %+v, want %+v", r.Meta, want[0])
			}
			if err := s.Ack(pos); err != nil {
				t.Fatal(err)
			}
			want = want[1:]
		}
		if _, _, err := s.Next(context.Background()); err != nil { // handed out, not acknowledged: comes again
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, cfg)
	defer s.Close()
	if got := s.Stats().Records; got != len(want) {
		t.Errorf("waiting %d, want %d", got, len(want))
	}
	got := drain(t, s)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d records, want %d in the order of appending", len(got), len(want))
	}
	if d := s.Dropped(); len(d) > 0 {
		t.Errorf("dropped %+v", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) != 0 || s.total != 0 {
		t.Errorf("%d segments of %d bytes are left", len(s.segments), s.total)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	s := mustOpen(t, cfg)
	defer s.Close()
	if _, err := Open(cfg, nil, nil); err == nil {
		t.Fatal("a second Open succeeded")
	}
}

func TestNextWaits(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	got := make(chan error)
	go func() {
		_, _, err := s.Next(context.Background())
		got <- err
		_, _, err = s.Next(context.Background())
		got <- err
	}()
	mustAppend(t, s, testRecord(1, 0, 0))
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want %v", err, ErrClosed)
	}
	if err := s.Append(testRecord(1, 0, 1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want %v", err, ErrClosed)
	}
}

func TestConcurrentAppend(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir(), MaxBytes: 64 << 20, SegmentBytes: minSegmentBytes, Sync: true})
	defer s.Close()
	const workers, each = 8, 100
	var wg sync.WaitGroup
	for w := range uint32(workers) {
		wg.Go(func() {
			for seq := range uint64(each) {
				if err := s.Append(testRecord(s.Epoch(), w, seq)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := map[uint32]uint64{}
	for range workers * each {
		r, pos, err := s.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if r.Meta.Seq != next[r.Meta.Worker] {
			t.Fatalf("worker %d: got seq %d, want %d", r.Meta.Worker, r.Meta.Seq, next[r.Meta.Worker])
		}
		next[r.Meta.Worker]++
		if err := s.Ack(pos); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if n := s.Stats().Records; n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// account adds up what the ranges declare.
type account struct{ records, rows, packets, frameBytes uint64 }

func (a *account) meta(m Meta) {
	a.records++
	a.rows += uint64(m.Rows)
	a.packets += m.Packets
	a.frameBytes += m.FrameBytes
}

func (a *account) add(ranges []DropRange) {
	for _, r := range ranges {
		a.records += r.Records
		a.rows += r.Rows
		a.packets += r.Packets
		a.frameBytes += r.FrameBytes
	}
}

func TestFullDropsTheOldestExactly(t *testing.T) { inBothModes(t, testFullDropsTheOldestExactly) }

func testFullDropsTheOldestExactly(t *testing.T, key *seal.Key) {
	cfg := Config{Dir: t.TempDir(), MaxBytes: 512 << 10, SegmentBytes: minSegmentBytes, Key: key}
	s := mustOpen(t, cfg)
	epoch := s.Epoch()
	var all account
	const n = 4000
	for seq := range uint64(n) {
		for w := range uint32(2) {
			r := testRecord(epoch, w, seq)
			mustAppend(t, s, r)
			all.meta(r.Meta)
		}
		if b := s.Stats().Bytes; b > cfg.MaxBytes {
			t.Fatalf("%d bytes, limit %d", b, cfg.MaxBytes)
		}
		if seq == n/2 {
			s.Dropped() // freezes: later drops are ranges of their own
		}
	}
	first := s.Dropped()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	defer s.Close()
	ranges := s.Dropped()
	if fmt.Sprint(first) != fmt.Sprint(ranges) {
		t.Errorf("after a restart (-got +want)\n-%v\n+%v", ranges, first)
	}
	gone := map[Meta]bool{}
	for _, r := range ranges {
		if r.Reason != ReasonSpoolFull || r.Records != r.To-r.From+1 {
			t.Errorf("range %+v is not a run of its own", r)
		}
		for seq := r.From; seq <= r.To; seq++ {
			gone[testRecord(r.Epoch, r.Worker, seq).Meta] = true
		}
	}
	var got account
	got.add(ranges)
	if got.records == 0 || int(got.records) != len(gone) {
		t.Errorf("ranges count %d records and name %d", got.records, len(gone))
	}
	for _, m := range drain(t, s) {
		if gone[m] {
			t.Errorf("%+v was declared as dropped", m)
		}
		got.meta(m)
	}
	if got != all {
		t.Errorf("kept and dropped (-got +want)\n-%+v\n+%+v", got, all)
	}
	// Declared with the next batch: gone for good; and back when that batch is dropped itself.
	mustAppend(t, s, Record{Value: []byte("x"), Meta: Meta{Epoch: 9, Seq: 0}, Declares: ranges})
	if d := s.Dropped(); len(d) != 0 {
		t.Errorf("still undeclared: %v", d)
	}
	r, _, err := s.Next(context.Background())
	if err != nil || fmt.Sprint(r.Declares) != fmt.Sprint(ranges) {
		t.Errorf("record carries %v, error %v", r.Declares, err)
	}
	s.Rewind()
	s.mu.Lock()
	s.dropOldest()
	s.mu.Unlock()
	if d := s.Dropped(); len(d) != len(ranges)+1 {
		t.Errorf("%d ranges after the declaring batch was dropped, want %d", len(d), len(ranges)+1)
	}
}

func TestInFlightIsNotDropped(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir(), MaxBytes: 256 << 10, SegmentBytes: minSegmentBytes})
	defer s.Close()
	epoch := s.Epoch()
	mustAppend(t, s, testRecord(epoch, 0, 0))
	_, pos, err := s.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(3000) {
		mustAppend(t, s, testRecord(epoch, 0, seq+1))
	}
	for _, r := range s.Dropped() {
		if r.From == 0 {
			t.Errorf("%+v holds the record being sent", r)
		}
	}
	if err := s.Ack(pos); err != nil {
		t.Error(err)
	}
}

func TestTooLarge(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir(), MaxBytes: 1 << 20})
	defer s.Close()
	err := s.Append(Record{Value: make([]byte, 600<<10), Meta: Meta{Epoch: 1, Seq: 5, Rows: 3}})
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if d := s.Dropped(); len(d) != 1 || d[0].Reason != ReasonRejected || d[0].Rows != 3 {
		t.Errorf("declared %+v", d)
	}
}

func TestLedgerStaysBounded(t *testing.T) {
	var l ledger
	for i := range uint64(2 * maxRanges) {
		l.add(DropRange{Epoch: i % 1500, From: 1 + 10*i, To: 1 + 10*i, Records: 1, Rows: 2, Packets: 3, FrameBytes: 4, Reason: ReasonCorrupt})
		if i == 500 {
			l.handOut()
		}
	}
	var got account
	got.add(l.ranges)
	n := uint64(2 * maxRanges)
	if want := (account{n, 2 * n, 3 * n, 4 * n}); got != want || len(l.ranges) > maxRanges {
		t.Errorf("%d ranges, (-got +want)\n-%+v\n+%+v", len(l.ranges), got, want)
	}
	st, _, _, err := openState(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer st.f.Close()
	for i := range l.ranges { // the longest numbers must fit
		l.ranges[i] = DropRange{^uint64(0), ^uint32(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), 3}
	}
	if err := st.write(&saved{Dropped: l.ranges}); err != nil {
		t.Error(err)
	}
}

func TestMetricsMove(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := Open(Config{Dir: t.TempDir(), Sync: true}, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustAppend(t, s, testRecord(1, 0, 0), testRecord(1, 0, 1))
	_, pos, _ := s.Next(context.Background())
	s.Ack(pos)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"tapwatch_spool_appended_records_total": 2, "tapwatch_spool_acked_records_total": 1, "tapwatch_spool_waiting_records": 1,
		"tapwatch_spool_fsync_seconds": 2, "tapwatch_spool_corrupt_records_total": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if age := got["tapwatch_spool_oldest_age_seconds"]; age < 0 || age > time.Minute.Seconds() {
		t.Errorf("oldest age %v s", age)
	}
}

// segmentFiles are the paths of the segments, oldest first.
func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "seg-*.tw?"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
