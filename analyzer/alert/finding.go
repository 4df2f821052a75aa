package alert

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// place is what a finding is known by: the alert, and start and end of the
// window in seconds since the Unix epoch.
type place struct {
	alert    string
	from, to int64
}

// finding is what is stored about a window's word on an alert.
type finding struct {
	detector string
	version  uint16
	from, to int64
	revision uint32
	hash     uint64
}

const findingColumns = `detector, alert, window_start, window_end, revision, gone, hash, version, title, severity, score, confidence, magnitude,
	techniques, actor, victim, entities, start, end, sub_scores, reasons, unless, evidence_sql, evidence_params, baseline, flow_ids, completeness,
	provisional, missing, related`

// said returns the stored findings of the detectors in question in the windows in
// question, and of windows that began up to a Step later.
func (s *Store) said(ctx context.Context, judged []Judged, found []Alert) (map[place]finding, error) {
	slices.SortFunc(judged, func(a, b Judged) int { return a.Start.Compare(b.Start) })
	detectors := map[string]bool{}
	var from, to time.Time
	widen := func(detector string, a, b time.Time) {
		detectors[detector] = true
		if from.IsZero() || a.Before(from) {
			from = a
		}
		to = later(to, b)
	}
	for _, j := range judged {
		widen(j.Detector, j.Start, j.Start.Add(max(j.Step, time.Second)))
	}
	for i := range found {
		widen(found[i].Detector, found[i].WindowStart, found[i].WindowStart.Add(time.Second))
	}
	list := map[place]finding{}
	if len(detectors) == 0 {
		return list, nil
	}
	rows, err := s.conn.Query(ctx, `SELECT alert, window_start, window_end, detector, version, revision, hash FROM alert_findings FINAL
		WHERE detector IN {detectors:Array(String)} AND window_start >= {from:DateTime('UTC')} AND window_start < {to:DateTime('UTC')} AND NOT gone`,
		clickhouse.Named("detectors", slices.Sorted(maps.Keys(detectors))), clickhouse.Named("from", second(from)), clickhouse.Named("to", second(to)))
	if err != nil {
		return nil, fmt.Errorf("read alert_findings: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var a, b time.Time
		var f finding
		if err := rows.Scan(&id, &a, &b, &f.detector, &f.version, &f.revision, &f.hash); err != nil {
			return nil, fmt.Errorf("read alert_findings: %w", err)
		}
		f.from, f.to = a.Unix(), b.Unix()
		list[place{id, f.from, f.to}] = f
	}
	return list, rows.Err()
}

// left returns what all windows say about these alerts, without the long texts:
// enough to tell which is the strongest.
func (s *Store) left(ctx context.Context, detectors []string, ids map[string]bool) (map[string][]*Alert, error) {
	rows, err := s.conn.Query(ctx, `SELECT alert, detector, window_start, window_end, version, severity, score, magnitude, start, end FROM alert_findings FINAL
		WHERE detector IN {detectors:Array(String)} AND alert IN {ids:Array(String)} AND NOT gone ORDER BY alert, window_start, window_end`,
		clickhouse.Named("detectors", detectors), clickhouse.Named("ids", slices.Sorted(maps.Keys(ids))))
	if err != nil {
		return nil, fmt.Errorf("read alert_findings: %w", err)
	}
	defer rows.Close()
	list := map[string][]*Alert{}
	for rows.Next() {
		var a Alert
		var severity string
		if err := rows.Scan(&a.ID, &a.Detector, &a.WindowStart, &a.WindowEnd, &a.Version, &severity, &a.Score, &a.Magnitude, &a.Start, &a.End); err != nil {
			return nil, fmt.Errorf("read alert_findings: %w", err)
		}
		a.Severity = Severity(severity)
		list[a.ID] = append(list[a.ID], &a)
	}
	return list, rows.Err()
}

// whole reads all of a finding.
func (s *Store) whole(ctx context.Context, f *Alert) (*Alert, error) {
	list, err := s.findings(ctx, "SELECT "+findingColumns+` FROM alert_findings FINAL WHERE detector = {detector:String} AND alert = {alert:String}
		AND window_start = {from:DateTime('UTC')} AND window_end = {to:DateTime('UTC')} AND NOT gone`,
		clickhouse.Named("detector", f.Detector), clickhouse.Named("alert", f.ID), clickhouse.Named("from", second(f.WindowStart)), clickhouse.Named("to", second(f.WindowEnd)))
	if err != nil || len(list) != 1 {
		return nil, fmt.Errorf("read finding of alert %s: %d rows: %w", f.ID, len(list), err)
	}
	return &list[0], nil
}

// Findings returns what each window says about an alert now, earliest window
// first: at most limit, the newest.
func (s *Store) Findings(ctx context.Context, id string, limit int) ([]Alert, error) {
	list, err := s.findings(ctx, "SELECT "+findingColumns+` FROM alert_findings FINAL WHERE alert = {alert:String} AND NOT gone
		ORDER BY window_start DESC, window_end DESC LIMIT {limit:UInt32}`, clickhouse.Named("alert", id), clickhouse.Named("limit", limit))
	slices.Reverse(list)
	return list, err
}

func (s *Store) findings(ctx context.Context, sql string, args ...any) ([]Alert, error) {
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read alert_findings: %w", err)
	}
	defer rows.Close()
	var list []Alert
	for rows.Next() {
		var a Alert
		var severity string
		var gone bool
		var hash uint64
		err := rows.Scan(&a.Detector, &a.ID, &a.WindowStart, &a.WindowEnd, &a.Revision, &gone, &hash, &a.Version, &a.Title, &severity, &a.Score, &a.Confidence,
			&a.Magnitude, &a.Techniques, &a.Actor, &a.Victim, &a.Entities, &a.Start, &a.End, &a.SubScores, &a.Reasons, &a.Unless, &a.EvidenceSQL,
			&a.EvidenceParams, &a.Baseline, &a.FlowIDs, &a.Completeness, &a.Provisional, &a.Missing, &a.Related)
		if err != nil {
			return nil, fmt.Errorf("read alert_findings: %w", err)
		}
		a.Severity = Severity(severity)
		list = append(list, a)
	}
	return list, rows.Err()
}

// record stores what windows say now, where that differs, and what is gone, by
// one insert.
func (s *Store) record(ctx context.Context, said map[place]finding, fresh map[place]*Alert, gone map[place]finding) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	var batch driver.Batch
	put := func(revision uint32, gone bool, hash uint64, a *Alert) (err error) {
		if batch == nil {
			if batch, err = s.conn.PrepareBatch(ctx, "INSERT INTO alert_findings ("+findingColumns+")"); err != nil {
				return err
			}
		}
		return batch.Append(a.Detector, a.ID, a.WindowStart, a.WindowEnd, revision, gone, hash, a.Version, a.Title, string(a.Severity), a.Score, a.Confidence,
			a.Magnitude, a.Techniques, a.Actor, a.Victim, a.Entities, a.Start, a.End, a.SubScores, a.Reasons, a.Unless, a.EvidenceSQL,
			a.EvidenceParams, a.Baseline, a.FlowIDs, a.Completeness, a.Provisional, a.Missing, a.Related)
	}
	var err error
	for at, f := range fresh {
		if h := f.hash(); said[at].hash != h && err == nil {
			err = put(said[at].revision+1, false, h, f)
		}
	}
	for at, old := range gone {
		if err == nil {
			a := normal(Alert{ID: at.alert, Detector: old.detector, Version: old.version, WindowStart: time.Unix(old.from, 0), WindowEnd: time.Unix(old.to, 0), Start: time.Unix(0, 0), End: time.Unix(0, 0)})
			err = put(old.revision+1, true, 0, &a)
		}
	}
	if batch == nil {
		return err
	}
	if err != nil {
		_ = batch.Abort()
	} else {
		err = batch.Send()
	}
	if err != nil {
		return fmt.Errorf("store alert_findings: %w", err)
	}
	return nil
}

// hash is of all that a window says. Floating point is rounded, as sums of it
// depend on the order of rows. It is never 0.
func (a *Alert) hash() uint64 {
	h := fnv.New64a()
	text := func(list ...string) {
		fmt.Fprintf(h, "%d;", len(list))
		for _, s := range list {
			fmt.Fprintf(h, "%d:%s;", len(s), s)
		}
	}
	number := func(f float64) {
		if math.IsNaN(f) {
			text("nan")
			return
		}
		fmt.Fprintf(h, "%.7g;", f)
	}
	text(a.Title, string(a.Severity), a.Actor, a.Victim, a.EvidenceSQL, a.Baseline)
	for _, list := range [][]string{a.Techniques, a.Entities, a.Reasons, a.Unless, a.FlowIDs, a.Missing, a.Related} {
		text(list...)
	}
	for _, f := range []float64{a.Score, a.Confidence, a.Magnitude, a.Completeness} {
		number(f)
	}
	for _, k := range slices.Sorted(maps.Keys(a.SubScores)) {
		text(k)
		number(a.SubScores[k])
	}
	for _, k := range slices.Sorted(maps.Keys(a.EvidenceParams)) {
		text(k, a.EvidenceParams[k])
	}
	fmt.Fprintf(h, "%d %d %d %t", a.Version, a.Start.UnixNano(), a.End.UnixNano(), a.Provisional)
	return max(h.Sum64(), 1)
}

// second writes a time as ClickHouse reads a DateTime('UTC') parameter.
func second(t time.Time) string { return t.UTC().Format(time.DateTime) }
