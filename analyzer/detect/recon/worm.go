package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed worm.sql
var wormSQL string

//go:embed worm_windows.sql
var wormWindowsSQL string

// WormConfig are the thresholds of worm.
type WormConfig struct {
	MinHosts int     `conf:"min_hosts" help:"hosts that one port of was tried without an answer, by each link of the chain"`
	MinShare float64 `conf:"min_share" help:"least share of them in all hosts tried, 0 to 1"`
}

// newWorm looks for sweeps that beget sweeps.
func newWorm(own detect.Own, c WormConfig) detect.Detector {
	return detect.New(detect.Spec[outbreak]{
		Info: detect.Info{
			Name: "worm", Version: 1, Title: "A sweep that spreads", Techniques: []string{"T1210", "T1570"},
			Length: time.Hour, Step: 30 * time.Minute,
			Doc: `A host that sweeps a port reaches another on this port, and that one begins to sweep the same port, within two hours. One incident per port, with the chain. The
magnitude is the number of hosts in it. High, critical from three links. The sweep of whoever was first is reported by portscan_horizontal as well.`,
			Controls: []string{
				"servers and clients of busy ports: at least half of the hosts that each link tries must not answer",
				"DNS and NTP, multicast, BitTorrent, answers whose question was not seen",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "silent hosts for each link; below that of portscan_horizontal, as the chain is evidence of its own"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of silent hosts"},
			},
		},
		SQL: detect.Compose(wormSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_hosts", detect.Number(c.MinHosts), "min_share", detect.Decimal(c.MinShare), "protocol", "0", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *outbreak) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["protocol"], a.EvidenceParams["port"], a.EvidenceParams["site"] = detect.Number(r.Protocol), detect.Number(r.Port), r.Site
			return detect.Raise
		},
		Find:       detect.Compose(wormWindowsSQL),
		FindParams: detect.Params{"min_hosts": detect.Number(c.MinHosts)},
	})
}

// outbreak is a row of the statement: a port.
type outbreak struct {
	Site        string    `ch:"site"`
	Protocol    uint8     `ch:"protocol"`
	Port        uint16    `ch:"port"`
	Links       uint64    `ch:"links"`
	Members     uint64    `ch:"members"`
	PatientZero string    `ch:"patient_zero"`
	Chain       []string  `ch:"chain"`
	Swept       uint64    `ch:"swept"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Spread      float64   `ch:"spread"`
	Breadth     float64   `ch:"breadth"`
}

// judge scores an outbreak.
func (r outbreak) judge(a *alert.Alert, c WormConfig) {
	service := detect.Service(r.Protocol, r.Port)
	a.Title = fmt.Sprintf("Sweeps of %s spread over %d hosts from %s", service, r.Members, r.PatientZero)
	a.Actor, a.Entities = r.PatientZero, detect.Entities("port", service, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Members)
	a.SubScores = map[string]float64{"spread": r.Spread, "breadth": r.Breadth}
	a.Score = detect.Bounded(0.8*r.Spread + 0.2*r.Breadth)
	a.Confidence = 0.9
	a.Severity = alert.High
	if r.Links >= 3 {
		a.Severity = alert.Critical
	}
	a.Reasons = []string{
		"who reached whom before it began to sweep: " + strings.Join(r.Chain, "; "),
		fmt.Sprintf("they tried %d hosts in vain; %d each are enough", r.Swept, c.MinHosts),
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d silent hosts for a link, or answers from more than %.0f %% of those it tried", c.MinHosts, 100*(1-c.MinShare)),
		"a sweep that began before the host was reached on the port",
		"sources in detect.exempt, or in networks with the role scanner or monitor",
	}
}
