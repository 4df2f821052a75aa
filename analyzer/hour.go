package analyzer

import (
	"context"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

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
// one after the other as they come to their ends, and stores nothing: it measures
// what an hour of traffic costs.
func JudgeHour(ctx context.Context, cfg Config, db driver.Conn, end time.Time) ([]Judged, error) {
	var list []Judged
	for _, d := range catalogue.All(cfg.Detect) {
		j, err := judgeHour(ctx, db, d, end)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

func judgeHour(ctx context.Context, db driver.Conn, d detect.Detector, end time.Time) (j Judged, err error) {
	info := d.Info()
	j.Detector = info.Name
	began := time.Now()
	for start := end.Add(-info.Length).Truncate(info.Step); start.Add(info.Length).After(end.Add(-time.Hour)); start = start.Add(-info.Step) {
		w := detect.Window{Start: start, End: start.Add(info.Length)}
		j.Windows++
		if f, ok := d.(detect.Finder); ok {
			worth, err := f.Windows(ctx, db, w)
			if err != nil {
				return j, err
			}
			if !slices.ContainsFunc(worth, start.Equal) {
				continue
			}
		}
		j.Looked++
		r, err := d.Detect(ctx, db, w)
		if err != nil {
			return j, err
		}
		j.Alerts += len(r.Alerts)
	}
	j.Took = time.Since(began)
	return j, nil
}
