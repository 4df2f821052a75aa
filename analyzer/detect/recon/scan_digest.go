package recon

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed scan_digest.sql
var scanDigestSQL string

//go:embed scan_digest_windows.sql
var scanDigestWindowsSQL string

// ScanDigestConfig are the thresholds of scan_digest.
type ScanDigestConfig struct {
	MinTargets int `conf:"min_targets" help:"hosts and ports tried without an answer in 24 hours"`
}

// newScanDigest sums up who scans from outside. ports and hosts are those of a
// quick scan and a sweep.
func newScanDigest(own detect.Own, c ScanDigestConfig, ports, hosts int) detect.Detector {
	return detect.New(detect.Spec[digest]{
		Info: detect.Info{
			Name: "scan_digest", Version: 1, Title: "Internet background scanning", Techniques: []string{"T1595.001"},
			Length: 24 * time.Hour, Step: 24 * time.Hour, Rollups: []string{"flows_1h"},
			Doc: `Who scanned from outside in a day (UTC): many ports of a host in ten minutes, one port of many hosts, or many hosts and ports within 24 hours, of which at most a
fifth answered. One incident per site and day, however many sources there are: its evidence lists them all. The magnitude is the number of sources. Info. A source has an
incident of its own only in portscan_vertical and portscan_horizontal.`,
			Controls: []string{
				"answers whose question was not seen: backscatter",
				"multicast, path traces, BitTorrent",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_targets", Value: fmt.Sprint(c.MinTargets), Doc: "hosts and ports in 24 hours; 63 of 7 473 sources of a day of an internet-facing server"},
			},
		},
		SQL: detect.Compose(scanDigestSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_targets", detect.Number(c.MinTargets), "min_ports", detect.Number(ports), "min_hosts", detect.Number(hosts), "site", "", "one", "0")
		},
		Judge: func(a *alert.Alert, r *digest) detect.Verdict {
			r.judge(a, c, ports, hosts)
			a.EvidenceParams["site"], a.EvidenceParams["one"] = r.Site, "1"
			return detect.Raise
		},
		Find:       detect.Compose(scanDigestWindowsSQL),
		FindParams: own.Params().With("least", detect.Number(min(c.MinTargets, ports, hosts))),
	})
}

// digest is a row of the statement: a site.
type digest struct {
	Site         string    `ch:"site"`
	SourceCount  uint64    `ch:"source_count"`
	SlowCount    uint64    `ch:"slow_count"`
	TargetCount  uint64    `ch:"target_count"`
	AttemptCount uint64    `ch:"attempt_count"`
	HostCount    uint64    `ch:"host_count"`
	MetOpen      uint64    `ch:"met_open"`
	PortSample   []string  `ch:"port_sample"`
	TopSources   []string  `ch:"top_sources"`
	First        time.Time `ch:"first"`
	Last         time.Time `ch:"last"`
	FlowIDs      []string  `ch:"flow_ids"`
	Volume       float64   `ch:"volume"`
}

// judge sums up a day.
func (r digest) judge(a *alert.Alert, c ScanDigestConfig, ports, hosts int) {
	a.Title = fmt.Sprintf("Internet background scanning: %d sources", r.SourceCount)
	a.Entities = detect.Entities("day", a.WindowStart.Format(time.DateOnly), "site", r.Site)
	if r.SourceCount == 1 {
		a.Actor, _, _ = strings.Cut(r.TopSources[0], " ")
	}
	a.Severity = alert.Info
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.SourceCount)
	a.SubScores = map[string]float64{"volume": r.Volume}
	a.Score = r.Volume
	a.Confidence = 0.9
	a.Reasons = []string{
		fmt.Sprintf("%d sources outside tried %d hosts in %d attempts without an answer; %d of them tried %d hosts and ports or more within 24 hours", r.SourceCount, r.HostCount, r.AttemptCount, r.SlowCount, c.MinTargets),
		"ports: " + strings.Join(r.PortSample, ", "),
		"most active: " + strings.Join(r.TopSources, ", "),
		fmt.Sprintf("%d of the sources met something open", r.MetOpen),
		"all sources stand in the column scanners of the evidence, the slow ones in slow_scanners",
	}
	a.Unless = []string{
		fmt.Sprintf("no source outside with %d ports of a host in 10 minutes, %d hosts for a port, or %d hosts and ports in 24 hours", ports, hosts, c.MinTargets),
		"sources in detect.exempt, or in networks with the role scanner or monitor",
	}
}
