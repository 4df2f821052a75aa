package novelty

import (
	_ "embed"
	"fmt"

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
	Together  int `conf:"together" help:"hosts of a network, /24 or /64, that appear in one hour from which on they are one incident"`
}

// newNewHost looks for: a host appears.
func newNewHost(own detect.Own, cfg NewHostConfig) detect.Detector {
	info := detect.Info{
		Name: "new_host", Version: 2, Title: "A host appears", Techniques: []string{"T1200", "T1078"},
		Rollups: []string{"flows_1h", "hosts_1h", "first_seen"},
		Doc: `An inside address shows itself that was never seen at its site. Low, medium when one begins more than 1000 connections in the hour. Several of a network in one hour are one incident.
The magnitude is the connections that the busiest began. Where ARP or DHCP tell its card, an address that a known card got is not new.`,
		Controls: []string{
			"cards that were seen before under another address: DHCP churn",
			"link-local addresses",
			"networks of the roles guest and dhcp",
			"the first days of a site",
		},
		Parameters: []detect.Parameter{
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
			{Name: "together", Value: detect.Number(cfg.Together), Doc: "hosts of a /24 or /64 in one hour; a swept or newly mirrored network is one incident"},
		},
	}
	return plain(own, info, newHostSQL, newHostWindowsSQL, detect.Params{"grace_days": detect.Number(cfg.GraceDays), "together": detect.Number(cfg.Together)}, detect.Params{"kind": "host"}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := grown(c, 1000, alert.Low, alert.Medium)
		title, why := c.Actor+" appears for the first time", "the address was never seen before at this site"
		if c.Hosts > 1 {
			title, why = fmt.Sprintf("%d hosts of %s appear for the first time", c.Hosts, c.Actor), "these addresses were never seen before at this site"
		}
		a.Reasons = append([]string{why}, c.Details...)
		a.Unless = []string{"its card had been seen before", "the role guest or dhcp for its network", "a history of fewer than " + detect.Number(cfg.GraceDays) + " days"}
		return c.raise(a, severity, 0.6, title, "actor", c.Actor)
	})
}
