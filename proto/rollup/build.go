package rollup

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed secondary.sql
var secondarySQL string

// build makes one build of all rollups for the given hours, from all of their raw
// rows, and publishes it.
func (b *Builder) build(ctx context.Context, list []int64) (err error) {
	began, number := time.Now(), b.number()
	defer func() { b.failed(err, list, number, time.Since(began)) }()
	if err := b.fillHours(ctx, list, number, hourly(), rowsOf); err != nil {
		return err
	}
	// Rows of batches that were not in `batches` yet when it was asked may be in.
	// Then there are more than were promised, and the bucket will be dirty again.
	made, err := b.made(ctx, number)
	if err != nil {
		return err
	}
	var entries []published
	for _, at := range list {
		k := b.buckets[at]
		if k.cover != 0 && made[at] != k.expected() {
			// Raw rows have gone meanwhile, or more are coming.
			b.discard(at, number, hourly())
			continue
		}
		cover := uint64(0)
		if k.cover != 0 {
			cover = number
			if err := b.extendCover(ctx, at, k, cover); err != nil {
				return err
			}
		}
		rows := min(made[at], k.expected())
		for _, r := range hourly() {
			if e, ok := k.entries[r.name]; ok && rows < e.rows && !k.less {
				b.discard(at, number, []rollup{r}) // retention has taken rows of which the one before was made
				continue
			}
			entries = append(entries, published{r.name, at, entry{number, rows, cover}})
		}
	}
	if err := b.publish(ctx, number, entries); err != nil {
		return err
	}
	took := time.Since(began)
	for _, at := range list {
		b.rested(at, made[at], took)
	}
	return nil
}

// add makes a build of a bucket whose raw rows are not all there any more: the
// rows of the one before, and those of the batches that its cover lacks.
func (b *Builder) add(ctx context.Context, at int64) (err error) {
	began, number := time.Now(), b.number()
	k, list := b.buckets[at], []int64{at}
	defer func() { b.failed(err, list, number, time.Since(began)) }()
	var with, without []rollup
	for _, r := range hourly() {
		if _, ok := k.entries[r.name]; ok {
			with = append(with, r)
		} else {
			without = append(without, r)
		}
	}
	entries := []published{}
	if len(k.late) > 0 && len(with) > 0 {
		ids, err := ext.NewTable("ids", ext.Column("probe", "String"), ext.Column("epoch", "UInt64"), ext.Column("worker", "UInt16"), ext.Column("seq", "UInt64"))
		if err != nil {
			return fmt.Errorf("make table of late batches: %w", err)
		}
		for _, l := range k.late {
			if err := ids.Append(l.probe, l.epoch, l.worker, l.seq); err != nil {
				return fmt.Errorf("make table of late batches: %w", err)
			}
		}
		if err := b.fillHours(clickhouse.Context(ctx, clickhouse.WithExternalTable(ids)), list, number, with, lateOf); err != nil {
			return err
		}
	}
	if len(without) > 0 { // of a rollup that is new: what there is
		if err := b.fillHours(ctx, list, number, without, rowsOf); err != nil {
			return err
		}
	}
	added, err := b.made(ctx, number)
	if err != nil {
		return err
	}
	// The day is added to as well: some of its hours may have gone from flows_1h.
	today, err := b.dayOf(ctx, at)
	if err != nil {
		return err
	}
	if today.build != 0 {
		if err := b.exec(ctx, "add to the day", fill(daily().sql, "/*hours*/", addedHours),
			clickhouse.Named("build", number), clickhouse.Named("buckets", unix32(list))); err != nil {
			return err
		}
		if err := b.carry(ctx, daily(), at-at%day, today.build, number); err != nil {
			return err
		}
		today.rows, today.build, today.cover = today.rows+added[at], number, 0
		entries = append(entries, published{daily().name, at - at%day, today})
	}
	for _, r := range with {
		if !r.plain {
			if err := b.carry(ctx, r, at, k.entries[r.name].build, number); err != nil {
				return err
			}
		}
		entries = append(entries, published{r.name, at, entry{number, k.entries[r.name].rows + added[at], number}})
	}
	for _, r := range without {
		entries = append(entries, published{r.name, at, entry{number, added[at], number}})
	}
	if err := b.extendCover(ctx, at, k, number); err != nil {
		return err
	}
	if err := b.publish(ctx, number, entries); err != nil {
		return err
	}
	b.metrics.added.Inc()
	b.rested(at, k.covered+added[at], time.Since(began))
	return nil
}

// fillHours adds the rows of a build to the tables of the rollups.
func (b *Builder) fillHours(ctx context.Context, list []int64, number uint64, rollups []rollup, which string) error {
	args := append(span(list), clickhouse.Named("build", number))
	observer := alone
	for _, at := range list {
		if b.buckets[at].several {
			observer = watched
		}
	}
	if observer == watched {
		if err := b.exec(ctx, "compare the observers", fill(secondarySQL, "/*rows*/", which), args...); err != nil {
			return err
		}
	}
	for _, r := range rollups {
		began := time.Now()
		if err := b.exec(ctx, "build "+r.name, fill(r.sql, "/*primary*/", observer, "/*rows*/", which), args...); err != nil {
			return err
		}
		b.metrics.seconds.WithLabelValues(r.name).Observe(time.Since(began).Seconds())
	}
	return nil
}

// made returns how many raw rows a build is made of, by bucket: the sum of the
// rows that flows_1m has of it. Were they gone, there would be no entry.
func (b *Builder) made(ctx context.Context, number uint64) (map[int64]uint64, error) {
	made := map[int64]uint64{}
	err := b.rows(ctx, "look at a build", "SELECT toUInt32(bucket) AS at, sum(segments) FROM flows_1m_builds WHERE build = @build GROUP BY at", func(rows driver.Rows) error {
		var at uint32
		var n uint64
		if err := rows.Scan(&at, &n); err != nil {
			return err
		}
		made[int64(at)] = n
		return nil
	}, clickhouse.Named("build", number))
	return made, err
}

// published is an entry on its way to rollup_builds.
type published struct {
	rollup string
	bucket int64
	entry
}

// publish makes builds count. All entries are one insert and so one part: they
// count together or not at all. A builder that was held up for hours must not do
// it: what was never published has been removed meanwhile.
func (b *Builder) publish(ctx context.Context, number uint64, entries []published) error {
	if len(entries) == 0 {
		return nil
	}
	if age := time.Since(time.Unix(0, int64(number))); age > keepUnsaid/2 {
		return fmt.Errorf("publish %d builds: begun %s ago", len(entries), age.Round(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	batch, err := b.conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(settings())), "INSERT INTO rollup_builds (rollup, bucket, build, raw_rows, built, cover)")
	if err != nil {
		return fmt.Errorf("publish %d builds: %w", len(entries), err)
	}
	now := time.Now().UTC()
	for _, p := range entries {
		if err := batch.Append(p.rollup, time.Unix(p.bucket, 0).UTC(), p.build, p.rows, now, p.cover); err != nil {
			return fmt.Errorf("publish %d builds: %w", len(entries), err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("publish %d builds: %w", len(entries), err)
	}
	for _, p := range entries {
		b.metrics.builds.WithLabelValues(p.rollup).Inc()
		b.metrics.rows.WithLabelValues(p.rollup).Add(float64(p.rows))
		b.remember(p)
	}
	return nil
}

// remember notes which build has been replaced by one that was published, and
// that the day has changed with the hour.
func (b *Builder) remember(p published) {
	if p.rollup == daily().name {
		return
	}
	if b.days[p.bucket-p.bucket%day] == nil {
		b.days[p.bucket-p.bucket%day] = new(rest)
	}
	k := b.buckets[p.bucket]
	if k == nil {
		return
	}
	if e, ok := k.entries[p.rollup]; ok && e.build != p.build {
		for _, r := range hourly() {
			if r.name == p.rollup && !r.plain {
				b.replaced = append(b.replaced, build{r.name, p.bucket, e.build, time.Now()})
			}
		}
	}
	k.entries[p.rollup] = p.entry
}

// discard has the rows of a build removed that will not be published.
func (b *Builder) discard(at int64, number uint64, rollups []rollup) {
	for _, r := range rollups {
		if !r.plain {
			b.replaced = append(b.replaced, build{r.name, at, number, time.Now()})
		}
	}
}

// failed has the rows of a build removed that has not come to its end, and lets
// others go first. Whether an entry has arrived after all is looked at then.
func (b *Builder) failed(err error, list []int64, number uint64, took time.Duration) {
	if err == nil {
		return
	}
	for _, at := range list {
		b.discard(at, number, hourly())
		b.discard(at-at%day, number, []rollup{daily()})
		b.buckets[at].after(took, b.interval, true)
	}
}

// rested sets the rest of a bucket that was built.
func (b *Builder) rested(at int64, made uint64, took time.Duration) {
	k := b.buckets[at]
	nothing := made == k.rows
	if nothing {
		k.tries++
	} else {
		k.tries = 1
	}
	k.rows, k.less = made, false
	k.after(took, b.interval, nothing)
}

// exec runs a statement that writes.
func (b *Builder) exec(ctx context.Context, what, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if err := b.conn.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(settings())), sql, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
