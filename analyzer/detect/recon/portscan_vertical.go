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
}

// newPortscanVertical looks for one source that tries many ports of one host.
func newPortscanVertical(own detect.Own, c PortscanVerticalConfig) detect.Detector {
	return detect.New(detect.Spec[verticalScan]{
		Info: detect.Info{
			Name: "portscan_vertical", Version: 1, Title: "Port scan of one host", Techniques: []string{"T1046"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `One source tries many ports of one host and gets no payload back: TCP refused, unanswered, half open, or UDP without
an answer. The magnitude is the number of such ports. From inside: medium, high from ten times the threshold or
when something was found open. From outside: info, low from ten times the
threshold, medium when something was found open. Left out: answers whose question was not seen (backscatter, one-sided taps), multicast,
path traces, BitTorrent, and pairs in which most ports do answer.`,
			Parameters: []detect.Parameter{
				{Name: "min_ports", Value: fmt.Sprint(c.MinPorts), Doc: "ports without an answer in 10 minutes; Zeek's scan script has 15 in 5 minutes"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of them in all ports tried"},
			},
		},
		SQL: detect.Compose(portscanVerticalSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_ports", detect.Number(c.MinPorts), "min_share", detect.Decimal(c.MinShare), "src", "", "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *verticalScan) detect.Verdict {
			r.judge(a, uint64(c.MinPorts))
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(portscanVerticalWindowsSQL),
		FindParams: detect.Params{"min_ports": detect.Number(c.MinPorts)},
	})
}

// verticalScan is a row of the statement.
type verticalScan struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Dst         string    `ch:"dst"`
	Inside      bool      `ch:"inside"`
	FailedPorts uint64    `ch:"failed_ports"`
	Ports       uint64    `ch:"ports"`
	OpenPorts   []uint16  `ch:"open_ports"`
	Attempts    uint64    `ch:"attempts"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Breadth     float64   `ch:"breadth"`
	Failure     float64   `ch:"failure"`
}

// judge scores a scan.
func (c verticalScan) judge(a *alert.Alert, threshold uint64) {
	a.Title = fmt.Sprintf("%s scanned %d ports of %s", c.Src, c.FailedPorts, c.Dst)
	a.Actor, a.Victim, a.Entities = c.Src, c.Dst, detect.Entities("actor", c.Src, "victim", c.Dst, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.FailedPorts)
	a.SubScores = map[string]float64{"breadth": c.Breadth, "failure": c.Failure}
	a.Score = detect.Bounded(0.7*c.Breadth + 0.3*c.Failure)
	a.Confidence = 0.9
	a.Reasons = []string{
		fmt.Sprintf("%d of %d ports tried gave no payload back, in %d attempts; %d are enough", c.FailedPorts, c.Ports, c.Attempts, threshold),
	}
	wide := c.FailedPorts >= 10*threshold
	switch {
	case c.Inside && (wide || len(c.OpenPorts) > 0):
		a.Severity = alert.High
	case c.Inside:
		a.Severity = alert.Medium
	case len(c.OpenPorts) > 0:
		a.Severity = alert.Medium
	case wide:
		a.Severity = alert.Low
	default:
		a.Severity = alert.Info
	}
	if c.Inside {
		a.Reasons = append(a.Reasons, "the source is inside")
	} else {
		a.Reasons = append(a.Reasons, "the source is outside, where scans are background")
		a.Techniques = []string{"T1595.001"}
	}
	if len(c.OpenPorts) > 0 {
		a.Reasons = append(a.Reasons, "open to the source: "+ports(c.OpenPorts))
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
