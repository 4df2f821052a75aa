package retro

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// plan says which parts of which tables a sweep is to look through. It is made
// once, and read back when the sweep goes on.
func (s *Sweeper) plan(ctx context.Context, w *Sweep) ([]part, error) {
	c, err := s.store.Coverage(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	if len(c.Days) == 0 {
		if c.Days, err = s.days(ctx); err != nil {
			return nil, err
		}
		if err := s.keep(ctx, w, c.Days); err != nil {
			return nil, err
		}
	}
	bySource := map[string][]time.Time{}
	rows := map[time.Time]Day{}
	for _, d := range c.Days {
		for _, t := range d.Tables {
			bySource[t] = append(bySource[t], d.Day)
		}
		rows[d.Day] = d
	}
	list := chunk("flows", bySource["flows"], func(d time.Time) uint64 { return rows[d].FlowRows })
	for _, source := range []string{"flows_1h", "flows_1d", "names_1h"} {
		list = append(list, chunk(source, bySource[source], func(d time.Time) uint64 { return rows[d].RollupRows })...)
	}
	if len(bySource["first_seen"]) > 0 { // all there was before the flows that are stored
		until := w.Began.UTC().Truncate(24 * time.Hour)
		for _, d := range bySource["flows"] {
			if d.Before(until) {
				until = d
			}
		}
		list = append(list, part{source: "first_seen", first: time.Unix(0, 0).UTC(), last: until.AddDate(0, 0, -1)})
	}
	return list, nil
}

// days looks at what is stored of each day, and chooses the tables that tell most.
func (s *Sweeper) days(ctx context.Context) ([]Day, error) {
	var list []Day
	var early time.Time // flows of days before are gone
	err := each(ctx, s.conn, statement("days"), func(rows driver.Rows) error {
		var d Day
		var hours, days, names uint64
		if err := rows.Scan(&d.Day, &d.FlowRows, &hours, &days, &names, &d.Promised, &d.SeenPackets, &d.FlowPackets, &d.Dropped); err != nil {
			return err
		}
		d.RollupRows = max(hours, days)
		lacks := d.FlowRows < max(d.RollupRows, d.Promised) || d.Dropped
		if d.FlowRows > 0 {
			d.Tables = append(d.Tables, "flows")
			if early.IsZero() {
				early = d.Day
			}
		}
		if lacks {
			switch {
			case hours > d.FlowRows:
				d.Tables = append(d.Tables, "flows_1h")
			case days > d.FlowRows:
				d.Tables = append(d.Tables, "flows_1d")
			}
			if names > d.FlowRows {
				d.Tables = append(d.Tables, "names_1h")
			}
		}
		switch {
		case d.FlowRows > 0 && !lacks:
			d.Verdict = Complete
		case d.FlowRows > 0:
			d.Verdict = Partial
		case d.RollupRows > 0:
			d.Verdict = Addresses
		case d.Promised == 0 && !d.Dropped:
			d.Verdict = Complete // packets were seen, and no flow began
		default:
			d.Verdict = Lost
		}
		if d.Tables == nil {
			d.Tables = []string{}
		}
		list = append(list, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the days of the traffic: %w", err)
	}
	var before bool
	err = each(ctx, s.conn, statement("before"), func(rows driver.Rows) error { return rows.Scan(&before) }, clickhouse.Named("early", secondOf(early)))
	if err != nil {
		return nil, fmt.Errorf("look at first_seen: %w", err)
	}
	if before {
		list = append([]Day{{Day: time.Unix(0, 0).UTC(), Tables: []string{"first_seen"}, Verdict: Addresses}}, list...)
	}
	return list, nil
}

// secondOf writes a time as ClickHouse reads a DateTime('UTC'); of the zero time
// the last that it knows.
func secondOf(t time.Time) string {
	if t.IsZero() {
		return "2106-01-01 00:00:00"
	}
	return t.UTC().Format(time.DateTime)
}

// keep stores the plan.
func (s *Sweeper) keep(ctx context.Context, w *Sweep, days []Day) error {
	batch, err := s.conn.PrepareBatch(stored(ctx), "INSERT INTO retro_days (sweep, day, tables, flow_rows, rollup_rows, promised_rows, seen_packets, flow_packets, dropped, verdict, updated)")
	if err != nil {
		return fmt.Errorf("store the days of a sweep: %w", err)
	}
	for _, d := range days {
		if err := batch.Append(w.ID, d.Day, d.Tables, d.FlowRows, d.RollupRows, d.Promised, d.SeenPackets, d.FlowPackets, d.Dropped, d.Verdict, s.now().UTC()); err != nil {
			return errors.Join(fmt.Errorf("store the days of a sweep: %w", err), batch.Abort())
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store the days of a sweep: %w", err)
	}
	return nil
}
