package schedule

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// window is a window of one detector that is on its list. Times are seconds
// since the Unix epoch.
type window struct {
	start, end int64
	missing    []string      // probes that had not passed it
	judged     time.Time     // wall clock of the last provisional run
	unseen     time.Time     // wall clock since when promised rows are not in flows
	short      float64       // share of the promised rows that is in flows, if it is judged without the rest
	unbuilt    bool          // rollups that the detector reads lack rows of it
	retry      time.Time     // not before
	pause      time.Duration // between the last two attempts
}

func (w *window) span() detect.Window {
	return detect.Window{Start: time.Unix(w.start, 0).UTC(), End: time.Unix(w.end, 0).UTC()}
}

// outcome is what became of a window just now.
type outcome struct {
	*window
	rows   uint64
	result detect.Result
	err    error
	took   time.Duration
}

// Bounds of what is kept and recorded.
const (
	// maxPending bounds the windows on the list of a detector: of a long backlog
	// the rest waits as minutes.
	maxPending = 20000
	// slot is how many seconds of windows are one row of job_runs, where there
	// are many: below slotStep seconds from one to the next.
	slot     = hour
	slotStep = 300
)

// job is one detector with its list of windows to judge and those it has judged,
// by their start.
type job struct {
	detector detect.Detector
	info     detect.Info
	step     int64
	length   int64
	runs     *runs
	pending  map[int64]*window
	later    map[int64]bool // minutes whose windows are not on the list for want of room
	sums     map[int64]sums // of slots
}

// sums are what job_runs has of a slot besides its windows.
type sums struct{ alerts, took uint32 }

func newJob(d detect.Detector) *job {
	info := d.Info()
	step := int64(info.Step / time.Second)
	return &job{detector: d, info: info, step: step, length: int64(info.Length / time.Second),
		runs: newRuns(step), pending: map[int64]*window{}, later: map[int64]bool{}, sums: map[int64]sums{}}
}

// slotted says whether the windows of an hour are recorded together.
func (j *job) slotted() bool { return j.step < slotStep }

// load reads the runs of this version of the detector.
func (j *job) load(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT toInt64(toUnixTimestamp(window_start)), rows, revision, closed, alerts, took_ms, starts, start_rows, start_revisions, start_closed
		FROM job_runs FINAL WHERE detector = {detector:String} AND version = {version:UInt16} AND (error = '' OR notEmpty(starts))`,
		clickhouse.Named("detector", j.info.Name), clickhouse.Named("version", j.info.Version))
	if err != nil {
		return fmt.Errorf("read job_runs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var start int64
		var promised uint64
		var r run
		var sum sums
		var starts, counts, revisions []uint32
		var closed []bool
		if err := rows.Scan(&start, &promised, &r.revision, &r.closed, &sum.alerts, &sum.took, &starts, &counts, &revisions, &closed); err != nil {
			return fmt.Errorf("read job_runs: %w", err)
		}
		if len(starts) == 0 {
			r.rows = uint32(promised)
			if start%j.step == 0 {
				j.runs.set(start, r)
			}
			continue
		}
		j.sums[start] = sum
		for i := range min(len(starts), len(counts), len(revisions), len(closed)) {
			if at := start + int64(starts[i]); at%j.step == 0 {
				j.runs.set(at, run{counts[i], revisions[i], closed[i]})
			}
		}
	}
	return rows.Err()
}

// mark puts the windows that hold some of a minute on the list, if they are
// dirty, or the minute on the other list if there is no room.
func (j *job) mark(minute int64, p *progress) {
	if len(j.pending) >= maxPending {
		j.later[minute] = true
		return
	}
	at := minute * 60
	for start := floor(at+59, j.step); start > at-j.length; start -= j.step {
		if _, listed := j.pending[start]; listed {
			continue
		}
		r := j.runs.get(start)
		if promised := p.rows(start, start+j.length); promised > 0 && (!r.closed || r.rows != uint32(promised)) {
			j.pending[start] = &window{start: start, end: start + j.length}
		}
	}
}

// closes is the moment that every probe has to have passed for a window to be
// judged for good. One shorter than a minute that was judged so before is looked
// at again when the minute is over: until then the minute grows without it.
func (j *job) closes(w *window) int64 {
	if j.runs.get(w.start).closed {
		return -floor(-w.end, 60)
	}
	return w.end
}

// refill brings waiting minutes to the list, earliest first, when there is room.
func (j *job) refill(p *progress) {
	if len(j.later) == 0 || len(j.pending) >= maxPending/2 {
		return
	}
	for _, minute := range keys(j.later) {
		if len(j.pending) >= maxPending {
			return
		}
		delete(j.later, minute)
		j.mark(minute, p)
	}
}

// floor rounds down to a multiple of step, also before 1970.
func floor(at, step int64) int64 {
	n := at / step
	if at%step < 0 {
		n--
	}
	return n * step
}

// worth asks a Finder which of the windows need a look; nil means all.
func (j *job) worth(ctx context.Context, conn driver.Conn, list []*window) (map[int64]bool, error) {
	finder, ok := j.detector.(detect.Finder)
	if !ok {
		return nil, nil
	}
	starts, err := finder.Windows(ctx, conn, detect.Window{Start: list[0].span().Start, End: list[len(list)-1].span().End})
	if err != nil {
		return nil, err
	}
	worth := make(map[int64]bool, len(starts))
	for _, at := range starts {
		worth[at.Unix()] = true
	}
	return worth, nil
}

// judged are the windows whose word counts from now on. What an open window does
// not hold yet, or no more, is left to when it is closed.
func (j *job) judged(done []outcome, closed bool) []alert.Judged {
	if !closed {
		return nil
	}
	list := make([]alert.Judged, 0, len(done))
	for _, o := range done {
		if o.err == nil {
			span := o.span()
			list = append(list, alert.Judged{Detector: j.info.Name, Version: j.info.Version, Start: span.Start, End: span.End, Step: j.info.Step})
		}
	}
	return list
}

// record writes what was done to job_runs, in one insert.
func (j *job) record(ctx context.Context, conn driver.Conn, done []outcome, closed bool, now time.Time) error {
	if len(done) == 0 {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO job_runs (detector, version, window_start, window_end, revision, rows, closed, alerts, took_ms, error, ran,
		starts, start_rows, start_revisions, start_closed)`)
	if err != nil {
		return fmt.Errorf("record job_runs: %w", err)
	}
	fresh := make(map[int64]run, len(done))
	for _, o := range done {
		if o.err == nil || !j.slotted() {
			fresh[o.start] = run{rows: uint32(o.rows), revision: j.runs.get(o.start).revision + 1, closed: closed}
		}
	}
	put := j.windows
	var slots map[int64]sums
	if j.slotted() {
		put = func(batch driver.Batch, done []outcome, fresh map[int64]run, now time.Time) error {
			slots, err = j.slots(batch, done, fresh, now)
			return err
		}
	}
	if err := put(batch, done, fresh, now); err != nil {
		_ = batch.Abort()
		return fmt.Errorf("record job_runs: %w", err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("record job_runs: %w", err)
	}
	maps.Copy(j.sums, slots)
	for _, o := range done {
		o.judged = now
		if o.err == nil {
			j.runs.set(o.start, fresh[o.start])
		}
	}
	return nil
}

// windows appends a row for each window.
func (j *job) windows(batch driver.Batch, done []outcome, fresh map[int64]run, now time.Time) error {
	for _, o := range done {
		r, span := fresh[o.start], o.span()
		err := batch.Append(j.info.Name, j.info.Version, span.Start, span.End, r.revision, o.rows, r.closed,
			uint32(len(o.result.Alerts)), uint32(o.took.Milliseconds()), message(o.err), now.UTC(), []uint32{}, []uint32{}, []uint32{}, []bool{})
		if err != nil {
			return err
		}
	}
	return nil
}

// slots appends a row for each slot that has one of the windows: what is known of
// all windows in it, so that it takes the place of the row before.
func (j *job) slots(batch driver.Batch, done []outcome, fresh map[int64]run, now time.Time) (map[int64]sums, error) {
	type change struct {
		sums
		err error
	}
	changes := map[int64]*change{}
	for _, o := range done {
		at := floor(o.start, slot)
		c := changes[at]
		if c == nil {
			c = &change{sums: j.sums[at]}
			changes[at] = c
		}
		c.alerts += uint32(len(o.result.Alerts))
		c.took += uint32(o.took.Milliseconds())
		if o.err != nil {
			c.err = o.err
		}
	}
	out := map[int64]sums{}
	for _, at := range slices.Sorted(maps.Keys(changes)) {
		c := changes[at]
		starts, rows, revisions, closed := []uint32{}, []uint32{}, []uint32{}, []bool{}
		var total uint64
		newest, last, all := uint32(0), at, true
		for start := -floor(-at, j.step); start < at+slot; start += j.step {
			r, ok := fresh[start]
			if !ok {
				r = j.runs.get(start)
			}
			if r.revision == 0 {
				continue
			}
			starts, rows, revisions, closed = append(starts, uint32(start-at)), append(rows, r.rows), append(revisions, r.revision), append(closed, r.closed)
			total += uint64(r.rows)
			newest, last, all = max(newest, r.revision), start, all && r.closed
		}
		if len(starts) == 0 && c.err != nil { // only errors: a row that says so, without windows
			last = at
		}
		err := batch.Append(j.info.Name, j.info.Version, time.Unix(at, 0).UTC(), time.Unix(last+j.length, 0).UTC(), newest, total, all && c.err == nil,
			c.alerts, c.took, message(c.err), now.UTC(), starts, rows, revisions, closed)
		if err != nil {
			return nil, err
		}
		out[at] = c.sums
	}
	return out, nil
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
