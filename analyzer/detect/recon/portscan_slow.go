package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed portscan_slow.sql
var portscanSlowSQL string

//go:embed portscan_slow_windows.sql
var portscanSlowWindowsSQL string

// PortscanSlowConfig are the thresholds of portscan_slow.
type PortscanSlowConfig struct {
	MinTargets int `conf:"min_targets" help:"hosts and ports tried without an answer in 24 hours by a source inside"`
	MediumFrom int `conf:"medium_from" help:"hosts and ports from which it is of medium severity"`
}

// newPortscanSlow looks for scans that take their time. quick is from how many
// targets in ten minutes on the quick detectors speak.
func newPortscanSlow(own detect.Own, c PortscanSlowConfig, quick int) detect.Detector {
	return detect.New(detect.Spec[slowScan]{
		Info: detect.Info{
			Name: "portscan_slow", Version: 1, Title: "Slow scan", Techniques: []string{"T1018", "T1046"},
			Length: 24 * time.Hour, Step: time.Hour, Rollups: []string{"flows_1h"},
			Doc: `An inside source tries many hosts and ports in a day, a few at a time, and at most a fifth of all it tries answers. The magnitude is the number of hosts
and ports without an answer. Low, medium from twice the threshold. Sources outside are in scan_digest.`,
			Controls: []string{
				"ten minutes with as many targets as a quick scan has, which are not counted: portscan_vertical and portscan_horizontal speak of them",
				"hosts most of whose connections are answered: more than a fifth",
				"DNS and NTP, whose servers ask many that are gone; multicast; answers whose question was not seen",
				"peers of file sharing networks, see portscan_horizontal",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_targets", Value: fmt.Sprint(c.MinTargets), Doc: "hosts and ports in 24 hours; in a day of an internet-facing server 63 of 7 473 sources had so many"},
				{Name: "medium_from", Value: fmt.Sprint(c.MediumFrom), Doc: "hosts and ports for medium"},
			},
		},
		SQL: detect.Compose(portscanSlowSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_targets", detect.Number(c.MinTargets), "quick", detect.Number(quick), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *slowScan) detect.Verdict {
			r.judge(a, c, quick)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(portscanSlowWindowsSQL),
		FindParams: own.Params().With("min_targets", detect.Number(c.MinTargets)),
	})
}

// slowScan is a row of the statement: a source.
type slowScan struct {
	Site            string    `ch:"site"`
	Src             string    `ch:"src"`
	Tried           uint64    `ch:"tried"`
	Targets         uint64    `ch:"targets"`
	Hosts           uint64    `ch:"hosts"`
	Services        uint64    `ch:"services"`
	AnsweredTargets uint64    `ch:"answered_targets"`
	Attempts        uint64    `ch:"attempts"`
	BusyHours       uint64    `ch:"busy_hours"`
	Lowest          string    `ch:"lowest"`
	Highest         string    `ch:"highest"`
	ServiceSample   []string  `ch:"service_sample"`
	First           time.Time `ch:"first"`
	Last            time.Time `ch:"last"`
	FlowIDs         []string  `ch:"flow_ids"`
	Breadth         float64   `ch:"breadth"`
	Failure         float64   `ch:"failure"`
}

// judge scores a slow scan.
func (r slowScan) judge(a *alert.Alert, c PortscanSlowConfig, quick int) {
	a.Actor, a.Victim, a.Entities = r.Src, network(r.Lowest, r.Highest), detect.Entities("actor", r.Src, "site", r.Site)
	if r.Hosts == 1 {
		a.Victim = r.Lowest
	}
	a.Title = fmt.Sprintf("%s tried %d ports of %d hosts slowly", r.Src, r.Services, r.Hosts)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Targets)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "failure": r.Failure}
	a.Score = detect.Bounded(0.6*r.Breadth + 0.2*r.Failure)
	a.Confidence = 0.7
	a.Severity = alert.Low
	if r.Targets >= uint64(c.MediumFrom) {
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%d hosts and ports gave no payload back in 24 hours, in %d attempts and %d of the hours; %d are enough", r.Targets, r.Attempts, r.BusyHours, c.MinTargets),
		fmt.Sprintf("%d of %d tried did answer, at most a fifth may", r.AnsweredTargets, r.Tried),
		"ports: " + strings.Join(r.ServiceSample, ", "),
		"the source is inside",
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d hosts and ports without an answer in 24 hours", c.MinTargets),
		fmt.Sprintf("%d and more of them in the same ten minutes, which are a quick scan", quick),
		"answers from more than a fifth of what was tried",
		"source in detect.exempt, or in a network with the role scanner or monitor",
	}
}
