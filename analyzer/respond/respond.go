// Package respond does something about incidents: it isolates a host or blocks a
// prefix by a program or a POST that the operator allows, and undoes it when its
// time is over. In come requests of people and alerts that a rule fits; out go calls of
// hooks, rows of response_steps, and an entry of the audit log before each step.
//
// Nothing is done before it is enabled (dry run), to what is protected, more often
// than allowed, or without an end. A step is stored before its hook is called: a
// process that dies in between calls the hook again, so hooks must bear that. What is
// in force is undone also after a restart, and tried again until it succeeds.
//
// One Responder at a time may act on a database; anybody may ask, see Store.
package respond

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

const (
	// passTimeout bounds the statements of one pass; hooks have their own.
	passTimeout = 30 * time.Second
	// maxApply bounds how often an action is begun that a dying process left.
	maxApply = 3
	retryMin = 5 * time.Second
	retryMax = 10 * time.Minute
)

// Responder acts. Make it with New.
type Responder struct {
	cfg    Config
	store  *Store
	inside []netip.Prefix
	log    *slog.Logger
	own    func(ctx context.Context) ([]owned, error)
	steps  *prometheus.CounterVec

	retry map[string]*again // of what could not be undone
}

// again is when to try once more.
type again struct {
	pause backoff.Backoff
	next  time.Time
}

// New returns a Responder for the hooks and rules of cfg, which it checks. inside
// are the own networks, servers the host:port of what the analyzer itself needs.
// conn stays the caller's; reg may be nil.
func New(cfg Config, conn driver.Conn, inside []netip.Prefix, servers []string, log *slog.Logger, reg prometheus.Registerer) (*Responder, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	r := &Responder{cfg: cfg, store: NewStore(conn, log), inside: inside, log: log, retry: map[string]*again{},
		own: func(ctx context.Context) ([]owned, error) { return ownAddresses(ctx, servers) },
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_analyzer_respond_steps_total",
			Help: "Steps of response actions, by kind and state."}, []string{"kind", "state"})}
	if reg != nil {
		reg.MustRegister(r.steps)
	}
	return r, nil
}

// Run acts while held is true, until ctx ends, and returns nil then.
func (r *Responder) Run(ctx context.Context, held func() bool) error {
	if len(r.cfg.Hooks) == 0 {
		// Requests are answered nevertheless, with a refusal.
		r.log.Debug("no response hooks")
	}
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	failing := false
	for {
		if held() {
			err := r.Pass(ctx, time.Now())
			if err != nil && ctx.Err() == nil && !failing {
				r.log.Warn("cannot respond; trying on", "error", err)
			}
			failing = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass does what is due at now: undoes what has expired, decides requests, and
// makes requests of alerts.
func (r *Responder) Pass(ctx context.Context, now time.Time) error {
	var all error
	if err := r.rules(ctx, now); err != nil {
		all = err
	}
	list, err := r.store.list(ctx, nil, []State{Requested, Applying, Active, UndoAsked, Undoing}, maxListed)
	if err != nil {
		return errors.Join(all, err)
	}
	slices.SortStableFunc(list, func(a, b Action) int { return a.Asked.Compare(b.Asked) })
	active := 0
	for _, a := range list {
		if a.State != Requested {
			active++
		}
	}
	for _, a := range list {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case a.State == UndoAsked, a.State == Undoing, a.State == Active && !a.Expires.After(now), a.State == Applying && (!a.Expires.After(now) || a.Attempts >= maxApply):
			err = r.undo(ctx, a, now)
		case a.State == Applying:
			err = r.apply(ctx, a)
		case a.State == Requested:
			var begun bool
			begun, err = r.decide(ctx, a, now, active)
			if begun {
				active++
			}
		default:
			continue
		}
		if err != nil && !errors.Is(err, errConflict) { // others are not to wait for one
			all = errors.Join(all, err)
		}
	}
	return all
}

// rules requests what alerts call for. The id of an action is made of rule and
// alert, so that each is requested once.
func (r *Responder) rules(ctx context.Context, now time.Time) error {
	for _, rule := range r.cfg.Rules {
		least := rule.MinSeverity
		if least == "" {
			least = alert.High
		}
		var severities []string
		for _, s := range alert.Severities() {
			if s.Rank() >= least.Rank() {
				severities = append(severities, string(s))
			}
		}
		found, err := r.due(ctx, rule, severities, now)
		if err != nil {
			return err
		}
		ids := make([]string, 0, len(found))
		for _, f := range found {
			ids = append(ids, f.action)
		}
		if len(ids) == 0 {
			continue
		}
		there, err := r.store.list(ctx, ids, nil, maxListed)
		if err != nil {
			return err
		}
		for _, f := range found {
			if slices.ContainsFunc(there, func(a Action) bool { return a.ID == f.action }) {
				continue
			}
			if _, err := netip.ParseAddr(f.target); err != nil {
				continue // a name or a network is nothing to act on by itself
			}
			_, err := r.store.request(ctx, f.action, "rule:"+rule.Name, Ask{Kind: rule.Kind, Target: f.target, Hook: rule.Hook, Why: clean("alert: " + f.title), Alert: f.alert, For: rule.For})
			if err != nil && !errors.Is(err, errConflict) {
				return err
			}
		}
	}
	return nil
}

// called is an alert that a rule fits.
type called struct{ action, alert, target, title string }

func (r *Responder) due(ctx context.Context, rule Rule, severities []string, now time.Time) ([]called, error) {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	rows, err := r.store.conn.Query(ctx, dueSQL, clickhouse.Named("since", now.Add(-r.cfg.MaxAge).UTC().Format("2006-01-02 15:04:05.000")),
		clickhouse.Named("detectors", rule.Detectors), clickhouse.Named("severities", severities))
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	var list []called
	for rows.Next() {
		var c called
		var actor, victim string
		if err := rows.Scan(&c.alert, &actor, &victim, &c.title); err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		if c.target = actor; rule.Target == "victim" {
			c.target = victim
		}
		if len(c.title) > 500 {
			c.title = c.title[:500]
		}
		sum := sha256.Sum256([]byte(rule.Name + "\x00" + c.alert))
		c.action = hex.EncodeToString(sum[:8])
		list = append(list, c)
	}
	return list, rows.Err()
}

// decide refuses a request, says what it would do, or begins it.
func (r *Responder) decide(ctx context.Context, a Action, now time.Time, active int) (begun bool, err error) {
	next := a
	next.Step, next.Who = a.Step+1, "system"
	target, err := parseTarget(a.Kind, a.Target)
	if err != nil {
		return false, r.step(ctx, &next, Refused, err.Error())
	}
	h, err := r.cfg.hook(a.Kind, a.Hook)
	if err != nil {
		return false, r.step(ctx, &next, Refused, err.Error())
	}
	if a.For > r.cfg.MaxFor {
		return false, r.step(ctx, &next, Refused, fmt.Sprintf("%v is longer than respond.max_for, %v", a.For, r.cfg.MaxFor))
	}
	if next.For == 0 {
		next.For = r.cfg.For
	}
	next.Hook = h.Name
	why, err := r.refuse(ctx, a.Kind, target)
	if err != nil {
		return false, err // asked again: what is not known is not done
	}
	if why != "" {
		return false, r.step(ctx, &next, Refused, why)
	}
	next.Expires = now.Add(next.For).UTC().Truncate(time.Millisecond)
	if !r.cfg.Enabled {
		note := "would post to the address of hook " + h.Name
		if len(h.Command) > 0 {
			note = fmt.Sprintf("would run %q", arguments(h, next, "apply"))
		}
		next.Expires = time.Time{}
		return false, r.step(ctx, &next, DryRun, note)
	}
	var recent uint64
	if err := r.store.conn.QueryRow(ctx, recentSQL, clickhouse.Named("since", now.Add(-time.Hour).UTC().Format("2006-01-02 15:04:05.000"))).Scan(&recent); err != nil {
		return false, fmt.Errorf("count response actions: %w", err)
	}
	switch {
	case recent >= uint64(r.cfg.MaxPerHour):
		next.Expires = time.Time{}
		return false, r.step(ctx, &next, Refused, "respond.max_per_hour, "+strconv.Itoa(r.cfg.MaxPerHour)+", is reached")
	case active >= r.cfg.MaxActive:
		next.Expires = time.Time{}
		return false, r.step(ctx, &next, Refused, "respond.max_active, "+strconv.Itoa(r.cfg.MaxActive)+", is reached")
	}
	next.Step-- // apply makes the step
	next.Attempts = 0
	return true, r.apply(ctx, next)
}

// apply calls the hook; the step before says so. When that fails, it is undone:
// what failed may have been done in part.
func (r *Responder) apply(ctx context.Context, a Action) error {
	a.Step, a.Who, a.Attempts = a.Step+1, "system", a.Attempts+1
	if err := r.step(ctx, &a, Applying, ""); err != nil {
		return err
	}
	h, err := r.cfg.hook(a.Kind, a.Hook)
	said := ""
	if err == nil {
		said, err = r.call(context.WithoutCancel(ctx), h, a, "apply")
	}
	a.Step++
	if err != nil {
		return r.step(context.WithoutCancel(ctx), &a, UndoAsked, "failed: "+err.Error()+" "+said)
	}
	return r.step(context.WithoutCancel(ctx), &a, Active, said)
}

// undo calls the hook to undo an action, later again if that fails.
func (r *Responder) undo(ctx context.Context, a Action, now time.Time) error {
	if w := r.retry[a.ID]; w != nil && now.Before(w.next) {
		return nil
	}
	note := a.Note
	if a.State == Active || a.State == Applying {
		note = "expired"
	}
	if a.State != Undoing {
		a.Attempts = 0
	}
	a.Step, a.Who, a.Attempts = a.Step+1, "system", a.Attempts+1
	if err := r.step(ctx, &a, Undoing, note); err != nil {
		return err
	}
	h, err := r.cfg.hook(a.Kind, a.Hook)
	said := ""
	if err == nil {
		said, err = r.call(context.WithoutCancel(ctx), h, a, "undo")
	}
	if err != nil {
		w := r.retry[a.ID]
		if w == nil {
			w = &again{pause: backoff.Backoff{Min: retryMin, Max: retryMax}}
			r.retry[a.ID] = w
		}
		w.next = now.Add(w.pause.Next())
		return fmt.Errorf("undo %s %s, attempt %d: %w", a.Kind, a.Target, a.Attempts, err)
	}
	delete(r.retry, a.ID)
	a.Step++
	a.Expires = time.Time{}
	if said != "" {
		note += ": " + said
	}
	return r.step(context.WithoutCancel(ctx), &a, Undone, note)
}

// step stores the next state of an action.
func (r *Responder) step(ctx context.Context, a *Action, state State, note string) error {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	a.State, a.Note = state, note
	stored, err := r.store.add(ctx, *a)
	if err != nil {
		return err
	}
	*a = stored
	r.steps.WithLabelValues(a.Kind, string(state)).Inc()
	r.log.Info("response", "id", a.ID, "kind", a.Kind, "target", a.Target, "state", string(state), "note", a.Note)
	return nil
}
