// Package retain keeps the database within its time and its disk: it drops what
// is too old, makes room by shortening the finest tables first when a budget of
// bytes is used up, says when the disk will be full, and leaves alone what is on
// legal hold. It also erases one host's or person's data, on request.
//
// In comes the database; out go dropped partitions, each with a row in
// retention_log. ClickHouse's own TTL would know nothing of holds, of budgets or
// of sums not made yet, so the Keeper takes it off the tables that it keeps.
package retain

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

const dayLong = 24 * time.Hour

// Options says how long what is kept, and in how much room.
type Options struct {
	Flows    int       `conf:"flows" help:"days that flow records are kept, from when they were received"`
	Minutes  int       `conf:"minutes" help:"days for the rollup by minute"`
	Hours    int       `conf:"hours" help:"days for what is summed up by hour: pairs, hosts, beacons, names"`
	Days     int       `conf:"days" help:"days for the rollup by day"`
	Ledger   int       `conf:"ledger" help:"days for batches, and with them the ledger; not less than flows"`
	Least    int       `conf:"least" help:"days that a budget leaves of each"`
	MaxBytes kit.Bytes `conf:"max_bytes" help:"disk that all tables and ClickHouse's own logs may take; above it the oldest flow records go first; 0: what the disk holds"`
	Reserve  kit.Bytes `conf:"reserve" help:"disk that stays free, whatever max_bytes says; 0: a tenth of it"`
}

// DefaultOptions keeps flows for 90 days and daily sums for five years, on as
// much of the disk as there is.
func DefaultOptions() Options {
	return Options{Flows: 90, Minutes: 90, Hours: 400, Days: 1830, Ledger: 400, Least: 1}
}

// Check says what is wrong with o.
func (o Options) Check() error {
	for _, d := range []struct {
		name string
		days int
	}{{"flows", o.Flows}, {"minutes", o.Minutes}, {"hours", o.Hours}, {"days", o.Days}, {"ledger", o.Ledger}, {"least", o.Least}} {
		if d.days < 1 || d.days > 18250 {
			return kit.Hint(fmt.Errorf("retention.%s: %d days", d.name, d.days), "1 to 18250: ClickHouse's time ends in 2106")
		}
	}
	if o.Ledger < o.Flows {
		return kit.Hint(fmt.Errorf("retention.ledger: %d days, and flows %d", o.Ledger, o.Flows), "the ledger is what proves that flows are complete: keep it as long")
	}
	return nil
}

// Kept is how long flows are kept, from when they were received.
func (o Options) Kept() time.Duration { return time.Duration(o.Flows) * dayLong }

// rules are the tables that are kept by whole partitions, finest first.
func (o Options) rules() []rule {
	days := func(n int) time.Duration { return time.Duration(n) * dayLong }
	least := days(o.Least)
	return []rule{
		{"flows", days(o.Flows), least, true},
		{"flows_1m_builds", days(o.Minutes), least, false},
		{"beacons_1h_builds", days(o.Hours), least, false},
		{"names_1h_builds", days(o.Hours), least, false},
		{"hosts_1h_builds", days(o.Hours), least, false},
		{"flows_1h_builds", days(o.Hours), least, false},
		{"flows_1d_builds", days(o.Days), least, false},
	}
}

const (
	interval      = time.Minute
	sampleEvery   = time.Hour
	samplesFor    = 14 * dayLong
	overlap       = 10 * time.Minute // what may have been stored with an older time than what was seen
	queryTimeout  = time.Minute
	dropTimeout   = 10 * time.Minute
	reserveShare  = 10 // of the disk
	systemTable   = "system"
	layoutDay     = "2006-01-02"
	layoutSeconds = "2006-01-02 15:04:05"
	layoutMillis  = "2006-01-02 15:04:05.000"
)

// millis is a time as a value for DateTime64(3): clickhouse-go cuts a bound
// time.Time to seconds.
func millis(t time.Time) string {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format(layoutMillis)
}

var (
	//go:embed received.sql
	receivedSQL string
	//go:embed parts.sql
	partsSQL string
	//go:embed disk.sql
	diskSQL string
	//go:embed samples.sql
	samplesSQL string
)

// Config is what New needs.
type Config struct {
	Conn    driver.Conn
	Options Options
	Ops     *ops.Ops
	// Behind returns the days of which sums are still to be made; false: nobody
	// knows yet. Nil: there are no sums.
	Behind func() (map[time.Time]bool, bool)
}

// Keeper belongs to one goroutine.
type Keeper struct {
	Config
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time

	taken   bool      // the tables' own TTL is off
	seen    time.Time // batches stored before have been looked at
	sampled time.Time
	settles time.Duration
	left    int64 // excess that could not be mended, at the last pass
}

// New returns a Keeper that has looked at nothing yet.
func New(cfg Config) *Keeper {
	return &Keeper{Config: cfg, log: cfg.Ops.Log, metrics: newMetrics(cfg.Ops.Registry), now: time.Now, settles: settling}
}

// Run keeps until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	k.seen, k.taken = time.Time{}, false
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := k.Pass(ctx); err != nil && ctx.Err() == nil {
			k.metrics.failures.Inc()
			k.log.Warn("retention is behind", "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Usage is what the disk holds.
type Usage struct {
	Partitions  []Partition
	Tables      map[string]int64 // bytes, parts included that are about to go; systemTable for ClickHouse's own
	Used        int64            // their sum
	Free, Total int64            // of the disks that flows are on
	Budget      int64            // what Used may become
	Excess      int64            // what has to go
}

// Pass looks at everything once and drops what has to go.
func (k *Keeper) Pass(ctx context.Context) error {
	if err := k.takeOver(ctx); err != nil {
		return err
	}
	if err := k.learn(ctx); err != nil {
		return err
	}
	u, err := Measure(ctx, k.Conn, k.Options)
	if err != nil {
		return err
	}
	k.metrics.usage(u)
	s := situation{now: k.now(), rules: k.Options.rules(), partitions: u.Partitions, excess: u.Excess, settling: k.settles}
	if s.received, err = k.received(ctx); err != nil {
		return err
	}
	holds, err := Holds(ctx, k.Conn, true)
	if err != nil {
		return err
	}
	s.held = func(first, after time.Time) bool {
		return slices.ContainsFunc(holds, func(h Hold) bool { return h.First.Before(after) && !h.Last.Before(first) })
	}
	s.summed = k.summed()
	drops, left := plan(s)
	for _, d := range drops {
		if err := k.drop(ctx, d); err != nil {
			return err
		}
	}
	k.report(u, left)
	if k.now().Sub(k.sampled) >= sampleEvery {
		if err := k.sample(ctx, u); err != nil {
			return err
		}
		k.sampled = k.now()
		f, ok, err := Predict(ctx, k.Conn, u, k.Options)
		if err != nil {
			return err
		}
		k.metrics.forecast(f, ok)
	}
	return nil
}

// report says it when room is wanting, and when there is room again.
func (k *Keeper) report(u Usage, left int64) {
	k.metrics.excess.Set(float64(left))
	var err error
	if left > 0 {
		err = kit.Hint(fmt.Errorf("storage: %s more than there is room for, and nothing may go", kit.Bytes(left)),
			"raise retention.max_bytes, give the disk more room, release holds, or lower retention.least")
	}
	if (left > 0) != (k.left > 0) {
		k.log.Warn("storage", "excess_bytes", left, "used_bytes", u.Used, "budget_bytes", u.Budget, "free_bytes", u.Free)
	}
	k.left = left
	k.Ops.Ready("storage", err)
}

// takeOver removes the TTL of the tables that are kept here, unless it moves
// parts to another disk or volume. An older collector beside this one is not
// disturbed.
func (k *Keeper) takeOver(ctx context.Context) error {
	if k.taken {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for _, r := range k.Options.rules() {
		var with uint64
		if err := k.Conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND position(engine_full, ' TTL ') > 0 AND position(engine_full, ' TO ') = 0", r.table).Scan(&with); err != nil {
			return fmt.Errorf("look at %s: %w", r.table, err)
		}
		if with > 0 {
			if err := k.Conn.Exec(ctx, "ALTER TABLE {table:Identifier} REMOVE TTL", clickhouse.Named("table", r.table)); err != nil {
				return fmt.Errorf("take over retention of %s: %w", r.table, err)
			}
		}
	}
	// The ledger is not partitioned: its time to live is ClickHouse's. The number
	// is one of ours; ALTER takes no parameters there.
	ttl := "toDateTime(stored) + toIntervalDay(" + strconv.Itoa(k.Options.Ledger) + ")"
	var same uint64
	if err := k.Conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'batches' AND position(engine_full, ?) > 0", ttl).Scan(&same); err != nil {
		return fmt.Errorf("look at batches: %w", err)
	}
	if same == 0 {
		if err := k.Conn.Exec(ctx, "ALTER TABLE batches MODIFY TTL "+ttl+" SETTINGS materialize_ttl_after_modify = 0"); err != nil {
			return fmt.Errorf("set retention of batches: %w", err)
		}
	}
	k.taken = true
	return nil
}

// learn notes when flows of which days were received.
func (k *Keeper) learn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var newest time.Time
	since := k.seen.Add(-overlap)
	if k.seen.IsZero() {
		since = time.Unix(0, 0)
	}
	if err := k.Conn.QueryRow(ctx, "SELECT max(stored) FROM batches").Scan(&newest); err != nil {
		return fmt.Errorf("look for new batches: %w", err)
	}
	if err := k.Conn.Exec(ctx, receivedSQL, clickhouse.Named("since", since.UTC().Format(layoutSeconds))); err != nil {
		return fmt.Errorf("note days received: %w", err)
	}
	k.seen = newest
	return nil
}

func (k *Keeper) received(ctx context.Context) (map[time.Time]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := k.Conn.Query(ctx, "SELECT day, max(received) FROM days_received GROUP BY day")
	if err != nil {
		return nil, fmt.Errorf("read days_received: %w", err)
	}
	defer rows.Close()
	all := map[time.Time]time.Time{}
	for rows.Next() {
		var day, at time.Time
		if err := rows.Scan(&day, &at); err != nil {
			return nil, fmt.Errorf("read days_received: %w", err)
		}
		all[day.UTC()] = at
	}
	return all, rows.Err()
}

func (k *Keeper) summed() func(first, after time.Time) bool {
	if k.Behind == nil {
		return func(time.Time, time.Time) bool { return true }
	}
	behind, known := k.Behind()
	return func(first, after time.Time) bool {
		for d := first; d.Before(after); d = d.AddDate(0, 0, 1) {
			if behind[d] {
				return false
			}
		}
		return known
	}
}

// drop removes a partition, and says so. A crash between the two leaves the
// drop unsaid in the table; it stands in the log of this program.
func (k *Keeper) drop(ctx context.Context, d Drop) error {
	ctx, cancel := context.WithTimeout(ctx, dropTimeout)
	defer cancel()
	k.log.Info("dropping a partition", "table", d.Table, "partition", d.Name, "rows", d.Rows, "bytes", d.Bytes, "reason", d.Reason)
	// The name has been read as a date.
	err := k.Conn.Exec(ctx, "ALTER TABLE {table:Identifier} DROP PARTITION ID '"+d.Name+"' SETTINGS max_partition_size_to_drop = 0", clickhouse.Named("table", d.Table))
	if err != nil {
		return fmt.Errorf("drop partition %s of %s: %w", d.Name, d.Table, err)
	}
	k.metrics.dropped.WithLabelValues(d.Table, d.Reason).Add(float64(d.Bytes))
	err = k.Conn.Exec(ctx, "INSERT INTO retention_log (time, table, partition, rows, bytes, reason) SETTINGS async_insert = 0 VALUES (?, ?, ?, ?, ?, ?)",
		millis(k.now()), d.Table, d.Name, d.Rows, uint64(d.Bytes), d.Reason)
	if err != nil {
		return fmt.Errorf("write retention_log: %w", err)
	}
	return nil
}
