package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed new_host.sql
var newHostSQL string

//go:embed new_host_windows.sql
var newHostWindowsSQL string

// NewHostConfig are the thresholds of new_host.
type NewHostConfig struct {
	GraceDays int `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newNewHost looks for: a host appears.
func newNewHost(own detect.Own, cfg NewHostConfig) detect.Detector {
	info := detect.Info{
		Name: "new_host", Version: 1, Title: "A host appears", Techniques: []string{"T1200", "T1078"},
		Rollups: []string{"flows_1h", "hosts_1h", "first_seen"},
		Doc: `An inside address shows itself that was never seen at its site. Low, medium when it answers as a server or begins more than 1000 connections in the hour. The magnitude is its
connections. Where ARP or DHCP tell its card, an address that a known card got is not new.`,
		Controls: []string{
			"cards that were seen before under another address: DHCP churn",
			"link-local addresses",
			"networks of the roles guest and dhcp",
			"the first days of a site",
		},
		Parameters: []detect.Parameter{
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
		},
	}
	return plain(own, info, newHostSQL, newHostWindowsSQL, detect.Params{"grace_days": detect.Number(cfg.GraceDays)}, detect.Params{"kind": "host"}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := grown(c, 1000, alert.Low, alert.Medium)
		a.Reasons = append([]string{"the address was never seen before at this site"}, c.Details...)
		a.Unless = []string{"its card had been seen before", "the role guest or dhcp for its network", "a history of fewer than " + detect.Number(cfg.GraceDays) + " days"}
		return c.raise(a, severity, 0.6, c.Actor+" appears for the first time", "actor", c.Actor)
	})
}
