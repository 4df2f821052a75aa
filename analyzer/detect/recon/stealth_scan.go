package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed stealth_scan.sql
var stealthScanSQL string

//go:embed stealth_scan_windows.sql
var stealthScanWindowsSQL string

// StealthScanConfig are the thresholds of stealth_scan.
type StealthScanConfig struct {
	MinHosts int `conf:"min_hosts" help:"least hosts that never answered a source inside in an hour"`
}

// newStealthScan is the threshold random walk. hosts and ports are from how
// many hosts and ports of one on the other detectors speak.
func newStealthScan(own detect.Own, c StealthScanConfig, hosts, ports int) detect.Detector {
	return detect.New(detect.Spec[walk]{
		Info: detect.Info{
			Name: "stealth_scan", Version: 1, Title: "Hosts that never answer", Techniques: []string{"T1018"},
			Length: time.Hour, Step: 30 * time.Minute,
			Doc: `Of the hosts that an inside source contacts in an hour so many never answer, and so few do, that chance does not explain it: the threshold random walk of Jung
et al. (2004), with 0.8 and 0.2 as the shares of failures that a scanner's and a harmless host's contacts have. Each silent host adds ln 4, each other takes ln 4; ln 99
is needed. It is for scans too small for the other detectors. The magnitude is the number of hosts. Low.`,
			Controls: []string{
				"sources that reach as many hosts as they miss: broken IPv6 beside IPv4, browsers",
				"sources that the quick and slow scans speak of",
				"DNS and NTP, multicast, BitTorrent, answers whose question was not seen",
				"sources outside, sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "silent hosts; SiLK's rwscan decides after 6"}},
		},
		SQL: detect.Compose(stealthScanSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_hosts", detect.Number(c.MinHosts), "scan_hosts", detect.Number(hosts), "scan_ports", detect.Number(ports), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *walk) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(stealthScanWindowsSQL),
		FindParams: own.Params().With("min_hosts", detect.Number(c.MinHosts)),
	})
}

// walk is a row of the statement: a source.
type walk struct {
	Site          string    `ch:"site"`
	Src           string    `ch:"src"`
	Hosts         uint64    `ch:"hosts"`
	FailedHosts   uint64    `ch:"failed_hosts"`
	AnsweredHosts uint64    `ch:"answered_hosts"`
	Attempts      uint64    `ch:"attempts"`
	HostSample    []string  `ch:"host_sample"`
	PortSample    []uint16  `ch:"port_sample"`
	First         time.Time `ch:"first"`
	Last          time.Time `ch:"last"`
	FlowIDs       []string  `ch:"flow_ids"`
	Likelihood    float64   `ch:"likelihood"`
	Walk          float64   `ch:"walk"`
	Failure       float64   `ch:"failure"`
}

// judge scores a walk.
func (r walk) judge(a *alert.Alert, c StealthScanConfig) {
	a.Actor, a.Entities = r.Src, detect.Entities("actor", r.Src, "site", r.Site)
	a.Title = fmt.Sprintf("%s tried %d hosts that never answered", r.Src, r.FailedHosts)
	a.Severity = alert.Low
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.FailedHosts)
	a.SubScores = map[string]float64{"likelihood": r.Likelihood, "walk": r.Walk, "failure": r.Failure}
	a.Score = detect.Bounded(0.6*r.Walk + 0.2*r.Failure)
	a.Confidence = 0.6
	a.Reasons = []string{
		fmt.Sprintf("%d of %d hosts contacted in the hour never answered, in %d attempts; log likelihood ratio %.1f, 4.6 is enough", r.FailedHosts, r.Hosts, r.Attempts, r.Likelihood),
		"ports: " + ports(r.PortSample),
		"hosts: " + strings.Join(r.HostSample, ", "),
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d silent hosts", c.MinHosts),
		fmt.Sprintf("%d more hosts that do answer", int(r.FailedHosts)-3-int(r.AnsweredHosts)),
		"source in detect.exempt, or in a network with the role scanner or monitor",
	}
}
