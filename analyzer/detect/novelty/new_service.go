package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed new_service.sql
var newServiceSQL string

// NewServiceConfig are the thresholds of new_service.
type NewServiceConfig struct {
	GraceDays int `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newNewService looks for: a host offers a new service.
func newNewService(own detect.Own, cfg NewServiceConfig) detect.Detector {
	info := detect.Info{
		Name: "new_service", Version: 2, Title: "A host offers a new service", Techniques: []string{"T1205", "T1543"},
		Rollups: []string{"flows_1h", "hosts_1h", "first_seen"},
		Doc: `A port of a known inside host answers that never did. Low; medium when outside clients use it, or when it is a port of remote administration or of proxies
and several clients use it: what one inside client does is for lateral_movement and new_admin. The magnitude is the number of connections.`,
		Controls: []string{
			"ports above 32767 and UDP ports above 9999: they are given out by the system",
			"hosts with more than 20 services in a week: RPC, FTP, peer-to-peer",
			"data connections of FTP, RTP, TFTP, BitTorrent",
			"networks of the roles server, dmz, lab and scanner, where services come and go",
			"hosts that are themselves new: see new_host",
			"clients of the roles jump, admin, automation, backup, monitor and scanner do not count as several",
		},
		Parameters: []detect.Parameter{
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
		},
	}
	return plain(own, info, newServiceSQL, newHostWindowsSQL, detect.Params{"grace_days": detect.Number(cfg.GraceDays)}, detect.Params{"kind": "service"}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		if c.Strength >= 0.5 {
			severity = alert.Medium
		}
		a.Reasons = append([]string{"the port never answered before"}, c.Details...)
		a.Unless = []string{"an answer of this port before", "more than 20 services of the host in a week", "the role server, dmz, lab or scanner for its network"}
		return c.raise(a, severity, 0.6, c.Victim+" offers "+c.Value+" for the first time", "victim", c.Victim, "service", c.Value)
	})
}
