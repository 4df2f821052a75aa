// Package rollup keeps the rollups equal to what `flows` holds: flows_1m,
// flows_1h, flows_1d, hosts_1h, beacons_1h, names_1h and first_seen.
//
// In comes the database; out go builds. A bucket is an hour (flows_1d: a day). It
// is dirty while `batches` promises more rows for it than its newest build was
// made of, and is then built again, whole, under a greater build number. The rows
// of a build come first, its entry in rollup_builds after them, so a build counts
// when it is complete or never. Builders that know nothing of each other do no
// harm: the greatest number wins, and its entry says of how many rows it was made.
//
// A bucket is provisional until every probe has passed it and nothing is missing.
// Then its cover is written down: the batches it was made of. If later ones come
// when its raw rows are no longer there, the next build is the one before and what
// the cover lacks.
package rollup

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

const (
	bucketsAtOnce = 24               // buckets of one build at most,
	rowsAtOnce    = 20_000_000       // and raw rows, unless one bucket has more
	hoursAtOnce   = 7 * 24           // hours of which batches is asked at once
	wholeEvery    = time.Hour        // all of `batches` is looked through this often
	overlap       = time.Minute      // what may have been stored with an older time than what was seen
	cleanEvery    = time.Minute      //
	keepOld       = 2 * time.Minute  // a query may still be reading a build that has been replaced
	keepUnsaid    = 6 * time.Hour    // a build that never was published
	buildTimeout  = 10 * time.Minute // of one statement
	queryTimeout  = 5 * time.Minute
	passMost      = 30 * time.Second // after this long of building, look again: what is open must not wait for a backlog
	restMost      = 10 * time.Minute // of a bucket that stays dirty whatever is done
	costFactor    = 5                // a bucket rests for this many times as long as its build took
	lateness      = 90 * time.Second // a worker silent for this long is not waited for, and a bucket as quiet is closed
	forsaken      = 24 * time.Hour   // rows that batches has not told of for this long are not waited for
	patience      = 4                // builds without a new row after which rows that were promised are given up
)

// settings of all statements: memory and threads of a build are bounded, whatever
// the bucket holds. Columns that builders of the version before do not know are
// materialized ones.
func settings() clickhouse.Settings {
	return clickhouse.Settings{
		"max_threads":                        2,
		"max_insert_threads":                 1,
		"max_bytes_before_external_group_by": 500_000_000,
		"max_bytes_before_external_sort":     500_000_000,
		"insert_allow_materialized_columns":  1,
		"async_insert":                       0,
		"lightweight_deletes_sync":           0,
	}
}

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
	quiet    time.Duration // without a new row, before a bucket is closed
	log      *slog.Logger
	metrics  metrics

	last     uint64            // build number
	seen     time.Time         // batches stored before have been looked at
	whole    time.Time         // when all were
	buckets  map[int64]*bucket // by Unix time: dirty, provisional, or built a moment ago
	days     map[int64]*rest   // whose hours have changed
	allDays  bool              // no day has been looked at yet
	replaced []build           // to be removed
	cleaned  time.Time
	swept    time.Time

	mu     sync.Mutex
	behind map[time.Time]bool // see Behind; nil: not known
}

// New returns a Builder that has looked at nothing yet.
func New(cfg Config) *Builder {
	b := &Builder{conn: cfg.Conn, interval: cfg.Interval, quiet: lateness, log: cfg.Ops.Log, metrics: newMetrics(cfg.Ops.Registry)}
	b.forget()
	return b
}

// Once builds what is due with a Builder of its own, and closes what no worker has
// anything to add to, for tools and tests: all rows are there already.
func Once(ctx context.Context, conn driver.Conn) error {
	o, err := ops.New("collector", ops.Config{LogLevel: "error"})
	if err != nil {
		return err
	}
	b := New(Config{Conn: conn, Interval: time.Nanosecond, Ops: o})
	b.quiet = 0
	for open := -1; ; {
		if err := b.Pass(ctx); err != nil {
			return err
		}
		// What a Pass has built the next one closes; a long backlog takes several.
		left := 0
		for _, k := range b.buckets {
			if k.unfinished() {
				left++
			}
		}
		if left == 0 || left == open {
			return nil
		}
		open = left
	}
}

// forget begins anew, with a look at everything.
func (b *Builder) forget() {
	b.seen, b.whole, b.swept = time.Time{}, time.Time{}, time.Time{}
	b.buckets, b.days, b.allDays = map[int64]*bucket{}, map[int64]*rest{}, true
	b.replaced = nil
	b.tell(false)
}

// Run builds until ctx ends. It begins with a look at everything.
func (b *Builder) Run(ctx context.Context) {
	b.forget()
	defer b.metrics.idle()
	defer b.tell(false)
	for ctx.Err() == nil {
		began := time.Now()
		if err := b.Pass(ctx); err != nil && ctx.Err() == nil {
			b.metrics.failures.Inc()
			b.log.Warn("rollups are behind", "cause", err)
		}
		// At least half of the time the database belongs to others.
		t := time.NewTimer(max(b.interval, time.Since(began)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Pass looks for dirty buckets once, builds those that are due, the newest first,
// writes down what closed ones are made of, and removes what has been replaced.
func (b *Builder) Pass(ctx context.Context) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	b.tell(true)
	err := errors.Join(b.buildDue(ctx), b.buildDays(ctx), b.settle(ctx))
	b.tell(true)
	return errors.Join(err, b.clean(ctx))
}

// Behind returns the days, as midnight UTC, whose raw rows are still needed, at
// the last Pass; false: that is not known. It may be called by any goroutine, and
// what it returns belongs to the caller.
func (b *Builder) Behind() (map[time.Time]bool, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.behind), b.behind != nil
}

// tell sets what Behind returns.
func (b *Builder) tell(known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behind = nil
	if !known {
		return
	}
	b.behind = map[time.Time]bool{}
	for at, k := range b.buckets {
		if k.unfinished() {
			b.behind[time.Unix(at-at%day, 0).UTC()] = true
		}
	}
}

// buildDue builds the dirty hours that have rested.
func (b *Builder) buildDue(ctx context.Context) error {
	began := time.Now()
	var due []int64
	for _, at := range b.sorted() {
		if k := b.buckets[at]; k.dirty && !began.Before(k.notBefore) {
			due = append(due, at)
		}
	}
	slices.Reverse(due)
	for len(due) > 0 && time.Since(began) < passMost {
		var whole []int64
		rows := uint64(0)
		for len(due) > 0 && len(whole) < bucketsAtOnce {
			at := due[0]
			k := b.buckets[at]
			if len(whole) > 0 && rows+k.expected() > rowsAtOnce {
				break
			}
			due = due[1:]
			complete, err := true, error(nil)
			if k.cover != 0 {
				complete, err = b.complete(ctx, at, k)
			}
			if err == nil && !complete {
				err = b.add(ctx, at)
			}
			if err != nil {
				return err
			}
			if complete {
				whole, rows = append(whole, at), rows+k.expected()
			}
		}
		if len(whole) == 0 {
			continue
		}
		if err := b.build(ctx, whole); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) sorted() []int64 {
	list := make([]int64, 0, len(b.buckets))
	for at := range b.buckets {
		list = append(list, at)
	}
	slices.Sort(list)
	return list
}

// number is a build number: the time in ns, and greater than those before.
func (b *Builder) number() uint64 {
	b.last = max(uint64(time.Now().UnixNano()), b.last+1)
	return b.last
}
