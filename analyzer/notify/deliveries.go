package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// The statuses of a delivery.
const (
	pending   = "pending"   // is being sent, or waits to be sent again
	delivered = "delivered" // the other side has taken it
	gaveUp    = "gave_up"   // will not be sent again
	replaced  = "replaced"  // was pending when a newer revision took its place
)

// row is a delivery as the table has it: one attempt or its outcome.
type row struct {
	alert     string
	revision  uint32
	sink      string
	status    string
	severity  alert.Severity
	magnitude float64
	attempts  uint32
	err       string
	at        time.Time
}

// key is what a state is looked up by.
type key struct{ alert, sink string }

// state is what the table says about an alert and a sink.
type state struct {
	told     told
	pending  uint32    // revision that waits, 0: none
	attempts uint32    // at what waits
	at       time.Time // newest row, of whatever status
}

// candidate is the part of a stored alert that tells whether it is due.
type candidate struct {
	id        string
	revision  uint32
	severity  alert.Severity // or alert.Withdrawn
	magnitude float64
	updated   time.Time
}

// deliveries reads and writes the table deliveries, and reads what is new in
// the table alerts.
type deliveries struct{ conn driver.Conn }

const pageSize = 2000

// changed returns up to pageSize alerts that were updated at or after the given
// time and come after the alert with this time and id, in that order. All of a
// page have been read when less than pageSize come. What is suppressed is left out.
func (d deliveries) changed(ctx context.Context, after time.Time, id string) ([]candidate, error) {
	rows, err := d.conn.Query(ctx, `SELECT id, revision, if(withdrawn, 'withdrawn', toString(severity)), magnitude, updated FROM alerts FINAL
		WHERE suppressed_by = '' AND updated >= {after:DateTime64(3, 'UTC')} AND (updated, id) > ({after:DateTime64(3, 'UTC')}, {id:String})
		ORDER BY updated, id LIMIT {limit:UInt32}`,
		clickhouse.Named("after", stamp(after)), clickhouse.Named("id", id), clickhouse.Named("limit", fmt.Sprint(pageSize)))
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	var list []candidate
	for rows.Next() {
		var c candidate
		var severity string
		if err := rows.Scan(&c.id, &c.revision, &severity, &c.magnitude, &c.updated); err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		c.severity = alert.Severity(severity)
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	return list, nil
}

// states returns what is known about these alerts; what is missing has never
// been sent to that sink.
func (d deliveries) states(ctx context.Context, ids, sinks []string) (map[key]state, error) {
	rows, err := d.conn.Query(ctx, `SELECT alert, sink,
			maxIf(revision, settled), argMaxIf(severity, revision, settled), argMaxIf(magnitude, revision, settled),
			maxIf(revision, waits), argMaxIf(attempts, revision, waits), max(at)
		FROM (SELECT alert, sink, revision, toString(severity) AS severity, magnitude, attempts, at,
				status IN ('delivered', 'gave_up') AS settled, status = 'pending' AS waits
			FROM deliveries FINAL WHERE alert IN {ids:Array(String)} AND sink IN {sinks:Array(String)})
		GROUP BY alert, sink`,
		clickhouse.Named("ids", ids), clickhouse.Named("sinks", sinks))
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	defer rows.Close()
	found := map[key]state{}
	for rows.Next() {
		var k key
		var s state
		var severity string
		if err := rows.Scan(&k.alert, &k.sink, &s.told.revision, &severity, &s.told.magnitude, &s.pending, &s.attempts, &s.at); err != nil {
			return nil, fmt.Errorf("read deliveries: %w", err)
		}
		s.told.severity = alert.Severity(severity)
		found[k] = s
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	return found, nil
}

// write stores rows by one insert: all of them, or none.
func (d deliveries) write(ctx context.Context, list ...row) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := d.conn.PrepareBatch(ctx, "INSERT INTO deliveries (alert, revision, sink, status, severity, magnitude, attempts, error, at)")
	if err != nil {
		return fmt.Errorf("store deliveries: %w", err)
	}
	for _, r := range list {
		if err := batch.Append(r.alert, r.revision, r.sink, r.status, string(r.severity), r.magnitude, r.attempts, r.err, r.at); err != nil {
			_ = batch.Abort()
			return fmt.Errorf("store delivery of %s: %w", r.alert, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("store deliveries: %w", err)
	}
	return nil
}

// stamp writes a time as ClickHouse reads a DateTime64(3, 'UTC') parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }
