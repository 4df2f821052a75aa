package flood

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed http_flood.sql
var httpFloodSQL string

//go:embed http_flood_windows.sql
var httpFloodWindowsSQL string

// HTTPFloodConfig are the thresholds of http_flood.
type HTTPFloodConfig struct {
	MinRate  float64 `conf:"min_rate" help:"requests a second to one service, over 10 s, of sources that ask hard"`
	HardRate float64 `conf:"hard_rate" help:"requests a second of a source that asks hard"`
}

// newHTTPFlood looks for web services that few ask for far too much.
func newHTTPFlood(own detect.Own, c HTTPFloodConfig) detect.Detector {
	return detect.New(detect.Spec[requests]{
		Info: detect.Info{
			Name: "http_flood", Version: 1, Title: "Flood of requests", Techniques: []string{"T1499.002"},
			Length: time.Minute, Step: time.Minute, Gap: time.Hour,
			Doc: `Sources that each make more requests a second than a person does ask one web service for far more than all do otherwise: HTTP and TLS, a request being a transaction or at least an
answered connection. Counted in bins of 10 s; the threshold is the greater of a fixed rate and median + 6 · 1.4826 · MAD of all requests in sixty
bins of the hour before, and has to be reached in two bins of a minute. The magnitude is the requests of the minute. Medium; high from ten times the threshold; low when all of it is from inside.`,
			Controls: []string{
				"flash crowds: each of their sources asks little",
				"sources behind one address, and services that ask services: networks with the roles nat, proxy, monitor, scanner and gateway, and exempt sources",
				"interfaces that are always asked as much",
			},
			Parameters: []detect.Parameter{
				{Name: "min_rate", Value: detect.Decimal(c.MinRate), Doc: "requests a second of sources that ask hard"},
				{Name: "hard_rate", Value: detect.Decimal(c.HardRate), Doc: "requests a second of one source over 10 s; a browser that opens a page has fewer"},
			},
		},
		SQL: compose(httpFloodSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_rate", detect.Decimal(c.MinRate), "hard_rate", detect.Decimal(c.HardRate), "dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *requests) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["dst"], a.EvidenceParams["port"], a.EvidenceParams["site"] = r.Dst, detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       compose(httpFloodWindowsSQL),
		FindParams: detect.Params{"min_rate": detect.Decimal(c.MinRate)},
	})
}

// requests is a row of the statement; rates are per second.
type requests struct {
	Site          string    `ch:"site"`
	Dst           string    `ch:"dst"`
	Port          uint16    `ch:"port"`
	PeakRate      float64   `ch:"peak_rate"`
	AllRate       float64   `ch:"all_rate"`
	Sources       uint64    `ch:"sources"`
	BaseRate      float64   `ch:"base_rate"`
	MADRate       float64   `ch:"mad_rate"`
	ThresholdRate float64   `ch:"threshold_rate"`
	BinsOver      uint32    `ch:"bins_over"`
	Requests      float64   `ch:"requests_sum"`
	TopSource     string    `ch:"top_source"`
	TopShare      float64   `ch:"top_share"`
	OnlyInside    bool      `ch:"only_inside"`
	Agent         string    `ch:"agent"`
	URI           string    `ch:"uri"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Rate          float64   `ch:"rate"`
	Share         float64   `ch:"share"`
	Spread        float64   `ch:"spread"`
}

// judge scores a flood.
func (c requests) judge(a *alert.Alert, limits HTTPFloodConfig) {
	a.Victim, a.Entities = c.Dst, detect.Entities("victim", c.Dst, "port", detect.Service(6, c.Port), "site", c.Site)
	from := fmt.Sprintf("%d sources", c.Sources)
	if c.TopShare >= 0.9 {
		from, a.Actor = c.TopSource, c.TopSource
	}
	a.Title = fmt.Sprintf("%.0f requests a second to %s port %d from %s", c.PeakRate, c.Dst, c.Port, from)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, c.Requests
	a.SubScores = map[string]float64{"rate": c.Rate, "share": c.Share, "spread": c.Spread}
	a.Score, a.Confidence = detect.Bounded(0.6*c.Rate+0.3*c.Share+0.1*c.Spread), 0.7
	switch {
	case c.OnlyInside:
		a.Severity = alert.Low
	case c.PeakRate >= 10*c.ThresholdRate:
		a.Severity = alert.High
	default:
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%.0f requests a second of sources that make %.0f or more, the threshold is %.0f, reached in %d bins of 10 s of this minute; high from ten times as many", c.PeakRate, limits.HardRate, c.ThresholdRate, c.BinsOver),
		fmt.Sprintf("%.0f %% of all %.0f requests a second; %s, the busiest has %.0f %%", 100*c.Share, c.AllRate, from, 100*c.TopShare),
	}
	if c.OnlyInside {
		a.Reasons = append(a.Reasons, "all sources are inside")
	}
	if c.URI != "" || c.Agent != "" {
		a.Reasons = append(a.Reasons, fmt.Sprintf("such as %q by %q", c.URI, c.Agent))
	}
	a.Unless = []string{fmt.Sprintf("fewer than %.0f requests a second of such sources in one of two bins", c.ThresholdRate), fmt.Sprintf("fewer than %.0f requests a second of each source", limits.HardRate),
		"a source that is exempt or has a role that stands for many"}
	baseline, _ := json.Marshal(map[string]any{"of": "requests a second, the first 10 s of each minute of the hour before", "median": c.BaseRate, "mad": c.MADRate, "threshold": c.ThresholdRate,
		"observed": c.PeakRate}) // of numbers and text only: cannot fail
	a.Baseline = string(baseline)
}
