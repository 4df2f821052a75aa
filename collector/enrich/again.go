package enrich

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed again.sql
var againSQL string

const (
	// maxKnown is how many addresses of one day, or values of one kind, may be
	// known: ClickHouse has them in memory, at about 200 octets each.
	maxKnown = 5_000_000
	// rewriteTimeout is how long one day may take before Again gives up waiting;
	// the server goes on with it.
	rewriteTimeout = 6 * time.Hour
)

// ErrNothingKnown is the answer of Again when there is no data.
var ErrNothingKnown = errors.New("nothing is configured, or could be read, that flows are enriched with")

// Day is a partition of flows.
type Day struct {
	Date time.Time
	Rows uint64 // that were enriched with other data, or never
	Took time.Duration
}

// Stale lists the days from the first to the last, both included, that have rows
// enriched with other data than what is in force, or never. Zero times are the
// first and last day there is.
func (e *Enricher) Stale(ctx context.Context, conn driver.Conn, from, to time.Time) ([]Day, error) {
	rows, err := conn.Query(ctx, `SELECT partition_id FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active
		GROUP BY partition_id ORDER BY partition_id`)
	if err != nil {
		return nil, fmt.Errorf("list the days of flows: %w", err)
	}
	var dates []time.Time
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			rows.Close()
			return nil, fmt.Errorf("list the days of flows: %w", err)
		}
		date, err := time.Parse("20060102", id)
		if err == nil && !date.Before(from) && (to.IsZero() || !date.After(to)) {
			dates = append(dates, date)
		}
	}
	err = errors.Join(rows.Err(), rows.Close())
	if err != nil {
		return nil, fmt.Errorf("list the days of flows: %w", err)
	}
	var days []Day
	for _, date := range dates {
		d := Day{Date: date}
		if err := conn.QueryRow(ctx, "SELECT count() FROM flows WHERE toYYYYMMDD(start) = {day:UInt32} AND enrichment != {version:UInt64}",
			clickhouse.Named("day", number(date)), clickhouse.Named("version", e.Version())).Scan(&d.Rows); err != nil {
			return nil, fmt.Errorf("look at %s: %w", date.Format(time.DateOnly), err)
		}
		if d.Rows > 0 {
			days = append(days, d)
		}
	}
	return days, nil
}

func number(date time.Time) uint32 {
	n, _ := strconv.ParseUint(date.Format("20060102"), 10, 32)
	return uint32(n)
}

// Again enriches what is stored with the data in force, day by day, the newest
// first, and calls done after each. It changes the columns of enrichment and no
// other. It may be ended at any time and called again: what is done is not done
// twice, and what the server is still at is waited for.
func (e *Enricher) Again(ctx context.Context, conn driver.Conn, from, to time.Time, done func(Day)) error {
	if e.Version() == 0 {
		return kit.Hint(ErrNothingKnown, "see the warnings above, and enrich.databases, networks and threats of the configuration")
	}
	ctx, release, err := lease(ctx, conn)
	if err != nil {
		return err
	}
	defer release()
	if err := idle(ctx, conn); err != nil {
		return err
	}
	days, err := e.Stale(ctx, conn, from, to)
	if err != nil {
		return err
	}
	slices.Reverse(days)
	for _, d := range days {
		began := time.Now()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.rewrite(ctx, conn, d.Date); err != nil {
			return fmt.Errorf("enrich %s: %w", d.Date.Format(time.DateOnly), err)
		}
		e.metrics.rewritten.Inc()
		d.Took = time.Since(began)
		done(d)
	}
	return forget(ctx, conn) // addresses and names of people, and memory
}

// forget empties what again.sql compares with.
func forget(ctx context.Context, conn driver.Conn) error {
	for _, table := range []string{"enrich_addresses", "enrich_hits"} {
		if err := conn.Exec(ctx, "TRUNCATE TABLE {table:Identifier}", clickhouse.Named("table", table)); err != nil {
			return fmt.Errorf("empty %s: %w", table, err)
		}
	}
	return nil
}

func (e *Enricher) rewrite(ctx context.Context, conn driver.Conn, date time.Time) error {
	d := e.data.Load()
	ctx, cancel := context.WithTimeout(ctx, rewriteTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "max_bytes_before_external_group_by": 512 << 20,
		"max_threads": 2, "optimize_on_insert": 0}))
	if err := forget(ctx, conn); err != nil {
		return err
	}
	day := []any{clickhouse.Named("day", number(date)), clickhouse.Named("version", d.version)}
	if err := e.prepareAddresses(ctx, conn, d, day); err != nil {
		return err
	}
	if err := prepareHits(ctx, conn, d, day); err != nil {
		return err
	}
	var database string
	if err := conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&database); err != nil {
		return err
	}
	if err := conn.Exec(ctx, againSQL, clickhouse.Named("addresses", database+".enrich_addresses"), clickhouse.Named("hits", database+".enrich_hits"),
		clickhouse.Named("version", d.version), clickhouse.Named("partition", date.Format("20060102"))); err != nil {
		return fmt.Errorf("begin to rewrite: %w", err)
	}
	return idle(ctx, conn)
}

// prepareAddresses notes what is known of each address of a day.
func (e *Enricher) prepareAddresses(ctx context.Context, conn driver.Conn, d *snapshot, day []any) error {
	s := new(scratch)
	s.begin(d)
	w := writer{ctx: ctx, conn: conn, statement: "INSERT INTO enrich_addresses (site, ip, asn, country, city, network, role, lists)"}
	rows, err := conn.Query(ctx, `SELECT toString(site), ip FROM flows ARRAY JOIN [src_ip, dst_ip] AS ip
		WHERE toYYYYMMDD(start) = {day:UInt32} AND enrichment != {version:UInt64} GROUP BY site, ip ORDER BY site`, day...)
	if err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	defer rows.Close()
	var site string
	var ip netip.Addr
	for rows.Next() {
		if err := rows.Scan(&site, &ip); err != nil {
			return fmt.Errorf("list the addresses: %w", err)
		}
		k := s.find(site, ip.As16())
		if *k == (known{}) {
			continue
		}
		if w.total >= maxKnown {
			return fmt.Errorf("%w: more than %d addresses of one day are known", errTooLarge, maxKnown)
		}
		if err := w.row(site, ip.As16(), k.asn, k.country, k.city, k.network, k.role, d.threats.sets[k.set]); err != nil {
			return fmt.Errorf("note the addresses: %w", errors.Join(err, w.abort()))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	if err := w.send(); err != nil {
		return fmt.Errorf("note the addresses: %w", err)
	}
	return nil
}

// prepareHits notes the names and fingerprints of a day that are on lists.
func prepareHits(ctx context.Context, conn driver.Conn, d *snapshot, day []any) error {
	if d.threats.size == 0 {
		return nil
	}
	w := writer{ctx: ctx, conn: conn, statement: "INSERT INTO enrich_hits (kind, value, lists)"}
	for _, look := range []struct {
		kind, values string
		find         func(string) uint32
	}{
		{"name", "[tls_sni, http_host]", func(s string) uint32 { return d.threats.name(s, true) }},
		{"dns", "dns_names", func(s string) uint32 { return d.threats.name(s, false) }},
		{"print", "[toString(ja3), toString(ja4), toString(hassh), toString(hassh_server), tls_cert_sha256]", func(s string) uint32 { return d.threats.prints[s] }},
	} {
		if err := eachValue(ctx, conn, look.values, day, func(value string) error {
			id := look.find(value)
			if id == 0 {
				return nil
			}
			if w.total >= maxKnown {
				return fmt.Errorf("%w: more than %d values of one day are on lists", errTooLarge, maxKnown)
			}
			return w.row(look.kind, value, d.threats.sets[id])
		}); err != nil {
			return fmt.Errorf("look for values on lists: %w", errors.Join(err, w.abort()))
		}
	}
	if err := w.send(); err != nil {
		return fmt.Errorf("note values on lists: %w", err)
	}
	return nil
}

// eachValue calls one for each value of a day that the expression, one of ours,
// gives.
func eachValue(ctx context.Context, conn driver.Conn, expression string, day []any, one func(string) error) error {
	rows, err := conn.Query(ctx, "SELECT value FROM flows ARRAY JOIN "+expression+` AS value
		WHERE toYYYYMMDD(start) = {day:UInt32} AND enrichment != {version:UInt64} AND value != '' GROUP BY value`, day...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var value string
	for rows.Next() {
		if err := rows.Scan(&value); err != nil {
			return err
		}
		if err := one(value); err != nil {
			return err
		}
	}
	return rows.Err()
}

// idle waits until the server has rewritten all that it was told to of flows,
// also by others: what it reads while it does so must not change.
func idle(ctx context.Context, conn driver.Conn) error {
	for {
		var left uint64
		var failed, id string
		if err := conn.QueryRow(ctx, `SELECT count(), max(latest_fail_reason), max(mutation_id) FROM system.mutations
			WHERE database = currentDatabase() AND table = 'flows' AND NOT is_done AND NOT is_killed`).Scan(&left, &failed, &id); err != nil {
			return fmt.Errorf("look at mutations of flows: %w", err)
		}
		switch {
		case failed != "":
			return kit.Hint(fmt.Errorf("rewrite flows: %s: %s", id, failed), "when the cause is gone it goes on by itself; KILL MUTATION ends it")
		case left == 0:
			return nil
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}
