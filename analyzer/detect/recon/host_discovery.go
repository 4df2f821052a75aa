package recon

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed host_discovery.sql
var hostDiscoverySQL string

//go:embed host_discovery_windows.sql
var hostDiscoveryWindowsSQL string

// HostDiscoveryConfig are the thresholds of host_discovery.
type HostDiscoveryConfig struct {
	MinMinute int     `conf:"min_minute" help:"silent hosts that were asked by ICMP in one minute"`
	MinHosts  int     `conf:"min_hosts" help:"hosts that were asked by ARP, or by ICMP, in 10 minutes"`
	Many      int     `conf:"many" help:"hosts that were asked by ICMP in 10 minutes, even if all answered"`
	MinShare  float64 `conf:"min_share" help:"least share of silent ones in those of a busy minute, 0 to 1"`
}

// newHostDiscovery looks for inside hosts that ask who is there.
func newHostDiscovery(own detect.Own, c HostDiscoveryConfig) detect.Detector {
	return detect.New(detect.Spec[discovery]{
		Info: detect.Info{
			Name: "host_discovery", Version: 1, Title: "Who is there", Techniques: []string{"T1018"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `An inside host asks many addresses whether they are there: by ICMP (echo, timestamp, address mask or information requests; ICMPv6 echo), or by ARP.
By ICMP: a few silent ones in a minute, or more in ten, or very many whether they answer or not. By ARP: many in ten minutes. The magnitude is the number of
addresses. Medium; low up to 32 addresses.`,
			Controls: []string{
				"sources outside, whose echo requests are background",
				"monitors, whose hosts answer: fewer than a tenth are silent",
				"gateways, which ask by ARP for whatever is sent to them: their card carries addresses of outside, or their network has the role gateway",
				"announcements of one's own address",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_minute", Value: fmt.Sprint(c.MinMinute), Doc: "silent hosts by ICMP in one minute; Zeek's and Slips' ICMP scans have 5 to 25"},
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "hosts in 10 minutes"},
				{Name: "many", Value: fmt.Sprint(c.Many), Doc: "hosts by ICMP in 10 minutes although they answer: half a /24"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of silent hosts"},
			},
		},
		SQL: detect.Compose(hostDiscoverySQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_minute", detect.Number(c.MinMinute), "min_hosts", detect.Number(c.MinHosts), "many", detect.Number(c.Many),
				"min_share", detect.Decimal(c.MinShare), "src", "", "kind", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *discovery) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["kind"], a.EvidenceParams["site"] = r.Src, r.Kind, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(hostDiscoveryWindowsSQL),
		FindParams: detect.Params{"min_minute": detect.Number(c.MinMinute), "min_hosts": detect.Number(min(c.MinHosts, c.Many))},
	})
}

// discovery is a row of the statement: a source and a way of asking.
type discovery struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	Kind          string    `ch:"kind"`
	BusiestMinute uint64    `ch:"busiest_minute"`
	BusiestSilent uint64    `ch:"busiest_silent"`
	Hosts         uint64    `ch:"hosts"`
	SilentHosts   uint64    `ch:"silent_hosts"`
	FirstHost     string    `ch:"first_host"`
	LastHost      string    `ch:"last_host"`
	Attempts      uint64    `ch:"attempts"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Breadth       float64   `ch:"breadth"`
	Failure       float64   `ch:"failure"`
}

// judge scores a discovery.
func (r discovery) judge(a *alert.Alert, c HostDiscoveryConfig) {
	way := map[string]string{"arp": "ARP", "icmp": "ICMP"}[r.Kind]
	a.Title = fmt.Sprintf("%s asked %d addresses by %s whether they are there", r.Src, r.Hosts, way)
	a.Actor, a.Victim, a.Entities = r.Src, network(r.FirstHost, r.LastHost), detect.Entities("actor", r.Src, "kind", r.Kind, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Hosts)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "failure": r.Failure}
	a.Score = detect.Bounded(0.8*r.Breadth + 0.2*r.Failure)
	a.Confidence = 0.8
	a.Severity = alert.Low
	if r.Hosts > uint64(c.MinHosts) {
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%d addresses between %s and %s in %d requests, %d of them silent", r.Hosts, r.FirstHost, r.LastHost, r.Attempts, r.SilentHosts),
		fmt.Sprintf("%d in the busiest minute, and at most %d silent ones in a minute", r.BusiestMinute, r.BusiestSilent),
		"the source is inside",
	}
	a.Unless = []string{fmt.Sprintf("fewer than %d addresses in 10 minutes", c.MinHosts)}
	if r.Kind == "icmp" {
		a.Unless = append(a.Unless, fmt.Sprintf("and fewer than %d silent ones in any minute, or less than %.0f %% of them silent", c.MinMinute, 100*c.MinShare))
	} else {
		a.Unless = append(a.Unless, "a card that carries addresses of outside, as a gateway's does")
	}
	a.Unless = append(a.Unless, "source in detect.exempt, or in a network with the role scanner, monitor or gateway")
}
