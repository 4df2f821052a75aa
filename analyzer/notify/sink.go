package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

// sender carries one message to the other side. It returns nil only when the
// other side has taken it, as far as its protocol can say so. An error that is a
// *refusal is not cured by waiting. It honours ctx, and closes what it opened.
type sender interface {
	send(ctx context.Context, m *message) error
}

// refusal is an answer that will be the same next time.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// postponed is a failure whose other side has said when to come back.
type postponed struct {
	err   error
	after time.Duration // more than 0
}

func (p *postponed) Error() string { return p.err.Error() }
func (p *postponed) Unwrap() error { return p.err }

const (
	// maxQueue bounds what waits in memory for a sink; the rest stays in the
	// table until there is room.
	maxQueue = 10_000
	// grace is for a message under way when the process is asked to end.
	grace = 3 * time.Second
	// idle is how long a sink with nothing to do sleeps, unless it is woken.
	idle = time.Minute
	// refusedFactor makes the pauses after a refusal longer: it takes a person
	// to mend what is wrong.
	refusedFactor = 12
)

// item is an alert that waits for a sink.
type item struct {
	candidate
	since    time.Time // when this process first saw it wait
	next     time.Time // not to be tried before
	failures uint32
	pause    backoff.Backoff
}

// sink is one receiver with its queue. offer, missed, forgetMissed and measure
// may be called by another goroutine than run.
type sink struct {
	common
	to      sender
	cfg     Config
	db      deliveries
	alerts  *alert.Store
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}
	held    func() bool // see Notifier.While
	clock   func() time.Time
	digest  *digest // of what is not told by itself; nil: there is none

	mu    sync.Mutex
	queue map[string]*item // by alert
	full  bool             // something was turned away
	limit int

	// The rest belongs to run.
	rate       rate
	gate       backoff.Backoff // between attempts while the other side fails
	shutUntil  time.Time
	store      backoff.Backoff
	unrecorded []row // outcomes that could not be stored yet
	failing    bool
	storeFails bool
}

func newSink(c common, to sender, cfg Config) *sink {
	return &sink{common: c, to: to, cfg: cfg, wake: make(chan struct{}, 1), clock: time.Now, queue: map[string]*item{}, limit: maxQueue, rate: newRate(c.perMinute),
		gate:  backoff.Backoff{Min: max(cfg.RetryMin/5, time.Millisecond), Max: max(cfg.RetryMin, cfg.RetryMax/10)},
		store: backoff.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}}
}

func (s *sink) attach(n *Notifier) {
	s.held = n.held
	s.db, s.alerts, s.metrics, s.log = n.db, n.alerts, n.metrics, n.log.With("sink", s.name, "kind", s.kind)
}

// from is the rank from which on an alert has a message of its own.
func (s *sink) from() int { return max(s.min.Rank(), s.above) }

// offer puts an alert that is due into the queue, or renews it there. When the
// queue is full, what matters least is left to a later look.
func (s *sink) offer(c candidate, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.queue[c.id]; it != nil {
		if c.revision > it.revision {
			it.revision, it.severity, it.magnitude, it.updated = c.revision, c.severity, c.magnitude, c.updated
		}
		return
	}
	if len(s.queue) >= s.limit {
		s.full = true
		var least *item
		for _, it := range s.queue {
			if least == nil || it.severity.Rank() < least.severity.Rank() {
				least = it
			}
		}
		if least.severity.Rank() >= c.severity.Rank() {
			return
		}
		delete(s.queue, least.id)
	}
	s.queue[c.id] = &item{candidate: c, since: now, next: now, pause: backoff.Backoff{Min: s.cfg.RetryMin, Max: s.cfg.RetryMax}}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// missed says whether something was turned away, and whether there is room now.
func (s *sink) missed() (missed, room bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full, len(s.queue) <= s.limit/2
}

func (s *sink) forgetMissed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = false
}

// measure brings the gauges up to date.
func (s *sink) measure(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest time.Duration
	for _, it := range s.queue {
		oldest = max(oldest, now.Sub(it.since))
	}
	s.metrics.waiting.WithLabelValues(s.name).Set(float64(len(s.queue)))
	s.metrics.oldest.WithLabelValues(s.name).Set(oldest.Seconds())
}

// pick returns what is to be tried now: what matters most, then what has failed
// least, then what is oldest. With nothing to try it returns when there will be.
func (s *sink) pick(now time.Time) (best *item, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = now.Add(idle)
	for _, it := range s.queue {
		if it.next.After(now) {
			if it.next.Before(next) {
				next = it.next
			}
			continue
		}
		if best == nil || it.before(best) {
			best = it
		}
	}
	return best, next
}

func (it *item) before(other *item) bool {
	if a, b := it.severity.Rank(), other.severity.Rank(); a != b {
		return a > b
	}
	if it.failures != other.failures {
		return it.failures < other.failures
	}
	if !it.updated.Equal(other.updated) {
		return it.updated.Before(other.updated)
	}
	return it.id < other.id
}

func (s *sink) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queue, id)
}

// run sends until ctx ends.
func (s *sink) run(ctx context.Context) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		pause := s.step(ctx, s.clock())
		if ctx.Err() != nil {
			s.flush(ctx) // the last chance to say what was delivered
			return
		}
		if pause <= 0 {
			continue
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// step does the next thing there is to do, and returns how long to wait before
// the one after.
func (s *sink) step(ctx context.Context, now time.Time) time.Duration {
	if len(s.unrecorded) > 0 {
		// Nothing is sent while an outcome is not stored: what is decided next
		// hangs on it.
		if !s.flush(ctx) {
			return s.store.Next()
		}
		return 0
	}
	if !s.held() {
		return time.Second
	}
	if s.shutUntil.After(now) {
		return s.shutUntil.Sub(now)
	}
	it, next := s.pick(now)
	if it == nil {
		return next.Sub(now)
	}
	if free := s.rate.free(now); free.After(now) {
		return free.Sub(now)
	}
	if err := s.deliver(ctx, it); err != nil {
		if ctx.Err() != nil {
			return 0
		}
		s.storeFailed(err)
		return s.store.Next()
	}
	s.storeWorks()
	return 0
}

func (s *sink) storeFailed(err error) {
	s.metrics.storeErrors.WithLabelValues(s.name).Inc()
	if !s.storeFails {
		s.log.Warn("cannot read or store the state of deliveries; nothing is sent until that works", "error", err)
	}
	s.storeFails = true
}

func (s *sink) storeWorks() {
	if s.storeFails {
		s.log.Info("the state of deliveries can be stored again")
	}
	s.storeFails = false
	s.store.Reset()
}

// flush stores the outcomes that could not be stored before, also when ctx has
// ended, and says whether none is left.
func (s *sink) flush(ctx context.Context) bool {
	if len(s.unrecorded) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.db.write(ctx, s.unrecorded...); err != nil {
		s.storeFailed(err)
		return false
	}
	s.unrecorded = nil
	s.storeWorks()
	return true
}

// rate allows a number of events within any minute.
type rate struct {
	at   []time.Time // of the last events, a ring
	next int
}

func newRate(perMinute int) rate { return rate{at: make([]time.Time, perMinute)} }

// free is when the next event may be: in the past, if it may be now.
func (r *rate) free(now time.Time) time.Time {
	oldest := r.at[r.next]
	if oldest.IsZero() || oldest.After(now) { // or the clock was set back
		return now
	}
	return oldest.Add(time.Minute)
}

func (r *rate) count(now time.Time) {
	r.at[r.next] = now
	r.next = (r.next + 1) % len(r.at)
}

// asRefusal and asPostponed look into an error of a sender.
func asRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

func asPostponed(err error) time.Duration {
	var p *postponed
	if errors.As(err, &p) {
		return p.after
	}
	return 0
}
