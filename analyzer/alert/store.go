package alert

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store keeps alerts in the table alerts. It is for one writer at a time.
type Store struct {
	conn driver.Conn
	now  func() time.Time
}

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn) *Store { return &Store{conn: conn, now: time.Now} }

const columns = `id, revision, detector, version, title, severity, score, confidence, magnitude, techniques, actor, victim, entities,
	start, end, window_start, window_end, sub_scores, reasons, unless, evidence_sql, evidence_params, baseline, flow_ids, completeness,
	provisional, missing, raised, updated`

// Raised is what became of the alerts given to Raise.
type Raised struct {
	Alerts  []Alert // as they stand in the table now, one for each that was touched
	New     int     // episodes that began
	Changed int     // episodes with a new revision
}

// Raise stores what detectors found. An alert with the key of a stored one, no
// further from it in traffic time than its Gap, becomes part of that episode
// and keeps its id; the episode gets a new revision only if that changes it, so
// storing the same again writes nothing. Otherwise a new episode begins, named
// after its key and the start of its window. Alerts of earlier windows are to be
// given first. Everything given is stored by one insert, or nothing is.
func (s *Store) Raise(ctx context.Context, found []Alert) (Raised, error) {
	if len(found) == 0 {
		return Raised{}, nil
	}
	episodes, err := s.near(ctx, found)
	if err != nil {
		return Raised{}, err
	}
	var r Raised
	now := s.now().UTC().Truncate(time.Millisecond)
	before := map[string]Alert{}
	var touched []*Alert
	seen := map[*Alert]bool{}
	for i := range found {
		f := normal(found[i])
		key := f.Key()
		var episode *Alert
		for _, e := range episodes[key] {
			if e.near(&f) {
				episode = e
				break
			}
		}
		if episode == nil {
			f.ID, f.Revision = episodeID(key, f.WindowStart), 0
			episode = &f
			episodes[key] = append(episodes[key], episode)
			before[f.ID] = Alert{}
		} else {
			if _, known := before[episode.ID]; !known {
				before[episode.ID] = *episode
			}
			*episode = episode.merge(&f)
		}
		if !seen[episode] {
			seen[episode] = true
			touched = append(touched, episode)
		}
	}
	var write []*Alert
	for _, e := range touched {
		old := before[e.ID]
		if old.Revision == 0 {
			r.New++
			e.Raised = now
		} else if e.equal(&old) {
			r.Alerts = append(r.Alerts, *e)
			continue
		} else {
			r.Changed++
		}
		e.Revision, e.Updated = old.Revision+1, now
		write = append(write, e)
		r.Alerts = append(r.Alerts, *e)
	}
	return r, s.insert(ctx, write)
}

// normal brings an alert to the precision and order of the table.
func normal(a Alert) Alert {
	a.Entities, a.Techniques, a.Reasons = orEmpty(a.Entities), orEmpty(a.Techniques), orEmpty(a.Reasons)
	a.FlowIDs, a.Missing, a.Unless = orEmpty(a.FlowIDs), orEmpty(a.Missing), orEmpty(a.Unless)
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

// near returns the stored episodes that found may belong to, by key, earliest
// first.
func (s *Store) near(ctx context.Context, found []Alert) (map[string][]*Alert, error) {
	from, to := found[0].Start, found[0].End
	detectors := map[string]bool{}
	keys := map[string]bool{}
	for i := range found {
		f := &found[i]
		from, to = earlier(from, f.Start.Add(-f.gap())), later(to, f.End.Add(f.gap()))
		detectors[f.Detector] = true
		n := normal(*f)
		keys[n.Key()] = true
	}
	names := make([]string, 0, len(detectors))
	for d := range detectors {
		names = append(names, d)
	}
	rows, err := s.conn.Query(ctx, "SELECT "+columns+` FROM alerts FINAL
		WHERE detector IN {detectors:Array(String)} AND end >= {from:DateTime64(9, 'UTC')} AND start <= {to:DateTime64(9, 'UTC')}
		ORDER BY start, id`,
		clickhouse.Named("detectors", names), clickhouse.Named("from", stamp(from)), clickhouse.Named("to", stamp(to)))
	if err != nil {
		return nil, fmt.Errorf("look up alerts: %w", err)
	}
	defer rows.Close()
	episodes := map[string][]*Alert{}
	for rows.Next() {
		a, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("look up alerts: %w", err)
		}
		if key := a.Key(); keys[key] {
			episodes[key] = append(episodes[key], &a)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look up alerts: %w", err)
	}
	return episodes, nil
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
		&a.EvidenceParams, &a.Baseline, &a.FlowIDs, &a.Completeness, &a.Provisional, &a.Missing, &a.Raised, &a.Updated)
	a.Severity = Severity(severity)
	return a, err
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
			a.EvidenceParams, a.Baseline, a.FlowIDs, a.Completeness, a.Provisional, a.Missing, a.Raised, a.Updated)
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
