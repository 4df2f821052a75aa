package export

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/spool"
)

func record(i int) *flow.Record {
	r := &flow.Record{Start: 1_700_000_000_000_000_000 + int64(i)*1000, FlowID: uint64(i + 1), SrcPackets: 2, DstPackets: 1, SrcFrameBytes: 200, DstFrameBytes: 60,
		Protocol: 6, DstPort: 443, TLSSNI: "www.example.com", DNSNames: []string{"a.example"}}
	r.End = r.Start
	return r
}

func none() State { return State{Clock: 7, Watermark: 5, OpenFlows: 3} }

// What goes in comes out of the spool: every record once, in order, in batches
// numbered without gaps, with the ledger, and the end said last.
func TestEverythingReachesTheSpool(t *testing.T) {
	cfg := spool.DefaultConfig()
	cfg.Dir = t.TempDir()
	sp, err := spool.Open(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	l := ledger.New()
	e := New(Config{Probe: "p", Site: "s", Worker: 2}, l, sp, slog.New(slog.DiscardHandler), none)
	const n = 20_000
	for i := range n {
		l.At(int64(i / 1000))
		l.Flow(260)
		l.Flows(1, 1, 1)
		e.Add(record(i))
		if i%5000 == 0 {
			e.Cut()
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reader, want, seen := flow.NewReader(), 0, uint64(0)
	for seq, ended := uint64(1), false; !ended; seq++ {
		rec, at, err := sp.Next(ctx)
		if err != nil {
			t.Fatalf("after %d records: %v", want, err)
		}
		b, err := reader.Read(rec.Value)
		if err != nil {
			t.Fatal(err)
		}
		h := b.Header()
		if h.Seq != seq || rec.Meta.Seq != seq || h.Probe != "p" || h.Site != "s" || h.Worker != 2 || h.Epoch != sp.Epoch() || h.ClockNs != 7 || h.WatermarkNs != 5 || h.OpenFlows != 3 {
			t.Fatalf("header %v, meta %+v, want seq %d", h.Seq, rec.Meta, seq)
		}
		if len(rec.Value) > flow.MaxMessageBytes || int(rec.Meta.Rows) != b.Len() || rec.Meta.Packets != 3*uint64(b.Len()) || rec.Meta.FrameBytes != 260*uint64(b.Len()) {
			t.Errorf("%d bytes, meta %+v for %d records", len(rec.Value), rec.Meta, b.Len())
		}
		for _, s := range h.Ledger {
			seen += s.SeenPackets
		}
		var r flow.Record
		for i := range b.Len() {
			if b.Record(i, &r); r.FlowID != uint64(want+1) || r.TLSSNI != "www.example.com" {
				t.Fatalf("record %d is %d", want, r.FlowID)
			}
			want++
		}
		ended = h.EndOfStream
		if err := sp.Ack(at); err != nil {
			t.Fatal(err)
		}
	}
	if want != n || seen != n || sp.Stats().Records != 0 {
		t.Errorf("%d records, %d packets in ledgers, %d batches left", want, seen, sp.Stats().Records)
	}
}

// stuck is a disk that does not answer until it is let go.
type stuck struct{ release chan struct{} }

func (s stuck) Epoch() uint64              { return 1 }
func (s stuck) Dropped() []spool.DropRange { return nil }
func (s stuck) Append(spool.Record) error  { <-s.release; return nil }

// A disk that hangs loses the records of an interface, which are counted;
// capture goes on.
func TestHangingDisk(t *testing.T) {
	s := stuck{make(chan struct{})}
	l := ledger.New()
	e := New(Config{Probe: "p", Live: true}, l, s, slog.New(slog.DiscardHandler), none)
	lost := 0
	for i := range 10 {
		e.Add(record(i))
		e.Cut()
	}
	if lost = 10 - batches; e.filling != nil {
		t.Error("a batch is being filled that no one freed")
	}
	close(s.release)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := l.Totals().Losses[flow.LossQueueFull].Records; got != uint64(lost) {
		t.Errorf("%d records counted as lost, want %d", got, lost)
	}
}

// refusing is a disk that is full.
type refusing struct{ err error }

func (s refusing) Epoch() uint64              { return 1 }
func (s refusing) Dropped() []spool.DropRange { return nil }
func (s refusing) Append(spool.Record) error  { return s.err }

func TestRefusingSpool(t *testing.T) {
	full := errors.New("full")
	for live, want := range map[bool]error{false: full, true: nil} {
		e := New(Config{Probe: "p", Live: live}, ledger.New(), refusing{full}, slog.New(slog.DiscardHandler), none)
		e.Add(record(1))
		if err := e.Close(); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("live %v: got %v, want %v", live, err, want)
		}
	}
}
