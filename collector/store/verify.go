package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/collector/consume"
)

// maxPoisoned bounds the tokens tried for one insert. One poisoned token is the
// server's death in a moment of 75 µs; this many is something else.
const maxPoisoned = 16

// putDay writes the rows of one day and returns when they are known to be there.
//
// The token is always tried in the same order: the plain one, #1, #2 … A token
// is passed over only when the insert with it has succeeded and yet none of its
// rows is there, twice, with no attempt of anybody still running in between.
// Another owner of the block does just the same, so two of them at once end up
// with one copy.
func (s *Store) putDay(ctx context.Context, b *consume.Block, blockToken string, day int64, messages []message) error {
	d := s.buildDay(b, day, messages)
	defer s.releaseDay(d)
	base := blockToken + "/" + strconv.Itoa(dateOf(day))
	doubt := b.Repeated // an attempt may have been made that we do not know the end of
	wait := s.backoff()
	for attempt, poisoned := 1, 0; poisoned <= maxPoisoned; attempt++ {
		token := base
		if poisoned > 0 {
			token += "#" + strconv.Itoa(poisoned)
		}
		o := s.insert(ctx, token, fmt.Sprintf("%s@%s.%d", token, s.instance, attempt), d)
		s.metrics.insert(o)
		if o.useless {
			return o.err
		}
		if o.err != nil {
			doubt = doubt || o.sent
			if err := s.pause(ctx, wait, "write block "+token, o.err); err != nil {
				return err
			}
			continue
		}
		s.ops.Ready("clickhouse", nil)
		wait.Reset()
		if !doubt && !o.dropped {
			return nil
		}
		found, err := s.verify(ctx, base, d)
		if err != nil {
			return err
		}
		s.metrics.verified.Inc()
		if found {
			return nil
		}
		s.metrics.poisoned.Inc()
		s.log.Warn("clickhouse has dropped an insert as known, but has none of its rows: trying another token", "token", token)
		doubt = true
		poisoned++
	}
	return fmt.Errorf("block %s: %d tokens were accepted without a row to show: %w", base, maxPoisoned, ErrPartial)
}

// verify says whether all rows of d are there, or none; anything else is an error.
func (s *Store) verify(ctx context.Context, base string, d *dayBlock) (bool, error) {
	wait := s.backoff()
	for calm := false; ; {
		var rows, sum uint64
		if err := s.retry(ctx, "count rows of block "+base, func(ctx context.Context) (err error) {
			rows, sum, err = s.count(ctx, d)
			return err
		}); err != nil {
			return false, err
		}
		switch {
		case rows == uint64(d.rows) && sum == d.sum:
			return true, nil
		case rows == uint64(d.rows):
			return false, fmt.Errorf("block %s: %d rows: %w", base, rows, ErrAltered)
		case rows != 0:
			return false, fmt.Errorf("block %s: %d rows of %d: %w", base, rows, d.rows, ErrPartial)
		case calm:
			return false, nil
		}
		running, err := s.running(ctx, base)
		if err != nil {
			return false, err
		}
		if calm = !running; running {
			if err := wait.Wait(ctx); err != nil {
				return false, err
			}
		}
	}
}

// count looks for the rows of d by the identity that each row carries.
func (s *Store) count(ctx context.Context, d *dayBlock) (rows, sum uint64, err error) {
	list := make([]message, len(d.messages))
	for i, m := range d.messages {
		list[i] = *m
	}
	ids, err := identities(list, func(*message) bool { return true })
	if err != nil {
		return 0, 0, err
	}
	// epoch and seq again, plainly: the index of the table knows them.
	err = s.conn.QueryRow(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids.table)), `
		SELECT count(), `+contentSQL+` FROM flows
		WHERE toYYYYMMDD(start) = ? AND epoch IN ? AND seq BETWEEN ? AND ?
		  AND (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids)`,
		dateOf(d.day), ids.epochs, ids.lo, ids.hi).Scan(&rows, &sum)
	if err != nil {
		return 0, 0, fmt.Errorf("count in flows: %w", err)
	}
	return rows, sum, nil
}

// running reports whether a query whose id begins with prefix is at work.
func (s *Store) running(ctx context.Context, prefix string) (bool, error) {
	var n uint64
	err := s.retry(ctx, "look for running inserts", func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, "SELECT count() FROM system.processes WHERE startsWith(query_id, ?)", prefix).Scan(&n)
	})
	return n > 0, err
}

// markPresent looks for the rows of a suspect block's messages, day by day: what
// is there has been written as part of another block, and is left out of this one.
func (s *Store) markPresent(ctx context.Context, b *consume.Block, messages []message) error {
	ids, err := identities(messages, func(m *message) bool { return m.status == stored && len(m.days) > 0 })
	if err != nil || ids == nil {
		return err
	}
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
	var dates []int
	for _, d := range days(messages) {
		dates = append(dates, dateOf(d))
	}
	type part struct {
		identity
		date int
	}
	have := map[part]uint64{}
	if err := s.retry(ctx, "look for rows of block "+b.Token(), func(ctx context.Context) error {
		clear(have)
		rows, err := s.conn.Query(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids.table)), `
			SELECT probe, epoch, worker, seq, toYYYYMMDD(start) AS date, count() FROM flows
			WHERE toYYYYMMDD(start) IN ? AND epoch IN ? AND seq BETWEEN ? AND ?
			  AND (probe, epoch, worker, seq) IN (SELECT probe, epoch, worker, seq FROM ids)
			GROUP BY probe, epoch, worker, seq, date`, dates, ids.epochs, ids.lo, ids.hi)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var p part
			var date uint32
			var n uint64
			if err := rows.Scan(&p.probe, &p.epoch, &p.worker, &p.seq, &date, &n); err != nil {
				return err
			}
			p.date = int(date)
			have[p] = n
		}
		return rows.Err()
	}); err != nil {
		return err
	}
	for i := range messages {
		m := &messages[i]
		if m.status != stored {
			continue
		}
		for j := range m.days {
			d := &m.days[j]
			switch n := have[part{m.identity(), dateOf(d.day)}]; n {
			case 0:
			case uint64(len(d.rows)):
				d.here = true
				s.metrics.present.Add(float64(n))
			default:
				return fmt.Errorf("batch %s on %s: %d rows of %d: %w", m.identity(),
					time.Unix(d.day*86400, 0).UTC().Format(time.DateOnly), n, len(d.rows), ErrPartial)
			}
		}
	}
	return nil
}
