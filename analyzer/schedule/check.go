package schedule

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// catchupVisible is how long Catchup waits for rows that were promised: the
// collector is done, so what is not there will not come.
const catchupVisible = 5 * time.Second

// visible returns those windows whose promised rows are in flows, and, if they are
// closed, in the rollups that the detector reads, or have been waited for in vain.
// The rollups of an hour that still fills are always behind it.
func (s *Scheduler) visible(ctx context.Context, j *job, list []*window, closed, catchup bool) ([]*window, error) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	from, to := list[0].start, list[len(list)-1].end
	if err := s.count(ctx, from, to); err != nil {
		return nil, err
	}
	built, err := s.built(ctx, j, from, to)
	if err != nil {
		return nil, err
	}
	now, patience := s.now(), s.cfg.Visible
	if catchup {
		patience = catchupVisible
	}
	var ready []*window
	waits := false
	for _, w := range list {
		var there uint64
		for m := floor(w.start, 60) / 60; m*60 < w.end; m++ {
			there += s.there[m]
		}
		promised := s.progress.rows(w.start, w.end)
		w.short, w.unbuilt = 1, !built(w)
		if there < promised || closed && w.unbuilt {
			if w.unseen.IsZero() {
				w.unseen = now
			}
			if now.Sub(w.unseen) < patience {
				waits = waits || there < promised
				continue
			}
			if there < promised {
				w.short = float64(there) / float64(promised)
				s.metrics.short.Add(float64(promised - there))
			}
		} else {
			w.unseen = time.Time{}
		}
		ready = append(ready, w)
	}
	if waits {
		// Perhaps a row of batches was counted twice: look at all of them again.
		s.progress.synced = earliest(s.progress.synced, now.Add(-resync+10*time.Second))
	}
	return ready, nil
}

// count brings s.there up to date for the minutes that hold [from, to): those in
// which everything that was promised had been found before are not read again.
func (s *Scheduler) count(ctx context.Context, from, to int64) error {
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for m := floor(from, 60) / 60; m*60 < to; m++ {
		if s.there[m] < s.progress.minutes[m].rows {
			first, last = min(first, m), max(last, m)
		}
	}
	if first > last {
		return nil
	}
	rows, err := s.conn.Query(ctx, `SELECT intDiv(toInt64(toUnixTimestamp(start)), 60) AS m, count() FROM flows
		WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} GROUP BY m`, between(first*60, (last+1)*60)...)
	if err != nil {
		return fmt.Errorf("count flows: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m int64
		var n uint64
		if err := rows.Scan(&m, &n); err != nil {
			return fmt.Errorf("count flows: %w", err)
		}
		s.there[m] = n
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count flows: %w", err)
	}
	return nil
}

// built tells of windows whether the whole hours in them are in the rollups that
// the detector reads.
func (s *Scheduler) built(ctx context.Context, j *job, from, to int64) (func(*window) bool, error) {
	if len(j.info.Rollups) == 0 {
		return func(*window) bool { return true }, nil
	}
	rows, err := s.conn.Query(ctx, `SELECT at, min(built) FROM
		(SELECT rollup AS name, toInt64(toUnixTimestamp(bucket)) AS at, argMax(raw_rows, (build, cover)) AS built FROM rollup_builds
		 WHERE rollup IN {rollups:Array(String)} AND bucket >= {from:DateTime('UTC')} AND bucket < {to:DateTime('UTC')} GROUP BY name, bucket)
		GROUP BY at HAVING uniqExact(name) = length({rollups:Array(String)})`,
		append(between(from, to), clickhouse.Named("rollups", j.info.Rollups))...)
	if err != nil {
		return nil, fmt.Errorf("read rollup_builds: %w", err)
	}
	defer rows.Close()
	count := map[int64]uint64{}
	for rows.Next() {
		var at int64
		var n uint64
		if err := rows.Scan(&at, &n); err != nil {
			return nil, fmt.Errorf("read rollup_builds: %w", err)
		}
		count[at] = n
	}
	return func(w *window) bool {
		for h := -floor(-w.start, hour); h+hour <= w.end; h += hour {
			if count[h] < s.progress.rows(h, h+hour) {
				return false
			}
		}
		return true
	}, rows.Err()
}

const hour = 3600 // seconds

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func between(from, to int64) []any {
	return []any{
		clickhouse.Named("from", time.Unix(from, 0).UTC().Format(time.DateTime)),
		clickhouse.Named("to", time.Unix(to, 0).UTC().Format(time.DateTime)),
	}
}

// annotate gives alerts what the scheduler knows of their windows.
func (s *Scheduler) annotate(ctx context.Context, done []outcome, found []alert.Alert, closed bool) error {
	from, to := done[0].start, done[0].end
	by := make(map[int64]*window, len(done))
	for _, o := range done {
		from, to = min(from, o.start), max(to, o.end)
		by[o.start] = o.window
	}
	rows, err := s.conn.Query(ctx, `SELECT intDiv(toInt64(toUnixTimestamp(second)), 60) AS m, sum(seen_packets), sum(flow_packets) FROM ledger
		WHERE second >= {from:DateTime('UTC')} AND second < {to:DateTime('UTC')} GROUP BY m`, between(floor(from, 60), -floor(-to, 60))...)
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	defer rows.Close()
	type packets struct{ seen, flows uint64 }
	ledger := map[int64]packets{}
	for rows.Next() {
		var m int64
		var p packets
		if err := rows.Scan(&m, &p.seen, &p.flows); err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		ledger[m] = p
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	for i := range found {
		a := &found[i]
		w := by[a.WindowStart.Unix()]
		a.Provisional, a.Missing, a.Completeness = !closed, w.missing, math.NaN()
		var sum packets
		for m := floor(w.start, 60) / 60; m*60 < w.end; m++ {
			sum.seen += ledger[m].seen
			sum.flows += ledger[m].flows
		}
		if sum.seen > 0 {
			a.Completeness = min(1, float64(sum.flows)/float64(sum.seen)) * w.short
		}
		if w.unbuilt {
			a.Reasons = append(a.Reasons, "the rollups of the window were not finished")
		}
		if w.short < 1 {
			a.Reasons = append(a.Reasons, fmt.Sprintf("only %.1f %% of the rows promised for the window could be read", 100*w.short))
		}
	}
	return nil
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func keys(set map[int64]bool) []int64 { return slices.Sorted(maps.Keys(set)) }
