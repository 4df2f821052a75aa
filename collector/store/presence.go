package store

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/collector/consume"
)

// presence is the rows of a message on one day: how many, and what contentSums
// adds up to.
type presence struct{ rows, sum uint64 }

// place is where a message stands in Kafka. The rows do not name the topic.
type place struct {
	partition int32
	offset    int64
}

func (p place) before(q place) bool {
	return p.partition < q.partition || p.partition == q.partition && p.offset < q.offset
}

// found are the rows of each identity on one day, by the place they came from.
type found map[identity]map[place]presence

// look asks for the rows of the messages of d, by the identity that each row
// carries.
func (s *Store) look(ctx context.Context, d *dayBlock) (have found, err error) {
	list := make([]message, len(d.messages))
	for i, m := range d.messages {
		list[i] = *m
	}
	ids, err := identities(list, func(*message) bool { return true })
	if err != nil {
		return nil, err
	}
	err = s.retry(ctx, "look for rows of "+time.Unix(d.day*86400, 0).UTC().Format(time.DateOnly), func(ctx context.Context) error {
		have = found{}
		// epoch and seq again, plainly: the index of the table knows them.
		rows, err := s.conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids.table)), `
			SELECT probe, epoch, worker, seq, kafka_partition, kafka_offset, count(), `+contentSQL+` FROM flows
			WHERE toYYYYMMDD(start) = ? AND epoch IN ? AND seq BETWEEN ? AND ?
			  AND (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids)
			GROUP BY probe, epoch, worker, seq, kafka_partition, kafka_offset`,
			dateOf(d.day), ids.epochs, ids.lo, ids.hi)
		if err != nil {
			return fmt.Errorf("count in flows: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var id identity
			var at place
			var p presence
			if err := rows.Scan(&id.probe, &id.epoch, &id.worker, &id.seq, &at.partition, &at.offset, &p.rows, &p.sum); err != nil {
				return fmt.Errorf("count in flows: %w", err)
			}
			if have[id] == nil {
				have[id] = map[place]presence{}
			}
			have[id][at] = p
		}
		return rows.Err()
	})
	return have, err
}

// extent is how much of something is there.
type extent uint8

const (
	nothing extent = iota
	everything
)

// extentOf compares what is there of one message on one day with what should be.
// Anything but all and nothing cannot come from this protocol.
func extentOf(m *message, day int64, want, got presence) (extent, error) {
	switch {
	case got == want:
		return everything, nil
	case got.rows == 0:
		return nothing, nil
	case got.rows == want.rows:
		return 0, fmt.Errorf("batch %s on %s: %d rows: %w", m.identity(), time.Unix(day*86400, 0).UTC().Format(time.DateOnly), got.rows, ErrAltered)
	}
	return 0, fmt.Errorf("batch %s on %s: %d rows of %d: %w", m.identity(), time.Unix(day*86400, 0).UTC().Format(time.DateOnly), got.rows, want.rows, ErrPartial)
}

// extent of d in the table, from this very partition: an insert is all or nothing,
// so some messages with rows and others without are an error. What another
// partition has brought of the same batch does not count; see twins.go.
func (s *Store) extent(ctx context.Context, b *consume.Block, d *dayBlock) (extent, error) {
	have, err := s.look(ctx, d)
	if err != nil {
		return 0, err
	}
	var of [2]int
	for i, m := range d.messages {
		e, err := extentOf(m, d.day, d.parts[i], have[m.identity()][m.place(b)])
		if err != nil {
			return 0, err
		}
		of[e]++
	}
	switch {
	case of[nothing] == 0:
		return everything, nil
	case of[everything] == 0:
		return nothing, nil
	}
	return 0, fmt.Errorf("block %s/%d: %d batches of %d: %w", b.Token(), dateOf(d.day), of[everything], len(d.messages), ErrPartial)
}

// markPresent looks for the rows of a suspect block's messages, day by day: what
// is there has been written as part of another block, and is left out of this one.
func (s *Store) markPresent(ctx context.Context, b *consume.Block, messages []message) error {
	wait := s.backoff()
	for {
		running, err := s.running(ctx, fmt.Sprintf("%s/%d/", b.Topic, b.Partition))
		if err != nil {
			return err
		}
		if !running {
			break
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
	for _, day := range days(messages) {
		if err := s.markPresentOn(ctx, b, day, messages); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) markPresentOn(ctx context.Context, b *consume.Block, day int64, messages []message) error {
	d := s.buildDay(b, day, messages)
	defer s.releaseDay(d)
	have, err := s.look(ctx, d)
	if err != nil {
		return err
	}
	for i, m := range d.messages {
		for _, got := range have[m.identity()] {
			e, err := extentOf(m, day, d.parts[i], got)
			if err != nil {
				return err
			}
			if e == everything {
				m.on(day).here = true
			}
		}
		if m.on(day).here {
			s.metrics.present.Add(float64(d.parts[i].rows))
		}
	}
	return nil
}

// on is the message's share of a day.
func (m *message) on(day int64) *dayRows {
	for i := range m.days {
		if m.days[i].day == day {
			return &m.days[i]
		}
	}
	panic("message has no rows on that day")
}

// place of the message in Kafka.
func (m *message) place(b *consume.Block) place { return place{int32(b.Partition), m.Offset} }
