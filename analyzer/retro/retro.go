// Package retro looks for what is new in what is old: indicators of compromise
// that have just been heard of are swept over all stored history, by themselves
// when a threat list brings them, or for a list that somebody gives. In come
// rows of the table indicators, or a List; out go sweeps with their hits and a
// statement of what was looked through (tables retro_…), and alerts of the
// detector "retro_hit" through alert.Store. Flows that are received after a sweep
// began are matched by the collector as they are stored (flows.threats).
//
// Days whose flows are stored are looked through whole: every address, name and
// fingerprint that occurs in them is looked up once. Where flows are gone, rollups
// tell of pairs of addresses (flows_1h, flows_1d), and that a name or fingerprint
// was seen, not by whom (names_1h, first_seen).
package retro

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed sql
var statements embed.FS

// statement returns the text of sql/NAME.sql, which is there: a test reads all.
func statement(name string) string {
	text, err := statements.ReadFile("sql/" + name + ".sql")
	if err != nil {
		return "no such statement"
	}
	return string(text)
}

// States of a Sweep.
const (
	Asked   = "asked" // the next Pass begins it
	Running = "running"
	Done    = "done"
	Failed  = "failed" // it is tried again
)

// FromLists is the Source of sweeps for what threat lists brought.
const FromLists = "indicators"

// Sweep is one search through history.
type Sweep struct {
	ID         string
	Source     string // FromLists, or file:NAME
	Who        string // asked for it, empty: nobody, it was new
	Lists      []string
	Indicators uint64
	State      string // Asked, Running, Done or Failed
	Error      string
	Parts      uint32 // pieces of history
	PartsDone  uint32
	Hits       uint64
	Hosts      uint64 // that had contact
	Began      time.Time
	Updated    time.Time
	Took       time.Duration // of work
}

// Day is what a sweep can say of one day of traffic.
type Day struct {
	Day         time.Time // zero: tables that are not by day
	Tables      []string  // looked through
	FlowRows    uint64    // stored when the sweep began
	RollupRows  uint64    // of flows that the builds of flows_1h or flows_1d are made of
	Promised    uint64    // rows of flows that batches tell of
	SeenPackets uint64
	FlowPackets uint64
	Dropped     bool   // retention has dropped flows of the day
	Verdict     string // Complete, Partial, Addresses or Lost
}

// Verdicts on a day.
const (
	Complete  = "complete"  // all flows that were ever stored of the day are there
	Partial   = "partial"   // some are missing
	Addresses = "addresses" // pairs of addresses are known, of other indicators only whether they were seen
	Lost      = "lost"      // nothing is left
)

// Coverage is what a sweep can say, in sum.
type Coverage struct {
	Days     []Day
	Verdicts map[string]int // days of each
	Share    float64        // of the packets seen, those in flows of days that were looked through; NaN: not known
}

// Hit is what a host had to do with an indicator, by the newest sweep for it.
type Hit struct {
	List, Kind, Value string
	Field             string // where it is: src_ip, dst_ip, tls_sni, …
	Seen              string // as it is in the traffic
	Host              string // empty: not stored any more
	First, Last       time.Time
	Flows, Answered   uint64
	Bytes             uint64 // IP octets, both directions
	Ports             []uint16
	Tables            []string // it is known from
}

// ErrUnknown: there is no such sweep.
var ErrUnknown = errors.New("there is no such sweep")

// Store reads sweeps. Its methods are safe for concurrent use.
type Store struct{ conn driver.Conn }

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn) *Store { return &Store{conn} }

// Sweeps returns the newest sweeps, at most limit, newest first.
func (s *Store) Sweeps(ctx context.Context, limit int) ([]Sweep, error) {
	return s.sweeps(ctx, statement("sweeps"), clickhouse.Named("id", ""), clickhouse.Named("limit", limit))
}

// Get returns one sweep, or ErrUnknown.
func (s *Store) Get(ctx context.Context, id string) (Sweep, error) {
	list, err := s.sweeps(ctx, statement("sweeps"), clickhouse.Named("id", id), clickhouse.Named("limit", 1))
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("sweep %q: %w", id, ErrUnknown)
	}
	if err != nil {
		return Sweep{}, err
	}
	return list[0], nil
}

func (s *Store) sweeps(ctx context.Context, sql string, args ...any) ([]Sweep, error) {
	var list []Sweep
	err := each(ctx, s.conn, sql, func(rows driver.Rows) error {
		var w Sweep
		var took uint64
		err := rows.Scan(&w.ID, &w.Source, &w.Who, &w.Lists, &w.Indicators, &w.State, &w.Error, &w.Parts, &w.PartsDone, &w.Hits, &w.Hosts, &w.Began, &w.Updated, &took)
		w.Took = time.Duration(took) * time.Millisecond
		list = append(list, w)
		return err
	}, args...)
	if err != nil {
		return nil, fmt.Errorf("read retro_sweeps: %w", err)
	}
	return list, nil
}

// Coverage returns what a sweep can say, day by day.
func (s *Store) Coverage(ctx context.Context, id string) (Coverage, error) {
	c := Coverage{Verdicts: map[string]int{}}
	var seen, in uint64
	err := each(ctx, s.conn, statement("coverage"), func(rows driver.Rows) error {
		var d Day
		if err := rows.Scan(&d.Day, &d.Tables, &d.FlowRows, &d.RollupRows, &d.Promised, &d.SeenPackets, &d.FlowPackets, &d.Dropped, &d.Verdict); err != nil {
			return err
		}
		if d.Day.Unix() == 0 {
			d.Day = time.Time{}
		} else {
			c.Verdicts[d.Verdict]++
			seen += d.SeenPackets
			if d.Verdict != Lost && d.Promised > 0 {
				in += uint64(float64(d.FlowPackets) * min(1, float64(max(d.FlowRows, d.RollupRows))/float64(d.Promised)))
			}
		}
		c.Days = append(c.Days, d)
		return nil
	}, clickhouse.Named("sweep", id))
	if err != nil {
		return c, fmt.Errorf("read retro_days: %w", err)
	}
	c.Share = share(in, seen)
	return c, nil
}

// Hits returns what hosts had to do with the indicators of a sweep, earliest
// first, at most limit. An empty sweep means all of them, an empty host any.
func (s *Store) Hits(ctx context.Context, sweep, host string, limit int) ([]Hit, error) {
	var list []Hit
	err := each(ctx, s.conn, statement("hits"), func(rows driver.Rows) error {
		var h Hit
		err := rows.Scan(&h.List, &h.Kind, &h.Value, &h.Field, &h.Seen, &h.Host, &h.First, &h.Last, &h.Flows, &h.Answered, &h.Bytes, &h.Ports, &h.Tables)
		list = append(list, h)
		return err
	}, clickhouse.Named("sweep", sweep), clickhouse.Named("host", host), clickhouse.Named("limit", limit))
	if err != nil {
		return nil, fmt.Errorf("read retro_contacts: %w", err)
	}
	return list, nil
}

// each runs a question and hands its rows on.
func each(ctx context.Context, conn driver.Conn, sql string, row func(driver.Rows) error, args ...any) error {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
