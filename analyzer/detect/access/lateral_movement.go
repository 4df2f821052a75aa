package access

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed lateral_movement.sql
var lateralMovementSQL string

//go:embed lateral_movement_windows.sql
var lateralMovementWindowsSQL string

// LateralMovementConfig are the thresholds of lateral_movement.
type LateralMovementConfig struct {
	MinHosts  int `conf:"min_hosts" help:"inside hosts whose remote administration one host used in an hour"`
	MinNew    int `conf:"min_new" help:"pairs of them that were never seen before"`
	GraceDays int `conf:"grace_days" help:"days of logins that must be known of a site before anything is new"`
}

// newLateralMovement looks for inside hosts that go from host to host.
func newLateralMovement(own detect.Own, c LateralMovementConfig) detect.Detector {
	return detect.New(detect.Spec[movement]{
		Info: detect.Info{
			Name: "lateral_movement", Version: 1, Title: "One host administers many others", Techniques: []string{"T1021"},
			Length: time.Hour, Step: time.Hour, Rollups: []string{"first_seen"},
			Doc: `An inside host uses SSH, RDP, SMB, RPC or WinRM of many inside hosts in an hour, and some of these pairs of hosts and port were never seen before. The magnitude is the
number of hosts. Medium, high from four times the threshold. In the first week of a site nothing is new, and nothing is said.`,
			Controls: []string{
				"administrators, deployment and file sharing as they go on every day: pairs that are known",
				"networks with the role jump, scanner, monitor or backup, and sources in detect.exempt",
				"hosts that do not answer with payload: that is a sweep",
			},
			Parameters: []detect.Parameter{
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "inside hosts in an hour"},
				{Name: "min_new", Value: fmt.Sprint(c.MinNew), Doc: "pairs that are new"},
				{Name: "grace_days", Value: fmt.Sprint(c.GraceDays), Doc: "days until a site is learnt"},
			},
		},
		SQL: detect.Compose(lateralMovementSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_hosts", detect.Number(c.MinHosts), "grace_days", detect.Number(c.GraceDays), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *movement) detect.Verdict {
			switch {
			case r.KnownSite == 0:
				return detect.Learning
			case r.NewPairs < uint64(c.MinNew):
				return detect.Quiet
			}
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(lateralMovementWindowsSQL),
		FindParams: detect.Params{"min_hosts": detect.Number(c.MinHosts)},
	})
}

// movement is a row of the statement: a source.
type movement struct {
	Site           string    `ch:"site"`
	Src            string    `ch:"src"`
	Hosts          uint64    `ch:"hosts"`
	NewPairs       uint64    `ch:"new_pairs"`
	NewHosts       uint64    `ch:"new_hosts"`
	KnownSite      uint8     `ch:"known_site"`
	PairSample     []string  `ch:"pair_sample"`
	PortList       []uint16  `ch:"port_list"`
	AllConnections uint64    `ch:"all_connections"`
	First          time.Time `ch:"first"`
	Last           time.Time `ch:"last"`
	FlowIDs        []string  `ch:"flow_ids"`
	Breadth        float64   `ch:"breadth"`
	Novelty        float64   `ch:"novelty"`
}

// judge scores a movement.
func (r movement) judge(a *alert.Alert, c LateralMovementConfig) {
	a.Title = fmt.Sprintf("%s administered %d hosts in an hour, %d of them for the first time", r.Src, r.Hosts, r.NewHosts)
	a.Actor, a.Entities = r.Src, detect.Entities("actor", r.Src, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.Hosts)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "novelty": r.Novelty}
	a.Score = detect.Bounded(0.5*r.Breadth + 0.5*r.Novelty)
	a.Confidence = 0.6
	a.Severity = alert.Medium
	if r.Hosts >= 4*uint64(c.MinHosts) {
		a.Severity = alert.High
	}
	names := make([]string, len(r.PortList))
	for i, p := range r.PortList {
		names[i] = fmt.Sprint(p)
	}
	a.Reasons = []string{
		fmt.Sprintf("%d inside hosts answered on ports %s in %d connections; %d are enough", r.Hosts, strings.Join(names, ", "), r.AllConnections, c.MinHosts),
		fmt.Sprintf("%d pairs of source, host and port were never seen before; %d are enough", r.NewPairs, c.MinNew),
		"hosts and ports: " + strings.Join(r.PairSample, ", "),
	}
	text, _ := json.Marshal(struct { // numbers and text only: cannot fail
		Of       string `json:"of"`
		New      uint64 `json:"new_pairs"`
		Expected int    `json:"expected_new_pairs"`
	}{"pairs of source, host and port of remote administration that were seen before", r.NewPairs, 0})
	a.Baseline = string(text)
	a.Unless = []string{
		fmt.Sprintf("fewer than %d hosts, or fewer than %d pairs that are new", c.MinHosts, c.MinNew),
		"source in detect.exempt, or in a network with the role jump, scanner, monitor or backup",
	}
}
