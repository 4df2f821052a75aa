package alert

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store keeps alerts in the table alerts, and what each window said of them in
// alert_findings. One process at a time may write; the methods are safe for
// concurrent use.
type Store struct {
	conn   driver.Conn
	now    func() time.Time
	mu     sync.Mutex // held from reading to writing
	before func(context.Context, []*Alert) error
}

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn) *Store { return &Store{conn: conn, now: time.Now} }

// Before has f look at all alerts that are about to be written: it may set
// SuppressedBy. To be called before the Store is used; an error of f fails the
// write.
func (s *Store) Before(f func(context.Context, []*Alert) error) { s.before = f }

const columns = `id, revision, detector, version, title, severity, score, confidence, magnitude, techniques, actor, victim, entities,
	start, end, window_start, window_end, sub_scores, reasons, unless, evidence_sql, evidence_params, baseline, flow_ids, completeness,
	provisional, missing, withdrawn, suppressed_by, related, raised, updated`

// normal brings an alert to the precision and order of the table.
func normal(a Alert) Alert {
	a.Entities, a.Techniques, a.Reasons = orEmpty(a.Entities), orEmpty(a.Techniques), orEmpty(a.Reasons)
	a.FlowIDs, a.Missing, a.Unless, a.Related = orEmpty(a.FlowIDs), orEmpty(a.Missing), orEmpty(a.Unless), orEmpty(a.Related)
	slices.Sort(a.Entities)
	a.Start, a.End = a.Start.UTC(), a.End.UTC()
	a.WindowStart, a.WindowEnd = a.WindowStart.UTC().Truncate(time.Second), a.WindowEnd.UTC().Truncate(time.Second)
	if a.SubScores == nil {
		a.SubScores = map[string]float64{}
	}
	if a.EvidenceParams == nil {
		a.EvidenceParams = map[string]string{}
	}
	return a
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return slices.Clone(list)
}

// near reads the stored episodes that found may belong to, and those that have
// one of the findings.
func (s *Store) near(ctx context.Context, found []Alert, said map[place]finding, e *episodes) error {
	var from, to time.Time
	detectors := map[string]bool{}
	keys := map[string]bool{}
	for i := range found {
		f := &found[i]
		if i == 0 {
			from, to = f.Start.Add(-f.gap()), f.End.Add(f.gap())
		}
		from, to = earlier(from, f.Start.Add(-f.gap())), later(to, f.End.Add(f.gap()))
		detectors[f.Detector] = true
		n := normal(*f)
		keys[n.Key()] = true
	}
	ids := map[string]bool{}
	for at := range said {
		ids[at.alert] = true
	}
	rows, err := s.conn.Query(ctx, "SELECT "+columns+` FROM alerts FINAL
		WHERE detector IN {detectors:Array(String)} AND end >= {from:DateTime64(9, 'UTC')} AND start <= {to:DateTime64(9, 'UTC')} OR id IN {ids:Array(String)}
		ORDER BY start, id`,
		clickhouse.Named("detectors", slices.Sorted(maps.Keys(detectors))), clickhouse.Named("from", stamp(later(from, time.Unix(0, 0)))),
		clickhouse.Named("to", stamp(later(to, time.Unix(0, 0)))), clickhouse.Named("ids", slices.Sorted(maps.Keys(ids))))
	if err != nil {
		return fmt.Errorf("look up alerts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		a, err := scan(rows)
		if err != nil {
			return fmt.Errorf("look up alerts: %w", err)
		}
		if ids[a.ID] || keys[a.Key()] {
			e.add(&a)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look up alerts: %w", err)
	}
	return nil
}

// stamp writes a time as ClickHouse reads a DateTime64(9, 'UTC') parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }

// Get returns the newest revisions of the alerts with these ids, in no order;
// those that do not exist are missing.
func (s *Store) Get(ctx context.Context, ids []string) ([]Alert, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.conn.Query(ctx, "SELECT "+columns+" FROM alerts FINAL WHERE id IN {ids:Array(String)}", clickhouse.Named("ids", ids))
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	var list []Alert
	for rows.Next() {
		a, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func scan(rows driver.Rows) (Alert, error) {
	var a Alert
	var severity string
	err := rows.Scan(&a.ID, &a.Revision, &a.Detector, &a.Version, &a.Title, &severity, &a.Score, &a.Confidence, &a.Magnitude, &a.Techniques,
		&a.Actor, &a.Victim, &a.Entities, &a.Start, &a.End, &a.WindowStart, &a.WindowEnd, &a.SubScores, &a.Reasons, &a.Unless, &a.EvidenceSQL,
		&a.EvidenceParams, &a.Baseline, &a.FlowIDs, &a.Completeness, &a.Provisional, &a.Missing, &a.Withdrawn, &a.SuppressedBy, &a.Related, &a.Raised, &a.Updated)
	a.Severity = Severity(severity)
	return a, err
}

// store lets the hook see what is about to be written, and writes it.
func (s *Store) store(ctx context.Context, list []*Alert) error {
	if len(list) == 0 {
		return nil
	}
	if s.before != nil {
		if err := s.before(ctx, list); err != nil {
			return err
		}
	}
	return s.insert(ctx, list)
}

func (s *Store) insert(ctx context.Context, list []*Alert) error {
	if len(list) == 0 {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO alerts ("+columns+")")
	if err != nil {
		return fmt.Errorf("store alerts: %w", err)
	}
	for _, a := range list {
		err := batch.Append(a.ID, a.Revision, a.Detector, a.Version, a.Title, string(a.Severity), a.Score, a.Confidence, a.Magnitude, a.Techniques,
			a.Actor, a.Victim, a.Entities, a.Start, a.End, a.WindowStart, a.WindowEnd, a.SubScores, a.Reasons, a.Unless, a.EvidenceSQL,
			a.EvidenceParams, a.Baseline, a.FlowIDs, a.Completeness, a.Provisional, a.Missing, a.Withdrawn, a.SuppressedBy, a.Related, a.Raised, a.Updated)
		if err != nil {
			_ = batch.Abort()
			return fmt.Errorf("store alert %s: %w", a.ID, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store alerts: %w", err)
	}
	return nil
}
