// Package rollup keeps flows_1m equal to what `flows` holds.
//
// In comes the database; out go builds. A bucket is one hour. It is dirty while
// `batches` promises more rows for it than its newest build was made of, and is
// then built again, whole, under a greater build number. The rows of a build come
// first, its entry in rollup_builds after them, so a build counts when it is
// complete or never. Builders that know nothing of each other do no harm: the
// greatest number wins, and it says of how many rows it was made.
//
// A bucket that has shrunk is left alone: retention has taken raw rows of it, and
// what was built of them stays.
package rollup

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

var (
	//go:embed changed.sql
	changedSQL string
	//go:embed dirty.sql
	dirtySQL string
	//go:embed build.sql
	buildSQL string
	//go:embed publish.sql
	publishSQL string
	//go:embed old.sql
	oldSQL string
)

// Name of the rollup in rollup_builds.
const Name = "flows_1m"

const (
	bucketsAtOnce = 24               // buckets of one build
	wholeEvery    = time.Hour        // all of `batches` is looked through this often
	overlap       = time.Minute      // what may have been stored with an older time than what was seen
	cleanEvery    = time.Minute      //
	keepOld       = 2 * time.Minute  // a query may still be reading a build that has been replaced
	keepUnsaid    = time.Hour        // a build that never was published
	buildTimeout  = 10 * time.Minute // of one build
	queryTimeout  = time.Minute
	restMost      = 10 * time.Minute // of a bucket that stays dirty whatever is done
	costFactor    = 5                // a bucket rests for this many times as long as its build took
)

// Config is what New needs; all fields are required.
type Config struct {
	Conn     driver.Conn
	Interval time.Duration // between two looks; the open hour is built at most this often
	Ops      *ops.Ops
}

// Builder builds. It belongs to one goroutine at a time.
type Builder struct {
	conn     driver.Conn
	interval time.Duration
	ops      *ops.Ops
	log      *slog.Logger
	metrics  metrics

	last    uint64            // build number
	seen    time.Time         // batches stored before have been looked at
	whole   time.Time         // when all were
	buckets map[int64]*bucket // by Unix time: dirty, or built a moment ago
	cleaned time.Time
}

// bucket is what is remembered of one.
type bucket struct {
	notBefore time.Time
	rest      time.Duration
	rows      uint64 // of its last build
}

type metrics struct {
	builds, rows, failures prometheus.Counter
	dirty                  prometheus.Gauge
	seconds                prometheus.Histogram
}

// New returns a Builder that has looked at nothing yet.
func New(cfg Config) *Builder {
	const prefix = "tapwatch_collector_rollup_"
	b := &Builder{conn: cfg.Conn, interval: cfg.Interval, ops: cfg.Ops, log: cfg.Ops.Log, metrics: metrics{
		builds:   prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "buckets_total", Help: "Buckets built."}),
		rows:     prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "raw_rows_total", Help: "Rows of flows they were made of."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "failures_total", Help: "Looks or builds that failed and are repeated."}),
		dirty:    prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "dirty_buckets", Help: "Buckets that lack rows which batches promises."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "build_seconds", Help: "Time of one build, of up to 24 buckets.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 60, 300, 600}}),
	}}
	cfg.Ops.Registry.MustRegister(b.metrics.builds, b.metrics.rows, b.metrics.failures, b.metrics.dirty, b.metrics.seconds)
	return b
}

// Run builds until ctx ends. It begins with a look at everything.
func (b *Builder) Run(ctx context.Context) {
	b.seen, b.whole, b.buckets = time.Time{}, time.Time{}, map[int64]*bucket{}
	defer b.metrics.dirty.Set(0)
	for ctx.Err() == nil {
		if err := b.Pass(ctx); err != nil && ctx.Err() == nil {
			b.metrics.failures.Inc()
			b.log.Warn("rollup is behind", "rollup", Name, "cause", err)
		}
		t := time.NewTimer(b.interval)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Pass looks for dirty buckets once, builds those that are due, and removes what
// has been replaced.
func (b *Builder) Pass(ctx context.Context) error {
	if b.buckets == nil {
		b.buckets = map[int64]*bucket{}
	}
	if err := b.look(ctx); err != nil {
		return err
	}
	now := time.Now()
	var due []int64
	for at, k := range b.buckets {
		if !now.Before(k.notBefore) {
			due = append(due, at)
		}
	}
	slices.Sort(due)
	for part := range slices.Chunk(due, bucketsAtOnce) {
		if err := b.build(ctx, part); err != nil {
			return err
		}
	}
	if time.Since(b.cleaned) >= cleanEvery {
		if err := b.Clean(ctx, time.Now()); err != nil {
			return err
		}
		b.cleaned = time.Now()
	}
	return nil
}

// look finds the dirty buckets among those that have changed.
func (b *Builder) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	began := time.Now()
	all := began.Sub(b.whole) >= wholeEvery
	since := time.Unix(0, 0)
	if !all {
		since = b.seen.Add(-overlap)
	}
	var newest time.Time
	var changed []uint32
	if err := b.conn.QueryRow(ctx, changedSQL, clickhouse.Named("since", since.UTC().Format("2006-01-02 15:04:05.000"))).Scan(&newest, &changed); err != nil {
		return fmt.Errorf("look for changed buckets: %w", err)
	}
	for bucket := range b.buckets {
		if !slices.Contains(changed, uint32(bucket)) {
			changed = append(changed, uint32(bucket))
		}
	}
	dirty := map[int64]bool{}
	for part := range slices.Chunk(changed, 1000) {
		rows, err := b.conn.Query(ctx, dirtySQL, clickhouse.Named("name", Name), clickhouse.Named("buckets", part))
		if err != nil {
			return fmt.Errorf("look for dirty buckets: %w", err)
		}
		for rows.Next() {
			var bucket uint32
			if err := rows.Scan(&bucket); err != nil {
				rows.Close()
				return fmt.Errorf("look for dirty buckets: %w", err)
			}
			dirty[int64(bucket)] = true
		}
		err = rows.Err()
		rows.Close()
		if err != nil {
			return fmt.Errorf("look for dirty buckets: %w", err)
		}
	}
	for at := range dirty {
		if b.buckets[at] == nil {
			b.buckets[at] = new(bucket)
		}
	}
	for at, k := range b.buckets {
		// A clean bucket is remembered while it rests.
		if !dirty[at] && began.After(k.notBefore) {
			delete(b.buckets, at)
		}
	}
	b.metrics.dirty.Set(float64(len(dirty)))
	if newest.After(b.seen) {
		b.seen = newest
	}
	if all {
		b.whole = began
	}
	return nil
}

// build makes one build of the given buckets and publishes it.
func (b *Builder) build(ctx context.Context, buckets []int64) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	began := time.Now()
	number := b.number(began)
	list := make([]uint32, len(buckets))
	days := map[int]bool{}
	var dates []int
	for i, bucket := range buckets {
		list[i] = uint32(bucket)
		t := time.Unix(bucket, 0).UTC()
		if d := t.Year()*10000 + int(t.Month())*100 + t.Day(); !days[d] {
			days[d], dates = true, append(dates, d)
		}
	}
	if err := b.conn.Exec(ctx, buildSQL, clickhouse.Named("build", number), clickhouse.Named("buckets", list), clickhouse.Named("dates", dates)); err != nil {
		return fmt.Errorf("build %d buckets: %w", len(buckets), err)
	}
	// The entry is made of what the build holds, at this moment: were its rows
	// gone, there would be no entry.
	if err := b.conn.Exec(ctx, publishSQL, clickhouse.Named("name", Name), clickhouse.Named("build", number)); err != nil {
		return fmt.Errorf("publish build %d: %w", number, err)
	}
	built, err := b.built(ctx, number)
	if err != nil {
		return err
	}
	took := time.Since(began)
	b.metrics.builds.Add(float64(len(buckets)))
	b.metrics.seconds.Observe(took.Seconds())
	for _, at := range buckets {
		k := b.buckets[at]
		if k == nil {
			k = new(bucket)
			b.buckets[at] = k
		}
		b.metrics.rows.Add(float64(built[at]))
		// A bucket that has got nothing new lacks rows that are not to be had:
		// somebody has deleted them, or their block is stopped.
		if rest := max(b.interval, costFactor*took); k.rest > 0 && built[at] == k.rows {
			k.rest = min(max(2*k.rest, rest), restMost)
		} else {
			k.rest = rest
		}
		k.rows, k.notBefore = built[at], time.Now().Add(k.rest)
	}
	return nil
}

// built returns how many raw rows a build is made of, by bucket.
func (b *Builder) built(ctx context.Context, number uint64) (map[int64]uint64, error) {
	rows, err := b.conn.Query(ctx, "SELECT toUInt32(bucket), raw_rows FROM rollup_builds WHERE rollup = ? AND build = ?", Name, number)
	if err != nil {
		return nil, fmt.Errorf("look at build %d: %w", number, err)
	}
	defer rows.Close()
	built := map[int64]uint64{}
	for rows.Next() {
		var at uint32
		var n uint64
		if err := rows.Scan(&at, &n); err != nil {
			return nil, fmt.Errorf("look at build %d: %w", number, err)
		}
		built[int64(at)] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look at build %d: %w", number, err)
	}
	return built, nil
}

// number is a build number: the time in ns, and greater than those before.
func (b *Builder) number(now time.Time) uint64 {
	b.last = max(uint64(now.UnixNano()), b.last+1)
	return b.last
}

// Clean removes builds that have been replaced a while before now, and such as
// were begun long before and never published. It never touches the newest one.
func (b *Builder) Clean(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := b.conn.Query(ctx, oldSQL, clickhouse.Named("name", Name),
		clickhouse.Named("replaced", uint64(now.Add(-keepOld).UnixNano())), clickhouse.Named("unsaid", uint64(now.Add(-keepUnsaid).UnixNano())))
	if err != nil {
		return fmt.Errorf("look for old builds: %w", err)
	}
	var old []clickhouse.GroupSet
	for rows.Next() {
		var bucket uint32
		var number uint64
		if err := rows.Scan(&bucket, &number); err != nil {
			rows.Close()
			return fmt.Errorf("look for old builds: %w", err)
		}
		old = append(old, clickhouse.GroupSet{Value: []any{bucket, number}})
	}
	err = rows.Err()
	rows.Close()
	if err != nil {
		return fmt.Errorf("look for old builds: %w", err)
	}
	if len(old) == 0 {
		return nil
	}
	err = b.conn.Exec(ctx, "DELETE FROM flows_1m_builds WHERE (toUInt32(bucket), build) IN (?) SETTINGS lightweight_deletes_sync = 0", old)
	if err != nil {
		return fmt.Errorf("remove %d old builds: %w", len(old), err)
	}
	return nil
}
