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
	//go:embed streams.sql
	streamsSQL string
	//go:embed batches.sql
	batchesSQL string
)

// settle writes down what closed buckets are made of. From then on a bucket is
// provisional no more, and its raw rows may go.
func (b *Builder) settle(ctx context.Context) error {
	var list []int64
	now := time.Now()
	for _, at := range b.sorted() {
		k := b.buckets[at]
		given := k.dirty && k.tries >= patience // what it lacks is not to be had
		if k.cover == 0 && len(k.entries) > 0 && (!k.dirty || given) && now.Unix() >= at+hour && now.Sub(k.grew) >= b.quiet {
			list = append(list, at)
		}
	}
	if len(list) == 0 {
		return nil
	}
	open, err := b.open(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(at int64) bool { return open(at, at+hour) })
	for part := range slices.Chunk(list, bucketsAtOnce) {
		if err := b.settleAll(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) settleAll(ctx context.Context, list []int64) error {
	number := b.number()
	there := map[int64]uint64{}
	err := b.rows(ctx, "count raw rows", fill("SELECT toUInt32(toStartOfHour(start)) AS at, count() FROM flows WHERE /*rows*/ GROUP BY at", "/*rows*/", rowsOf), func(rows driver.Rows) error {
		var at uint32
		var n uint64
		err := rows.Scan(&at, &n)
		there[int64(at)] = n
		return err
	}, span(list)...)
	if err != nil {
		return err
	}
	covers, err := b.batchesOf(ctx, list)
	if err != nil {
		return err
	}
	var entries []published
	for _, at := range list {
		k, c := b.buckets[at], covers[at]
		made := c.rows()
		for _, r := range hourly() {
			made = max(made, k.entries[r.name].rows)
		}
		// Batches that have come since k was looked at, or have rows that batches
		// does not tell of yet: next time. What it never tells of does not keep a
		// bucket open for ever.
		if c.rows() != k.promised || there[at] > made && time.Since(k.grew) < forsaken {
			continue
		}
		// A build of more than there ever was: batches has taken back a promise,
		// of a message that was stored twice, while it was made.
		if made > c.rows() && there[at] == c.rows() {
			k.less = true
			continue
		}
		if err := b.writeCover(ctx, at, number, c); err != nil {
			return err
		}
		for _, r := range hourly() {
			if e, ok := k.entries[r.name]; ok {
				e.cover = number
				entries = append(entries, published{r.name, at, e})
			}
		}
	}
	return b.publish(ctx, number, entries)
}

// open returns what says whether some worker may still have rows for a time: it
// has been heard of a moment ago and is not past it.
func (b *Builder) open(ctx context.Context) (func(from, to int64) bool, error) {
	type position struct {
		watermark, clock int64
		live             bool
	}
	var all []position
	now := time.Now()
	err := b.rows(ctx, "look for workers", streamsSQL, func(rows driver.Rows) error {
		var p position
		err := rows.Scan(&p.watermark, &p.clock, &p.live)
		all = append(all, p)
		return err
	}, clickhouse.Named("since", now.Add(-lateness).UTC().Format("2006-01-02 15:04:05.000")))
	return func(from, to int64) bool {
		if now.Before(time.Unix(to, 0).Add(lateness)) {
			return true
		}
		return slices.ContainsFunc(all, func(p position) bool {
			// A worker that reads a file is at a time of its own.
			return p.watermark < to && p.clock > 0 && (p.live || p.clock >= from)
		})
	}, err
}

// cover is what a bucket is made of, by stream.
type cover map[stream]*part

type part struct {
	runs []run
	rows uint64
}

func (c cover) rows() (n uint64) {
	for _, p := range c {
		n += p.rows
	}
	return n
}

// batchesOf returns all that batches has for the buckets.
func (b *Builder) batchesOf(ctx context.Context, list []int64) (map[int64]cover, error) {
	covers := map[int64]cover{}
	err := b.rows(ctx, "look for the batches of closed buckets", batchesSQL, func(rows driver.Rows) error {
		var at uint32
		var s stream
		var seqs []uint64
		var n uint64
		if err := rows.Scan(&at, &s.probe, &s.epoch, &s.worker, &seqs, &n); err != nil {
			return err
		}
		if covers[int64(at)] == nil {
			covers[int64(at)] = cover{}
		}
		covers[int64(at)][s] = &part{runs(seqs), n}
		return nil
	}, clickhouse.Named("hours", hours32(list)))
	return covers, err
}

// extendCover writes the cover of a bucket with the late batches under a new
// number.
func (b *Builder) extendCover(ctx context.Context, at int64, k *bucket, number uint64) error {
	c := cover{}
	err := b.rows(ctx, "read a cover", "SELECT toString(probe), epoch, worker, first, last, rows FROM rollup_covers WHERE toUnixTimestamp(bucket) = @bucket AND cover = @cover", func(rows driver.Rows) error {
		var s stream
		var first, last []uint64
		var n uint64
		if err := rows.Scan(&s.probe, &s.epoch, &s.worker, &first, &last, &n); err != nil {
			return err
		}
		p := &part{rows: n}
		for i := range first {
			p.runs = append(p.runs, run{first[i], last[i]})
		}
		c[s] = p
		return nil
	}, clickhouse.Named("bucket", at), clickhouse.Named("cover", k.cover))
	if err != nil {
		return err
	}
	for _, l := range k.late {
		p := c[l.stream]
		if p == nil {
			p = new(part)
			c[l.stream] = p
		}
		p.runs, p.rows = append(p.runs, run{l.seq, l.seq}), p.rows+l.rows
	}
	return b.writeCover(ctx, at, number, c)
}

func (b *Builder) writeCover(ctx context.Context, at int64, number uint64, c cover) error {
	if len(c) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	batch, err := b.conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(settings())), "INSERT INTO rollup_covers (bucket, cover, probe, epoch, worker, first, last, rows)")
	if err != nil {
		return fmt.Errorf("write a cover: %w", err)
	}
	for s, p := range c {
		list := merged(p.runs)
		first, last := make([]uint64, len(list)), make([]uint64, len(list))
		for i, r := range list {
			first[i], last[i] = r.first, r.last
		}
		if err := batch.Append(time.Unix(at, 0).UTC(), number, s.probe, s.epoch, s.worker, first, last, p.rows); err != nil {
			return fmt.Errorf("write a cover: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write a cover: %w", err)
	}
	return nil
}
