package analyzer

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
)

// Judged is what a detector took for the windows of an hour.
type Judged struct {
	Detector        string
	Windows, Looked int // windows that end in the hour; of them, those that its Finder looked at
	Alerts          int
	Took            time.Duration
}

// JudgeHour has every detector judge the windows that end in the hour before end,
// in the order of traffic time, as they come to their ends, and stores nothing: it
// measures what an hour of traffic costs. As many detectors are at work at once as
// there are cores. arrive is called for every step of the quickest detectors, before
// it is judged, and brings what has begun before until. Without arrive the hour is
// there already, as after a pause of the analyzer: each detector asks once which
// windows are worth a look, and takes them one after the other.
func JudgeHour(ctx context.Context, cfg Config, db driver.Conn, end time.Time, arrive func(ctx context.Context, until time.Time) error) ([]Judged, error) {
	detectors := catalogue.All(cfg.Detect)
	list := make([]Judged, len(detectors))
	step := time.Hour
	for i, d := range detectors {
		info := d.Info()
		list[i].Detector = info.Name
		step = min(step, info.Step)
	}
	if arrive == nil {
		step, arrive = time.Hour, func(context.Context, time.Time) error { return nil }
	}
	for until := end.Add(step - time.Hour); !until.After(end); until = until.Add(step) {
		if err := arrive(ctx, until); err != nil {
			return nil, err
		}
		lanes, ctx := errgroup.WithContext(ctx)
		lanes.SetLimit(runtime.GOMAXPROCS(0))
		for i, d := range detectors {
			if windows := endingIn(d.Info(), until.Add(-step), until); len(windows) > 0 {
				lanes.Go(func() error { return list[i].judge(ctx, db, d, windows) })
			}
		}
		if err := lanes.Wait(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// endingIn are the windows of a detector that end after the one moment and not after
// the other.
func endingIn(info detect.Info, after, until time.Time) []detect.Window {
	var list []detect.Window
	for start := after.Add(-info.Length).Truncate(info.Step); !start.Add(info.Length).After(until); start = start.Add(info.Step) {
		if w := (detect.Window{Start: start, End: start.Add(info.Length)}); w.End.After(after) {
			list = append(list, w)
		}
	}
	return list
}

// judge has the detector look at those windows that its Finder says are worth it.
func (j *Judged) judge(ctx context.Context, db driver.Conn, d detect.Detector, windows []detect.Window) error {
	began := time.Now()
	defer func() { j.Took += time.Since(began) }()
	j.Windows += len(windows)
	if f, ok := d.(detect.Finder); ok {
		worth, err := f.Windows(ctx, db, detect.Window{Start: windows[0].Start, End: windows[len(windows)-1].End})
		if err != nil {
			return err
		}
		windows = slices.DeleteFunc(windows, func(w detect.Window) bool { return !slices.ContainsFunc(worth, w.Start.Equal) })
	}
	for _, w := range windows {
		j.Looked++
		r, err := d.Detect(ctx, db, w)
		j.Alerts += len(r.Alerts)
		if err != nil {
			return err
		}
	}
	return nil
}
