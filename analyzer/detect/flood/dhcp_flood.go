package flood

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed dhcp_flood.sql
var dhcpFloodSQL string

//go:embed dhcp_flood_windows.sql
var dhcpFloodWindowsSQL string

// DHCPFloodConfig are the thresholds of dhcp_flood.
type DHCPFloodConfig struct {
	MinRate float64 `conf:"min_rate" help:"requests a second to the DHCP servers of one network, over 10 s"`
}

// newDHCPFlood looks for networks whose DHCP servers are flooded.
func newDHCPFlood(own detect.Own, c DHCPFloodConfig) detect.Detector {
	return detect.New(detect.Spec[leases]{
		Info: detect.Info{
			Name: "dhcp_flood", Version: 1, Title: "DHCP flood", Techniques: []string{"T1499.002"},
			Length: time.Minute, Step: time.Minute, Gap: time.Hour,
			Doc: `The DHCP servers of one network get far more requests than they do otherwise, as when somebody uses up all leases. Counted are packets to port 67 or 547 in bins of 10 s, by
the /24 or /64 of the server, or the broadcast address; the threshold is the greater of a fixed rate and median + 6 · 1.4826 · MAD of sixty bins of the hour before. The
magnitude is the requests of the minute. Medium; high from ten times the threshold.`,
			Controls: []string{
				"servers of large networks: they get as much all the hour",
				"the morning, when all come to work: some requests a second for thousands of hosts",
			},
			Parameters: []detect.Parameter{{Name: "min_rate", Value: detect.Decimal(c.MinRate), Doc: "requests a second; a thousand hosts that start within two minutes make 16, of two networks"}},
		},
		SQL: compose(dhcpFloodSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("min_rate", detect.Decimal(c.MinRate), "network", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *leases) detect.Verdict {
			r.judge(a)
			a.EvidenceParams["network"], a.EvidenceParams["site"] = r.Network, r.Site
			return detect.Raise
		},
		Find:       compose(dhcpFloodWindowsSQL),
		FindParams: detect.Params{"min_rate": detect.Decimal(c.MinRate)},
	})
}

// leases is a row of the statement; rates are per second.
type leases struct {
	Site          string    `ch:"site"`
	Network       string    `ch:"network"`
	PeakRate      float64   `ch:"peak_rate"`
	BaseRate      float64   `ch:"base_rate"`
	MADRate       float64   `ch:"mad_rate"`
	ThresholdRate float64   `ch:"threshold_rate"`
	Requests      float64   `ch:"requests_sum"`
	Clients       uint64    `ch:"clients"`
	Cards         uint64    `ch:"cards"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Rate          float64   `ch:"rate"`
}

// judge scores a flood.
func (c leases) judge(a *alert.Alert) {
	a.Victim, a.Entities = c.Network, detect.Entities("victim", c.Network, "port", "dhcp", "site", c.Site)
	a.Title = fmt.Sprintf("%.0f DHCP requests a second in %s", c.PeakRate, c.Network)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, c.Requests
	a.SubScores = map[string]float64{"rate": c.Rate}
	a.Score, a.Confidence, a.Severity = detect.Bounded(c.Rate), 0.7, alert.Medium
	if c.PeakRate >= 10*c.ThresholdRate {
		a.Severity = alert.High
	}
	a.Reasons = []string{
		fmt.Sprintf("%.1f requests a second, the threshold is %.1f, high from ten times as many; usual are %.1f", c.PeakRate, c.ThresholdRate, c.BaseRate),
		fmt.Sprintf("from %d addresses and %d network cards", c.Clients, c.Cards),
	}
	a.Unless = []string{fmt.Sprintf("fewer than %.1f requests a second", c.ThresholdRate)}
	baseline, _ := json.Marshal(map[string]any{"of": "DHCP requests a second, the first 10 s of each minute of the hour before", "median": c.BaseRate, "mad": c.MADRate, "threshold": c.ThresholdRate,
		"observed": c.PeakRate}) // of numbers and text only: cannot fail
	a.Baseline = string(baseline)
}
