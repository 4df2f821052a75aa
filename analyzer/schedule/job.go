package schedule

import (
	"context"
	"fmt"
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

// run is what job_runs knows of a window.
type run struct {
	rows     uint64
	revision uint32
	closed   bool
}

// outcome is what became of a window just now.
type outcome struct {
	*window
	rows   uint64
	result detect.Result
	err    error
	began  time.Time
	took   time.Duration
}

// job is one detector with its list of windows to judge and those it has judged,
// by their start.
type job struct {
	detector detect.Detector
	info     detect.Info
	step     int64
	length   int64
	runs     map[int64]run
	pending  map[int64]*window
}

func newJob(d detect.Detector) *job {
	info := d.Info()
	return &job{detector: d, info: info, step: int64(info.Step / time.Second), length: int64(info.Length / time.Second),
		runs: map[int64]run{}, pending: map[int64]*window{}}
}

// load reads the runs of this version of the detector.
func (j *job) load(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT toInt64(toUnixTimestamp(window_start)), rows, revision, closed FROM job_runs FINAL
		WHERE detector = {detector:String} AND version = {version:UInt16} AND error = ''`,
		clickhouse.Named("detector", j.info.Name), clickhouse.Named("version", j.info.Version))
	if err != nil {
		return fmt.Errorf("read job_runs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var start int64
		var r run
		if err := rows.Scan(&start, &r.rows, &r.revision, &r.closed); err != nil {
			return fmt.Errorf("read job_runs: %w", err)
		}
		j.runs[start] = r
	}
	return rows.Err()
}

// mark puts the windows that hold a minute on the list, if they are dirty.
func (j *job) mark(minute int64, p *progress) {
	at := minute * 60
	for start := floor(at, j.step); start > at-j.length; start -= j.step {
		if _, listed := j.pending[start]; listed {
			continue
		}
		r, known := j.runs[start]
		if promised := p.rows(start, start+j.length); promised > 0 && (!known || !r.closed || r.rows != promised) {
			j.pending[start] = &window{start: start, end: start + j.length}
		}
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
func (j *job) worth(ctx context.Context, conn driver.Conn, list []*window, closed bool) (map[int64]bool, error) {
	finder, ok := j.detector.(detect.Finder)
	if !ok || !closed || len(list) == 1 {
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
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO job_runs (detector, version, window_start, window_end, revision, rows, closed, alerts, took_ms, error, ran)")
	if err != nil {
		return fmt.Errorf("record job_runs: %w", err)
	}
	runs := make([]run, len(done))
	for i, o := range done {
		message := ""
		if o.err != nil {
			message = o.err.Error()
		}
		runs[i] = run{rows: o.rows, revision: j.runs[o.start].revision + 1, closed: closed}
		span := o.span()
		err := batch.Append(j.info.Name, j.info.Version, span.Start, span.End, runs[i].revision, o.rows, closed,
			uint32(len(o.result.Alerts)), uint32(o.took.Milliseconds()), message, now.UTC())
		if err != nil {
			_ = batch.Abort()
			return fmt.Errorf("record job_runs: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("record job_runs: %w", err)
	}
	for i, o := range done {
		o.judged = now
		if o.err == nil {
			j.runs[o.start] = runs[i]
		}
	}
	return nil
}
