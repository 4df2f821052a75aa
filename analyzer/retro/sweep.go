package retro

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

const (
	partRows = 10_000_000       // rows of a part at most, unless one day has more
	partDays = 31               //
	lagging  = 10 * time.Minute // a sweep that has not moved for this long belongs to nobody
)

// Sweeper sweeps. One at a time is enough; two at once do the work twice and
// store the same.
type Sweeper struct {
	conn   driver.Conn
	store  *Store
	alerts *alert.Store
	log    *slog.Logger
	meters meters
	now    func() time.Time
	delay  time.Duration
	since  time.Time // new indicators were first noticed, zero: there are none
}

// delay is how long new indicators wait: collectors read a list within ten
// seconds of each other, and what they store before that is not matched.
const delay = 30 * time.Second

// New returns a Sweeper on conn, which stays the caller's, that raises alerts
// through a store. reg may be nil.
func New(conn driver.Conn, alerts *alert.Store, log *slog.Logger, reg prometheus.Registerer) *Sweeper {
	return &Sweeper{conn: conn, store: NewStore(conn), alerts: alerts, log: log, meters: newMeters(reg), now: time.Now, delay: delay}
}

// Run sweeps what is new every interval while held says so, until ctx ends.
// Trouble is logged and waited out; a sweep goes on where it was.
func (s *Sweeper) Run(ctx context.Context, interval time.Duration, held func() bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if held() {
			if err := s.Pass(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot sweep history; trying on", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass ends sweeps that were cut short, and sweeps the indicators that are new.
func (s *Sweeper) Pass(ctx context.Context) error {
	open, err := s.store.sweeps(ctx, statement("open"))
	if err != nil {
		return err
	}
	for _, w := range open {
		if w.Source != FromLists && w.State == Running && s.now().Sub(w.Updated) < lagging {
			continue // whoever gave the list is at it
		}
		if err := s.work(ctx, &w); err != nil {
			return err
		}
	}
	if err := s.exec(ctx, "gone"); err != nil {
		return fmt.Errorf("mark indicators that left their lists: %w", err)
	}
	var n uint64
	var lists []string
	if err := s.conn.QueryRow(ctx, statement("pending")).Scan(&n, &lists); err != nil {
		return fmt.Errorf("look for new indicators: %w", err)
	}
	switch now := s.now(); {
	case n == 0:
		s.since = time.Time{}
		return nil
	case s.since.IsZero() && s.delay > 0:
		s.since = now
		return nil
	case now.Sub(s.since) < s.delay:
		return nil
	}
	s.since = time.Time{}
	w := s.begin(FromLists, "")
	w.Lists, w.Indicators = lists, n
	if err := s.exec(ctx, "choose", clickhouse.Named("sweep", w.ID)); err != nil {
		return fmt.Errorf("choose new indicators: %w", err)
	}
	if err := s.note(ctx, &w); err != nil {
		return err
	}
	return s.work(ctx, &w)
}

// Sweep looks for the indicators of a list at once, for who, and returns when
// all is looked through. Cut short, it is ended by the next Pass.
func (s *Sweeper) Sweep(ctx context.Context, name, who string, list []Indicator) (Sweep, error) {
	w, err := s.take(ctx, name, who, list, Running)
	if err != nil {
		return w, err
	}
	err = s.work(ctx, &w)
	return w, err
}

// Ask stores a list for who, which the next Pass of the analyzer that works looks
// for.
func (s *Sweeper) Ask(ctx context.Context, name, who string, list []Indicator) (Sweep, error) {
	return s.take(ctx, name, who, list, Asked)
}

// take stores a list, and the sweep for it.
func (s *Sweeper) take(ctx context.Context, name, who string, list []Indicator, state string) (Sweep, error) {
	w := s.begin("file:"+name, who)
	w.State = state
	w.Lists, w.Indicators = []string{w.Source}, uint64(len(list))
	batch, err := s.conn.PrepareBatch(stored(ctx), "INSERT INTO retro_indicators (sweep, kind, value, list, confidence, net, bits)")
	if err != nil {
		return w, fmt.Errorf("store the list: %w", err)
	}
	for _, x := range list {
		if err := batch.Append(w.ID, x.Kind, x.Value, w.Source, x.Confidence, x.net().String(), x.bits()); err != nil {
			return w, errors.Join(fmt.Errorf("store the list: %w", err), batch.Abort())
		}
	}
	if err := batch.Send(); err != nil {
		return w, fmt.Errorf("store the list: %w", err)
	}
	return w, s.note(ctx, &w)
}

func (s *Sweeper) begin(source, who string) Sweep {
	now := s.now().UTC().Truncate(time.Millisecond)
	return Sweep{ID: rand.Text()[:12], Source: source, Who: who, State: Running, Began: now, Updated: now}
}

// work looks through what is left to a sweep, and ends it.
func (s *Sweeper) work(ctx context.Context, w *Sweep) error {
	parts, err := s.plan(ctx, w)
	if err == nil {
		w.State, w.Error = Running, ""
		err = s.parts(ctx, w, parts)
	}
	if err == nil {
		err = s.end(ctx, w)
	}
	if err != nil && ctx.Err() == nil {
		w.State, w.Error = Failed, err.Error()
		s.meters.sweeps.WithLabelValues(Failed).Inc()
		return errors.Join(fmt.Errorf("sweep %s: %w", w.ID, err), s.note(ctx, w))
	}
	return err
}

// part is a piece of history in one table.
type part struct {
	source      string
	first, last time.Time // days, inclusive
	rows        uint64
}

// time is the column that says when a row of the source is.
func (p part) time() string {
	return map[string]string{"flows": "start", "flows_1h": "hour", "flows_1d": "day"}[p.source]
}

func (p part) args(w *Sweep) []any {
	const partition = "20060102"
	return []any{clickhouse.Named("low", p.first.Format(partition)), clickhouse.Named("high", p.last.Format(partition)), clickhouse.Named("sweep", w.ID), clickhouse.Named("source", p.source), clickhouse.Named("time", p.time()), clickhouse.Named("first", p.first.Format(time.DateOnly)),
		clickhouse.Named("from", p.first.Format(time.DateTime)), clickhouse.Named("to", p.last.AddDate(0, 0, 1).Format(time.DateTime))}
}

// parts looks through those that are not done yet, the newest first.
func (s *Sweeper) parts(ctx context.Context, w *Sweep, parts []part) error {
	done := map[string]bool{}
	key := func(source string, first, last time.Time) string {
		return source + first.Format(time.DateOnly) + last.Format(time.DateOnly)
	}
	err := each(ctx, s.conn, statement("done"), func(rows driver.Rows) error {
		var source string
		var first, last time.Time
		err := rows.Scan(&source, &first, &last)
		done[key(source, first, last)] = true
		return err
	}, clickhouse.Named("sweep", w.ID))
	if err != nil {
		return fmt.Errorf("read retro_parts: %w", err)
	}
	w.Parts, w.PartsDone = uint32(len(parts)), 0
	slices.SortStableFunc(parts, func(a, b part) int { return b.first.Compare(a.first) })
	for _, p := range parts {
		if !done[key(p.source, p.first, p.last)] {
			began := s.now()
			matches, err := s.look(ctx, w, p)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", p.source, p.first.Format(time.DateOnly), err)
			}
			took := s.now().Sub(began)
			w.Took += took
			s.meters.rows.Add(float64(p.rows))
			err = s.insert(ctx, "INSERT INTO retro_parts (sweep, source, first, last, rows, matches, took_ms, done)",
				w.ID, p.source, p.first, p.last, p.rows, matches, uint64(took.Milliseconds()), s.now().UTC())
			if err != nil {
				return err
			}
		}
		w.PartsDone++
		if err := s.note(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// look finds the values of a part that are indicators, then who had contact.
func (s *Sweeper) look(ctx context.Context, w *Sweep, p part) (matches uint64, err error) {
	values := map[string][]string{"flows": {"values_address", "values_name", "values_print"}, "flows_1h": {"values_address_rollup"}, "flows_1d": {"values_address_rollup"},
		"names_1h": {"values_name_1h"}, "first_seen": {"values_first_seen"}}[p.source]
	for _, name := range values {
		if err := s.exec(ctx, name, p.args(w)...); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	var hits []string
	err = each(ctx, s.conn, statement("matched"), func(rows driver.Rows) error {
		var field string
		var n uint64
		if err := rows.Scan(&field, &n); err != nil {
			return err
		}
		matches += n
		switch {
		case p.source == "names_1h" || p.source == "first_seen":
			hits = []string{statement("hits_" + p.source)}
		case p.source != "flows":
			hits = []string{statement("hits_rollup")}
		default:
			hits = append(hits, rawHits(field)...)
		}
		return nil
	}, p.args(w)...)
	if err != nil {
		return 0, fmt.Errorf("matched: %w", err)
	}
	for _, text := range hits {
		if err := s.conn.Exec(stored(ctx), text, p.args(w)...); err != nil {
			return 0, fmt.Errorf("hits of %s: %w", p.source, err)
		}
	}
	return matches, nil
}

// rawHits are the statements that find the contacts with what matched in a field
// of flows: who asked it, and of an address also whom it asked.
func rawHits(matched string) []string {
	hits := func(field, column, host, with, value string) string {
		return strings.NewReplacer("/*matched*/", matched, "/*field*/", field, "/*column*/", column, "/*host*/", host, "/*with*/", with, "/*value*/", value).
			Replace(statement("hits_flows"))
	}
	switch matched {
	case "address":
		return []string{hits("dst_ip", "dst_ip", "src_ip", "", "toIPv6(seen)"), hits("src_ip", "src_ip", "dst_ip", "", "toIPv6(seen)")}
	case "dns_names":
		return []string{hits(matched, "name", "src_ip", "ARRAY JOIN dns_names AS name", "seen")}
	case "tls_sni", "http_host", "ja3", "ja4", "hassh", "hassh_server", "tls_cert_sha256":
		return []string{hits(matched, matched, "src_ip", "", "seen")}
	}
	return nil
}

// end raises the alerts of a sweep and closes it.
func (s *Sweeper) end(ctx context.Context, w *Sweep) error {
	if err := s.conn.QueryRow(ctx, statement("tally"), clickhouse.Named("sweep", w.ID)).Scan(&w.Hits, &w.Hosts); err != nil {
		return fmt.Errorf("count hits: %w", err)
	}
	if err := s.raise(ctx, w); err != nil {
		return err
	}
	if w.Source == FromLists {
		if err := s.exec(ctx, "swept", clickhouse.Named("sweep", w.ID), clickhouse.Named("until", w.Began.UnixMilli())); err != nil {
			return fmt.Errorf("note what was swept: %w", err)
		}
	}
	w.State = Done
	s.meters.sweeps.WithLabelValues(Done).Inc()
	s.meters.hits.Add(float64(w.Hits))
	s.log.Info("swept history", "sweep", w.ID, "source", w.Source, "indicators", w.Indicators, "parts", w.Parts, "hits", w.Hits, "hosts", w.Hosts, "took", w.Took)
	return s.note(ctx, w)
}

// note stores how a sweep stands.
func (s *Sweeper) note(ctx context.Context, w *Sweep) error {
	if now := s.now().UTC().Truncate(time.Millisecond); now.After(w.Updated) {
		w.Updated = now
	} else {
		w.Updated = w.Updated.Add(time.Millisecond)
	}
	return s.insert(ctx, "INSERT INTO retro_sweeps (id, source, who, lists, indicators, state, error, parts, parts_done, hits, hosts, began, updated, took_ms)",
		w.ID, w.Source, w.Who, w.Lists, w.Indicators, w.State, w.Error, w.Parts, w.PartsDone, w.Hits, w.Hosts, w.Began, w.Updated, uint64(w.Took.Milliseconds()))
}

func (s *Sweeper) exec(ctx context.Context, name string, args ...any) error {
	return s.conn.Exec(stored(ctx), statement(name), args...)
}

func (s *Sweeper) insert(ctx context.Context, sql string, values ...any) error {
	batch, err := s.conn.PrepareBatch(stored(ctx), sql)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := batch.Append(values...); err != nil {
		return errors.Join(fmt.Errorf("store: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// stored is ctx for statements that write, and read much: what they may take is
// bounded, whatever a part holds.
func stored(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "max_memory_usage": 4_000_000_000,
		"max_bytes_before_external_group_by": 1_000_000_000, "max_insert_threads": 1}))
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return min(1, float64(part)/float64(whole))
}

// chunk puts days together that follow each other, into parts.
func chunk(source string, days []time.Time, rows func(time.Time) uint64) (list []part) {
	slices.SortFunc(days, time.Time.Compare)
	for _, d := range days {
		n := rows(d)
		if k := len(list) - 1; k >= 0 && list[k].rows+n <= partRows && d.Sub(list[k].first) < partDays*24*time.Hour && d.Sub(list[k].last) == 24*time.Hour {
			list[k].last, list[k].rows = d, list[k].rows+n
			continue
		}
		list = append(list, part{source, d, d, cmp.Or(n, 1)})
	}
	return list
}
