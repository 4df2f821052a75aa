package incident

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

//go:embed ran.sql
var ranSQL string

//go:embed dates.sql
var datesSQL string

// overlap is how far back each Pass looks for alerts: one is stamped before it is
// inserted, and so may appear after younger ones.
const overlap = time.Minute

// Keeper links alerts to what explains them and makes cases of them, as alerts
// change. It is for one goroutine, and one process at a time.
type Keeper struct {
	cfg    CaseConfig
	conn   driver.Conn
	alerts *alert.Store
	inside []netip.Prefix
	log    *slog.Logger

	cases     *prometheus.CounterVec
	explained prometheus.Counter

	loaded bool
	newest time.Time        // updated, of what was seen
	seen   map[string]trace // by alert
}

// trace is what was seen of an alert: the rest but its end does not matter.
type trace struct {
	mark uint64
	end  time.Time
}

// NewKeeper returns a Keeper of the alerts of a store. inside are own networks;
// reg may be nil.
func NewKeeper(cfg CaseConfig, conn driver.Conn, alerts *alert.Store, inside []netip.Prefix, log *slog.Logger, reg prometheus.Registerer) *Keeper {
	k := &Keeper{cfg: cfg, conn: conn, alerts: alerts, inside: inside, log: log, seen: map[string]trace{},
		cases:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_analyzer_incident_case_revisions_total", Help: "Revisions of cases stored, by kind (new, changed or withdrawn)."}, []string{"kind"}),
		explained: prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_incident_explained_alerts_total", Help: "Alerts that were linked to what explains them, or no more."})}
	if reg != nil {
		reg.MustRegister(k.cases, k.explained)
	}
	return k
}

// Run works every interval while held says so, until ctx ends. Trouble is logged
// and waited out.
func (k *Keeper) Run(ctx context.Context, interval time.Duration, held func() bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if held() {
			if err := k.Pass(ctx); err != nil && ctx.Err() == nil {
				k.log.Warn("cannot make cases of alerts; trying on", "error", err)
			}
		} else {
			k.loaded, k.seen = false, map[string]trace{} // another process goes on
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass looks at the alerts that have changed since the Pass before, or since the
// newest case was judged by whatever process, and judges the days they touch. A
// second Pass changes nothing.
func (k *Keeper) Pass(ctx context.Context) error {
	if !k.loaded {
		// A new version judges everything again.
		if err := k.conn.QueryRow(ctx, ranSQL, clickhouse.Named("detector", CaseDetector), clickhouse.Named("version", caseVersion)).Scan(&k.newest); err != nil {
			return fmt.Errorf("read job_runs: %w", err)
		}
		k.loaded = true
	}
	newest := k.newest
	days := map[int64]bool{}
	marks := map[string]trace{}
	err := k.alerts.Updated(ctx, k.newest.Add(-overlap), func(a *alert.Alert) error {
		if a.Updated.After(newest) {
			newest = a.Updated
		}
		if a.Detector == CaseDetector {
			return nil
		}
		now, old := trace{mark(a), a.End}, k.seen[a.ID]
		from := a.Start
		if old.mark == now.mark {
			if old.end.Equal(now.end) {
				return nil
			}
			from = old.end
		}
		marks[a.ID] = now
		for at := from.UTC().Truncate(day); !at.After(a.End.Add(day)); at = at.Add(day) {
			days[at.Unix()] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, at := range slices.Sorted(maps.Keys(days)) {
		if err := k.judge(ctx, time.Unix(at, 0).UTC()); err != nil {
			return err
		}
	}
	// Only when all of them are judged: it is where the next process goes on.
	if err := k.record(ctx, slices.Sorted(maps.Keys(days)), newest); err != nil {
		return err
	}
	maps.Copy(k.seen, marks)
	for id, t := range k.seen { // an alert that old begins a new episode when it comes back
		if newest.Sub(t.end) > 60*day && len(k.seen) > 100000 {
			delete(k.seen, id)
		}
	}
	k.newest = newest
	return nil
}

// mark is of all that matters for cases, but the end.
func mark(a *alert.Alert) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, a.Severity, a.Confidence, a.Withdrawn, a.SuppressedBy, a.Actor, a.Victim, a.Techniques, a.Start.UnixNano(), a.Provisional)
	return h.Sum64()
}

// judge links what is explained, and makes the cases, of one day.
func (k *Keeper) judge(ctx context.Context, start time.Time) error {
	var list []*alert.Alert
	err := k.alerts.Each(ctx, start.Add(-day), start.Add(day), func(a *alert.Alert) error {
		a.Reasons, a.SubScores = nil, nil
		list = append(list, a)
		return nil
	})
	if err != nil {
		return err
	}
	if err := k.explain(ctx, list); err != nil {
		return err
	}
	found := Cases(k.cfg, k.inside, start, list)
	judged := []alert.Judged{{Detector: CaseDetector, Version: caseVersion, Start: start, End: start.Add(day), Step: day}}
	raised, err := k.alerts.Settle(ctx, judged, found)
	if err != nil {
		return err
	}
	k.cases.WithLabelValues("new").Add(float64(raised.New))
	k.cases.WithLabelValues("changed").Add(float64(raised.Changed - raised.Withdrawn))
	k.cases.WithLabelValues("withdrawn").Add(float64(raised.Withdrawn))
	if raised.New+raised.Changed > 0 {
		k.log.Info("cases", "day", start.Format(time.DateOnly), "new", raised.New, "changed", raised.Changed-raised.Withdrawn, "withdrawn", raised.Withdrawn)
	}
	return nil
}

// record writes to job_runs which days were judged, of alerts up to newest.
func (k *Keeper) record(ctx context.Context, days []int64, newest time.Time) error {
	if len(days) == 0 {
		return nil
	}
	insert := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	err := k.conn.Exec(insert, datesSQL, clickhouse.Named("detector", CaseDetector), clickhouse.Named("version", caseVersion),
		clickhouse.Named("days", days), clickhouse.Named("ran", stamp(newest)))
	if err != nil {
		return fmt.Errorf("record job_runs: %w", err)
	}
	return nil
}

// explain brings SuppressedBy of the alerts to what explains them.
func (k *Keeper) explain(ctx context.Context, list []*alert.Alert) error {
	by := explained(list)
	want := map[string]string{}
	listed := map[string]bool{}
	for _, a := range list {
		listed[a.ID] = true
	}
	for _, a := range list {
		if id, linked := strings.CutPrefix(a.SuppressedBy, explanationPrefix); linked && !listed[id] {
			continue // what explains it was on another day, which is judged when that changes
		}
		now := ""
		if e := by[a.ID]; e != nil {
			now = explanationPrefix + e.ID
		}
		if (a.SuppressedBy == "" || strings.HasPrefix(a.SuppressedBy, explanationPrefix)) && a.SuppressedBy != now {
			want[a.ID] = now
		}
	}
	if len(want) == 0 {
		return nil
	}
	n, err := k.alerts.Rewrite(ctx, slices.Sorted(maps.Keys(want)), func(a *alert.Alert) bool {
		if a.SuppressedBy == want[a.ID] || a.SuppressedBy != "" && !strings.HasPrefix(a.SuppressedBy, explanationPrefix) {
			return false
		}
		a.SuppressedBy = want[a.ID]
		return true
	})
	k.explained.Add(float64(n))
	if err != nil {
		return err
	}
	for _, a := range list {
		if now, changed := want[a.ID]; changed {
			a.SuppressedBy = now
		}
	}
	return nil
}
