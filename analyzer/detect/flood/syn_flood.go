package flood

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed syn_flood.sql
var synFloodSQL string

//go:embed syn_flood_windows.sql
var synFloodWindowsSQL string

// SynFloodConfig are the thresholds of syn_flood.
type SynFloodConfig struct {
	MinRate       float64 `conf:"min_rate" help:"unfinished handshakes a second to one port of one host, over 10 s"`
	MinRateSingle float64 `conf:"min_rate_single" help:"the same from one source alone, for an alert of severity low"`
	MaxCompletion float64 `conf:"max_completion" help:"greatest share of handshakes that are finished meanwhile, 0 to 1"`
}

// newSynFlood looks for ports that are flooded with TCP handshakes.
func newSynFlood(own detect.Own, c SynFloodConfig) detect.Detector {
	return detect.New(detect.Spec[flood]{
		Info: detect.Info{
			Name: "syn_flood", Version: 2, Title: "SYN flood", Techniques: []string{"T1498.001", "T1499.001"},
			Length: time.Minute, Step: 10 * time.Second, Gap: time.Hour,
			Doc: `One port of a host, or all of them together, gets far more TCP handshakes that the initiator never finishes than it does otherwise, while
hardly any is finished. Counted are SYN packets of such handshakes in bins of 10 s, with whatever other flags, and each window is judged by its last 10 s (those of whole minutes by all); the threshold is the greater of a fixed rate and
median + 6 · 1.4826 · MAD of sixty bins of the hour before. The magnitude is the number of SYNs in the bins above the threshold. High; critical from ten times the
threshold; low for one source below it.`,
			Controls: []string{
				"flash crowds and load tests: they finish their handshakes",
				"backscatter and taps that see one direction: what did not begin with a SYN is not counted",
				"services that are down for their usual clients: too slow, or what the port has had all the hour",
				"fast scans by one source: all ports of a host are judged together only for several sources",
			},
			Parameters: []detect.Parameter{
				{Name: "min_rate", Value: detect.Decimal(c.MinRate), Doc: "SYNs a second; ntopng has 256 flows a second"},
				{Name: "min_rate_single", Value: detect.Decimal(c.MinRateSingle), Doc: "SYNs a second from one source, severity low"},
				{Name: "max_completion", Value: detect.Decimal(c.MaxCompletion), Doc: "greatest share of finished handshakes"},
			},
		},
		SQL: compose(synFloodSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_rate", detect.Decimal(c.MinRate), "min_rate_single", detect.Decimal(c.MinRateSingle), "max_completion", detect.Decimal(c.MaxCompletion),
				"dst", "", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *flood) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["dst"], a.EvidenceParams["port"], a.EvidenceParams["site"] = r.Dst, detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       compose(synFloodWindowsSQL),
		FindParams: detect.Params{"min_rate_single": detect.Decimal(min(c.MinRateSingle, c.MinRate))},
	})
}

// flood is a row of the statement; rates are per second.
type flood struct {
	Site          string    `ch:"site"`
	Dst           string    `ch:"dst"`
	Port          uint16    `ch:"port"`
	PeakRate      float64   `ch:"peak_rate"`
	BaseRate      float64   `ch:"base_rate"`
	MADRate       float64   `ch:"mad_rate"`
	ThresholdRate float64   `ch:"threshold_rate"`
	BinsOver      uint64    `ch:"bins_over"`
	Syns          uint64    `ch:"syns"`
	Completion    float64   `ch:"completion"`
	Sources       uint64    `ch:"sources"`
	TopShare      float64   `ch:"top_share"`
	TopSource     string    `ch:"top_source"`
	Entropy       float64   `ch:"entropy"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Rate          float64   `ch:"rate"`
	Incompletion  float64   `ch:"incompletion"`
	Spread        float64   `ch:"spread"`
}

// judge scores a flood.
func (c flood) judge(a *alert.Alert, limits SynFloodConfig) {
	a.Victim = c.Dst
	port, name := detect.Service(6, c.Port), fmt.Sprintf("port %d", c.Port)
	if c.Port == 0 {
		port, name = "any/tcp", "on many ports"
	}
	a.Entities = detect.Entities("victim", c.Dst, "port", port, "site", c.Site)
	from := fmt.Sprintf("%d sources", c.Sources)
	if c.TopShare >= 0.9 {
		from, a.Actor = c.TopSource, c.TopSource
		a.Techniques = []string{"T1499.001"}
	}
	a.Title = fmt.Sprintf("SYN flood of %s %s from %s: %.0f/s", c.Dst, name, from, c.PeakRate)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.Syns)
	a.SubScores = map[string]float64{"rate": c.Rate, "incompletion": c.Incompletion, "spread": c.Spread}
	a.Score = detect.Bounded(0.6*c.Rate + 0.3*c.Incompletion + 0.1*c.Spread)
	a.Confidence = 0.9
	switch {
	case c.PeakRate < c.ThresholdRate:
		a.Severity, a.Confidence = alert.Low, 0.6
	case c.PeakRate >= 10*c.ThresholdRate:
		a.Severity = alert.Critical
	default:
		a.Severity = alert.High
	}
	a.Reasons = []string{
		fmt.Sprintf("%.0f SYNs a second at the peak, the threshold is %.0f; %d SYNs in %d bins of 10 s", c.PeakRate, c.ThresholdRate, c.Syns, c.BinsOver),
		fmt.Sprintf("%.1f %% of the handshakes in these bins were finished", 100*c.Completion),
		fmt.Sprintf("%d sources, entropy %.1f bits, the busiest has %.0f %%", c.Sources, c.Entropy, 100*c.TopShare),
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %.0f SYNs a second (%.1f from one source alone)", c.ThresholdRate, limits.MinRateSingle),
		fmt.Sprintf("at least %.0f %% of the handshakes finished", 100*limits.MaxCompletion),
	}
	baseline, _ := json.Marshal(map[string]any{"of": "SYNs of unfinished handshakes a second, the first 10 s of each minute of the hour before", "median": c.BaseRate, "mad": c.MADRate,
		"threshold": c.ThresholdRate, "observed": c.PeakRate}) // of numbers and text only: cannot fail
	a.Baseline = string(baseline)
}
