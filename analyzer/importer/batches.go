package importer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// perBatch is how many flows of a file make a batch. It is the file that cuts,
// not the size, so that the same file makes the same batches whatever other logs
// add to its flows, and few enough that their size hardly ever does (1.6 kB for a flow).
const perBatch = 500

// maxSeconds is how many ledger seconds fit into a header, see flow.Encoder; more than perBatch.
const maxSeconds = 700

// Publish sends one sealed batch on its way, and returns when it is safe.
type Publish func(ctx context.Context, r spool.Record) error

// Batches is the Sink that makes FlowBatches, with their ledger.
type Batches struct {
	ctx         context.Context
	probe, site string
	publish     Publish
	encoder     *flow.Encoder
	epoch       uint64 // 0: no stream has begun
	worker      uint32
	seq         uint64
	clock       int64
	watermark   int64 // of a stream that has no end
	live        bool
	perBatch    int

	seconds map[int64]*flowpb.LedgerSecond // of the current batch
	losses  map[int64]*flowpb.LedgerSecond // of a file: told at its end
	flows   int                            // in the current batch, segments not counted
	packets uint64
	bytes   uint64
	dropped func() []spool.DropRange
}

// NewBatches returns a Sink that hands its batches to publish. probe is the name that stands in the place of a probe's.
func NewBatches(ctx context.Context, probe, site string, publish Publish) *Batches {
	return &Batches{ctx: ctx, probe: probe, site: site, publish: publish, perBatch: perBatch, encoder: flow.NewEncoder(),
		seconds: make(map[int64]*flowpb.LedgerSecond), losses: make(map[int64]*flowpb.LedgerSecond)}
}

// Stream ends the stream before and begins one: its batches are 1, 2, 3 … of this identity.
func (b *Batches) Stream(identity uint64) error {
	if err := b.Close(); err != nil {
		return err
	}
	b.epoch, b.seq, b.clock = identity, 0, 0
	return nil
}

// Add puts a record into the current batch.
func (b *Batches) Add(r *flow.Record) error {
	if r.Segment == 0 && b.flows >= b.perBatch || b.live && len(b.seconds) >= maxSeconds || !b.encoder.Fits(r) {
		if err := b.cut(false); err != nil {
			return err
		}
	}
	b.encoder.Add(r)
	b.clock = max(b.clock, r.End)
	s := second(b.seconds, r.Start)
	s.Records++
	s.SeenPackets += r.Packets()
	s.SeenFrameBytes += r.FrameBytes()
	s.FlowPackets += r.Packets()
	s.FlowFrameBytes += r.FrameBytes()
	if r.Segment == 0 {
		s.FlowsStarted++
		s.FlowsEnded++
		b.flows++
	}
	b.packets += r.Packets()
	b.bytes += r.FrameBytes()
	return nil
}

// Lost counts a record that was read and left out: made, and lost, in the
// ledger's words. Where its time is unknown it counts in the latest second there is.
func (b *Batches) Lost(reason string, at int64) {
	if at <= 0 {
		at = b.clock
	}
	s := second(b.losses, at)
	s.Records++
	for _, l := range s.Losses {
		if l.Reason == reason {
			l.Records++
			return
		}
	}
	s.Losses = append(s.Losses, &flowpb.Loss{Reason: reason, Records: 1})
}

func second(of map[int64]*flowpb.LedgerSecond, at int64) *flowpb.LedgerSecond {
	n := min(max(at, 0)/int64(time.Second), 1<<32-1)
	s := of[n]
	if s == nil {
		s = &flowpb.LedgerSecond{Second: n}
		of[n] = s
	}
	return s
}

// cut seals and publishes the current batch. Losses go with the last one, or, of
// a stream that has no end, at once; if they are more seconds than a header has
// room for, the others go ahead of it as bare headers.
func (b *Batches) cut(last bool) error {
	ledger := sorted(b.seconds)
	if !last && !b.live {
		return b.send(ledger, false)
	}
	ledger = append(ledger, sorted(b.losses)...)
	for len(ledger) > maxSeconds {
		if err := b.send(ledger[:maxSeconds], false); err != nil {
			return err
		}
		ledger = ledger[maxSeconds:]
	}
	return b.send(ledger, last)
}

// sorted empties a map into a list.
func sorted(of map[int64]*flowpb.LedgerSecond) []*flowpb.LedgerSecond {
	list := slices.SortedFunc(maps.Values(of), func(a, c *flowpb.LedgerSecond) int { return cmp.Compare(a.Second, c.Second) })
	clear(of)
	return list
}

func (b *Batches) send(ledger []*flowpb.LedgerSecond, last bool) error {
	b.seq++
	h := &flowpb.FlowBatch{Probe: b.probe, Site: b.site, Epoch: b.epoch, Worker: b.worker, Seq: b.seq, ClockNs: b.clock, WatermarkNs: b.watermark,
		SealedNs: time.Now().UnixNano(), EndOfStream: last, Live: b.live, Ledger: ledger}
	var drops []spool.DropRange
	if b.dropped != nil {
		drops = b.dropped()
		for _, d := range drops {
			h.Dropped = append(h.Dropped, &flowpb.DropRange{Epoch: d.Epoch, Worker: d.Worker, SeqFrom: d.From, SeqTo: d.To,
				Records: d.Rows, Packets: d.Packets, FrameBytes: d.FrameBytes, Reason: d.Reason.String()})
		}
	}
	meta := spool.Meta{Epoch: b.epoch, Worker: b.worker, Seq: b.seq, Rows: uint32(b.encoder.Len()), Packets: b.packets, FrameBytes: b.bytes}
	message, err := b.encoder.Seal(h)
	if err != nil {
		return err
	}
	b.packets, b.bytes, b.flows = 0, 0, 0
	return b.publish(b.ctx, spool.Record{Partition: -1, Key: []byte(b.probe + "/0"), Value: message, Meta: meta, Declares: drops})
}

// Close says the end of the stream that has begun, if one has.
func (b *Batches) Close() error {
	if b.epoch == 0 {
		return nil
	}
	err := b.cut(true)
	b.epoch = 0
	return err
}
