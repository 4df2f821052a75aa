// Package notify tells people and other systems about alerts: by webhook, mail
// and syslog. In come the rows of the table alerts, whoever wrote them; out go
// messages, and a row of the table deliveries for each alert, revision and sink.
//
// A sink is told of an alert when it is new, when its severity has changed, and
// when it has grown tenfold, reckoned from what that sink was told last, and when
// what it was told is withdrawn. Of what is suppressed nobody is told. What is
// about to be sent is stored as pending before, and as delivered after: nothing
// is lost, and what was stored as delivered is not sent again. A process that
// dies between the two sends the same message again, with the same key, for the
// receiver to drop. Each sink has its own queue, pace and patience, so that one
// that hangs does not hold up the others.
//
// One Notifier at a time may work on a database.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

const (
	// overlap is how far back each look goes: an alert is stamped before it is
	// inserted, and so may appear after younger ones.
	overlap = 30 * time.Second
	// sweepEvery is how often all alerts are looked at, for what clocks that
	// jump and inserts that hang have hidden from the ordinary looks.
	sweepEvery = 10 * time.Minute
	// lookTimeout bounds one statement.
	lookTimeout = 30 * time.Second
)

// Notifier sends alerts to sinks. Make it with New.
type Notifier struct {
	cfg     Config
	db      deliveries
	alerts  *alert.Store
	log     *slog.Logger
	metrics *metrics
	sinks   []*sink
	digests []*digest
	held    func() bool

	from    time.Time // where the next look begins; zero: all alerts
	swept   time.Time // when all alerts were looked at last
	failing bool      // the last look failed
}

// New returns a Notifier for the sinks of cfg, which it checks. It sends nothing
// before Run. conn stays the caller's; reg may be nil.
func New(cfg Config, conn driver.Conn, log *slog.Logger, reg prometheus.Registerer) (*Notifier, error) {
	sinks, err := cfg.sinks()
	if err != nil {
		return nil, err
	}
	n := &Notifier{cfg: cfg, db: deliveries{conn}, alerts: alert.NewStore(conn), log: log, metrics: newMetrics(reg), sinks: sinks, held: func() bool { return true }}
	for _, s := range sinks {
		s.attach(n)
		if s.digest != nil {
			s.digest.sink = s
			n.digests = append(n.digests, s.digest)
		}
	}
	return n, nil
}

// While has n look for alerts and send only while held is true: where several
// processes work on a database, one holds the lease. To be called before Run.
func (n *Notifier) While(held func() bool) {
	n.held = held
	for _, s := range n.sinks {
		s.held = held
	}
}

// Run sends until ctx ends, then lets messages under way finish for up to 3 s,
// stores what became of them, and returns nil. Trouble with ClickHouse or a sink
// is logged, counted and waited out. Call it once.
func (n *Notifier) Run(ctx context.Context) error {
	if len(n.sinks) == 0 {
		<-ctx.Done()
		return nil
	}
	var g errgroup.Group
	for _, s := range n.sinks {
		g.Go(func() error { s.run(ctx); return nil })
	}
	for _, d := range n.digests {
		g.Go(func() error { d.run(ctx); return nil })
	}
	g.Go(func() error { n.watch(ctx); return nil })
	return g.Wait()
}

// watch looks for what is due every Interval.
func (n *Notifier) watch(ctx context.Context) {
	tick := time.NewTicker(n.cfg.Interval)
	defer tick.Stop()
	for {
		var err error
		if n.held() {
			err = n.look(ctx, time.Now())
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.metrics.lookErrors.Inc()
			if !n.failing {
				n.log.Warn("cannot look for alerts to send; trying on", "error", err)
			}
		case n.failing:
			n.log.Info("looking for alerts to send again")
		}
		n.failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look hands every alert that is due to the queues of the sinks.
func (n *Notifier) look(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	room := true // for what a full queue has turned away
	missed := false
	for _, s := range n.sinks {
		m, r := s.missed()
		missed, room = missed || m, room && r
	}
	at := n.from
	sweep := now.Sub(n.swept) >= sweepEvery || now.Before(n.swept) || missed && room
	if sweep {
		at = time.Time{}
		for _, s := range n.sinks {
			s.forgetMissed()
		}
	}
	at = later(at, time.Unix(0, 0)) // what DateTime64 can hold
	newest, id := at, ""
	for {
		page, err := n.db.changed(ctx, newest, id)
		if err != nil {
			return err
		}
		if err := n.offer(ctx, page, now); err != nil {
			return err
		}
		if len(page) > 0 {
			newest, id = page[len(page)-1].updated, page[len(page)-1].id
		}
		if len(page) < pageSize {
			break
		}
	}
	if sweep {
		n.swept = now
	}
	if newest.After(now) {
		newest = now
	}
	n.from = later(n.from, newest.Add(-overlap))
	for _, s := range n.sinks {
		s.measure(now)
	}
	return nil
}

// offer gives the alerts of a page to the sinks that are to be told of them.
func (n *Notifier) offer(ctx context.Context, page []candidate, now time.Time) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]string, len(page))
	for i, c := range page {
		ids[i] = c.id
	}
	names := make([]string, len(n.sinks))
	for i, s := range n.sinks {
		names[i] = s.name
	}
	states, err := n.db.states(ctx, ids, names)
	if err != nil {
		return err
	}
	for _, c := range page {
		for _, s := range n.sinks {
			st := states[key{c.id, s.name}]
			if due(c.revision, c.severity, c.magnitude, st.told, s.from()) != notDue {
				s.offer(c, now)
			}
		}
	}
	return nil
}

// sinks makes the sinks of cfg, or says what is wrong with one.
func (cfg Config) sinks() ([]*sink, error) {
	if err := cfg.checkPace(); err != nil {
		return nil, err
	}
	var list []*sink
	names := map[string]string{}
	add := func(at string, c common, to sender, err error) error {
		if err != nil {
			return err
		}
		if before, taken := names[c.name]; taken {
			return fmt.Errorf("%s.name: %q is also the name of %s", at, c.name, before)
		}
		names[c.name] = at
		list = append(list, newSink(c, to, cfg))
		return nil
	}
	for i, w := range cfg.Webhooks {
		at := fmt.Sprintf("notify.webhooks[%d]", i)
		c, to, err := cfg.webhook(at, w)
		if err := add(at, c, to, err); err != nil {
			return nil, err
		}
	}
	for i, e := range cfg.Email {
		at := fmt.Sprintf("notify.email[%d]", i)
		c, to, err := cfg.email(at, e)
		if err != nil {
			return nil, err
		}
		d, err := cfg.digestOf(at, e, &c, to)
		if err := add(at, c, to, err); err != nil {
			return nil, err
		}
		list[len(list)-1].digest = d
	}
	for i, t := range cfg.Kafka {
		at := fmt.Sprintf("notify.kafka[%d]", i)
		c, to, err := cfg.topic(at, t)
		if err := add(at, c, to, err); err != nil {
			return nil, err
		}
	}
	for i, l := range cfg.Syslog {
		at := fmt.Sprintf("notify.syslog[%d]", i)
		c, to, err := cfg.syslog(at, l)
		if err := add(at, c, to, err); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// console is ConsoleURL without a slash at its end.
func (cfg Config) console() string { return strings.TrimRight(cfg.ConsoleURL, "/") }

func later(x, y time.Time) time.Time {
	if y.After(x) {
		return y
	}
	return x
}
