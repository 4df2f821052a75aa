package probe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// sink takes a worker's records. Cut is called about once a second and says
// that what was added so far should move on.
type sink interface {
	Add(*flow.Record)
	Cut()
}

// worker owns all that lives per capture queue: decoder, flow table, DPI and
// ledger. One goroutine runs it.
type worker struct {
	live    bool
	dec     *decode.Decoder
	dpi     *dpi.Inspector
	table   *meter.Table
	ledger  *ledger.Ledger
	sink    sink
	metrics *metrics // nil: none
	log     *slog.Logger

	second  int64         // of traffic time, that the ledger is at
	flows   meter.Stats   // already in the ledger
	kernel  capture.Stats // already in the ledger
	lastCut time.Time
}

// cutEvery is how often a header goes out, with or without records.
const cutEvery = time.Second

func newWorker(cfg Config, live bool, log *slog.Logger) *worker {
	w := &worker{live: live, dec: decode.New(decode.DefaultConfig()), dpi: dpi.NewInspector(dpi.DefaultConfig()),
		ledger: ledger.New(), log: log, lastCut: time.Now(), second: -1}
	w.table = meter.New(cfg.Meter.table(), w.dpi, w.emit)
	return w
}

// emit is called by the flow table for each record.
func (w *worker) emit(r *flow.Record) {
	w.ledger.Flows(0, 0, 1)
	if w.metrics != nil {
		w.metrics.flowEnded(w.table.Clock() - r.End)
	}
	w.sink.Add(r)
}

// state is what the header of a batch says about this worker.
func (w *worker) state() export.State {
	return export.State{Clock: w.table.Clock(), Watermark: w.table.Watermark(), OpenFlows: uint64(w.table.Open())}
}

// read takes all packets of src; flows stay open at its end. It returns nil at
// the end of a file and when ctx ends.
func (w *worker) read(ctx context.Context, src capture.Source) error {
	w.kernel = capture.Stats{}
	defer func() { w.account(src) }()
	return capture.Guard(src, func() error { return w.loop(ctx, src) })
}

// ticks is after how many packets the wall clock and the context are looked at.
const ticks = 256

func (w *worker) loop(ctx context.Context, src capture.Source) error {
	var (
		f      capture.Frame
		p      decode.Packet
		iface  string
		number uint32 = 1<<32 - 1
	)
	for n := 1; ; n++ {
		switch err := src.Next(&f); {
		case err == nil:
			if f.Interface != number {
				if names := src.Interfaces(); int(f.Interface) < len(names) {
					number, iface = f.Interface, names[f.Interface]
				}
			}
			w.packet(&f, &p, iface)
			if n%ticks != 0 {
				continue
			}
		case errors.Is(err, capture.ErrTimeout):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		w.tick(src, time.Now())
	}
}

func (w *worker) packet(f *capture.Frame, p *decode.Packet, iface string) {
	if s := floorSecond(f.Time); s != w.second {
		w.at(s)
	}
	if verdict := w.dec.Decode(f, p); verdict != decode.OK {
		w.ledger.Lost(verdict.String(), 1, uint64(f.Len))
		return
	}
	w.ledger.Flow(f.Len)
	w.table.ObserveOn(p, iface)
}

// at moves the ledger to another second.
func (w *worker) at(second int64) {
	w.countFlows()
	w.ledger.At(second)
	w.second = second
	if w.ledger.Len() >= export.MaxSeconds {
		w.cut()
	}
}

func floorSecond(ns int64) int64 {
	s := ns / int64(time.Second)
	if ns%int64(time.Second) < 0 {
		s--
	}
	return s
}

// tick runs the timeouts of a live worker and cuts a batch when it is time.
func (w *worker) tick(src capture.Source, now time.Time) {
	if w.live {
		w.table.Advance(now.UnixNano())
	}
	if now.Sub(w.lastCut) < cutEvery {
		return
	}
	w.lastCut = now
	if w.live {
		w.at(now.Unix())
	}
	w.account(src)
	w.cut()
}

func (w *worker) cut() {
	w.countFlows()
	w.sink.Cut()
	if w.metrics != nil {
		w.metrics.update(w.ledger.Totals(), w.table.Open(), w.table.Stats(), w.dpi.Stats())
	}
}

// countFlows brings the flow table's counts into the ledger's current second.
func (w *worker) countFlows() {
	s := w.table.Stats()
	w.ledger.Flows(s.FlowsStarted-w.flows.FlowsStarted, s.FlowsEnded-w.flows.FlowsEnded, 0)
	w.flows = s
}

// account brings what the capture lost or filtered into the ledger.
func (w *worker) account(src capture.Source) {
	s, was := src.Stats(), w.kernel
	w.ledger.Lost(flow.LossFiltered, s.Filtered-was.Filtered, s.FilteredBytes-was.FilteredBytes)
	w.ledger.Lost(flow.LossRing, s.RingDropped-was.RingDropped, 0)
	w.ledger.Lost(flow.LossInterface, s.InterfaceDropped-was.InterfaceDropped, 0)
	w.ledger.Lost(flow.LossSoftnet, s.SoftnetDropped-was.SoftnetDropped, 0)
	if s.Truncation != nil && was.Truncation == nil {
		w.log.Warn("the capture is cut; the packets before the cut are counted", "err", s.Truncation)
	}
	if n := s.RecordedDropped - was.RecordedDropped; n > 0 {
		w.log.Warn("the capture file says that packets were dropped when it was made", "packets", n)
	}
	w.kernel = s
}

// finish ends all flows and leaves their records with the sink.
func (w *worker) finish() {
	w.table.Flush(flow.EndForced)
	w.cut()
}
