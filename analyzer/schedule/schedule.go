// Package schedule runs detectors over windows of traffic time. In come the rows
// of the table batches, which say what was promised for each minute and how far
// each capture worker has got; out go alerts (alert.Store) and a
// row of job_runs for each window.
//
// A window is dirty when the rows promised for it differ from those it was last
// judged with. It is closed when every worker has passed its end, has ended, or
// has been silent; until then it may be judged provisionally. A late batch makes
// a closed window dirty again. What was done survives in job_runs, so a restart
// goes on where it was and skips nothing. Windows may be shorter than the minutes
// in which batches promise rows: the minutes that hold them count then.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config is the pace of the scheduler, in wall clock.
type Config struct {
	Interval    time.Duration `conf:"interval" help:"how often new rows are looked for"`
	Provisional time.Duration `conf:"provisional" help:"how often a window that still fills is judged before its time; 0: never"`
	Silent      time.Duration `conf:"silent" help:"a worker that says nothing for this long no longer holds up windows"`
	Visible     time.Duration `conf:"visible" help:"how long to wait for promised rows that are not in flows (expired or lost), before judging without them"`
}

// DefaultConfig waits 90 s for a silent worker, as the probes say something every second.
func DefaultConfig() Config {
	return Config{Interval: 2 * time.Second, Provisional: 30 * time.Second, Silent: 90 * time.Second, Visible: 5 * time.Minute}
}

// errNotHeld ends a round: the lease has run out while windows were judged.
var errNotHeld = errors.New("the lease has run out; another analyzer goes on")

// Scheduler is one analyzer's work. It is for one goroutine.
type Scheduler struct {
	cfg     Config
	conn    driver.Conn
	store   *alert.Store
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time

	jobs     []*job
	turn     int  // job with which every other round begins: the one that the budget of the last did not reach
	inTurn   bool // this round does
	progress *progress
	seeing   sync.Mutex       // of there, and of what visible writes to progress
	there    map[int64]uint64 // rows in flows by minute, as they were counted
	asking   chan struct{}    // what detectors ask at once
	held     func() bool
}

// New returns a Scheduler for detectors. reg and stages may be nil.
func New(cfg Config, conn driver.Conn, detectors []detect.Detector, log *slog.Logger, reg prometheus.Registerer, stages *ops.Stages) *Scheduler {
	s := &Scheduler{cfg: cfg, conn: conn, store: alert.NewStore(conn), log: log, metrics: newMetrics(reg, stages), now: time.Now,
		progress: newProgress(conn), there: map[int64]uint64{}, asking: make(chan struct{}, width), held: func() bool { return true }}
	for _, d := range detectors {
		s.jobs = append(s.jobs, newJob(d))
	}
	return s
}

// While has s work only while held is true: where several processes work on a
// database, one holds the lease. To be called before Run.
func (s *Scheduler) While(held func() bool) { s.held = held }

// Alerts is the store that s writes to: others of this process that write alerts
// have to use it.
func (s *Scheduler) Alerts() *alert.Store { return s.store }

// Run works until ctx ends, and returns its error. ready hears after each round
// whether it went well.
func (s *Scheduler) Run(ctx context.Context, ready func(error)) error {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	loaded := false
	for {
		err := s.round(ctx, &loaded)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errNotHeld) {
			err = nil
		}
		ready(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Scheduler) round(ctx context.Context, loaded *bool) error {
	if !s.held() {
		*loaded = false // another process goes on; what it does is in job_runs
		return nil
	}
	if !*loaded {
		if err := s.load(ctx); err != nil {
			return err
		}
		*loaded = true
	}
	changed, err := s.progress.read(ctx, s.now())
	if err != nil {
		return err
	}
	s.mark(changed)
	_, err = s.work(ctx, false)
	s.observeLag()
	return err
}

// Catchup judges every window that has rows, as closed, until none is dirty. It
// is for when all streams have ended.
func (s *Scheduler) Catchup(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	for {
		changed, err := s.progress.read(ctx, s.now())
		if err != nil {
			return err
		}
		s.mark(changed)
		failed, err := s.work(ctx, true)
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		left := 0
		for _, j := range s.jobs {
			left += len(j.pending) + len(j.later)
		}
		if left == 0 {
			return nil
		}
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// load reads what was done before, and everything that was promised.
func (s *Scheduler) load(ctx context.Context) error {
	for i := range s.jobs {
		s.jobs[i] = newJob(s.jobs[i].detector)
		j := s.jobs[i]
		if err := j.load(ctx, s.conn); err != nil {
			return err
		}
	}
	s.progress, s.there = newProgress(s.conn), map[int64]uint64{}
	changed, err := s.progress.reload(ctx, s.now())
	if err != nil {
		return err
	}
	s.mark(changed)
	return nil
}

// mark puts the windows of changed minutes on the list where they are dirty.
func (s *Scheduler) mark(changed []int64) {
	for _, minute := range changed {
		for _, j := range s.jobs {
			j.mark(minute, s.progress)
		}
	}
}

// roundBudget is how long a round judges before it looks for new rows again: a
// detector that takes long does not keep the quick ones from what has come.
const roundBudget = 5 * time.Second

// work judges what is due, for a roundBudget if it is not to catch up, several
// detectors side by side. failed is the first error of a detector, which is recorded
// and tried again later; err is one that ends the round.
func (s *Scheduler) work(ctx context.Context, catchup bool) (failed, err error) {
	now := s.now()
	spent := func() bool { return !catchup && s.now().Sub(now) > roundBudget }
	first := 0
	if s.inTurn = !s.inTurn; s.inTurn {
		first = s.turn
	}
	var mu sync.Mutex // of begun, cut and failed
	begun, cut := 0, false
	next := func() *job {
		mu.Lock()
		defer mu.Unlock()
		if begun == len(s.jobs) || cut {
			return nil
		}
		at := (first + begun) % len(s.jobs)
		if spent() {
			s.turn, cut = at, true
			return nil
		}
		begun++
		return s.jobs[at]
	}
	lanes, ctx := errgroup.WithContext(ctx)
	for range width {
		lanes.Go(func() error {
			for j := next(); j != nil; j = next() {
				f, err := s.serve(ctx, j, now, catchup, spent)
				if err != nil {
					return err
				}
				mu.Lock()
				failed = cmp.Or(failed, f)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := lanes.Wait(); err != nil {
		return nil, err
	}
	return failed, nil
}

// serve judges what is due of one detector, as work does.
func (s *Scheduler) serve(ctx context.Context, j *job, now time.Time, catchup bool, spent func() bool) (failed, err error) {
	j.refill(s.progress)
	var closed, open []*window
	for _, w := range j.pending {
		if w.retry.After(now) {
			continue
		}
		passed, missing := true, []string(nil)
		if !catchup {
			passed, missing = s.progress.passed(j.closes(w), now, s.cfg.Silent)
		}
		w.missing = missing
		switch {
		case passed:
			closed = append(closed, w)
		case s.cfg.Provisional > 0 && !j.runs.get(w.start).closed:
			open = append(open, w)
		}
	}
	for _, list := range [][]*window{closed, open} {
		slices.SortFunc(list, func(a, b *window) int { return cmp.Compare(a.start, b.start) })
	}
	open = slices.DeleteFunc(apart(open), func(w *window) bool {
		return now.Before(w.judged.Add(max(s.cfg.Provisional, j.info.Length/20))) || uint32(s.progress.rows(w.start, w.end)) == j.runs.get(w.start).rows
	})
	for len(closed) > 0 && !spent() {
		chunk := closed[:chunkOf(closed, s.progress)]
		closed = closed[len(chunk):]
		f, err := s.judge(ctx, j, chunk, true, catchup, spent)
		if err != nil {
			return nil, err
		}
		failed = cmp.Or(failed, f)
	}
	if len(open) > 0 {
		f, err := s.judge(ctx, j, open, false, false, spent)
		if err != nil {
			return nil, err
		}
		failed = cmp.Or(failed, f)
	}
	return failed, nil
}

// apart leaves, of windows that overlap, the first: of those that still fill it has most in it.
func apart(list []*window) []*window {
	end := int64(math.MinInt64)
	return slices.DeleteFunc(list, func(w *window) bool {
		if w.start < end {
			return true
		}
		end = w.end
		return false
	})
}

// Bounds of one chunk of windows: what one statement of a Finder looks at.
const (
	chunkSpan    = 7 * 24 * 3600 // seconds
	chunkRows    = 4 << 20
	chunkWindows = 4096
)

// chunkOf returns how many of the windows, at least one, fit into a chunk.
func chunkOf(list []*window, p *progress) int {
	n, rows := 1, uint64(0)
	for n < len(list) && n < chunkWindows && list[n].end-list[0].start <= chunkSpan {
		// windows that overlap: what the next adds to those before
		if rows += p.rows(max(list[n].start, list[n-1].end), list[n].end); rows > chunkRows {
			break
		}
		n++
	}
	return n
}

// judge runs one detector over windows in order of time, until the budget is spent.
func (s *Scheduler) judge(ctx context.Context, j *job, list []*window, closed, catchup bool, spent func() bool) (failed, err error) {
	list, err = s.visible(ctx, j, list, closed, catchup)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	s.asking <- struct{}{}
	worth, err := j.worth(ctx, s.conn, list)
	<-s.asking
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.log.Error("detector", "error", err)
		for _, w := range list {
			s.postpone(j, w)
		}
		return err, nil
	}
	var done []outcome
	var found []alert.Alert
	flush := func() error {
		err := s.settle(ctx, j, done, found, closed)
		done, found = nil, nil
		return err
	}
	for rest := list; len(rest) > 0 && (len(done) == 0 || !spent()); { // the others stay on the list
		side := sideBySide(rest, worth)
		outcomes, err := s.look(ctx, j, rest[:side], worth)
		if err != nil {
			return nil, err
		}
		for _, o := range outcomes {
			failed = cmp.Or(failed, o.err)
			found = append(found, o.result.Alerts...)
		}
		done, rest = append(done, outcomes...), rest[side:]
		if len(found) >= 1000 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return failed, flush()
}

// width is how many detectors, and how many windows of one, are judged side by side:
// what a statement takes is mostly its planning, which keeps one core busy. No more
// statements than that run at once.
var width = min(runtime.GOMAXPROCS(0), 4)

// sideBySide is how many of the windows go together: up to width that need a look.
func sideBySide(list []*window, worth map[int64]bool) int {
	looks := 0
	for i, w := range list {
		if worth == nil || worth[w.start] {
			looks++
		}
		if looks > width {
			return i
		}
	}
	return len(list)
}

// look runs the detector over windows side by side. The error is that of ctx.
func (s *Scheduler) look(ctx context.Context, j *job, list []*window, worth map[int64]bool) ([]outcome, error) {
	done := make([]outcome, len(list))
	var looks sync.WaitGroup
	for i, w := range list {
		o := &done[i]
		*o = outcome{window: w, rows: s.progress.rows(w.start, w.end)}
		if worth != nil && !worth[w.start] {
			continue
		}
		looks.Go(func() {
			s.asking <- struct{}{}
			defer func() { <-s.asking }()
			began := s.now()
			o.result, o.err = j.detector.Detect(ctx, s.conn, w.span())
			o.took = s.now().Sub(began)
			if o.err != nil && ctx.Err() == nil {
				s.log.Error("detector", "window", w.span().Start, "error", o.err)
			}
		})
	}
	looks.Wait()
	return done, ctx.Err()
}

// settle stores alerts and then records their windows.
func (s *Scheduler) settle(ctx context.Context, j *job, done []outcome, found []alert.Alert, closed bool) error {
	if !s.held() {
		return errNotHeld
	}
	if len(found) > 0 {
		if err := s.annotate(ctx, done, found, closed); err != nil {
			return err
		}
	}
	if len(done) > 0 {
		raised, err := s.store.Settle(ctx, j.judged(done, closed), found)
		if err != nil {
			return err
		}
		s.metrics.raised(j.info.Name, raised)
	}
	now := s.now()
	if err := j.record(ctx, s.conn, done, closed, now); err != nil {
		return err
	}
	for _, o := range done {
		s.metrics.judged(j.info.Name, o, closed)
		if o.err != nil {
			s.postpone(j, o.window)
			continue
		}
		if closed {
			if len(o.result.Alerts) > 0 {
				s.metrics.incident(now.Sub(s.progress.stored(o.start, o.end)))
			}
			delete(j.pending, o.start)
		}
	}
	return nil
}

// postpone tries a window again later, each time twice as late, up to an hour.
func (s *Scheduler) postpone(j *job, w *window) {
	w.pause = min(max(2*w.pause, 10*time.Second), time.Hour)
	w.retry = s.now().Add(w.pause)
}

// observeLag tells how old the oldest stored row is whose closed window waits.
func (s *Scheduler) observeLag() {
	now := s.now()
	waiting := 0
	var oldest time.Time
	for _, j := range s.jobs {
		waiting += len(j.pending) + len(j.later)*int(max(1, 60/j.step))
		for _, w := range j.pending {
			if passed, _ := s.progress.passed(j.closes(w), now, s.cfg.Silent); passed {
				if at := s.progress.stored(w.start, w.end); oldest.IsZero() || at.Before(oldest) {
					oldest = at
				}
			}
		}
	}
	s.metrics.waiting(waiting, now, oldest)
}
