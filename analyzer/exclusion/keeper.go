package exclusion

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

//go:embed samples.sql
var samplesSQL string

// Prefix begins alert.Alert.SuppressedBy where an exclusion is meant.
const Prefix = "exclusion:"

// Keeper holds alerts to the exclusions. Its methods are safe for concurrent use.
type Keeper struct {
	store  *Store
	conn   driver.Conn
	alerts *alert.Store
	inside []netip.Prefix
	log    *slog.Logger
	now    func() time.Time

	changed prometheus.Counter

	mu      sync.Mutex
	active  []Exclusion
	read    time.Time
	applied string // what Pass has held all alerts to
}

// NewKeeper returns a Keeper of the alerts of a store, which is to hand it what
// it is about to write: alerts.Before(k.Before). inside are own networks.
// reg may be nil.
func NewKeeper(conn driver.Conn, alerts *alert.Store, inside []netip.Prefix, log *slog.Logger, reg prometheus.Registerer) *Keeper {
	k := &Keeper{store: NewStore(conn), conn: conn, alerts: alerts, inside: inside, log: log, now: time.Now,
		changed: prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_exclusion_changed_alerts_total", Help: "Stored alerts that exclusions have hidden, or let come back."})}
	if reg != nil {
		reg.MustRegister(k.changed)
	}
	return k
}

// Before sets SuppressedBy of alerts that are about to be stored.
func (k *Keeper) Before(ctx context.Context, list []*alert.Alert) error {
	active, err := k.current(ctx, 10*time.Second)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(list, chunk) {
		if err := k.judge(ctx, active, part); err != nil {
			return err
		}
	}
	return nil
}

// Run holds all alerts to the exclusions every interval while held says so, until
// ctx ends. Trouble is logged and waited out.
func (k *Keeper) Run(ctx context.Context, interval time.Duration, held func() bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if held() {
			if _, err := k.Pass(ctx); err != nil && ctx.Err() == nil {
				k.log.Warn("cannot hold alerts to the exclusions; trying on", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// chunk is how many alerts are looked at together.
const chunk = 500

// Pass looks at all stored alerts again, if the exclusions in force are not those
// of the Pass before, and returns how many have changed.
func (k *Keeper) Pass(ctx context.Context) (int, error) {
	active, err := k.current(ctx, 0)
	if err != nil {
		return 0, err
	}
	state := stateOf(active)
	k.mu.Lock()
	done := k.applied == state
	k.mu.Unlock()
	if done {
		return 0, nil
	}
	n := 0
	var part []*alert.Alert
	was := map[string]string{}
	flush := func() error {
		if err := k.judge(ctx, active, part); err != nil {
			return err
		}
		want := map[string]string{}
		for _, a := range part {
			if a.SuppressedBy != was[a.ID] {
				want[a.ID] = a.SuppressedBy
			}
		}
		part, was = nil, map[string]string{}
		if len(want) == 0 {
			return nil
		}
		var ids []string
		for id := range want {
			ids = append(ids, id)
		}
		changed, err := k.alerts.Rewrite(ctx, ids, func(a *alert.Alert) bool {
			same := a.SuppressedBy == want[a.ID]
			a.SuppressedBy = want[a.ID]
			return !same
		})
		n += changed
		k.changed.Add(float64(changed))
		return err
	}
	var all []*alert.Alert // read to the end before anything is written
	if err := k.alerts.Each(ctx, time.Time{}, time.Time{}, func(a *alert.Alert) error {
		if len(active) > 0 || strings.HasPrefix(a.SuppressedBy, Prefix) {
			a.Title, a.Reasons, a.SubScores = "", nil, nil
			all = append(all, a)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	for _, a := range all {
		was[a.ID] = a.SuppressedBy
		if part = append(part, a); len(part) == chunk {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := flush(); err != nil {
		return n, err
	}
	k.mu.Lock()
	k.applied = state
	k.mu.Unlock()
	if n > 0 {
		k.log.Info("alerts held to exclusions", "exclusions", len(active), "changed", n)
	}
	return n, nil
}

// current returns the exclusions in force, read at most that long ago.
func (k *Keeper) current(ctx context.Context, age time.Duration) ([]Exclusion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if k.read.IsZero() || now.Sub(k.read) >= age || now.Before(k.read) {
		all, err := k.store.List(ctx)
		if err != nil {
			return nil, err
		}
		k.active, k.read = all, now
	}
	var active []Exclusion
	for _, e := range k.active {
		if e.Active(now) {
			active = append(active, e)
		}
	}
	return active, nil
}

// stateOf names a set of exclusions.
func stateOf(active []Exclusion) string {
	var b strings.Builder
	b.WriteString("read")
	for _, e := range active {
		fmt.Fprintf(&b, " %s/%d", e.ID, e.Revision)
	}
	return b.String()
}

// judge sets SuppressedBy of the alerts: the first exclusion that fits counts.
func (k *Keeper) judge(ctx context.Context, active []Exclusion, list []*alert.Alert) error {
	by := make([]string, len(list))
	var open []*alert.Alert
	for i, a := range list {
		needs := false
		for j := range active {
			fits, more := active[j].Fits(a, k.inside, nil)
			needs = needs || more
			if fits {
				by[i], needs = Prefix+active[j].ID, false
				break
			}
		}
		if needs {
			open = append(open, a)
		}
	}
	if len(open) > 0 {
		samples, err := k.samples(ctx, open)
		if err != nil {
			return err
		}
		for i, a := range list {
			for j := range active {
				if by[i] != "" || !slices.Contains(open, a) {
					break
				}
				if fits, _ := active[j].Fits(a, k.inside, samples[a.ID]); fits {
					by[i] = Prefix + active[j].ID
				}
			}
		}
	}
	for i, a := range list {
		if by[i] != "" || strings.HasPrefix(a.SuppressedBy, Prefix) {
			a.SuppressedBy = by[i]
		}
	}
	return nil
}

// Fitting returns those of the alerts that an exclusion, stored or not, would
// suppress if it were in force. Nothing is written.
func Fitting(ctx context.Context, conn driver.Conn, e Exclusion, inside []netip.Prefix, alerts []*alert.Alert) ([]*alert.Alert, error) {
	e.ID = "tried"
	k := &Keeper{conn: conn, inside: inside}
	var list []*alert.Alert
	for part := range slices.Chunk(alerts, chunk) {
		tried := make([]*alert.Alert, len(part))
		for i, a := range part {
			one := *a
			one.SuppressedBy, tried[i] = "", &one
		}
		if err := k.judge(ctx, []Exclusion{e}, tried); err != nil {
			return nil, err
		}
		for i, a := range tried {
			if a.SuppressedBy != "" {
				list = append(list, part[i])
			}
		}
	}
	return list, nil
}

// samples looks up the flows that alerts name; an alert has a list, perhaps an
// empty one. New alerts have no id yet that others could share: they have.
func (k *Keeper) samples(ctx context.Context, list []*alert.Alert) (map[string][]Sample, error) {
	from, to := list[0].Start, list[0].End
	found := map[string][]Sample{}
	of := map[string][]string{}
	var ids []string
	var numbers []uint64
	for _, a := range list {
		found[a.ID] = []Sample{}
		if a.Start.Before(from) {
			from = a.Start
		}
		if a.End.After(to) {
			to = a.End
		}
		for _, id := range a.FlowIDs {
			n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '/')+1:], 10, 64)
			if err != nil {
				continue
			}
			if len(of[id]) == 0 {
				ids, numbers = append(ids, id), append(numbers, n)
			}
			of[id] = append(of[id], a.ID)
		}
	}
	if len(ids) == 0 {
		return found, nil
	}
	rows, err := k.conn.Query(ctx, samplesSQL, clickhouse.Named("from", stamp(from)), clickhouse.Named("to", stamp(to)), clickhouse.Named("ids", ids), clickhouse.Named("numbers", numbers))
	if err != nil {
		return nil, fmt.Errorf("read flows of alerts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var s Sample
		if err := rows.Scan(&id, &s.Names, &s.Port, &s.JA4); err != nil {
			return nil, fmt.Errorf("read flows of alerts: %w", err)
		}
		for _, a := range of[id] {
			found[a] = append(found[a], s)
		}
	}
	return found, rows.Err()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }
