package rollup

import (
	"context"
	_ "embed"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed old.sql
var oldSQL string

// clean removes what this Builder has replaced, and once an hour what others have
// left behind.
func (b *Builder) clean(ctx context.Context) error {
	now := time.Now()
	if now.Sub(b.cleaned) < cleanEvery {
		return nil
	}
	if now.Sub(b.swept) >= wholeEvery {
		if err := b.Clean(ctx, now); err != nil {
			return err
		}
		b.swept, b.cleaned = now, now
		return nil
	}
	old := map[string][]build{}
	var young []build
	for _, r := range b.replaced {
		if now.Sub(r.since) >= keepOld {
			old[r.name] = append(old[r.name], r)
		} else {
			young = append(young, r)
		}
	}
	for name, list := range old {
		if err := b.remove(ctx, name, list); err != nil {
			return err
		}
	}
	b.replaced, b.cleaned = young, now
	return nil
}

// Clean removes all builds that have been replaced a while before now, and such as
// were begun long before and never published, whoever made them. It never touches
// the newest one.
func (b *Builder) Clean(ctx context.Context, now time.Time) error {
	for _, r := range append(hourly(), daily()) {
		if r.plain {
			continue
		}
		var old []build
		err := b.rows(ctx, "look for old builds", fill(oldSQL, "/*table*/", r.table), func(rows driver.Rows) error {
			var at uint32
			var number uint64
			err := rows.Scan(&at, &number)
			old = append(old, build{name: r.name, bucket: int64(at), number: number})
			return err
		}, clickhouse.Named("name", r.name), clickhouse.Named("replaced", uint64(now.Add(-keepOld).UnixNano())), clickhouse.Named("unsaid", uint64(now.Add(-keepUnsaid).UnixNano())))
		if err != nil {
			return err
		}
		if err := b.remove(ctx, r.name, old); err != nil {
			return err
		}
	}
	return b.exec(ctx, "remove old covers", `DELETE FROM rollup_covers WHERE cover < @unsaid AND cover NOT IN
		(SELECT argMax(cover, (build, cover)) FROM rollup_builds GROUP BY bucket, rollup)`, clickhouse.Named("unsaid", uint64(now.Add(-keepUnsaid).UnixNano())))
}

// remove deletes the rows of builds, unless they are the newest of their bucket:
// an entry may have arrived though its writer was told that it had not.
func (b *Builder) remove(ctx context.Context, name string, list []build) error {
	for part := range slices.Chunk(list, 1000) {
		buckets := make([]int64, len(part))
		for i, o := range part {
			buckets[i] = o.bucket
		}
		newest := map[int64]uint64{}
		err := b.rows(ctx, "look for builds", entriesSQL, func(rows driver.Rows) error {
			var of string
			var at uint32
			var e entry
			err := rows.Scan(&of, &at, &e.build, &e.rows, &e.cover)
			if of == name {
				newest[int64(at)] = e.build
			}
			return err
		}, clickhouse.Named("buckets", unix32(buckets)))
		if err != nil {
			return err
		}
		var sets []clickhouse.GroupSet
		for _, o := range part {
			if newest[o.bucket] != o.number {
				sets = append(sets, clickhouse.GroupSet{Value: []any{uint32(o.bucket), o.number}})
			}
		}
		if len(sets) == 0 {
			continue
		}
		if err := b.exec(ctx, "remove old builds", "DELETE FROM "+name+"_builds WHERE (toUInt32(bucket), build) IN (?)", sets); err != nil {
			return err
		}
	}
	return nil
}
