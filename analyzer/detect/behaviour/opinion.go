package behaviour

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline/forest"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

var (
	//go:embed host_hours.sql
	hostHoursSQL string
	//go:embed sample_flows.sql
	sampleFlowsSQL string
)

// opinion asks an isolation forest about what another detector found, and adds
// sample flows. Few hours come so far.
type opinion struct {
	detect.Detector
	detect.Finder
	c HostBehaviourConfig
}

func (o opinion) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	r, err := o.Detector.Detect(ctx, db, w)
	if err != nil {
		return r, err
	}
	for i := range r.Alerts {
		if err := o.ask(ctx, db, w, &r.Alerts[i]); err != nil {
			return r, fmt.Errorf("second opinion about %s: %w", r.Alerts[i].Actor, err)
		}
	}
	return r, nil
}

// vector is an hour of a host, see features.sql.
type vector struct {
	Hour   time.Time `ch:"hour"`
	Values []uint64  `ch:"v"`
}

// Logs turns amounts into what forests are trained on.
func Logs(amounts []uint64) []float64 {
	row := make([]float64, len(amounts))
	for i, v := range amounts {
		row[i] = math.Log1p(float64(v))
	}
	return row
}

func (o opinion) ask(ctx context.Context, db detect.DB, w detect.Window, a *alert.Alert) error {
	p := detect.Params{}.Unix(w).With("host", a.EvidenceParams["host"], "site", a.EvidenceParams["site"])
	if err := sampleFlows(ctx, db, sampleFlowsSQL, p, a); err != nil {
		return err
	}
	hours, err := detect.All[vector](ctx, db, withFeatures(hostHoursSQL), p.With("history_days", detect.Number(o.c.HistoryDays)))
	if err != nil || len(hours) == 0 || !hours[len(hours)-1].Hour.Equal(w.Start) {
		return err
	}
	var rows [][]float64
	for _, h := range hours[:len(hours)-1] {
		rows = append(rows, Logs(h.Values))
	}
	now := Logs(hours[len(hours)-1].Values)
	var trained *forest.Forest
	var most float64
	of := "of the host's own past"
	if o.c.Model != "" {
		m, err := LoadForest(o.c.Model)
		if err != nil {
			return err
		}
		trained, most, of = m.Model.Forest, m.Model.Limit, fmt.Sprintf("trained on %s to %s", m.From.Format(time.DateOnly), m.To.Format(time.DateOnly))
	} else if trained, err = forest.Train(rows, FeatureNames(), forest.DefaultConfig()); err != nil {
		a.Reasons = append(a.Reasons, "no second opinion: the host has too few hours")
		return nil
	} else {
		most = limit(trained, rows)
	}
	second(a, trained, of, now, most)
	return nil
}

// second takes what a forest says into an alert: it changes the confidence, not
// the score, and says which features set the hour apart.
func second(a *alert.Alert, f *forest.Forest, of string, now []float64, most float64) {
	score, parts := f.Score(now)
	order := make([]int, len(parts))
	var sum float64
	for i := range parts {
		order[i] = i
		sum += max(0, parts[i])
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case parts[i] > parts[j]:
			return -1
		case parts[i] < parts[j]:
			return 1
		}
		return 0
	})
	says := "disagrees"
	if score > most {
		says = "agrees"
		a.Confidence = min(1, a.Confidence+0.1)
	} else {
		a.Confidence = max(0.1, a.Confidence-0.2)
	}
	text := fmt.Sprintf("an isolation forest %s %s: %.2f, 0.99 of its rows have at most %.2f", of, says, score, most)
	for i, k := range order[:min(3, len(order))] {
		if parts[k] <= 0 || sum == 0 {
			break
		}
		text += fmt.Sprintf("%s %s %.0f %%", map[bool]string{true: "; by", false: ","}[i == 0], f.Features[k], 100*parts[k]/sum)
	}
	a.Reasons = append(a.Reasons, text)
}
