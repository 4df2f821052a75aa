package behaviour

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed drift.sql
var driftSQL string

// DriftConfig are the thresholds of drift.
type DriftConfig struct {
	MaxP      float64 `conf:"max_p" help:"largest probability of the change by chance"`
	MinEffect float64 `conf:"min_effect" help:"least distance of the two distributions"`
	MinValues int     `conf:"min_values" help:"hours in both weeks together"`
}

// newDrift says when a link is not any more what was learnt.
func newDrift(c DriftConfig) detect.Detector {
	return sample(detect.New(detect.Spec[drifted]{
		Info: detect.Info{
			Name: "drift", Version: 1, Title: "What is usual has changed", Length: 7 * 24 * time.Hour, Step: 24 * time.Hour, Gap: 7 * 24 * time.Hour,
			Rollups: []string{"hosts_1h"},
			Doc: `The hours of a week are compared with those of the week before, by link: octets, connections, share of failures, hosts. Where their distributions differ (Kolmogorov-Smirnov)
by chance hardly ever and by enough to matter, what was learnt is out of date: that is said, as info, and forecasts learn anew from the change on (they look for it themselves, by ADWIN, and say so,
too); baselines of hosts follow within half of their history. The magnitude is the distance in percent.`,
			Controls: []string{"day and night, workday and weekend: whole weeks are compared", "small differences of many hours: the distance must be large, not only certain", "weeks of which the probe saw less than a third of the other"},
			Parameters: []detect.Parameter{
				{Name: "max_p", Value: detect.Decimal(c.MaxP), Doc: "probability by chance; hours depend on each other, so that it is taken small"},
				{Name: "min_effect", Value: detect.Decimal(c.MinEffect), Doc: "largest distance of the cumulative distributions, 0 to 1"},
				{Name: "min_values", Value: fmt.Sprint(c.MinValues), Doc: "hours of both weeks"},
			},
		},
		SQL: detect.Compose(driftSQL),
		Params: func(w detect.Window) detect.Params {
			return detect.Params{}.Unix(w).With("max_p", detect.Decimal(c.MaxP), "min_effect", detect.Decimal(c.MinEffect), "min_values", detect.Number(c.MinValues),
				"name", "", "site", "", "measure", "")
		},
		Judge:      func(a *alert.Alert, d *drifted) detect.Verdict { return d.judge(a, c) },
		Find:       detect.Compose(knownWindowsSQL),
		FindParams: known(7, 2),
	}), "link")
}

// drifted is a row of the statement.
type drifted struct {
	Site     string  `ch:"site"`
	Name     string  `ch:"name"`
	Measure  string  `ch:"measure"`
	Before   uint64  `ch:"before"`
	After    uint64  `ch:"after"`
	Median   float64 `ch:"median_before"`
	Now      float64 `ch:"median_after"`
	Effect   float64 `ch:"effect"`
	P        float64 `ch:"p"`
	Distance float64 `ch:"distance"`
}

func (d drifted) judge(a *alert.Alert, c DriftConfig) detect.Verdict {
	text := func(v float64) string { return fmt.Sprintf("%.4g", v) }
	if d.Measure == "octets" {
		text = detect.Size
	}
	a.Actor = d.Name
	a.Entities = detect.Entities("link", d.Name, "measure", d.Measure, "site", d.Site)
	a.Title = fmt.Sprintf("%s of link %s are not what they were: %s in an hour, %s the week before", d.Measure, d.Name, text(d.Now), text(d.Median))
	a.Start, a.End = a.WindowStart, a.WindowEnd
	a.SubScores = map[string]float64{"distance": d.Distance}
	a.Score, a.Confidence, a.Severity, a.Magnitude = detect.Bounded(d.Distance), 0.8, alert.Info, 100*d.Effect
	a.Reasons = []string{
		fmt.Sprintf("distance %.2f of %d hours against the %d before, more than %v; by chance %.1g, less than %v", d.Effect, d.After, d.Before, c.MinEffect, d.P, c.MaxP),
		"forecasts are learnt anew from the change on; baselines of hosts follow within half of their history",
	}
	a.Unless = []string{fmt.Sprintf("a distance up to %v", c.MinEffect), fmt.Sprintf("fewer than %d hours in both weeks", c.MinValues)}
	a.EvidenceParams["name"], a.EvidenceParams["site"], a.EvidenceParams["measure"] = d.Name, d.Site, d.Measure
	baseline, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of     string  `json:"of"`
		Hours  uint64  `json:"hours"`
		Median float64 `json:"median"`
		Now    float64 `json:"median_now"`
		Effect float64 `json:"distance"`
		P      float64 `json:"p"`
	}{d.Measure + " in an hour, of the week before", d.Before, d.Median, d.Now, d.Effect, d.P})
	a.Baseline = string(baseline)
	return detect.Raise
}
