package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed unexpected_server.sql
var unexpectedServerSQL string

//go:embed unexpected_server_windows.sql
var unexpectedServerWindowsSQL string

// UnexpectedServerConfig are the thresholds of unexpected_server.
type UnexpectedServerConfig struct {
	GraceDays int `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newUnexpectedServer looks for: an unexpected DHCP, DNS, NTP or mail server.
func newUnexpectedServer(own detect.Own, cfg UnexpectedServerConfig) detect.Detector {
	info := detect.Info{
		Name: "unexpected_server", Version: 2, Title: "An unexpected DHCP, DNS, NTP or mail server", Techniques: []string{"T1557", "T1557.003"},
		Rollups: []string{"flows_1h", "hosts_1h"},
		Doc: `An inside host answers as a server of DHCP, DNS, NTP or mail that did not in the last 30 days, while others do. High for DHCP, medium for DNS with three clients, else low. The magnitude is
the number of answers.`,
		Controls: []string{
			"kinds of which nobody was learnt yet, and of which more than 20 hosts answer anyway",
			"networks of the roles resolver, gateway, dhcp, dns, ntp, mail, server and dmz: announce a new server by its role",
			"single answers of DNS, NTP and mail",
			"the first days of a site",
		},
		Parameters: []detect.Parameter{
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
		},
	}
	return plain(own, info, unexpectedServerSQL, unexpectedServerWindowsSQL, detect.Params{"grace_days": detect.Number(cfg.GraceDays)}, own.Params(), func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		switch {
		case c.Value == "dhcp":
			severity, a.Techniques = alert.High, []string{"T1557.003"}
		case c.Value == "dns":
			if c.Hosts >= 3 {
				severity = alert.Medium
			}
		}
		a.Reasons = append([]string{"it did not answer as " + c.Value + " in the 30 days before"}, c.Details...)
		a.Unless = []string{"it had answered before", "a role for its network that says what it is", "a history of fewer than " + detect.Number(cfg.GraceDays) + " days"}
		return c.raise(a, severity, 0.7, c.Actor+" answers as a "+c.Value+" server", "actor", c.Actor, "kind", c.Value)
	})
}
