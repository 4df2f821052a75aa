package respond

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/respond/audit"
)

var (
	//go:embed steps.sql
	stepsSQL string
	//go:embed recent.sql
	recentSQL string
	//go:embed roles.sql
	rolesSQL string
	//go:embed due.sql
	dueSQL string
)

// State is how far an action is.
type State string

const (
	Requested State = "requested" // the analyzer has not looked at it yet
	Refused   State = "refused"   // Note says why; final
	DryRun    State = "dry_run"   // Note says what would have been done; final
	Applying  State = "applying"  // the hook is being called
	Active    State = "active"    // until Expires
	UndoAsked State = "undo_requested"
	Undoing   State = "undoing" // the hook is being called, again and again until it succeeds
	Undone    State = "undone"  // final
)

// Action is isolating a host or blocking a prefix, at its newest step.
type Action struct {
	ID       string        `json:"id"`
	Step     uint32        `json:"step"` // from 1
	At       time.Time     `json:"at"`   // of the step
	State    State         `json:"state"`
	Kind     string        `json:"kind"`   // Isolate or Block
	Target   string        `json:"target"` // address or prefix
	Hook     string        `json:"hook"`   // empty: the first of the kind
	Who      string        `json:"who"`    // of the step: user, rule:NAME or system
	Why      string        `json:"why"`
	Alert    string        `json:"alert"`   // id, empty: none
	For      time.Duration `json:"for_ns"`  // how long it is to last; 0: as configured
	Expires  time.Time     `json:"expires"` // zero: not in force
	Attempts uint32        `json:"attempts"`
	Note     string        `json:"note"` // why it was refused or failed, or what the hook said
	Asked    time.Time     `json:"asked"`
}

// Errors that callers tell apart.
var (
	// ErrUnknown: there is no such action.
	ErrUnknown = errors.New("there is no such action")
	// ErrState: that cannot be done to an action in this state.
	ErrState = errors.New("the action is not in force")
	// errConflict: somebody else has made the step meanwhile.
	errConflict = errors.New("somebody else was faster")
)

// Store keeps actions in the table response_steps, and an entry of the audit log
// for each step. Anybody may ask by it; only a Responder acts. The methods are
// safe for concurrent use.
type Store struct {
	conn  driver.Conn
	audit *audit.Log
	now   func() time.Time
}

// NewStore returns a Store on conn, which stays the caller's.
func NewStore(conn driver.Conn, log *slog.Logger) *Store {
	return &Store{conn: conn, audit: audit.New(conn, log), now: time.Now}
}

// Audit is the log that the Store writes to.
func (s *Store) Audit() *audit.Log { return s.audit }

// Ask is what somebody wants to be done.
type Ask struct {
	Kind   string        // Isolate or Block
	Target string        // address, or prefix to block
	Hook   string        // empty: the first of the kind
	Why    string        // must not be empty
	Alert  string        // id of the alert it is about, empty: none
	For    time.Duration // 0: as configured
}

const (
	maxText   = 1000
	maxListed = 10_000
)

// Request asks for an action by who. The analyzer that holds the lease decides
// within seconds whether it is done.
func (s *Store) Request(ctx context.Context, who string, a Ask) (Action, error) {
	return s.request(ctx, rand.Text()[:16], who, a)
}

func (s *Store) request(ctx context.Context, id, who string, a Ask) (Action, error) {
	target, err := parseTarget(a.Kind, a.Target)
	if err != nil {
		return Action{}, err
	}
	switch {
	case who == "" || len(who) > maxText:
		return Action{}, errors.New("respond: who asks is not known")
	case strings.TrimSpace(a.Why) == "" || len(a.Why) > maxText:
		return Action{}, fmt.Errorf("respond: a reason of up to %d octets is needed", maxText)
	case a.For < 0:
		return Action{}, fmt.Errorf("respond: %v is less than nothing", a.For)
	}
	step := Action{ID: id, Step: 1, State: Requested, Kind: a.Kind, Target: text(target), Hook: a.Hook, Who: who, Why: a.Why, Alert: a.Alert, For: a.For}
	return s.add(ctx, step)
}

// Undo asks, by who and why, for an action to be undone before it expires. One
// that was only asked for is refused at once.
func (s *Store) Undo(ctx context.Context, who, id, why string) (Action, error) {
	for range 5 {
		a, err := s.Get(ctx, id)
		if err != nil {
			return a, err
		}
		next := a
		next.Step, next.Who, next.Note, next.Attempts = a.Step+1, who, why, 0
		switch a.State {
		case Requested:
			next.State = Refused
		case Active, Applying:
			next.State = UndoAsked
		default:
			return a, fmt.Errorf("undo %s, which is %s: %w", id, a.State, ErrState)
		}
		if next, err = s.add(ctx, next); !errors.Is(err, errConflict) {
			return next, err
		}
	}
	return Action{}, fmt.Errorf("undo %s: %w", id, errConflict)
}

// Get returns one action.
func (s *Store) Get(ctx context.Context, id string) (Action, error) {
	list, err := s.list(ctx, []string{id}, nil, 1)
	if err != nil {
		return Action{}, err
	}
	if len(list) == 0 {
		return Action{}, fmt.Errorf("action %s: %w", id, ErrUnknown)
	}
	return list[0], nil
}

// List returns up to limit actions in these states, or in any, newest first.
func (s *Store) List(ctx context.Context, limit int, states ...State) ([]Action, error) {
	return s.list(ctx, nil, states, max(1, min(limit, maxListed)))
}

func (s *Store) list(ctx context.Context, ids []string, states []State, limit int) ([]Action, error) {
	names := make([]string, len(states))
	for i, st := range states {
		names[i] = string(st)
	}
	if ids == nil {
		ids = []string{}
	}
	rows, err := s.conn.Query(ctx, stepsSQL, clickhouse.Named("ids", ids), clickhouse.Named("states", names), clickhouse.Named("limit", strconv.Itoa(limit)))
	if err != nil {
		return nil, fmt.Errorf("read response actions: %w", err)
	}
	defer rows.Close()
	var list []Action
	for rows.Next() {
		var a Action
		var state string
		var seconds uint32
		if err := rows.Scan(&a.ID, &a.Step, &a.At, &state, &a.Kind, &a.Target, &a.Hook, &a.Who, &a.Why, &a.Alert, &seconds, &a.Expires, &a.Attempts, &a.Note, &a.Asked); err != nil {
			return nil, fmt.Errorf("read response actions: %w", err)
		}
		a.State, a.For = State(state), time.Duration(seconds)*time.Second
		if a.Expires.Unix() == 0 {
			a.Expires = time.Time{}
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// add stores the next step of an action, and before it an entry of the audit log:
// what is not audited is not done. errConflict: that step is there already.
func (s *Store) add(ctx context.Context, a Action) (Action, error) {
	a.At = s.now().UTC().Truncate(time.Millisecond)
	if a.Asked.IsZero() {
		a.Asked = a.At
	}
	if a.Note = clean(a.Note); len(a.Note) > maxText {
		a.Note = strings.ToValidUTF8(a.Note[:maxText], "")
	}
	if _, err := s.audit.Append(ctx, a.Who, "respond."+string(a.State), a.ID, a); err != nil {
		return a, err
	}
	expires := time.Unix(0, 0)
	if !a.Expires.IsZero() {
		expires = a.Expires
	}
	insert := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 1,
		"insert_deduplication_token": fmt.Sprintf("response/%s/%d", a.ID, a.Step)}))
	batch, err := s.conn.PrepareBatch(insert, "INSERT INTO response_steps (id, step, at, state, kind, target, hook, who, why, alert, seconds, expires, attempts, note)")
	if err != nil {
		return a, fmt.Errorf("store response action: %w", err)
	}
	err = batch.Append(a.ID, a.Step, a.At, string(a.State), a.Kind, a.Target, a.Hook, a.Who, a.Why, a.Alert, uint32(a.For/time.Second), expires, a.Attempts, a.Note)
	if err != nil {
		return a, errors.Join(fmt.Errorf("store response action: %w", err), batch.Abort())
	}
	if err := batch.Send(); err != nil {
		return a, fmt.Errorf("store response action: %w", err)
	}
	now, err := s.Get(ctx, a.ID)
	if err != nil {
		return a, err
	}
	if now.Step != a.Step || now.State != a.State || now.Who != a.Who || !now.At.Equal(a.At) {
		return now, fmt.Errorf("response action %s, step %d: %w", a.ID, a.Step, errConflict)
	}
	return a, nil
}

// clean makes one line of what a program or server has said.
func clean(note string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(note, " "))), " ")
}

// parseTarget reads an address, or for Block a prefix, in its plain form.
func parseTarget(kind, target string) (netip.Prefix, error) {
	if kind != Isolate && kind != Block {
		return netip.Prefix{}, fmt.Errorf("respond: kind %q is neither isolate nor block", kind)
	}
	if a, err := netip.ParseAddr(target); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%s %q: an address with a zone", kind, target)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(target)
	if err != nil || kind == Isolate {
		return netip.Prefix{}, fmt.Errorf("%s %q: not an address", kind, target)
	}
	return plain(p), nil
}

// plain writes an IPv4 prefix within IPv6 as IPv4, and clears the bits of the host.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// text is a target as hooks see it: a single address without its length.
func text(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
