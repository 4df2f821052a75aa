package novelty

import (
	_ "embed"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed anonymiser.sql
var anonymiserSQL string

//go:embed anonymiser_windows.sql
var anonymiserWindowsSQL string

// newAnonymiser looks for: a way around the view of the site.
func newAnonymiser(own detect.Own) detect.Detector {
	info := detect.Info{
		Name: "anonymiser", Version: 1, Title: "A way around the view of the site", Techniques: []string{"T1090", "T1090.003", "T1572"},
		Gap: 7 * 24 * time.Hour,
		Doc: `An inside host uses Tor (the probe tells its hello; names of its services), an outside proxy (SOCKS, HTTP CONNECT) or a private tunnel (OpenVPN, WireGuard, L2TP) to the outside. Medium for
Tor, low else. The magnitude is the number of connections.`,
		Controls: []string{
			"networks of the roles proxy, gateway, vpn, guest and resolver",
			"destinations of the roles vpn and proxy: announce the own ones",
			"attempts without an answer",
		},
	}
	return plain(own, info, anonymiserSQL, anonymiserWindowsSQL, nil, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		if c.Value == "tor" {
			severity = alert.Medium
		}
		a.Reasons = c.Details
		a.Unless = []string{"the role vpn, proxy, gateway or guest for its network", "the role vpn or proxy for the destination's"}
		return c.raise(a, severity, 0.7, c.Actor+" uses "+c.Value+" to the outside", "actor", c.Actor, "kind", c.Value)
	})
}
