package recon

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed portscan_horizontal.sql
var portscanHorizontalSQL string

//go:embed portscan_horizontal_windows.sql
var portscanHorizontalWindowsSQL string

// PortscanHorizontalConfig are the thresholds of portscan_horizontal.
type PortscanHorizontalConfig struct {
	MinHosts        int     `conf:"min_hosts" help:"hosts that one port of was tried without an answer in 10 minutes, by a source inside"`
	MinHostsOutside int     `conf:"min_hosts_outside" help:"the same, by a source outside"`
	MinShare        float64 `conf:"min_share" help:"least share of them in all hosts tried, 0 to 1"`
	MinHostsLow     int     `conf:"min_hosts_low" help:"hosts from which a source inside is reported as low, if fewer than min_hosts or less than min_share"`
	MinShareLow     float64 `conf:"min_share_low" help:"least share of them in all hosts tried, 0 to 1"`
	Extreme         int     `conf:"extreme" help:"hosts from which a source outside that was answered is reported by itself, not in the digest"`
}

// newPortscanHorizontal looks for one source that tries a port of many hosts.
func newPortscanHorizontal(own detect.Own, c PortscanHorizontalConfig) detect.Detector {
	return detect.New(detect.Spec[sweep]{
		Info: detect.Info{
			Name: "portscan_horizontal", Version: 2, Title: "Sweep of a port over many hosts", Techniques: []string{"T1018", "T1046"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `One source tries the same port of many hosts and gets no payload back. One incident per source, which names the ports. The magnitude
is the number of hosts. From inside: medium, high from ten times the threshold or when hosts were found open; low for fewer hosts, or when more of them answer. From outside only if very many hosts were
tried and the source exchanged payload with one of them afterwards (low); the rest is in scan_digest.`,
			Controls: []string{
				"answers whose question was not seen: backscatter",
				"multicast, and DNS and NTP, whose servers ask many that are gone",
				"peers of file sharing networks: BitTorrent by name; by behaviour, high ports are left out where a source asks at least 15 hosts for one or two of them each, the ports differ (at least 0.3 of the number of hosts), and some answer",
				"sources that reach most of the hosts they try, as monitors do",
				"sources in detect.exempt, and networks with the role scanner or monitor",
			},
			Parameters: []detect.Parameter{
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "from inside, in 10 minutes; Zeek's scan script has 25 in 5 minutes, Slips 10 in an hour"},
				{Name: "min_hosts_outside", Value: fmt.Sprint(c.MinHostsOutside), Doc: "from outside; Zeek's 25"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of them in all hosts tried"},
				{Name: "min_hosts_low", Value: fmt.Sprint(c.MinHostsLow), Doc: "for low severity; Slips' 10"},
				{Name: "min_share_low", Value: fmt.Sprint(c.MinShareLow), Doc: "least share for low severity"},
				{Name: "extreme", Value: fmt.Sprint(c.Extreme), Doc: "hosts from which a source outside that was answered is reported by itself: ten times the threshold"},
			},
		},
		SQL: detect.Compose(portscanHorizontalSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_hosts", detect.Number(c.MinHosts), "min_hosts_outside", detect.Number(c.MinHostsOutside), "min_share", detect.Decimal(c.MinShare),
				"min_hosts_low", detect.Number(c.MinHostsLow), "min_share_low", detect.Decimal(c.MinShareLow), "extreme", detect.Number(c.Extreme), "src", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *sweep) detect.Verdict {
			threshold := c.MinHosts
			if !r.Inside {
				threshold = c.MinHostsOutside
			}
			r.judge(a, uint64(threshold), c)
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(portscanHorizontalWindowsSQL),
		FindParams: detect.Params{"min_hosts": detect.Number(min(c.MinHosts, c.MinHostsLow, c.MinHostsOutside))},
	})
}

// sweep is a row of the statement: a source.
type sweep struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Inside      bool      `ch:"inside"`
	SweptPorts  uint64    `ch:"swept_ports"`
	PortSample  []string  `ch:"port_sample"`
	FailedHosts uint64    `ch:"failed_hosts"`
	Hosts       uint64    `ch:"hosts"`
	OpenHosts   uint64    `ch:"open_hosts"`
	OpenSample  []string  `ch:"open_sample"`
	Lowest      string    `ch:"lowest"`
	Highest     string    `ch:"highest"`
	Attempts    uint64    `ch:"attempts"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	FlowIDs     []string  `ch:"flow_ids"`
	Breadth     float64   `ch:"breadth"`
	Failure     float64   `ch:"failure"`
	SurePorts   uint64    `ch:"sure_ports"`
}

// judge scores a sweep.
func (r sweep) judge(a *alert.Alert, threshold uint64, c PortscanHorizontalConfig) {
	a.Actor, a.Victim = r.Src, network(r.Lowest, r.Highest)
	what, _, _ := strings.Cut(r.PortSample[0], " ")
	if r.SweptPorts > 1 {
		what = fmt.Sprintf("%d ports", r.SweptPorts)
	}
	a.Title = fmt.Sprintf("%s swept %d hosts for %s", r.Src, r.FailedHosts, what)
	a.Entities = detect.Entities("actor", r.Src, "site", r.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(r.FailedHosts)
	a.SubScores = map[string]float64{"breadth": r.Breadth, "failure": r.Failure}
	a.Score = detect.Bounded(0.7*r.Breadth + 0.3*r.Failure)
	a.Confidence = 0.9
	a.Reasons = []string{
		fmt.Sprintf("%d of %d hosts tried gave no payload back, in %d attempts; %d for one port are enough", r.FailedHosts, r.Hosts, r.Attempts, threshold),
		"ports: " + strings.Join(r.PortSample, ", "),
		fmt.Sprintf("the hosts lie between %s and %s", r.Lowest, r.Highest),
	}
	switch {
	case r.Inside && r.SurePorts == 0:
		a.Severity, a.Confidence = alert.Low, 0.5
		a.Reasons = append(a.Reasons, fmt.Sprintf("fewer than %d hosts for a port, or answers from more than %.0f %%: low", threshold, 100*(1-c.MinShare)))
	case r.Inside && (r.FailedHosts >= 10*threshold || r.OpenHosts > 0):
		a.Severity = alert.High
	case r.Inside:
		a.Severity = alert.Medium
	default:
		a.Severity = alert.Low
	}
	if r.Inside {
		a.Reasons = append(a.Reasons, "the source is inside")
	} else {
		a.Techniques = []string{"T1595.001"}
		a.Reasons = append(a.Reasons, fmt.Sprintf("the source is outside, where scans are background, but it tried %d hosts or more and exchanged payload with one of them afterwards", c.Extreme))
	}
	if r.OpenHosts > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d hosts were open to the source: %s", r.OpenHosts, strings.Join(r.OpenSample, ", ")))
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d hosts without an answer for any port in 10 minutes", c.MinHostsLow),
		fmt.Sprintf("answers from more than %.0f %% of the hosts tried", 100*(1-c.MinShareLow)),
		"source in detect.exempt, or in a network with the role scanner or monitor",
	}
}

// network is the smallest network that holds both addresses, no smaller than a
// /24 or /64; "" when they have little in common (less than a /8 or /16).
func network(lowest, highest string) string {
	lo, err1 := netip.ParseAddr(lowest)
	hi, err2 := netip.ParseAddr(highest)
	if err1 != nil || err2 != nil || lo.Is4() != hi.Is4() {
		return ""
	}
	bits, least := 24, 8
	if lo.Is6() {
		bits, least = 64, 16
	}
	for ; bits >= least; bits-- {
		p, err := lo.Prefix(bits)
		if err == nil && p.Contains(hi) {
			return p.String()
		}
	}
	return ""
}
