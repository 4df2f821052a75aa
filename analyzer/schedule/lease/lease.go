// Package lease lets one of several analyzers work at a time. In comes a
// connection to the ClickHouse that they share; out goes who of them holds the
// lease, kept in the table leases and nowhere else.
//
// A lease is a row per term and renewal. Who wants it inserts the row that comes
// next with a deduplication token made of name, term and beat: the server keeps
// the first insert of a token and drops the others, so that of several who try
// at once one wins, and reading the row back tells each of them who. A token
// whose row does not appear is left behind (the server died in between), and the
// next is tried. Who holds the lease renews it long before it runs out, and stops
// by its own clock, reckoned from before the renewal was sent; others take it by
// the server's clock, after a grace, or at once from a process of their own
// machine that is dead.
package lease

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
)

//go:embed *.sql
var statements embed.FS

// Config is how long a lease holds.
type Config struct {
	Length time.Duration // from its renewal, at least a second; a fifth of it passes between renewals
	Holder string        // name of this process; empty: host, process id, their place, and a random part
}

// DefaultConfig lets an analyzer of another machine take over within about 25 s,
// and one of the same machine within 3 s; a database that takes up to 10 s for a
// renewal does no harm.
func DefaultConfig() Config { return Config{Length: 15 * time.Second} }

// Lease is one process's view of the lease. Its methods are safe for concurrent
// use.
type Lease struct {
	cfg  Config
	name string
	conn driver.Conn
	log  *slog.Logger

	errors prometheus.Counter
	now    func() time.Time // of a clock that does not jump

	mu    sync.Mutex
	until time.Time // held until then; zero: not held
	term  uint64
	beat  uint64
}

// New returns the lease of this name, which is not held before Run. conn stays
// the caller's; reg may be nil.
func New(cfg Config, name string, conn driver.Conn, log *slog.Logger, reg prometheus.Registerer) *Lease {
	if cfg.Length <= 0 {
		cfg.Length = DefaultConfig().Length
	}
	if cfg.Holder == "" {
		cfg.Holder = holder()
	}
	l := &Lease{cfg: cfg, name: name, conn: conn, log: log.With("lease", name, "holder", cfg.Holder), now: time.Now}
	l.errors = prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_lease_errors_total", Help: "Attempts to read or renew the lease that failed."})
	if reg != nil {
		reg.MustRegister(l.errors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tapwatch_analyzer_lease_held", Help: "1 while this analyzer is the one that judges and tells."}, func() float64 {
				if l.Held() {
					return 1
				}
				return 0
			}),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tapwatch_analyzer_lease_term", Help: "Newest term that this analyzer has won, 0: none."}, func() float64 { return float64(l.Term()) }))
	}
	return l
}

// Held says whether this process holds the lease now.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Before(l.until)
}

// Term is the number of the newest term that this process has won, 0: none.
func (l *Lease) Term() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// Run tries to get the lease and to keep it until ctx ends, then gives it back
// and returns nil. Trouble with ClickHouse is logged and waited out: while it
// lasts the lease runs out.
func (l *Lease) Run(ctx context.Context) error {
	tick := time.NewTicker(max(l.cfg.Length/5, time.Millisecond))
	defer tick.Stop()
	was, failing := false, false
	for {
		err := l.try(ctx)
		if err != nil {
			l.errors.Inc()
		}
		if err != nil && ctx.Err() == nil && !failing {
			l.log.Warn("cannot read or renew the lease; trying on", "error", err)
		}
		failing = err != nil
		if held := l.Held(); held != was {
			was = held
			l.log.Info("lease", "held", held, "term", l.Term())
		}
		select {
		case <-ctx.Done():
			return l.release(context.WithoutCancel(ctx))
		case <-tick.C:
		}
	}
}

// row is the newest row of a lease.
type row struct {
	term, beat uint64
	holder     string
	left       time.Duration // until it runs out, by the server's clock; negative: since
}

// try renews the lease, or takes it if it is free.
func (l *Lease) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Length*2/3)
	defer cancel()
	newest, err := l.newest(ctx)
	if err != nil {
		return err
	}
	mine := newest.holder == l.cfg.Holder && newest.term == l.Term() && newest.term > 0
	switch {
	case mine && newest.left > 0:
		return l.claim(ctx, newest.term, newest.beat+1)
	case newest.left > -l.cfg.Length/2 && newest.holder != l.cfg.Holder && newest.term > 0 && !dead(newest.holder):
		l.lost()
		return nil
	}
	l.lost()
	for term := newest.term + 1; term <= newest.term+3; term++ { // tokens whose rows were lost
		if err := l.claim(ctx, term, 0); !errors.Is(err, errNoRow) {
			return err
		}
	}
	return errNoRow
}

// errNoRow: the insert was taken, or dropped as a duplicate, and there is no row.
var errNoRow = errors.New("take the lease: the row is not there")

// claim inserts a row and looks whose it is.
func (l *Lease) claim(ctx context.Context, term, beat uint64) error {
	sent := l.now()
	token := fmt.Sprintf("lease/%s/%d/%d", l.name, term, beat)
	insert := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": token}))
	if err := l.conn.Exec(insert, statement("claim.sql"), l.args(term, beat, l.cfg.Length)...); err != nil {
		return fmt.Errorf("write the lease: %w", err)
	}
	newest, err := l.newest(ctx)
	if err != nil {
		return err
	}
	switch {
	case newest.term == term && newest.beat == beat && newest.holder == l.cfg.Holder:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.until, l.term, l.beat = sent.Add(l.cfg.Length), term, beat
		return nil
	case newest.term < term || newest.term == term && newest.beat < beat:
		return errNoRow
	}
	l.lost()
	return nil
}

func (l *Lease) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// release gives the lease back, if it is held, so that nobody has to wait for it.
func (l *Lease) release(ctx context.Context) error {
	if !l.Held() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	l.mu.Lock()
	term, beat := l.term, l.beat+1
	l.until = time.Time{}
	l.mu.Unlock()
	insert := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	// Negative, so that the others need no grace: nothing is under way here.
	if err := l.conn.Exec(insert, statement("claim.sql"), l.args(term, beat, -l.cfg.Length)...); err != nil {
		l.log.Warn("cannot give the lease back; it runs out by itself", "error", err)
	}
	return nil
}

func (l *Lease) args(term, beat uint64, length time.Duration) []any {
	return []any{clickhouse.Named("name", l.name), clickhouse.Named("term", strconv.FormatUint(term, 10)), clickhouse.Named("beat", strconv.FormatUint(beat, 10)),
		clickhouse.Named("holder", l.cfg.Holder), clickhouse.Named("length", strconv.FormatInt(length.Milliseconds(), 10))}
}

// newest reads the newest row; term 0: there is none.
func (l *Lease) newest(ctx context.Context) (row, error) {
	var r row
	var left int64
	rows, err := l.conn.Query(ctx, statement("newest.sql"), clickhouse.Named("name", l.name))
	if err != nil {
		return r, fmt.Errorf("read the lease: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&r.term, &r.beat, &r.holder, &left); err != nil {
			return r, fmt.Errorf("read the lease: %w", err)
		}
		r.left = time.Duration(left) * time.Millisecond
	}
	return r, rows.Err()
}

func statement(file string) string {
	text, err := statements.ReadFile(file)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}
