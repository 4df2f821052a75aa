package report

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
)

//go:embed sql
var statements embed.FS

const (
	fine   = 5 * time.Minute // the slots that 95th percentiles are usually taken of
	coarse = time.Hour
	// maxLinks bounds the links of a report; the busiest are kept.
	maxLinks = 100
	maxApps  = 50
)

// Maker makes reports. Its methods are safe for concurrent use.
type Maker struct {
	cfg      Config
	conn     driver.Conn
	inside   []netip.Prefix
	families map[string]string
	capacity map[string]float64
	loc      *time.Location
}

// NewMaker returns a Maker on conn, which stays the caller's. inside are the own
// networks; families are those of detectors by name, may be nil.
func NewMaker(cfg Config, conn driver.Conn, inside []netip.Prefix, families map[string]string) (*Maker, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	loc, err := cfg.location()
	if err != nil {
		return nil, err
	}
	capacity, err := cfg.capacities()
	return &Maker{cfg, conn, inside, families, capacity, loc}, err
}

// Location is the time zone of the reports.
func (m *Maker) Location() *time.Location { return m.loc }

// Make collects the report of a period.
func (m *Maker) Make(ctx context.Context, p Period) (*Report, error) {
	r := &Report{Name: p.Name(), Kind: p.Kind, From: p.Start, To: p.End, Zone: m.loc.String(), loc: m.loc}
	c := &collector{m, r, p, fine, "1m"}
	if err := c.grain(ctx); err != nil {
		return nil, err
	}
	r.SlotSeconds = int(c.slot / time.Second)
	for _, s := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"bandwidth", c.links}, {"applications", c.apps}, {"security events", c.events}, {"capacity", c.capacity}, {"completeness", c.ledger},
		{"classes of service", c.classes}, {"the matrix of autonomous systems", c.systems}, {"the matrix of prefixes", c.prefixes},
	} {
		err := s.do(ctx)
		if limit := overLimit(err); limit != "" && ctx.Err() == nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: left out, the question needed %s", s.what, limit))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("report %s: %s: %w", r.Name, s.what, err)
		}
	}
	return r, nil
}

// overLimit says which bound of ours a statement has met, empty: none.
func overLimit(err error) string {
	var e *clickhouse.Exception
	if !errors.As(err, &e) {
		return ""
	}
	return map[int32]string{159: "too much time", 160: "too much time", 241: "too much memory", 158: "too many rows", 307: "too many octets", 396: "too many rows"}[int32(e.Code)]
}

// collector fills one report.
type collector struct {
	*Maker
	r     *Report
	p     Period
	slot  time.Duration
	table string // 1m or 1h
}

// each asks one of the statements, bounded, and calls f for each row.
func (c *collector) each(ctx context.Context, file string, f func(rows driver.Rows) error, more ...any) error {
	text, err := statements.ReadFile("sql/" + file + ".sql")
	if err != nil {
		return err
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": c.cfg.Timeout.Seconds(), "max_memory_usage": int64(c.cfg.Memory),
		"max_bytes_before_external_group_by": int64(c.cfg.Memory) / 2, "max_threads": 2}))
	table := strings.NewReplacer("/*table*/", "flows_"+c.table, "/*time*/", map[string]string{"1m": "minute", "1h": "hour"}[c.table])
	args := append([]any{clickhouse.Named("from", unix(c.p.Start)), clickhouse.Named("to", unix(c.p.End)), clickhouse.Named("slot", strconv.Itoa(int(c.slot/time.Second))),
		clickhouse.Named("rank", strconv.Itoa(rank(c.p.slots(c.slot)))), clickhouse.Named("pairs", strconv.Itoa(c.cfg.Pairs))}, more...)
	rows, err := c.conn.Query(ctx, table.Replace(string(text)), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func unix(t time.Time) string { return strconv.FormatInt(max(t.Unix(), 0), 10) }

// grain takes minutes, or hours where minutes are not all there any more.
func (c *collector) grain(ctx context.Context) error {
	return c.each(ctx, "minutes", func(rows driver.Rows) error {
		var minutes, hours uint64
		if err := rows.Scan(&minutes, &hours); err != nil {
			return err
		}
		if minutes < hours {
			c.slot, c.table = coarse, "1h"
			c.r.Notes = append(c.r.Notes, "the minutes of the period are not all stored any more: 95th percentiles and peaks are those of hours, which are lower than those of five minutes")
		}
		return nil
	})
}

// insideArgs are the bounds of the own networks.
func (c *collector) insideArgs() []any {
	first, last := make([]string, len(c.inside)), make([]string, len(c.inside))
	for i, p := range c.inside {
		b, bits := p.Masked().Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		first[i] = netip.AddrFrom16(b).String()
		for bit := bits; bit < 128; bit++ {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		last[i] = netip.AddrFrom16(b).String()
	}
	return []any{clickhouse.Named("inside_first", first), clickhouse.Named("inside_last", last)}
}

// rate makes bits per second of the octets of a slot.
func (c *collector) rate(octets float64) float64 { return octets * 8 / c.slot.Seconds() }

func (c *collector) links(ctx context.Context) error {
	type key struct{ site, name string }
	type series struct{ all, out, into []float64 }
	found, values := map[key]*Link{}, map[key]*series{}
	err := c.each(ctx, "links", func(rows driver.Rows) error {
		var k key
		var at uint32
		var octets, out, into uint64
		if err := rows.Scan(&k.site, &k.name, &at, &octets, &out, &into); err != nil {
			return err
		}
		l, v := found[k], values[k]
		if l == nil {
			l, v = &Link{Site: k.site, Name: k.name, Capacity: c.Maker.capacity[k.name]}, &series{}
			found[k], values[k] = l, v
		}
		l.Octets, l.Out, l.Into = l.Octets+octets, l.Out+out, l.Into+into
		if rate := c.rate(float64(octets)); rate > l.Peak {
			l.Peak, l.PeakAt = rate, time.Unix(int64(at), 0).In(c.loc)
		}
		l.points = append(l.points, point{at, float64(octets)})
		v.all, v.out, v.into = append(v.all, float64(octets)), append(v.out, float64(out)), append(v.into, float64(into))
		return nil
	}, c.insideArgs()...)
	if err != nil {
		return err
	}
	n := c.p.slots(c.slot)
	for k, l := range found {
		v := values[k]
		l.Mean = float64(l.Octets) * 8 / c.p.End.Sub(c.p.Start).Seconds()
		l.P95, l.P95Out, l.P95In = c.rate(ranked(v.all, n)), c.rate(ranked(v.out, n)), c.rate(ranked(v.into, n))
		c.r.Links = append(c.r.Links, *l)
	}
	slices.SortFunc(c.r.Links, func(a, b Link) int {
		return first(compare(b.Octets, a.Octets), compare(a.Site, b.Site), compare(a.Name, b.Name))
	})
	if len(c.r.Links) > maxLinks {
		c.r.Notes = append(c.r.Notes, fmt.Sprintf("bandwidth: the %d busiest of %d links are shown", maxLinks, len(c.r.Links)))
		c.r.Links = c.r.Links[:maxLinks]
	}
	return nil
}

// ranked is the value of the slot that is the 95th percentile of n slots, of which
// those that are not there had nothing.
func ranked(values []float64, n int) float64 {
	sorted := slices.Clone(values)
	slices.SortFunc(sorted, func(a, b float64) int { return compare(b, a) })
	if at := rank(n) - 1; at < len(sorted) {
		return sorted[at]
	}
	return 0
}

func (c *collector) apps(ctx context.Context) error {
	var total uint64
	var rest App
	err := c.each(ctx, "applications", func(rows driver.Rows) error {
		var a App
		if err := rows.Scan(&a.Name, &a.Flows, &a.Octets, &a.Sent, &a.Received); err != nil {
			return err
		}
		if total += a.Octets; len(c.r.Apps) < maxApps {
			c.r.Apps = append(c.r.Apps, a)
			return nil
		}
		rest.Name = "all others"
		rest.Flows, rest.Octets, rest.Sent, rest.Received = rest.Flows+a.Flows, rest.Octets+a.Octets, rest.Sent+a.Sent, rest.Received+a.Received
		return nil
	})
	if rest.Name != "" {
		c.r.Apps = append(c.r.Apps, rest)
	}
	for i := range c.r.Apps {
		c.r.Apps[i].Share = share(c.r.Apps[i].Octets, total)
	}
	return err
}

func share(part, all uint64) float64 {
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}

func (c *collector) events(ctx context.Context) error {
	err := c.each(ctx, "events", func(rows driver.Rows) error {
		var e Event
		if err := rows.Scan(&e.Detector, &e.Severity, &e.Alerts, &e.Withdrawn, &e.Hidden, &e.Actors); err != nil {
			return err
		}
		if e.Family = c.families[e.Detector]; e.Family == "" {
			e.Family = "own rules"
		}
		c.r.Events = append(c.r.Events, e)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(c.r.Events, func(a, b Event) int {
		return first(compare(a.Family, b.Family), compare(severityRank(b.Severity), severityRank(a.Severity)), compare(b.Alerts, a.Alerts), compare(a.Detector, b.Detector))
	})
	return c.each(ctx, "worst", func(rows driver.Rows) error {
		var w Worst
		if err := rows.Scan(&w.ID, &w.Title, &w.Detector, &w.Severity, &w.Actor, &w.Victim, &w.Start, &w.End, &w.Score); err != nil {
			return err
		}
		w.Start, w.End = w.Start.In(c.loc), w.End.In(c.loc)
		c.r.Worst = append(c.r.Worst, w)
		return nil
	})
}

func (c *collector) ledger(ctx context.Context) error {
	at := map[string]int{}
	err := c.each(ctx, "ledger", func(rows driver.Rows) error {
		var a Account
		if err := rows.Scan(&a.Probe, &a.Seen, &a.Kept); err != nil {
			return err
		}
		a.Share = share(a.Kept, a.Seen)
		at[a.Probe] = len(c.r.Ledger)
		c.r.Ledger = append(c.r.Ledger, a)
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(ctx, "losses", func(rows driver.Rows) error {
		var probe string
		var l Loss
		if err := rows.Scan(&probe, &l.Reason, &l.Packets, &l.Records); err != nil {
			return err
		}
		i, known := at[probe]
		if !known {
			i = len(c.r.Ledger)
			at[probe], c.r.Ledger = i, append(c.r.Ledger, Account{Probe: probe})
		}
		if l.Reason == flow.LossFiltered || l.Reason == flow.LossNonIP {
			l.Reason += " (set aside on purpose)"
		}
		c.r.Ledger[i].Losses = append(c.r.Ledger[i].Losses, l)
		return nil
	})
}
