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
	MinHosts        int     `conf:"min_hosts" help:"hosts tried without an answer on one port in 10 minutes, from inside"`
	MinHostsOutside int     `conf:"min_hosts_outside" help:"the same from outside"`
	MinShare        float64 `conf:"min_share" help:"least share of them in all hosts tried, 0 to 1"`
}

// newPortscanHorizontal looks for one source that tries one port of many hosts.
func newPortscanHorizontal(own detect.Own, c PortscanHorizontalConfig) detect.Detector {
	return detect.New(detect.Spec[sweep]{
		Info: detect.Info{
			Name: "portscan_horizontal", Version: 1, Title: "Sweep of one port over many hosts", Techniques: []string{"T1018", "T1046"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `One source tries the same port of many hosts and gets no payload back. The magnitude is the number of such hosts. From
inside: medium, high from ten times the threshold or when hosts were found open. From outside: info, low from ten times the threshold, medium when hosts
were found open. Left out: answers whose question was not seen (backscatter), multicast, DNS and NTP, whose servers ask many that are
gone, BitTorrent, and sources that reach most of the hosts they try, as monitors do.`,
			Parameters: []detect.Parameter{
				{Name: "min_hosts", Value: fmt.Sprint(c.MinHosts), Doc: "from inside, in 10 minutes; Zeek's scan script has 25 in 5 minutes, Slips 10 in an hour"},
				{Name: "min_hosts_outside", Value: fmt.Sprint(c.MinHostsOutside), Doc: "from outside"},
				{Name: "min_share", Value: fmt.Sprint(c.MinShare), Doc: "least share of them in all hosts tried"},
			},
		},
		SQL: detect.Compose(portscanHorizontalSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_hosts", detect.Number(c.MinHosts), "min_hosts_outside", detect.Number(c.MinHostsOutside), "min_share", detect.Decimal(c.MinShare),
				"src", "", "protocol", "0", "port", "0", "site", "")
		},
		Judge: func(a *alert.Alert, r *sweep) detect.Verdict {
			threshold := c.MinHosts
			if !r.Inside {
				threshold = c.MinHostsOutside
			}
			r.judge(a, uint64(threshold))
			a.EvidenceParams["src"], a.EvidenceParams["site"] = r.Src, r.Site
			a.EvidenceParams["protocol"], a.EvidenceParams["port"] = detect.Number(r.Protocol), detect.Number(r.Port)
			return detect.Raise
		},
		Find:       detect.Compose(portscanHorizontalWindowsSQL),
		FindParams: detect.Params{"min_hosts": detect.Number(min(c.MinHosts, c.MinHostsOutside))},
	})
}

// sweep is a row of the statement.
type sweep struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Protocol    uint8     `ch:"protocol"`
	Port        uint16    `ch:"port"`
	Inside      bool      `ch:"inside"`
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
}

// judge scores a sweep.
func (c sweep) judge(a *alert.Alert, threshold uint64) {
	a.Actor, a.Victim = c.Src, network(c.Lowest, c.Highest)
	a.Title = fmt.Sprintf("%s swept %d hosts for %s", c.Src, c.FailedHosts, detect.Service(c.Protocol, c.Port))
	a.Entities = detect.Entities("actor", c.Src, "port", detect.Service(c.Protocol, c.Port), "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.FailedHosts)
	a.SubScores = map[string]float64{"breadth": c.Breadth, "failure": c.Failure}
	a.Score = detect.Bounded(0.7*c.Breadth + 0.3*c.Failure)
	a.Confidence = 0.9
	a.Reasons = []string{
		fmt.Sprintf("%d of %d hosts tried gave no payload back, in %d attempts; %d are enough", c.FailedHosts, c.Hosts, c.Attempts, threshold),
		fmt.Sprintf("they lie between %s and %s", c.Lowest, c.Highest),
	}
	wide := c.FailedHosts >= 10*threshold
	switch {
	case c.Inside && (wide || c.OpenHosts > 0):
		a.Severity = alert.High
	case c.Inside, c.OpenHosts > 0:
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
	if c.OpenHosts > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d hosts were open to the source: %s", c.OpenHosts, strings.Join(c.OpenSample, ", ")))
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
