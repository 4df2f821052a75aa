package rollup

import (
	"context"
	_ "embed"
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
			old[r.table] = append(old[r.table], r)
		} else {
			young = append(young, r)
		}
	}
	for table, list := range old {
		if err := b.remove(ctx, table, list); err != nil {
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
			old = append(old, build{table: r.table, bucket: int64(at), number: number})
			return err
		}, clickhouse.Named("name", r.name), clickhouse.Named("replaced", uint64(now.Add(-keepOld).UnixNano())), clickhouse.Named("unsaid", uint64(now.Add(-keepUnsaid).UnixNano())))
		if err != nil {
			return err
		}
		if err := b.remove(ctx, r.table, old); err != nil {
			return err
		}
	}
	return b.exec(ctx, "remove old covers", `DELETE FROM rollup_covers WHERE cover < @unsaid AND cover NOT IN
		(SELECT argMax(cover, (build, cover)) FROM rollup_builds GROUP BY bucket, rollup)`, clickhouse.Named("unsaid", uint64(now.Add(-keepUnsaid).UnixNano())))
}

// remove deletes the rows of builds.
func (b *Builder) remove(ctx context.Context, table string, list []build) error {
	if len(list) == 0 {
		return nil
	}
	sets := make([]clickhouse.GroupSet, len(list))
	for i, o := range list {
		sets[i] = clickhouse.GroupSet{Value: []any{uint32(o.bucket), o.number}}
	}
	return b.exec(ctx, "remove old builds", "DELETE FROM "+table+" WHERE (toUInt32(bucket), build) IN (?)", sets)
}
