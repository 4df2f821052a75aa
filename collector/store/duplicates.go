package store

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"

	"github.com/tapwatch/tapwatch/collector/consume"
)

// markDuplicates sets the status of messages whose identity has been stored by
// another block, and of all but the first of those that are twice in this one.
// It comes to the same result when the block is formed again: what this very
// block has written does not count, and what is before it in the partition has
// been written before it. (A batch must not be produced to two partitions;
// probes and `collector replay` keep to the one they began with.)
func (s *Store) markDuplicates(ctx context.Context, b *consume.Block, token string, messages []message) error {
	ids, err := identities(messages, func(m *message) bool { return m.Batch != nil })
	if err != nil || ids == nil {
		return err
	}
	rows, err := s.conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids.table)), `
		SELECT probe, epoch, worker, seq, topic, kafka_partition, kafka_offset
		FROM batches
		WHERE (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids)
		  AND probe IN (SELECT probe FROM ids) AND epoch IN (SELECT epoch FROM ids)
		GROUP BY probe, epoch, worker, seq, topic, kafka_partition, kafka_offset
		HAVING argMax(status, stored) IN ('stored', 'expired') AND argMax(block, stored) != ?`, token)
	if err != nil {
		return fmt.Errorf("query batches: %w", err)
	}
	defer rows.Close()
	type spot struct {
		topic string
		place
	}
	elsewhere := map[identity][]spot{}
	for rows.Next() {
		var id identity
		var at spot
		if err := rows.Scan(&id.probe, &id.epoch, &id.worker, &id.seq, &at.topic, &at.partition, &at.offset); err != nil {
			return fmt.Errorf("query batches: %w", err)
		}
		elsewhere[id] = append(elsewhere[id], at)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("query batches: %w", err)
	}
	first := map[identity]bool{}
	for i := range messages {
		m := &messages[i]
		if m.Batch == nil {
			continue
		}
		id := m.identity()
		places := elsewhere[id]
		here := spot{b.Topic, m.place(b)}
		for _, at := range places {
			if at == here {
				// The same message, read again after the group lost its position.
				m.status = settled
			}
		}
		if m.status == settled {
			continue
		}
		if len(places) > 0 || first[id] {
			m.status = duplicate
			continue
		}
		first[id] = true
	}
	return nil
}

// idTable is a set of identities, to be sent along with a query as `ids`.
type idTable struct {
	table  *ext.Table
	epochs []uint64
	lo, hi uint64 // of the sequence numbers
}

// identities gathers those of the messages that want says; nil if there are none.
func identities(messages []message, want func(*message) bool) (*idTable, error) {
	table, err := ext.NewTable("ids", ext.Column("probe", "String"), ext.Column("epoch", "UInt64"), ext.Column("worker", "UInt16"), ext.Column("seq", "UInt64"))
	if err != nil {
		return nil, fmt.Errorf("make table of identities: %w", err)
	}
	t := &idTable{table: table, lo: ^uint64(0)}
	seen := map[identity]bool{}
	epochs := map[uint64]bool{}
	for i := range messages {
		m := &messages[i]
		if !want(m) || seen[m.identity()] {
			continue
		}
		id := m.identity()
		seen[id] = true
		if err := table.Append(id.probe, id.epoch, id.worker, id.seq); err != nil {
			return nil, fmt.Errorf("make table of identities: %w", err)
		}
		if !epochs[id.epoch] {
			epochs[id.epoch] = true
			t.epochs = append(t.epochs, id.epoch)
		}
		t.lo, t.hi = min(t.lo, id.seq), max(t.hi, id.seq)
	}
	if len(seen) == 0 {
		return nil, nil
	}
	return t, nil
}
