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
// it is judged, and brings what has begun before until.
func JudgeHour(ctx context.Context, cfg Config, db driver.Conn, end time.Time, arrive func(ctx context.Context, until time.Time) error) ([]Judged, error) {
	detectors := catalogue.All(cfg.Detect)
	list := make([]Judged, len(detectors))
	step := time.Hour
	for i, d := range detectors {
		info := d.Info()
		list[i].Detector = info.Name
		step = min(step, info.Step)
	}
	for until := end.Add(step - time.Hour); !until.After(end); until = until.Add(step) {
		if err := arrive(ctx, until); err != nil {
			return nil, err
		}
		lanes, ctx := errgroup.WithContext(ctx)
		lanes.SetLimit(runtime.GOMAXPROCS(0))
		for i, d := range detectors {
			info := d.Info()
			if start := until.Add(-info.Length); start.Equal(start.Truncate(info.Step)) {
				lanes.Go(func() error { return list[i].judge(ctx, db, d, detect.Window{Start: start, End: until}) })
			}
		}
		if err := lanes.Wait(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// judge has the detector look at a window that has just ended, if its Finder says so.
func (j *Judged) judge(ctx context.Context, db driver.Conn, d detect.Detector, w detect.Window) error {
	began := time.Now()
	defer func() { j.Took += time.Since(began) }()
	j.Windows++
	if f, ok := d.(detect.Finder); ok {
		worth, err := f.Windows(ctx, db, w)
		if err != nil || !slices.ContainsFunc(worth, w.Start.Equal) {
			return err
		}
	}
	j.Looked++
	r, err := d.Detect(ctx, db, w)
	j.Alerts += len(r.Alerts)
	return err
}
