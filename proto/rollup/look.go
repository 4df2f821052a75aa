package rollup

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

var (
	//go:embed changed.sql
	changedSQL string
	//go:embed entries.sql
	entriesSQL string
	//go:embed promise.sql
	promiseSQL string
	//go:embed late.sql
	lateSQL string
	//go:embed complete.sql
	completeSQL string
)

// look finds the dirty buckets among those that have changed and those that are
// remembered. Once an hour all are looked at.
func (b *Builder) look(ctx context.Context) error {
	began := time.Now()
	all := began.Sub(b.whole) >= wholeEvery
	since := time.Unix(0, 0)
	if !all {
		since = b.seen.Add(-overlap)
	}
	var newest time.Time
	var changed []int64
	err := b.rows(ctx, "look for changed buckets", changedSQL, func(rows driver.Rows) error { return rows.Scan(&newest, &changed) },
		clickhouse.Named("since", since.UTC().Format("2006-01-02 15:04:05.000")))
	if err != nil {
		return err
	}
	for at := range b.buckets {
		changed = append(changed, at)
	}
	slices.Sort(changed)
	for part := range slices.Chunk(slices.Compact(changed), hoursAtOnce) {
		if err := b.judge(ctx, part); err != nil {
			return err
		}
	}
	b.metrics.look(b.buckets)
	if newest.After(b.seen) {
		b.seen = newest
	}
	if all {
		b.whole, b.allDays = began, true
	}
	return nil
}

// judge says of each bucket what it holds and what it lacks.
func (b *Builder) judge(ctx context.Context, list []int64) error {
	found, was := map[int64]*bucket{}, map[int64]uint64{}
	for _, at := range list {
		k := b.buckets[at]
		if k == nil {
			k = new(bucket)
		}
		was[at] = k.promised
		k.entries, k.late = map[string]entry{}, nil
		k.promised, k.cover, k.covered, k.dirty = 0, 0, 0, false
		found[at] = k
	}
	err := b.rows(ctx, "look for builds", entriesSQL, func(rows driver.Rows) error {
		var name string
		var at uint32
		var e entry
		if err := rows.Scan(&name, &at, &e.build, &e.rows, &e.cover); err != nil {
			return err
		}
		found[int64(at)].entries[name] = e
		return nil
	}, clickhouse.Named("buckets", unix32(list)))
	if err != nil {
		return err
	}
	var open, closed []int64
	for _, at := range list {
		k := found[at]
		for _, r := range hourly() {
			k.cover = max(k.cover, k.entries[r.name].cover)
		}
		for _, r := range hourly() {
			// A build of the time after the cover was written was made whole.
			if e, ok := k.entries[r.name]; ok && e.cover != k.cover {
				k.cover = 0
			}
		}
		if k.cover == 0 {
			open = append(open, at)
		} else {
			closed = append(closed, at)
		}
	}
	if err := b.promises(ctx, open, found); err != nil {
		return err
	}
	if err := b.latecomers(ctx, closed, found); err != nil {
		return err
	}
	now := time.Now()
	for at, k := range found {
		for _, r := range hourly() {
			k.dirty = k.dirty || k.less || k.lacking(r.name)
		}
		if k.grew.IsZero() || k.promised > was[at] {
			k.grew = now
		}
		// A clean bucket with a cover is remembered while it rests.
		if k.unfinished() || now.Before(k.notBefore) {
			b.buckets[at] = k
		} else {
			delete(b.buckets, at)
		}
	}
	return nil
}

// promises asks batches for the rows of provisional buckets.
func (b *Builder) promises(ctx context.Context, list []int64, found map[int64]*bucket) error {
	if len(list) == 0 {
		return nil
	}
	return b.rows(ctx, "look for dirty buckets", promiseSQL, func(rows driver.Rows) error {
		var at uint32
		var promised uint64
		var several bool
		if err := rows.Scan(&at, &promised, &several); err != nil {
			return err
		}
		found[int64(at)].promised, found[int64(at)].several = promised, several
		return nil
	}, clickhouse.Named("hours", hours32(list)))
}

// latecomers asks for the batches that closed buckets lack.
func (b *Builder) latecomers(ctx context.Context, list []int64, found map[int64]*bucket) error {
	if len(list) == 0 {
		return nil
	}
	var covers []uint64
	for _, at := range list {
		k := found[at]
		covers = append(covers, k.cover)
		for _, e := range k.entries {
			k.covered = max(k.covered, e.rows)
		}
	}
	return b.rows(ctx, "look for late batches", lateSQL, func(rows driver.Rows) error {
		var at uint32
		var l batch
		var several bool
		if err := rows.Scan(&at, &l.probe, &l.epoch, &l.worker, &l.seq, &l.rows, &several); err != nil {
			return err
		}
		k := found[int64(at)]
		k.late, k.promised, k.several = append(k.late, l), k.promised+l.rows, several
		return nil
	}, clickhouse.Named("hours", hours32(list)), clickhouse.Named("buckets", unix32(list)), clickhouse.Named("covers", covers))
}

// complete says whether all raw rows of a closed bucket are still there, and all
// rows of flows_1h that its day is made of, so that it can be built whole.
func (b *Builder) complete(ctx context.Context, at int64, k *bucket) (bool, error) {
	var there, said, gone uint64
	err := b.rows(ctx, "look for raw rows", fill(completeSQL, "/*rows*/", rowsOf), func(rows driver.Rows) error {
		return rows.Scan(&there, &said, &gone)
	}, append(span([]int64{at}), clickhouse.Named("cover", k.cover), clickhouse.Named("at", at))...)
	return there >= max(said, k.covered) && gone == 0, err
}

// rows runs a query with a time-out and hands over each row.
func (b *Builder) rows(ctx context.Context, what, sql string, scan func(driver.Rows) error, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := b.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(settings())), sql, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// span are the parameters of rowsOf.
func span(list []int64) []any {
	var dates []int
	for _, at := range list {
		t := time.Unix(at, 0).UTC()
		if d := t.Year()*10000 + int(t.Month())*100 + t.Day(); !slices.Contains(dates, d) {
			dates = append(dates, d)
		}
	}
	return []any{clickhouse.Named("buckets", unix32(list)), clickhouse.Named("dates", dates),
		clickhouse.Named("from", slices.Min(list)), clickhouse.Named("to", slices.Max(list)+hour)}
}

func unix32(list []int64) []uint32  { return scaled(list, 1) }
func hours32(list []int64) []uint32 { return scaled(list, hour) }

func scaled(list []int64, unit int64) []uint32 {
	all := make([]uint32, len(list))
	for i, at := range list {
		all[i] = uint32(at / unit)
	}
	return all
}
