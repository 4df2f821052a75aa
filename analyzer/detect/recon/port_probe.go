package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed port_probe.sql
var portProbeSQL string

//go:embed port_probe_windows.sql
var portProbeWindowsSQL string

// PortProbeConfig are the thresholds of port_probe.
type PortProbeConfig struct {
	MinPorts int     `conf:"min_ports" help:"TCP ports of one host tried without saying a word, within 10 minutes"`
	MinShare float64 `conf:"min_share" help:"least share of them in all ports of the host that the source used, 0 to 1"`
}

// newPortProbe looks for scans of a few ports. scan is from how many ports on
// portscan_vertical looks after them.
func newPortProbe(own detect.Own, c PortProbeConfig, scan int) detect.Detector {
	return detect.New(detect.Spec[probeOfPorts]{
		Info: detect.Info{
			Name: "port_probe", Version: 1, Title: "A few ports tried", Techniques: []string{"T1046"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `A few TCP ports of one host are tried without a word from the source, open or not, fewer than portscan_vertical wants: 22, 80, 443 and 8080, say. One
incident per source inside; one per host that sources outside try, whoever they are. The magnitude is the most ports that one source tried of one host. Low.`,
			Controls: []string{
				"health checks: each port tried more than three times in the window",
				"clients that do talk: most of the ports they use of the host carry payload of theirs",
				"sources that scan more: portscan_vertical and scan_digest",
				"answers whose question was not seen, multicast, BitTorrent",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_ports", Value: fmt.Sprint(c.MinPorts), Doc: "ports of one host; what one looks for by hand: 22, 80, 443, 8080"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of them in all ports of the host that the source used"},
			},
		},
		SQL: detect.Compose(portProbeSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_ports", detect.Number(c.MinPorts), "scan_ports", detect.Number(max(scan, c.MinPorts+1)), "min_share", detect.Decimal(c.MinShare),
				"subject", "", "inside", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *probeOfPorts) detect.Verdict {
			r.judge(a, c, scan)
			a.EvidenceParams["subject"], a.EvidenceParams["site"] = r.Subject, r.Site
			if r.Inside {
				a.EvidenceParams["inside"] = "1"
			}
			return detect.Raise
		},
		Find:       detect.Compose(portProbeWindowsSQL),
		FindParams: detect.Params{"min_ports": detect.Number(c.MinPorts)},
	})
}

// probeOfPorts is a row of the statement: a source inside, or a host that
// sources outside tried.
type probeOfPorts struct {
	Site        string    `ch:"site"`
	Inside      bool      `ch:"inside"`
	Subject     string    `ch:"subject"`
	Pairs       uint64    `ch:"pairs"`
	MostPorts   uint64    `ch:"most_ports"`
	SrcMost     string    `ch:"src_most"`
	DstMost     string    `ch:"dst_most"`
	PortSample  []uint16  `ch:"port_sample"`
	OpenPorts   []uint16  `ch:"open_ports"`
	Others      []string  `ch:"others"`
	AllAttempts uint64    `ch:"all_attempts"`
	First       time.Time `ch:"first_at"`
	Last        time.Time `ch:"last_at"`
	FlowIDs     []string  `ch:"flow_ids"`
	Breadth     float64   `ch:"breadth"`
	Purpose     float64   `ch:"purpose"`
}

// judge scores a probe.
func (r probeOfPorts) judge(a *alert.Alert, c PortProbeConfig, scan int) {
	a.Actor, a.Victim = r.SrcMost, r.DstMost
	a.Title = fmt.Sprintf("%s tried %d ports of %s", r.SrcMost, r.MostPorts, r.DstMost)
	if r.Inside {
		a.Entities = detect.Entities("actor", r.Subject, "site", r.Site)
		if r.Pairs > 1 {
			a.Victim = ""
			a.Title = fmt.Sprintf("%s tried up to %d ports of %d hosts", r.Subject, r.MostPorts, r.Pairs)
		}
	} else {
		a.Entities = detect.Entities("site", r.Site, "victim", r.Subject)
		a.Techniques = []string{"T1595.001"}
		if r.Pairs > 1 {
			a.Actor = ""
			a.Title = fmt.Sprintf("%d sources tried up to %d ports of %s", r.Pairs, r.MostPorts, r.Subject)
		}
	}
	a.Severity = alert.Low
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.MostPorts)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "purpose": r.Purpose}
	a.Score = detect.Bounded(0.5*r.Breadth + 0.1*r.Purpose)
	a.Confidence = 0.5
	a.Reasons = []string{
		fmt.Sprintf("%d ports of one host without a word from the source, %d are enough: %s", r.MostPorts, c.MinPorts, ports(r.PortSample)),
		fmt.Sprintf("%d attempts, at most three for a port: %s", r.AllAttempts, strings.Join(r.Others, ", ")),
	}
	if len(r.OpenPorts) > 0 {
		a.Reasons = append(a.Reasons, "open: "+ports(r.OpenPorts))
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d ports of one host, or %d and more, which is a scan", c.MinPorts, scan),
		"more than three attempts for a port, as health checks make",
		fmt.Sprintf("payload of the source on more than %.0f %% of the ports it used", 100*(1-c.MinShare)),
		"source in detect.exempt, or in a network with the role scanner or monitor",
	}
}
