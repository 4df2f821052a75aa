package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Role is who asks; each has its Limits and its places.
type Role string

const (
	Viewer  Role = "viewer"  // looks at pages
	Analyst Role = "analyst" // asks questions of their own
	System  Role = "system"  // the services themselves
)

// Limits are what one question of a role may cost. Zero means no limit.
type Limits struct {
	Rows        uint64        // read by one question
	Bytes       uint64        // read by one question, uncompressed
	Time        time.Duration // that ClickHouse works on one question, whole seconds
	Memory      int64         // bytes that it uses for one question
	ResultRows  uint64        // of an answer
	ResultBytes uint64        // of an answer, uncompressed
	Threads     int           // that work on one question
	Concurrent  int           // questions at the same time, the others wait; 0: 4
}

// DefaultLimits are the limits of a role.
func DefaultLimits(r Role) Limits {
	l := Limits{Rows: 2_000_000_000, Bytes: 200 << 30, Time: 20 * time.Second, Memory: 1 << 30, ResultRows: 100_000, ResultBytes: 256 << 20, Threads: 4, Concurrent: 4}
	if r == Viewer {
		l.Rows, l.Bytes, l.Time, l.Concurrent = l.Rows/4, l.Bytes/4, l.Time/2, 2
	}
	return l
}

// settings are the limits as ClickHouse knows them.
func (l Limits) settings() clickhouse.Settings {
	s := clickhouse.Settings{
		"readonly":                           1, // no writes, no table functions that reach outside
		"timeout_overflow_mode":              "throw",
		"read_overflow_mode":                 "throw",
		"result_overflow_mode":               "throw",
		"max_ast_elements":                   50000,
		"max_expanded_ast_elements":          500000,
		"priority":                           1,
		"use_skip_indexes_on_data_read":      0, // indexes are looked at first, so that an estimate knows of them
		"max_bytes_before_external_group_by": l.Memory / 2,
		"max_bytes_before_external_sort":     l.Memory / 2,
	}
	if l.Rows > 0 {
		s["max_rows_to_read"] = l.Rows
	}
	if l.Bytes > 0 {
		s["max_bytes_to_read"] = l.Bytes
	}
	if l.Time > 0 {
		seconds := max(int(l.Time/time.Second), 1)
		s["max_execution_time"] = seconds
		// What will clearly take longer ends after a quarter of the time.
		s["timeout_before_checking_execution_speed"] = max(seconds/4, 1)
		s["max_estimated_execution_time"] = 2 * seconds
	}
	if l.Memory > 0 {
		s["max_memory_usage"] = l.Memory
	}
	if l.ResultRows > 0 {
		s["max_result_rows"] = l.ResultRows
	}
	if l.ResultBytes > 0 {
		s["max_result_bytes"] = l.ResultBytes
	}
	if l.Threads > 0 {
		s["max_threads"] = l.Threads
	}
	return s
}

// ErrUnavailable: ClickHouse does not answer.
var ErrUnavailable = errors.New("ClickHouse does not answer")

// ErrEnough ends the reading of an answer early; Each returns nil then.
var ErrEnough = errors.New("enough rows")

// Statement is SQL made of this module's own texts, with its values apart.
type Statement struct {
	SQL    string
	Params Params
}

// Asker asks ClickHouse, within limits, and reads only. Its methods are safe
// for concurrent use.
type Asker struct {
	conn     driver.Conn
	limits   map[Role]Limits
	settings map[Role]clickhouse.Settings
	places   map[Role]chan struct{}
}

// NewAsker returns an Asker on conn, which stays the caller's. Roles that limits
// does not name have their DefaultLimits.
func NewAsker(conn driver.Conn, limits map[Role]Limits) *Asker {
	a := &Asker{conn: conn, limits: map[Role]Limits{}, settings: map[Role]clickhouse.Settings{}, places: map[Role]chan struct{}{}}
	for _, r := range []Role{Viewer, Analyst, System} {
		l, given := limits[r]
		if !given {
			l = DefaultLimits(r)
		}
		if l.Concurrent == 0 {
			l.Concurrent = 4
		}
		a.limits[r], a.settings[r], a.places[r] = l, l.settings(), make(chan struct{}, l.Concurrent)
	}
	return a
}

// Limits are those of a role.
func (a *Asker) Limits(r Role) Limits { return a.limits[r] }

// Each runs a statement and calls row for each row of the answer, until that
// returns an error. It waits for a place of the role. When ctx ends, so does the
// work in ClickHouse. The error is a *Refusal for what exceeds a limit,
// ErrUnavailable, context.Canceled, that of row, or ClickHouse's.
func (a *Asker) Each(ctx context.Context, r Role, s Statement, row func(driver.Rows) error) error {
	return a.each(ctx, r, a.settings[r], s, row)
}

func (a *Asker) each(ctx context.Context, r Role, settings clickhouse.Settings, s Statement, row func(driver.Rows) error) error {
	place := a.places[r]
	if place == nil {
		return fmt.Errorf("ask as %q: no such role", string(r))
	}
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l := a.limits[r]; l.Time > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, l.Time+2*time.Second)
		defer end()
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(maps.Clone(settings)), clickhouse.WithParameters(clickhouse.Parameters(s.Params)))
	rows, err := a.conn.Query(ctx, s.SQL)
	if err != nil {
		return a.classify(ctx, r, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			cancel() // ClickHouse need not go on
			if errors.Is(err, ErrEnough) {
				return nil
			}
			return err
		}
	}
	return a.classify(ctx, r, rows.Err())
}

// One scans the only row of an answer.
func (a *Asker) One(ctx context.Context, r Role, s Statement, dest ...any) error {
	return a.Each(ctx, r, s, func(rows driver.Rows) error { return rows.Scan(dest...) })
}

// Codes of ClickHouse, from its src/Common/ErrorCodes.cpp.
const (
	codeTooManyRows    = 158
	codeTimeout        = 159
	codeTooSlow        = 160
	codeTooManyQueries = 202
	codeMemory         = 241
	codeTooManyBytes   = 307
	codeTooMany        = 396 // rows or bytes of a result
	codeBadRegex       = 427
)

func (a *Asker) classify(ctx context.Context, r Role, err error) error {
	var ex *clickhouse.Exception
	var netErr net.Error
	l := a.limits[r]
	over := func(limit string, value uint64) error { return &Refusal{Limit: limit, Value: value, cause: err} }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ex):
		switch ex.Code {
		case codeTooManyRows:
			return over("rows", l.Rows)
		case codeTooManyBytes:
			return over("bytes", l.Bytes)
		case codeTimeout, codeTooSlow:
			return over("seconds", uint64(l.Time/time.Second))
		case codeMemory:
			return over("memory", uint64(l.Memory))
		case codeTooMany:
			return over("result", l.ResultRows)
		case codeTooManyQueries:
			return fmt.Errorf("%w: too many questions at once: %w", ErrUnavailable, err)
		case codeBadRegex:
			return &Error{Line: 1, Column: 1, Message: "ClickHouse cannot use a regular expression of this filter"}
		}
		return err
	case errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return over("seconds", uint64(l.Time/time.Second))
	case errors.As(err, &netErr) && netErr.Timeout() && passed(ctx):
		return over("seconds", uint64(l.Time/time.Second)) // the driver's deadline is that of ctx
	case errors.As(err, &netErr), errors.Is(err, clickhouse.ErrAcquireConnTimeout), errors.Is(err, clickhouse.ErrServerUnexpectedData):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func passed(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) < 100*time.Millisecond
}
