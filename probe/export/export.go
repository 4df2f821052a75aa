// Package export turns a worker's flow records into sealed batches in the spool.
// Records are copied into columns on the worker's goroutine; sealing
// (compression) and the spool's fsync run on another, so capture never waits
// for a disk. An Exporter belongs to one worker goroutine.
package export

import (
	"cmp"
	"log/slog"
	"strconv"
	"time"

	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// batches is how many batches a worker may have: one it fills, the others
// being sealed and spooled. Each is below flow.MaxMessageBytes.
const batches = 4

// MaxSeconds is the number of ledger seconds at which a batch is cut: with
// them a header stays within what flow.Encoder keeps free for it.
const MaxSeconds = 700

// Config is what stays the same for all batches of a worker.
type Config struct {
	Probe, Site string
	Worker      uint32
	Live        bool // traffic time is the wall clock: full queues lose records rather than wait
}

// State is the worker's position, for the header.
type State struct {
	Clock, Watermark int64 // ns since the epoch, as in flow.proto
	OpenFlows        uint64
}

// Store takes sealed batches: a *spool.Spool, or a file of batches.
type Store interface {
	Epoch() uint64
	Append(spool.Record) error
	Dropped() []spool.DropRange
}

// Exporter hands one worker's records to the spool.
type Exporter struct {
	cfg    Config
	ledger *ledger.Ledger
	spool  Store
	log    *slog.Logger
	state  func() State

	filling *flow.Encoder
	made    int    // batches that there are
	packets uint64 // of the records in filling
	bytes   uint64
	free    chan *flow.Encoder
	full    chan sealed
	seq     uint64
	done    chan struct{}
	err     error // a file's first failure of the spool, read after done
}

type sealed struct {
	encoder *flow.Encoder
	header  *flowpb.FlowBatch
	packets uint64
	bytes   uint64
}

// New starts the sealing goroutine; Close ends it. state is asked at each cut.
func New(cfg Config, l *ledger.Ledger, s Store, log *slog.Logger, state func() State) *Exporter {
	e := &Exporter{cfg: cfg, ledger: l, spool: s, log: log, state: state,
		free: make(chan *flow.Encoder, batches), full: make(chan sealed, batches), done: make(chan struct{})}
	go e.seal()
	return e
}

// Add copies r into the current batch. When all batches wait for the disk, a
// file waits; an interface loses the record, which the ledger counts.
func (e *Exporter) Add(r *flow.Record) {
	if e.filling != nil && !e.filling.Fits(r) {
		e.cut(false)
	}
	if !e.take(!e.cfg.Live) {
		e.ledger.LostRecords(flow.LossQueueFull, 1)
		return
	}
	e.filling.Add(r)
	e.packets += r.Packets()
	e.bytes += r.FrameBytes()
}

// take makes sure that there is a batch to fill: one that is free, a new one as
// long as there are too few, or, if it shall wait, the next to become free.
func (e *Exporter) take(wait bool) bool {
	if e.filling != nil {
		return true
	}
	select {
	case e.filling = <-e.free:
		return true
	default:
	}
	switch {
	case e.made < batches:
		e.filling = flow.NewEncoder()
		e.made++
	case wait:
		e.filling = <-e.free
	}
	return e.filling != nil
}

// Cut seals the current batch, with or without records: a header each second
// says that the worker lives, and carries the ledger. If all batches wait for
// the disk the ledger stays for the next cut.
func (e *Exporter) Cut() { e.cut(false) }

func (e *Exporter) cut(last bool) {
	if !e.take(last || !e.cfg.Live) { // the end is always said
		return
	}
	state := e.state()
	e.seq++
	h := &flowpb.FlowBatch{
		Probe: e.cfg.Probe, Site: e.cfg.Site, Epoch: e.spool.Epoch(), Worker: e.cfg.Worker, Seq: e.seq,
		ClockNs: max(state.Clock, 0), WatermarkNs: max(state.Watermark, 0), OpenFlows: state.OpenFlows,
		SealedNs: time.Now().UnixNano(), EndOfStream: last, Live: e.cfg.Live, Ledger: e.ledger.Take(),
	}
	e.full <- sealed{e.filling, h, e.packets, e.bytes} // has room: no more batches than places
	e.filling, e.packets, e.bytes = nil, 0, 0
}

// Close says the end of the stream, waits until everything is in the spool and
// returns the first error of the spool, if records of a file were lost by it.
func (e *Exporter) Close() error {
	e.cut(true)
	close(e.full)
	<-e.done
	return e.err
}

// seal runs until full is closed.
func (e *Exporter) seal() {
	defer close(e.done)
	key := []byte(e.cfg.Probe + "/" + strconv.Itoa(int(e.cfg.Worker)))
	for b := range e.full {
		if err := e.store(key, b); err != nil {
			e.log.Error("spool refuses a batch; its records are counted as dropped", "seq", b.header.Seq, "err", err)
			if !e.cfg.Live { // an interface goes on; a file is to be read again
				e.err = cmp.Or(e.err, err)
			}
		}
		e.free <- b.encoder
	}
}

func (e *Exporter) store(key []byte, b sealed) error {
	drops := e.spool.Dropped()
	for _, d := range drops {
		b.header.Dropped = append(b.header.Dropped, &flowpb.DropRange{Epoch: d.Epoch, Worker: d.Worker, SeqFrom: d.From, SeqTo: d.To,
			Records: d.Rows, Packets: d.Packets, FrameBytes: d.FrameBytes, Reason: d.Reason.String()})
	}
	records := b.encoder.Len()
	message, err := b.encoder.Seal(b.header)
	if err != nil {
		return err
	}
	return e.spool.Append(spool.Record{Partition: -1, Key: key, Value: message, Declares: drops,
		Meta: spool.Meta{Epoch: b.header.Epoch, Worker: b.header.Worker, Seq: b.header.Seq,
			Rows: uint32(records), Packets: b.packets, FrameBytes: b.bytes}})
}
