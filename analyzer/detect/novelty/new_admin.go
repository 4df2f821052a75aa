package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed new_admin.sql
var newAdminSQL string

// NewAdminConfig are the thresholds of new_admin.
type NewAdminConfig struct {
	GraceDays int `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newNewAdmin looks for: a host administers others for the first time.
func newNewAdmin(own detect.Own, cfg NewAdminConfig) detect.Detector {
	info := detect.Info{
		Name: "new_admin", Version: 1, Title: "A host administers others for the first time", Techniques: []string{"T1021", "T1078"},
		Rollups: []string{"flows_1h", "hosts_1h", "first_seen"},
		Doc: `A known inside host gets answers on a port of remote administration (SSH, Telnet, RPC, SMB, RDP, VNC, WinRM) and never used that protocol with anybody. Low; medium from 3 servers; SMB and
RPC, which clients use every day, only from 3 servers. The magnitude is the number of servers.`,
		Controls: []string{
			"hosts that used that protocol with any server before",
			"networks of the roles jump, admin, automation, monitor, scanner and backup",
			"hosts that are themselves new",
		},
		Parameters: []detect.Parameter{
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
		},
	}
	return plain(own, info, newAdminSQL, newHostWindowsSQL, detect.Params{"grace_days": detect.Number(cfg.GraceDays)}, detect.Params{"kind": "login"}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := grown(c, 3, alert.Low, alert.Medium)
		a.Reasons = append([]string{"the host never used " + c.Value + " before"}, c.Details...)
		a.Unless = []string{"the host had used the protocol with any server before", "the role jump, admin, automation, monitor, scanner or backup for its network"}
		return c.raise(a, severity, 0.6, c.Actor+" uses "+c.Value+" for the first time", "actor", c.Actor, "service", c.Value)
	})
}
