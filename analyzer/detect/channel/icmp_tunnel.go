package channel

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed icmp_tunnel.sql
var icmpTunnelSQL string

//go:embed icmp_tunnel_windows.sql
var icmpTunnelWindowsSQL string

// ICMPTunnelConfig are the thresholds of icmp_tunnel.
type ICMPTunnelConfig struct {
	MinEchoes float64 `conf:"min_echoes" help:"echoes in each direction, in 5 minutes"`
	MinSize   float64 `conf:"min_size" help:"mean payload of them, octets; a ping has 56 or 32"`
	MinSpread float64 `conf:"min_spread" help:"standard deviation of their sizes in a flow, octets; a ping has 0"`
}

// newICMPTunnel looks for data in echoes.
func newICMPTunnel(own detect.Own, c ICMPTunnelConfig) detect.Detector {
	return detect.New(detect.Spec[icmpPair]{
		Info: detect.Info{
			Name: "icmp_tunnel", Version: 1, Title: "ICMP tunnel", Techniques: []string{"T1095", "T1572"},
			Length: time.Minute, Step: time.Minute,
			Doc: `Two hosts exchange ICMP echoes that carry data: at least min_echoes each way in 5 minutes, larger than a ping and of different sizes. The score: 0.4 rate (five times
the threshold), 0.3 load (256 octets each), 0.3 variety (deviation of 100 octets). Medium; high when one of the two is outside. The magnitude is the number of octets.`,
			Controls: []string{
				"A ping, of whatever size, repeats one size; a search for the path's MTU has few packets.",
				"Both directions have to carry them; exempt sources and multicast are left out.",
			},
			Parameters: []detect.Parameter{
				{Name: "min_echoes", Value: detect.Decimal(c.MinEchoes), Doc: "echoes each way in 5 minutes; a tunnel that is used has 20 in a minute, one that waits has fewer"},
				{Name: "min_size", Value: detect.Decimal(c.MinSize), Doc: "octets; ping sends 56 on Unix, 32 on Windows"},
				{Name: "min_spread", Value: detect.Decimal(c.MinSpread), Doc: "octets of standard deviation"},
			},
		},
		SQL: detect.Compose(icmpTunnelSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_echoes", detect.Decimal(c.MinEchoes), "min_size", detect.Decimal(c.MinSize), "min_spread", detect.Decimal(c.MinSpread), "src", "", "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *icmpPair) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(icmpTunnelWindowsSQL),
		FindParams: detect.Params{"min_echoes": detect.Decimal(c.MinEchoes), "min_size": detect.Decimal(c.MinSize)},
	})
}

// icmpPair is a row of the statement.
type icmpPair struct {
	Site       string    `ch:"site"`
	Src        string    `ch:"src"`
	Dst        string    `ch:"dst"`
	InsideBoth bool      `ch:"inside_both"`
	Echoes     uint64    `ch:"echoes"`
	Payload    uint64    `ch:"payload"`
	MeanSize   float64   `ch:"mean_size"`
	Spread     float64   `ch:"spread"`
	First      time.Time `ch:"first"`
	Last       time.Time `ch:"last"`
	FlowIDs    []string  `ch:"flow_ids"`
	Rate       float64   `ch:"rate"`
	Load       float64   `ch:"load"`
	Variety    float64   `ch:"variety"`
}

// judge writes what was found.
func (r *icmpPair) judge(a *alert.Alert, c ICMPTunnelConfig) {
	a.Actor, a.Victim, a.Entities = r.Src, r.Dst, detect.Entities("actor", r.Src, "victim", r.Dst, "site", r.Site)
	a.Title = fmt.Sprintf("%s and %s exchange data in ICMP echoes", r.Src, r.Dst)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Payload)
	a.SubScores = map[string]float64{"rate": r.Rate, "load": r.Load, "variety": r.Variety}
	a.Score, a.Confidence = detect.Bounded(0.4*r.Rate+0.3*r.Load+0.3*r.Variety), detect.Bounded(0.6+0.4*r.Variety)
	a.Reasons = []string{
		fmt.Sprintf("%d echoes each way in 5 minutes; %.0f are enough", r.Echoes, c.MinEchoes),
		fmt.Sprintf("%.0f octets each on average, with a deviation of %.0f; more than %.0f and %.0f are asked", r.MeanSize, r.Spread, c.MinSize, c.MinSpread),
	}
	a.Severity = alert.High
	if r.InsideBoth {
		a.Severity = alert.Medium
		a.Reasons = append(a.Reasons, "both are inside")
	}
	a.Unless = []string{fmt.Sprintf("echoes that deviate by less than %.0f octets, or no larger than %.0f on average", c.MinSpread, c.MinSize), "an exempt source"}
}
