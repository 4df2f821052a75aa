package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed portscan_vertical.sql
var portscanVerticalSQL string

//go:embed portscan_vertical_windows.sql
var portscanVerticalWindowsSQL string

// PortscanVerticalConfig are the thresholds of portscan_vertical.
type PortscanVerticalConfig struct {
	MinPorts int     `conf:"min_ports" help:"ports of one host tried without an answer in 10 minutes"`
	MinShare float64 `conf:"min_share" help:"least share of them in all ports tried, 0 to 1"`
	Extreme  int     `conf:"extreme" help:"ports of one host from which a source outside is reported by itself, not in the digest"`
}

// newPortscanVertical looks for one source that tries many ports of a host.
func newPortscanVertical(own detect.Own, c PortscanVerticalConfig) detect.Detector {
	return detect.New(detect.Spec[verticalScan]{
		Info: detect.Info{
			Name: "portscan_vertical", Version: 2, Title: "Port scan", Techniques: []string{"T1046"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `One source tries many ports of a host, or of several, and gets no payload back: TCP refused, unanswered, half open, or UDP without
an answer. One incident per source. The magnitude is the number of hosts and ports tried so. From inside: medium, high from a hundred of them or when something
was found open. From outside only if the source went on to exchange payload with a host it had scanned (medium), or tried very many ports of one
host, ten times the threshold, which none of 7 473 sources did in a day of an internet-facing server (low); the rest is in scan_digest.`,
			Controls: []string{
				"answers whose question was not seen: backscatter, one-sided taps",
				"multicast, path traces, BitTorrent",
				"pairs in which most ports do answer",
				"connections that were made and closed in order without a word, as health checks do",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_ports", Value: fmt.Sprint(c.MinPorts), Doc: "ports of a host without an answer in 10 minutes; Zeek's scan script has 15 in 5 minutes"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of them in all ports tried"},
				{Name: "extreme", Value: fmt.Sprint(c.Extreme), Doc: "ports of one host from which a source outside is reported by itself; the most of 7 473 sources of a day was 62"},
			},
		},
		SQL: detect.Compose(portscanVerticalSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_ports", detect.Number(c.MinPorts), "min_share", detect.Decimal(c.MinShare), "extreme", detect.Number(c.Extreme), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *verticalScan) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(portscanVerticalWindowsSQL),
		FindParams: detect.Params{"min_ports": detect.Number(c.MinPorts)},
	})
}

// verticalScan is a row of the statement: a source.
type verticalScan struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Inside      bool      `ch:"inside"`
	Hosts       uint64    `ch:"hosts"`
	MostPorts   uint64    `ch:"most_ports"`
	Targets     uint64    `ch:"targets"`
	Tried       uint64    `ch:"tried"`
	Victim      string    `ch:"victim"`
	Lowest      string    `ch:"lowest"`
	Highest     string    `ch:"highest"`
	OpenPorts   []uint16  `ch:"open_ports"`
	TalkedHosts uint64    `ch:"talked_hosts"`
	Attempts    uint64    `ch:"attempts"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Breadth     float64   `ch:"breadth"`
	Failure     float64   `ch:"failure"`
}

// judge scores a scan.
func (r verticalScan) judge(a *alert.Alert, c PortscanVerticalConfig) {
	a.Actor, a.Victim, a.Entities = r.Src, r.Victim, detect.Entities("actor", r.Src, "site", r.Site)
	a.Title = fmt.Sprintf("%s scanned %d ports of %s", r.Src, r.MostPorts, r.Victim)
	if r.Hosts > 1 {
		a.Title = fmt.Sprintf("%s scanned up to %d ports of %d hosts", r.Src, r.MostPorts, r.Hosts)
		a.Victim = network(r.Lowest, r.Highest)
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Targets)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "failure": r.Failure}
	a.Score = detect.Bounded(0.7*r.Breadth + 0.3*r.Failure)
	a.Confidence = 0.9
	a.Reasons = []string{
		fmt.Sprintf("%d of %d ports tried gave no payload back, in %d attempts; %d of one host are enough", r.Targets, r.Tried, r.Attempts, c.MinPorts),
		fmt.Sprintf("most of them, %d, at %s", r.MostPorts, r.Victim),
	}
	switch {
	case r.Inside && (r.Targets >= 10*uint64(c.MinPorts) || len(r.OpenPorts) > 0):
		a.Severity = alert.High
	case r.Inside, r.TalkedHosts > 0:
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	if r.Inside {
		a.Reasons = append(a.Reasons, "the source is inside")
	} else {
		a.Techniques = []string{"T1595.001"}
		a.Reasons = append(a.Reasons, fmt.Sprintf("the source is outside, where scans are background, but it exchanged payload with %d of the hosts afterwards, or tried %d ports of one host or more", r.TalkedHosts, c.Extreme))
	}
	if len(r.OpenPorts) > 0 {
		a.Reasons = append(a.Reasons, "open to the source: "+ports(r.OpenPorts))
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d ports of one host without an answer in 10 minutes", c.MinPorts),
		fmt.Sprintf("answers from more than %.0f %% of the ports tried", 100*(1-c.MinShare)),
		"source in detect.exempt, or in a network with the role scanner or monitor",
	}
}

// ports lists port numbers; the statements return 16 at most.
func ports(list []uint16) string {
	text := make([]string, len(list))
	for i, p := range list {
		text[i] = fmt.Sprint(p)
	}
	if len(list) == 16 {
		text = append(text, "…")
	}
	return strings.Join(text, ", ")
}
