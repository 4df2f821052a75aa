package behaviour

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

var (
	//go:embed sample_series_flows.sql
	sampleSeriesFlowsSQL string
	//go:embed known_windows.sql
	knownWindowsSQL string
)

// known are the parameters of known_windows.sql besides those of a Finder.
func known(history, warmUp int) detect.Params {
	return detect.Params{}.With("history_days", detect.Number(history), "warm_up_days", detect.Number(warmUp))
}

// sampleSpan is how far back samples are looked for: what has stopped has none in
// the window itself, but had some the day before.
const sampleSpan = 48 * time.Hour

// sampled adds sample flows of a link or application to what a detector that
// reads only rollups has found.
type sampled struct {
	detect.Detector
	detect.Finder
	kind string // "link" or "app"
}

// sample makes a sampled of a detector that is a Finder.
func sample(d detect.Detector, kind string) detect.Detector {
	return sampled{d, d.(detect.Finder), kind}
}

func (s sampled) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	r, err := s.Detector.Detect(ctx, db, w)
	for i := range r.Alerts {
		a := &r.Alerts[i]
		p := detect.Params{}.Unix(detect.Window{Start: w.End.Add(-sampleSpan), End: w.End}).With("link", "", "app", "", "site", a.EvidenceParams["site"]).With(s.kind, a.EvidenceParams["name"])
		if err := sampleFlows(ctx, db, sampleSeriesFlowsSQL, p, a); err != nil {
			return r, err
		}
	}
	return r, err
}

// sampleFlows gives a the flows that a statement finds to stand for it; if it finds none, a keeps its own.
func sampleFlows(ctx context.Context, db detect.DB, sql string, p detect.Params, a *alert.Alert) error {
	found, err := detect.All[struct {
		IDs []string `ch:"ids"`
	}](ctx, db, detect.Compose(sql), p)
	if err != nil {
		return fmt.Errorf("sample flows of %q: %w", a.Title, err)
	}
	if len(found) > 0 {
		a.FlowIDs = found[0].IDs
	}
	return nil
}
