package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
)

const insertBatches = `INSERT INTO batches (probe, site, epoch, worker, seq, topic, kafka_partition, kafka_offset, received, stored,
	block, status, reason, rows, days, day_rows, minutes, minute_rows,
	schema_version, clock, watermark, sealed, end_of_stream, live, open_flows,
	ledger_second, seen_packets, seen_frame_bytes, flow_packets, flow_frame_bytes, flows_started, flows_ended, records,
	loss_second, loss_reason, loss_packets, loss_frame_bytes, loss_records,
	drop_epoch, drop_worker, drop_seq_from, drop_seq_to, drop_records, drop_packets, drop_frame_bytes, drop_reason)`

// writeBatches writes the row of each message. It may be repeated: a row
// replaces the one with the same identity and place. Readers see it only after
// all rows of the block are there.
func (s *Store) writeBatches(ctx context.Context, b *consume.Block, token string, messages []message) error {
	if !slices.ContainsFunc(messages, func(m message) bool { return m.status != settled }) {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.conn.PrepareBatch(ctx, insertBatches)
	if err != nil {
		return fmt.Errorf("insert into batches: %w", err)
	}
	now := s.now().UTC()
	for i := range messages {
		m := &messages[i]
		if m.status == settled {
			continue
		}
		if err := appendBatch(batch, b, token, m, now); err != nil {
			return fmt.Errorf("insert into batches: %w", errors.Join(err, batch.Abort()))
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("insert into batches: %w", err)
	}
	return nil
}

// appendBatch appends the row of one message. One that cannot be decoded has no
// identity but its place.
func appendBatch(batch driver.Batch, b *consume.Block, token string, m *message, now time.Time) error {
	if m.Batch == nil {
		none := time.Unix(0, 0).UTC()
		return batch.Append("", "", uint64(0), uint16(0), uint64(0), b.Topic, int32(b.Partition), m.Offset, m.Time.UTC(), now,
			token, string(quarantined), consume.Reason(m.Refused), uint32(0), []time.Time{}, []uint32{}, []uint32{}, []uint32{},
			uint16(0), none, none, none, false, false, uint64(0),
			[]time.Time{}, []uint64{}, []uint64{}, []uint64{}, []uint64{}, []uint64{}, []uint64{}, []uint64{},
			[]time.Time{}, []string{}, []uint64{}, []uint64{}, []uint64{},
			[]uint64{}, []uint16{}, []uint64{}, []uint64{}, []uint64{}, []uint64{}, []uint64{}, []string{})
	}
	h := m.Batch.Header()
	days, dayRows := tally(m.Batch, int64(24*time.Hour))
	minutes, minuteRows := tally(m.Batch, int64(time.Minute))
	dates := make([]time.Time, len(days))
	for i, d := range days {
		dates[i] = time.Unix(int64(d)*86400, 0).UTC()
	}
	n := len(h.Ledger)
	second := make([]time.Time, n)
	var counts [7][]uint64
	for c := range counts {
		counts[c] = make([]uint64, n)
	}
	var (
		lossSecond                          = []time.Time{}
		lossReason                          = []string{}
		lossPackets, lossBytes, lossFlows   = []uint64{}, []uint64{}, []uint64{}
		dropEpoch, dropFrom, dropTo         = []uint64{}, []uint64{}, []uint64{}
		dropRecords, dropPackets, dropBytes = []uint64{}, []uint64{}, []uint64{}
		dropWorker                          = []uint16{}
		dropReason                          = []string{}
	)
	for i, l := range h.Ledger {
		second[i] = time.Unix(l.Second, 0).UTC()
		for c, v := range []uint64{l.SeenPackets, l.SeenFrameBytes, l.FlowPackets, l.FlowFrameBytes, l.FlowsStarted, l.FlowsEnded, l.Records} {
			counts[c][i] = v
		}
		for _, loss := range l.Losses {
			lossSecond, lossReason = append(lossSecond, second[i]), append(lossReason, loss.GetReason())
			lossPackets, lossBytes = append(lossPackets, loss.GetPackets()), append(lossBytes, loss.GetFrameBytes())
			lossFlows = append(lossFlows, loss.GetRecords())
		}
	}
	for _, d := range h.Dropped {
		dropEpoch, dropWorker = append(dropEpoch, d.GetEpoch()), append(dropWorker, uint16(d.GetWorker()))
		dropFrom, dropTo = append(dropFrom, d.GetSeqFrom()), append(dropTo, d.GetSeqTo())
		dropRecords, dropPackets = append(dropRecords, d.GetRecords()), append(dropPackets, d.GetPackets())
		dropBytes, dropReason = append(dropBytes, d.GetFrameBytes()), append(dropReason, d.GetReason())
	}
	return batch.Append(h.Probe, h.Site, h.Epoch, uint16(h.Worker), h.Seq, b.Topic, int32(b.Partition), m.Offset, m.Time.UTC(), now,
		token, string(m.status), "", uint32(m.Batch.Len()), dates, dayRows, minutes, minuteRows,
		uint16(min(h.SchemaVersion, 1<<16-1)), utc(h.ClockNs), utc(h.WatermarkNs), utc(h.SealedNs), h.EndOfStream, h.Live, h.OpenFlows,
		second, counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6],
		lossSecond, lossReason, lossPackets, lossBytes, lossFlows,
		dropEpoch, dropWorker, dropFrom, dropTo, dropRecords, dropPackets, dropBytes, dropReason)
}

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// tally counts the records of a batch by their start in steps of unit ns, in order.
func tally(b *flow.Batch, unit int64) (steps, rows []uint32) {
	count := map[uint32]uint32{}
	for i := range b.Len() {
		count[uint32(b.Start(i)/unit)]++
	}
	steps = make([]uint32, 0, len(count))
	for step := range count {
		steps = append(steps, step)
	}
	slices.Sort(steps)
	rows = make([]uint32, len(steps))
	for i, step := range steps {
		rows[i] = count[step]
	}
	return steps, rows
}
