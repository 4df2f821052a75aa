// Package backtest tells what a detector, a rule or an exclusion would have said
// of stored traffic, before it is turned on. In come a detector.Detector, or an
// exclusion, and a range; out goes its price: incidents a day, hosts, what of it
// is raised already, and the time it takes. Nothing is written.
package backtest

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed minutes.sql
var minutesSQL string

// Price is what something costs those who look at incidents, and the machine.
type Price struct {
	Subject    string // detector or exclusion
	From, To   time.Time
	Days       float64 // of the range that have traffic, at least one hour's part
	Windows    int     // judged
	Looked     int     // of them, looked at closely
	Candidates int
	Learning   int // candidates without enough history

	Incidents  []alert.Alert // what would stand, by start; without ids
	BySeverity map[alert.Severity]int
	Actors     int // distinct
	Victims    int // distinct

	Known   int // incidents that the same detector has raised, with the same entities
	Similar int // others, of which an alert of another detector has actor and time
	Lost    int // alerts of the same detector in the range that would not be raised

	Took    time.Duration
	Slowest time.Duration // window
}

// PerDay is incidents a day.
func (p Price) PerDay() float64 { return float64(len(p.Incidents)) / p.Days }

// Backtester prices things on what is stored. It only reads.
type Backtester struct {
	conn   driver.Conn
	alerts *alert.Store
	now    func() time.Time
}

// New returns a Backtester on conn, which stays the caller's.
func New(conn driver.Conn) *Backtester {
	return &Backtester{conn: conn, alerts: alert.NewStore(conn), now: time.Now}
}

// chunk is how many windows a Finder is asked about at once, and span how long
// they are at most.
const (
	chunk = 4096
	span  = 7 * 24 * time.Hour
)

// Detector runs a detector over all windows of [from, to) that hold traffic, as
// the scheduler would, each as closed.
func (b *Backtester) Detector(ctx context.Context, d detect.Detector, from, to time.Time) (Price, error) {
	info := d.Info()
	p := Price{Subject: info.Name, From: from, To: to, BySeverity: map[alert.Severity]int{}}
	began := b.now()
	starts, days, err := b.windows(ctx, info, from, to)
	if err != nil {
		return p, err
	}
	p.Days, p.Windows = days, len(starts)
	var pile alert.Pile
	for len(starts) > 0 {
		n := 1
		for n < len(starts) && n < chunk && starts[n].Sub(starts[0]) <= span {
			n++
		}
		part := starts[:n]
		starts = starts[n:]
		if f, ok := d.(detect.Finder); ok && len(part) > 1 {
			worth, err := f.Windows(ctx, b.conn, detect.Window{Start: part[0], End: part[len(part)-1].Add(info.Length)})
			if err != nil {
				return p, err
			}
			in := map[int64]bool{}
			for _, at := range worth {
				in[at.Unix()] = true
			}
			part = slices.DeleteFunc(slices.Clone(part), func(at time.Time) bool { return !in[at.Unix()] })
		}
		for _, at := range part {
			before := b.now()
			r, err := d.Detect(ctx, b.conn, detect.Window{Start: at, End: at.Add(info.Length)})
			if err != nil {
				return p, err
			}
			p.Slowest = max(p.Slowest, b.now().Sub(before))
			p.Looked, p.Candidates, p.Learning = p.Looked+1, p.Candidates+r.Judged, p.Learning+r.Learning
			for i := range r.Alerts {
				pile.Add(r.Alerts[i])
			}
		}
	}
	p.Incidents = pile.Alerts()
	p.Took = b.now().Sub(began)
	return p, b.compare(ctx, &p)
}

// windows returns the starts of the windows of a detector that lie in [from, to)
// and hold flows, and how many days of traffic that is.
func (b *Backtester) windows(ctx context.Context, info detect.Info, from, to time.Time) ([]time.Time, float64, error) {
	rows, err := b.conn.Query(ctx, minutesSQL, clickhouse.Named("from", from.UTC().Format(time.DateTime)), clickhouse.Named("to", to.UTC().Format(time.DateTime)))
	if err != nil {
		return nil, 0, fmt.Errorf("read the minutes of the traffic: %w", err)
	}
	defer rows.Close()
	step, length := int64(info.Step/time.Second), int64(info.Length/time.Second)
	set, hours := map[int64]bool{}, map[int64]bool{}
	for rows.Next() {
		var minute int64
		if err := rows.Scan(&minute); err != nil {
			return nil, 0, fmt.Errorf("read the minutes of the traffic: %w", err)
		}
		at := minute * 60
		hours[at/3600] = true
		for start := (at + 59) / step * step; start > at-length; start -= step {
			if start >= from.Unix() && start+length <= to.Unix() {
				set[start] = true
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, fmt.Errorf("read the minutes of the traffic: %w", err)
	}
	var list []time.Time
	for _, at := range slices.Sorted(maps.Keys(set)) {
		list = append(list, time.Unix(at, 0).UTC())
	}
	return list, max(float64(len(hours)), 1) / 24, nil
}

// compare counts what is raised already.
func (b *Backtester) compare(ctx context.Context, p *Price) error {
	actors, victims := map[string]bool{}, map[string]bool{}
	for _, a := range p.Incidents {
		p.BySeverity[a.Severity]++
		actors[a.Actor], victims[a.Victim] = true, true
	}
	delete(actors, "")
	delete(victims, "")
	p.Actors, p.Victims = len(actors), len(victims)
	var stored []*alert.Alert
	byKey, byActor := map[string][]*alert.Alert{}, map[string][]*alert.Alert{}
	err := b.alerts.Each(ctx, p.From, p.To, func(a *alert.Alert) error {
		if a.Withdrawn {
			return nil
		}
		if a.Detector == p.Subject {
			stored = append(stored, a)
			byKey[a.Key()] = append(byKey[a.Key()], a)
		} else {
			byActor[a.Actor] = append(byActor[a.Actor], a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	overlaps := func(list []*alert.Alert, a *alert.Alert, each func(*alert.Alert)) (any bool) {
		for _, s := range list {
			if !s.Start.After(a.End) && !a.Start.After(s.End) {
				any = true
				each(s)
			}
		}
		return any
	}
	kept := map[string]bool{}
	for i := range p.Incidents {
		a := &p.Incidents[i]
		switch {
		case overlaps(byKey[a.Key()], a, func(s *alert.Alert) { kept[s.ID] = true }):
			p.Known++
		case a.Actor != "" && overlaps(byActor[a.Actor], a, func(*alert.Alert) {}):
			p.Similar++
		}
	}
	for _, s := range stored {
		if !kept[s.ID] {
			p.Lost++
		}
	}
	return nil
}

// Top returns the actors with the most incidents, at most n: name and number.
func (p Price) Top(n int) []string {
	count := map[string]int{}
	for _, a := range p.Incidents {
		count[a.Actor]++
	}
	names := slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
	var list []string
	for _, name := range names[:min(n, len(names))] {
		who := name
		if who == "" {
			who = "many"
		}
		list = append(list, fmt.Sprintf("%s %d", who, count[name]))
	}
	return list
}
