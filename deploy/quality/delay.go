package quality

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer"
)

// past is a case as it stood at a moment of traffic time: the same tables, with
// the flow records that a probe had exported by then, and with the rollups of
// the hours that were over.
type past struct {
	name string
	conn driver.Conn
	by   map[string]analyzer.Detector
}

// exported is when a probe with default settings hands a record on: at once when
// the flow has ended or is cut, after a time-out otherwise.
const exported = `end + toIntervalSecond(multiIf(end_reason IN ('end', 'active', 'list_full'), 0, dst_packets = 0, 5, 30))`

// past makes views of the case's tables in a second database.
func (s *Store) past(ctx context.Context) (*past, error) {
	p := &past{name: s.name + "_past", by: map[string]analyzer.Detector{}}
	if err := s.db.Exec(ctx, "CREATE DATABASE "+p.name+" ENGINE = Atomic"); err != nil {
		return nil, fmt.Errorf("open the past of a case: %w", err)
	}
	var err error
	if p.conn, err = open(s.chain.clickhouse, p.name); err != nil {
		return nil, err
	}
	if err := p.conn.Exec(ctx, "CREATE TABLE moment (at DateTime64(9, 'UTC')) ENGINE = Memory"); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT table, groupArray(name) AS columns FROM (SELECT table, name FROM system.columns WHERE database = currentDatabase() ORDER BY table, position)
		WHERE table NOT IN (SELECT name FROM system.dictionaries WHERE database = currentDatabase()) GROUP BY table`)
	if err != nil {
		return nil, err
	}
	tables, err := scan[struct {
		Table   string   `ch:"table"`
		Columns []string `ch:"columns"`
	}](rows)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		where := ""
		switch {
		case t.Table == "flows":
			where = " WHERE " + exported + " <= (SELECT max(at) FROM " + p.name + ".moment)"
		case slices.Contains(t.Columns, "bucket") && strings.HasSuffix(t.Table, "_1d"):
			where = " WHERE bucket + INTERVAL 1 DAY <= (SELECT max(at) FROM " + p.name + ".moment)"
		case slices.Contains(t.Columns, "bucket") && (strings.HasSuffix(t.Table, "_1h") || strings.HasSuffix(t.Table, "_1m")):
			where = " WHERE bucket + INTERVAL 1 HOUR <= (SELECT max(at) FROM " + p.name + ".moment)"
		}
		columns := "`" + strings.Join(t.Columns, "`, `") + "`"
		if err := p.conn.Exec(ctx, "CREATE VIEW `"+t.Table+"` AS SELECT "+columns+" FROM "+s.name+".`"+t.Table+"`"+where); err != nil {
			return nil, fmt.Errorf("open the past of a case: table %s: %w", t.Table, err)
		}
	}
	for _, d := range analyzer.Detectors(s.cfg) {
		p.by[d.Info().Name] = d
	}
	return p, nil
}

func (p *past) close(ctx context.Context, s *Store) {
	_ = s.db.Exec(ctx, "DROP DATABASE IF EXISTS "+p.name+" SYNC")
	p.conn.Close()
}

// to moves the past to a moment.
func (p *past) to(ctx context.Context, at time.Time) error {
	if err := p.conn.Exec(ctx, "TRUNCATE TABLE moment"); err != nil {
		return err
	}
	return p.conn.Exec(ctx, fmt.Sprintf("INSERT INTO moment SELECT fromUnixTimestamp64Nano(toInt64(%d), 'UTC')", at.UnixNano()))
}

// provisionalEvery is how often a running analyzer judges a window that is open.
func provisionalEvery(length time.Duration) time.Duration { return max(30*time.Second, length/20) }

// raised is the earliest moment of traffic time at which the detector of an
// incident, run on each window as it closes and provisionally before, would have
// raised it; since is when what it is about began.
func (p *past) raised(ctx context.Context, s *Store, i Incident, since time.Time) (time.Time, error) {
	d, ok := p.by[i.Detector]
	if !ok {
		return i.WindowEnd, nil // made of other incidents
	}
	rows, err := s.db.Query(ctx, `SELECT window_start, window_end FROM alert_findings FINAL WHERE alert = {id:String} AND NOT gone AND window_end > {since:DateTime64(6, 'UTC')}
		ORDER BY window_start, window_end LIMIT 1`, named("id", i.ID), named("since", since.Format("2006-01-02 15:04:05.000000")))
	if err != nil {
		return time.Time{}, err
	}
	first, err := scan[struct {
		Start time.Time `ch:"window_start"`
		End   time.Time `ch:"window_end"`
	}](rows)
	if err != nil || len(first) == 0 {
		return i.WindowEnd, err
	}
	w := analyzer.Window{Start: first[0].Start, End: first[0].End}
	// The moments of provisional runs; the window's end is the last of them.
	var moments []time.Time
	step := provisionalEvery(w.End.Sub(w.Start))
	for at := later(w.Start, since).Truncate(step).Add(step); at.Before(w.End); at = at.Add(step) {
		moments = append(moments, at)
	}
	// What a window once holds it keeps: the first moment is found by halving.
	low, high := 0, len(moments)
	for low < high {
		mid := (low + high) / 2
		found, err := p.raises(ctx, d, w, moments[mid], i)
		if err != nil {
			return time.Time{}, err
		}
		if found {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low < len(moments) {
		return moments[low], nil
	}
	return w.End, nil
}

// raises runs a detector on a window at a moment, and says whether the incident
// is among what it returns.
func (p *past) raises(ctx context.Context, d analyzer.Detector, w analyzer.Window, at time.Time, i Incident) (bool, error) {
	if err := p.to(ctx, at); err != nil {
		return false, err
	}
	r, err := d.Detect(ctx, p.conn, w)
	if err != nil {
		return false, err
	}
	for _, a := range r.Alerts {
		if slices.Equal(a.Entities, i.Entities) {
			return true, nil
		}
	}
	return false, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
