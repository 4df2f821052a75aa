package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unsafe"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/probe/keep"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/probe/mirror"
	"github.com/tapwatch/tapwatch/probe/privacy"
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
	live     bool
	dec      *decode.Decoder
	dpi      *dpi.Inspector
	table    *meter.Table
	ledger   *ledger.Ledger
	sink     sink
	privacy  *privacy.Filter // nil: nothing is hidden
	keep     *keep.Writer    // nil: no packets are kept
	mirror   *mirror.Observer
	metrics  *metrics // nil: none
	log      *slog.Logger
	settings *settings // what a reload may change
	applied  *limits   // of settings, that are in effect

	clock    meter.Clock // of the packets of files, unless the reader of several workers has it
	sample   sampler
	frames   []capture.Frame          // the block being read
	packets  [lookahead]decode.Packet // of the block, that wait for the flow table
	clocks   [lookahead]int64         // traffic time at each
	face     uint32                   // where the packets in hand were captured
	names    []string                 // of the interfaces
	second   int64                    // of traffic time, that the ledger is at
	flows    meter.Stats              // already in the ledger
	captured capture.Stats            // already in the ledger
	lastCut  time.Time
	cuts     int
}

const (
	// cutEvery is how often a header goes out, with or without records.
	cutEvery = time.Second
	// blockFrames is how many frames a worker asks a file or ring for at once.
	blockFrames = 256
	// lookahead is how many frames are decoded before the first of them meets
	// the flow table: they and what they touch fit into the first level cache.
	lookahead = 32
)

func newWorker(cfg Config, live bool, s *settings, log *slog.Logger) (*worker, error) {
	hide, err := privacy.New(cfg.Privacy)
	if err != nil {
		return nil, fmt.Errorf("privacy: %w", err)
	}
	inspect := dpi.DefaultConfig()
	inspect.Recognisers = cfg.recognisers
	w := &worker{privacy: hide, mirror: mirror.New(cfg.Mirror), live: live, dec: decode.New(decode.DefaultConfig()), dpi: dpi.NewInspector(inspect),
		ledger: ledger.New(), log: log, lastCut: time.Now(), second: -1, settings: s}
	w.table = meter.New(cfg.Meter.table(), w.dpi, w.emit)
	w.apply(s.now())
	return w, nil
}

// apply brings new limits into effect. A record holds packets of one sampling
// rate only.
func (w *worker) apply(l *limits) {
	if l == w.applied {
		return
	}
	if w.applied != nil && w.applied.samplePackets != l.samplePackets {
		w.table.Rest()
	}
	w.applied = l
	w.table.SetLimits(l.meter)
	w.dpi.SetServices(l.services)
	w.sample.set(l.sampleFlows, l.samplePackets)
}

// emit is called by the flow table for each record.
func (w *worker) emit(r *flow.Record) {
	w.ledger.Flows(0, 0, 1)
	w.mirror.Record(r)
	if w.metrics != nil {
		w.metrics.flowEnded(w.table.Clock() - r.End)
	}
	w.sample.scale(r)
	w.sink.Add(w.privacy.Record(r))
}

// state is what the header of a batch says about this worker.
func (w *worker) state() export.State {
	return export.State{Clock: w.table.Clock(), Watermark: w.table.Watermark(), OpenFlows: uint64(w.table.Open())}
}

// read takes all packets of src; flows stay open at its end. It returns nil at
// the end of a file and when ctx ends.
func (w *worker) read(ctx context.Context, src capture.Source) error {
	w.captured = capture.Stats{}
	defer func() { w.account(src.Stats()) }()
	return w.loop(ctx, src)
}

func (w *worker) loop(ctx context.Context, src capture.Source) error {
	if w.frames == nil {
		w.frames = make([]capture.Frame, blockFrames)
	}
	for {
		n, err := capture.NextBlock(src, w.frames)
		switch {
		case err == nil:
			w.names = src.Interfaces()
			w.block(w.frames[:n])
		case errors.Is(err, capture.ErrTimeout):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		if w.live {
			w.table.Advance(now.UnixNano())
			if n > 0 {
				w.mirror.Clock(now.UnixNano())
			}
		}
		if w.keep != nil {
			w.keep.Tick(now)
		}
		if now.Sub(w.lastCut) >= cutEvery {
			w.apply(w.settings.now())
			w.account(src.Stats())
			w.tick(now)
		}
	}
}

// block takes frames in the order of capture. Runs of packets are decoded before
// the first of them meets the flow table.
func (w *worker) block(frames []capture.Frame) {
	run, clock := 0, int64(0)
	w.mirror.On(w.interfaceName())
	flush := func(run int) int { // returns what is left
		w.observe(w.packets[:run], w.clocks[:run])
		return 0
	}
	for i := range frames {
		f := &frames[i]
		if !w.live {
			if w.clock.Tick(f.Time) { // it is of all flows, whatever becomes of this frame
				run = flush(run)
				w.table.Follow(w.clock.Now())
			}
			clock = w.clock.Now()
		}
		if uint64(f.Time-w.second*int64(time.Second)) >= uint64(time.Second) {
			run = flush(run)
			w.at(floorSecond(f.Time))
		}
		if f.Interface != w.face || run == lookahead {
			run = flush(run)
			w.face = f.Interface
			w.mirror.On(w.interfaceName())
		}
		if w.sample.skip() {
			w.ledger.Lost(flow.LossSampled, 1, uint64(f.Len))
			continue
		}
		p := &w.packets[run]
		if verdict := w.dec.Decode(f, p); verdict != decode.OK {
			w.ledger.Lost(verdict.String(), 1, uint64(f.Len))
			w.store(f, nil)
			continue
		}
		if !w.sample.has(p) {
			w.ledger.Lost(flow.LossSampled, 1, uint64(f.Len))
			continue
		}
		w.counted(f, p)
		w.clocks[run] = clock
		run++
		if p.Reassembled != nil || !within(f.Data, p.Payload) { // they are the decoder's own, until the next Decode
			run = flush(run)
		}
	}
	flush(run)
	if !w.live && len(frames) > 0 {
		w.table.Follow(clock)
	}
}

// counted tells those of f who see the packets of flows.
func (w *worker) counted(f *capture.Frame, p *decode.Packet) {
	w.ledger.Flow(f.Len)
	w.mirror.Packet(f, p)
	if w.keep != nil {
		w.store(f, p)
	}
}

// store keeps the packet itself; p is nil for what is in no flow.
func (w *worker) store(f *capture.Frame, p *decode.Packet) {
	if w.keep != nil {
		w.keep.Add(f, p, w.interfaceName())
	}
}

// within says whether part is a stretch of data, or nothing.
func within(data, part []byte) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.SliceData(part))), uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	return len(part) == 0 || at >= from && at < from+uintptr(len(data))
}

// observe gives a run of packets of one interface to the flow table.
func (w *worker) observe(run []decode.Packet, clocks []int64) {
	if len(run) == 0 {
		return
	}
	if !w.live {
		w.table.FollowAll(clocks)
	}
	w.table.ObserveAll(run, w.interfaceName())
}

// interfaceName is where the packets in hand were captured.
func (w *worker) interfaceName() string {
	if int(w.face) < len(w.names) {
		return w.names[w.face]
	}
	return ""
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

// tick is called once a cutEvery, and cuts a batch.
func (w *worker) tick(now time.Time) {
	w.lastCut = now
	if w.live {
		w.at(now.Unix())
	}
	w.cut()
}

func (w *worker) cut() {
	w.countFlows()
	w.sink.Cut()
	for _, f := range w.mirror.News() {
		w.log.Warn("the mirror port: "+f.Text, "state", f.Kind, "severity", f.Severity, "interface", f.Interface, "hint", f.Hint)
	}
	if w.cuts++; w.live && w.cuts%300 == 0 { // about five minutes
		w.mirror.Decay()
	}
	if w.metrics != nil {
		w.metrics.mirror.Update(w.metrics.worker, w.mirror)
		w.metrics.update(w.ledger.Totals(), w.table.Open(), w.table.Stats(), w.dpi.Stats(), w.dec.Stats())
	}
}

// countFlows brings the flow table's counts into the ledger's current second.
func (w *worker) countFlows() {
	s := w.table.Stats()
	w.ledger.Flows(s.FlowsStarted-w.flows.FlowsStarted, s.FlowsEnded-w.flows.FlowsEnded, 0)
	w.flows = s
}

// account brings what the capture lost or filtered into the ledger.
func (w *worker) account(s capture.Stats) {
	was := w.captured
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
	if w.metrics != nil {
		w.metrics.freezes.WithLabelValues(w.metrics.worker).Add(float64(s.FreezeCount - was.FreezeCount))
	}
	w.captured = s
}

// finish ends all flows and leaves their records with the sink.
func (w *worker) finish() {
	w.table.Flush(flow.EndForced)
	w.cut()
}
