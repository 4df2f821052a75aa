package detect

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
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

// portscanHorizontal looks for one source that tries one port of many hosts.
type portscanHorizontal struct {
	cfg         Config
	sql, finder string
}

func newPortscanHorizontal(cfg Config) portscanHorizontal {
	return portscanHorizontal{cfg: cfg, sql: compose(portscanHorizontalSQL), finder: compose(portscanHorizontalWindowsSQL)}
}

func (d portscanHorizontal) Info() Info {
	c := d.cfg.PortscanHorizontal
	return Info{
		Name: "portscan_horizontal", Version: 1, Title: "Sweep of one port over many hosts", Techniques: []string{"T1018", "T1046"},
		Length: 10 * time.Minute, Step: 5 * time.Minute,
		Doc: `One source tries the same port of many hosts and gets no payload back. The magnitude is the number of such hosts. From
inside: medium, high from ten times the threshold or when hosts were found open. From outside: info, low from ten times the threshold, medium when hosts
were found open. Left out: answers whose question was not seen (backscatter), multicast, DNS and NTP, whose servers ask many that are
gone, BitTorrent, and sources that reach most of the hosts they try, as monitors do.`,
		Parameters: []Parameter{
			{"min_hosts", fmt.Sprint(c.MinHosts), "from inside, in 10 minutes; Zeek's scan script has 25 in 5 minutes, Slips 10 in an hour"},
			{"min_hosts_outside", fmt.Sprint(c.MinHostsOutside), "from outside"},
			{"min_share", fmt.Sprint(c.MinShare), "least share of them in all hosts tried"},
		},
	}
}

func (d portscanHorizontal) params() params {
	c := d.cfg.PortscanHorizontal
	return d.cfg.shared().with("min_hosts", number(c.MinHosts), "min_hosts_outside", number(c.MinHostsOutside), "min_share", decimal(c.MinShare),
		"src", "", "protocol", "0", "port", "0", "site", "")
}

func (d portscanHorizontal) Windows(ctx context.Context, db DB, span Window) ([]time.Time, error) {
	c := d.cfg.PortscanHorizontal
	return windows(ctx, db, d.Info(), d.finder, params{"min_hosts": number(min(c.MinHosts, c.MinHostsOutside))}, span)
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

func (d portscanHorizontal) Detect(ctx context.Context, db DB, w Window) (Result, error) {
	p := d.params().span(w)
	found, err := all[sweep](ctx, db, d.sql, p)
	if err != nil {
		return Result{}, fmt.Errorf("detect portscan_horizontal: %w", err)
	}
	r := Result{Judged: len(found)}
	for _, c := range found {
		a := base(d.Info(), w)
		threshold := d.cfg.PortscanHorizontal.MinHosts
		if !c.Inside {
			threshold = d.cfg.PortscanHorizontal.MinHostsOutside
		}
		c.judge(&a, uint64(threshold))
		a.EvidenceSQL = d.sql
		a.EvidenceParams = p.with("src", c.Src, "protocol", number(int(c.Protocol)), "port", number(int(c.Port)), "site", c.Site)
		r.Alerts = append(r.Alerts, a)
	}
	return r, nil
}

// judge scores a sweep.
func (c sweep) judge(a *alert.Alert, threshold uint64) {
	a.Actor, a.Victim = c.Src, network(c.Lowest, c.Highest)
	a.Title = fmt.Sprintf("%s swept %d hosts for %s", c.Src, c.FailedHosts, service(c.Protocol, c.Port))
	a.Entities = entities("actor", c.Src, "port", service(c.Protocol, c.Port), "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, float64(c.FailedHosts)
	a.SubScores = map[string]float64{"breadth": c.Breadth, "failure": c.Failure}
	a.Score = bounded(0.7*c.Breadth + 0.3*c.Failure)
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
