package alert

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// brief are the columns of Each.
const brief = `SELECT id, revision, detector, version, title, severity, score, confidence, magnitude, techniques, actor, victim, entities,
		start, end, window_start, window_end, sub_scores, reasons, flow_ids, completeness, provisional, withdrawn, suppressed_by, related, raised, updated
	FROM alerts FINAL`

// Each hands the newest revision of every alert whose traffic touches [from, to)
// to f, earliest start first, until f returns an error: without evidence,
// baseline, unless and missing. Zero times mean no bound. The Alert is f's to keep.
func (s *Store) Each(ctx context.Context, from, to time.Time, f func(*Alert) error) error {
	if to.IsZero() {
		to = time.Unix(9e9, 0) // within DateTime64(9)
	}
	return s.each(ctx, f, brief+` WHERE end >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')} ORDER BY start, id`,
		clickhouse.Named("from", stamp(later(from, time.Unix(0, 0)))), clickhouse.Named("to", stamp(to)))
}

// Updated is Each for the alerts that were written at or after a moment of the
// wall clock, in the order of that.
func (s *Store) Updated(ctx context.Context, since time.Time, f func(*Alert) error) error {
	return s.each(ctx, f, brief+` WHERE updated >= {since:DateTime64(9, 'UTC')} ORDER BY updated, id`, clickhouse.Named("since", stamp(later(since, time.Unix(0, 0)))))
}

func (s *Store) each(ctx context.Context, f func(*Alert) error, sql string, args ...any) error {
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var a Alert
		var severity string
		err := rows.Scan(&a.ID, &a.Revision, &a.Detector, &a.Version, &a.Title, &severity, &a.Score, &a.Confidence, &a.Magnitude, &a.Techniques,
			&a.Actor, &a.Victim, &a.Entities, &a.Start, &a.End, &a.WindowStart, &a.WindowEnd, &a.SubScores, &a.Reasons, &a.FlowIDs, &a.Completeness,
			&a.Provisional, &a.Withdrawn, &a.SuppressedBy, &a.Related, &a.Raised, &a.Updated)
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		a.Severity = Severity(severity)
		if err := f(&a); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	return nil
}
