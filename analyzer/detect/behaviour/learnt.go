package behaviour

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

var (
	//go:embed learnt.sql
	learntSQL string
	//go:embed learnt_series.sql
	learntSeriesSQL string
)

// Learnt is what is known of a host, link or application at a time.
type Learnt struct {
	Kind  string    `json:"kind"` // "host", "link" or "app"
	Site  string    `json:"site"`
	Name  string    `json:"name"`
	Since time.Time `json:"since"` // first hour that what is usual is made of
	Until time.Time `json:"until"` // and the end of the last
	Hours uint64    `json:"hours"` // of them with traffic
	Ready time.Time `json:"ready"` // from when on it is judged; before, it is only learnt
	Anew  bool      `json:"anew"`  // hours before Since are left out, because the level had changed
}

// Learning says whether it is not judged at at.
func (l Learnt) Learning(at time.Time) bool { return at.Before(l.Ready) }

// LearntAt returns since when and until when each inside host, link and application
// is learnt, as the detectors see it in the hour that begins at at: hosts first, by
// address, at most limit of each kind. host narrows the hosts to one address; empty: all.
func LearntAt(ctx context.Context, db detect.DB, own detect.Own, c Config, at time.Time, host string, limit int) ([]Learnt, error) {
	at = at.UTC().Truncate(time.Hour)
	hour := detect.Window{Start: at, End: at}
	rows, err := detect.All[struct {
		Kind  string    `ch:"kind"`
		Site  string    `ch:"site"`
		Name  string    `ch:"name"`
		Since time.Time `ch:"since"`
		Until time.Time `ch:"until"`
		Hours uint64    `ch:"hours"`
	}](ctx, db, detect.Compose(learntSQL), own.Params().Unix(hour).With("history_days", detect.Number(c.HostBehaviour.HistoryDays), "host", host, "limit", detect.Number(limit)))
	if err != nil {
		return nil, fmt.Errorf("read what is learnt of hosts: %w", err)
	}
	var list []Learnt
	for _, r := range rows {
		list = append(list, Learnt{Kind: r.Kind, Site: r.Site, Name: r.Name, Since: r.Since.UTC(), Until: r.Until.UTC(), Hours: r.Hours,
			Ready: r.Since.UTC().AddDate(0, 0, c.HostBehaviour.WarmUpDays)})
	}
	if host != "" {
		return list, nil
	}
	for _, kind := range []string{"link", "app"} {
		series, err := learntSeries(ctx, db, kind, c, at)
		if err != nil {
			return nil, fmt.Errorf("read what is learnt of %ss: %w", kind, err)
		}
		list = append(list, series[:min(len(series), limit)]...)
	}
	return list, nil
}

// learntSeries asks as the forecasts do.
func learntSeries(ctx context.Context, db detect.DB, kind string, c Config, at time.Time) ([]Learnt, error) {
	sql, f := linkForecastSQL, c.LinkForecast
	if kind == "app" {
		sql, f = appForecastSQL, c.AppForecast
	}
	sql = strings.ReplaceAll(detect.Compose(sql), "/*outside*/", detect.Compose(outsideSQL))
	sql = strings.ReplaceAll(detect.Compose(learntSeriesSQL), "/*series*/", sql)
	p := detect.Params{}.Unix(detect.Window{Start: at.Add(-time.Hour), End: at}).With("min_bytes", detect.Number(int64(f.MinBytes)),
		"history_days", detect.Number(f.HistoryDays), "name", "", "site", "", "lower", "[]", "upper", "[]")
	var list []Learnt
	rows, err := detect.All[line](ctx, db, sql, p)
	if err != nil {
		return nil, err
	}
	for _, l := range rows {
		values := l.values()
		from := baseline.SinceDrift(values, 24)
		known := Learnt{Kind: kind, Site: l.Site, Name: l.Name, Anew: from > 0,
			Since: l.Since.UTC().Add(time.Duration(from) * time.Hour), Until: l.Since.UTC().Add(time.Duration(len(values)) * time.Hour)}
		for _, v := range values[from:] {
			if !math.IsNaN(v) {
				known.Hours++
			}
		}
		known.Ready = l.Since.UTC().AddDate(0, 0, f.WarmUpDays)
		if from > 0 {
			known.Ready = known.Since.AddDate(0, 0, relearnDays)
		}
		list = append(list, known)
	}
	return list, nil
}
