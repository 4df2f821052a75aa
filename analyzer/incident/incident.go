// Package incident is what is done with alerts after they are raised: people own,
// acknowledge, judge and close them (table incident_events), their proof is run
// again (Verify), alerts that another one explains are linked to it (Explain),
// and those of one host that follow each other through several tactics become a
// case (detector "case"). In come rows of alerts; out go events, and alerts
// through alert.Store. Nothing here notifies.
package incident

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

//go:embed events.sql
var eventsSQL string

//go:embed judged.sql
var judgedSQL string

// Kind is what an Event is about.
type Kind string

const (
	Owner   Kind = "owner"   // Value is the new owner, empty: nobody
	State   Kind = "state"   // Value is Open, Acknowledged or Closed
	Verdict Kind = "verdict" // Value is True, Benign or False, empty: not judged
	Comment Kind = "comment" // Value is the comment
)

// States of an incident.
const (
	Open         = "open"
	Acknowledged = "acknowledged"
	Closed       = "closed"
)

// Verdicts on an incident.
const (
	True   = "true"   // it is what the alert says, and matters
	Benign = "benign" // it is what the alert says, and is allowed
	False  = "false"  // it is not what the alert says
)

// Event is something that somebody did about an incident.
type Event struct {
	Alert    string
	ID       string
	At       time.Time // wall clock
	Who      string
	Kind     Kind
	Value    string
	Comment  string         // why
	Severity alert.Severity // of the incident at that time
	Revision uint32         // of the incident at that time
}

// Status is how an incident stands with those who look after it.
type Status struct {
	Owner   string
	State   string // Open, Acknowledged or Closed
	Verdict string // True, Benign, False, or empty: not judged
	// Reopened: it was closed, and its severity has risen since; State is Open.
	Reopened bool
	Comments int
	Updated  time.Time // of the newest event; zero: there is none
}

// ErrUnknown: there is no such incident.
var ErrUnknown = errors.New("there is no such incident")

// Store keeps what people did about incidents. To the table rows are only added.
// The methods are safe for concurrent use.
type Store struct {
	conn   driver.Conn
	alerts *alert.Store
	now    func() time.Time
}

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn) *Store {
	return &Store{conn: conn, alerts: alert.NewStore(conn), now: time.Now}
}

// Check says what is wrong with what somebody wants to do.
func Check(kind Kind, value string) error {
	const longest = 10000 // octets of a comment
	switch {
	case len(value) > longest:
		return fmt.Errorf("incident %s: longer than %d octets", kind, longest)
	case kind == Owner:
		return nil
	case kind == State && slices.Contains([]string{Open, Acknowledged, Closed}, value):
		return nil
	case kind == Verdict && slices.Contains([]string{True, Benign, False, ""}, value):
		return nil
	case kind == Comment && value != "":
		return nil
	}
	return fmt.Errorf("incident: %q is no %s", value, kind)
}

// Add stores that who did something about the incident of that id, and why. The
// error is ErrUnknown if there is no such alert.
func (s *Store) Add(ctx context.Context, id, who string, kind Kind, value, why string) (Event, error) {
	e := Event{Alert: id, ID: rand.Text()[:12], At: s.now().UTC().Truncate(time.Millisecond), Who: who, Kind: kind, Value: value, Comment: why}
	if err := Check(kind, value); err != nil {
		return e, err
	}
	list, err := s.alerts.Get(ctx, []string{id})
	if err != nil {
		return e, err
	}
	if len(list) == 0 {
		return e, fmt.Errorf("incident %s: %w", id, ErrUnknown)
	}
	e.Severity, e.Revision = list[0].Severity, list[0].Revision
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO incident_events (alert, id, at, who, kind, value, comment, severity, revision)")
	if err != nil {
		return e, fmt.Errorf("store incident event: %w", err)
	}
	if err := batch.Append(e.Alert, e.ID, e.At, e.Who, string(e.Kind), e.Value, e.Comment, string(e.Severity), e.Revision); err != nil {
		return e, errors.Join(fmt.Errorf("store incident event: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return e, fmt.Errorf("store incident event: %w", err)
	}
	return e, nil
}

// History returns all that was done about an incident, earliest first.
func (s *Store) History(ctx context.Context, id string) ([]Event, error) {
	all, err := s.events(ctx, []string{id})
	return all[id], err
}

// Statuses tells how incidents stand; what nobody has touched is Open. The alerts
// are those of today: their severity says whether a closed one is open again.
func (s *Store) Statuses(ctx context.Context, alerts []alert.Alert) (map[string]Status, error) {
	ids := make([]string, len(alerts))
	for i := range alerts {
		ids[i] = alerts[i].ID
	}
	events, err := s.events(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Status, len(alerts))
	for i := range alerts {
		out[alerts[i].ID] = statusOf(events[alerts[i].ID], alerts[i].Severity)
	}
	return out, nil
}

// statusOf adds up events in the order of time.
func statusOf(events []Event, severity alert.Severity) Status {
	s := Status{State: Open}
	var closed alert.Severity
	for _, e := range events {
		s.Updated = e.At
		switch e.Kind {
		case Owner:
			s.Owner = e.Value
		case State:
			s.State, closed = e.Value, e.Severity
		case Verdict:
			s.Verdict = e.Value
		case Comment:
			s.Comments++
		}
	}
	if s.State == Closed && severity.Rank() > closed.Rank() {
		s.State, s.Reopened = Open, true
	}
	return s
}

func (s *Store) events(ctx context.Context, ids []string) (map[string][]Event, error) {
	out := map[string][]Event{}
	if len(ids) == 0 {
		return out, nil
	}
	rows, err := s.conn.Query(ctx, eventsSQL, clickhouse.Named("ids", ids))
	if err != nil {
		return nil, fmt.Errorf("read incident_events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e Event
		var kind, severity string
		if err := rows.Scan(&e.Alert, &e.ID, &e.At, &e.Who, &kind, &e.Value, &e.Comment, &severity, &e.Revision); err != nil {
			return nil, fmt.Errorf("read incident_events: %w", err)
		}
		e.Kind, e.Severity = Kind(kind), alert.Severity(severity)
		out[e.Alert] = append(out[e.Alert], e)
	}
	return out, rows.Err()
}

// Judgement is an incident of a detector with the newest verdict of people.
type Judgement struct {
	Alert   string
	Verdict string
}

// Judgements returns the incidents of a detector, with traffic in [from, to),
// that have a verdict, by id.
func (s *Store) Judgements(ctx context.Context, detector string, from, to time.Time) ([]Judgement, error) {
	rows, err := s.conn.Query(ctx, judgedSQL, clickhouse.Named("detector", detector), clickhouse.Named("from", stamp(from)), clickhouse.Named("to", stamp(to)))
	if err != nil {
		return nil, fmt.Errorf("read verdicts: %w", err)
	}
	defer rows.Close()
	var list []Judgement
	for rows.Next() {
		var j Judgement
		if err := rows.Scan(&j.Alert, &j.Verdict); err != nil {
			return nil, fmt.Errorf("read verdicts: %w", err)
		}
		list = append(list, j)
	}
	return list, rows.Err()
}

// stamp writes a time as ClickHouse reads a DateTime64(9, 'UTC') parameter.
func stamp(t time.Time) string {
	if t.Unix() < 0 {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000000")
}
