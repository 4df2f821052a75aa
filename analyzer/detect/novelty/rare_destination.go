package novelty

import (
	_ "embed"
	"net/netip"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed rare_destination.sql
var rareDestinationSQL string

//go:embed rare_destination_windows.sql
var rareDestinationWindowsSQL string

// RareDestinationConfig are the thresholds of rare_destination.
type RareDestinationConfig struct {
	MinBytes  kit.Bytes `conf:"min_bytes" help:"payload octets exchanged in an hour"`
	MaxShare  float64   `conf:"max_share" help:"greatest share of the inside hosts that know the destination, 0 to 1"`
	MinHosts  int       `conf:"min_hosts" help:"inside hosts that a site needs for rare to mean something"`
	NewDays   int       `conf:"new_days" help:"a name, address or client is new for so many days"`
	GraceDays int       `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newRareDestination looks for: a rare destination.
func newRareDestination(own detect.Own, cfg RareDestinationConfig) detect.Detector {
	info := detect.Info{
		Name: "rare_destination", Version: 1, Title: "A rare destination", Techniques: []string{"T1071", "T1573"},
		Rollups: []string{"flows_1h", "names_1h", "first_seen"},
		Doc: `An inside host exchanges data with an outside name or address that is new to the site and that hardly any host calls, and something else about it is rare as well: its network (AS), its
country, or the TLS client (JA4). Low; medium when three things are rare together and the site has enough hosts. The magnitude is the octets.`,
		Controls: []string{
			"a new name alone, as any hour has",
			"names or addresses that more hosts call: patch day, content networks",
			"name service, time, BitTorrent",
			"networks of the roles proxy, nat, gateway, resolver and guest",
			"the first days of a site; small sites are never above low",
		},
		Parameters: []detect.Parameter{
			{Name: "min_bytes", Value: cfg.MinBytes.String(), Doc: "exchanged in an hour; RITA looks at rare destinations likewise"},
			{Name: "max_share", Value: detect.Decimal(cfg.MaxShare), Doc: "of the inside hosts"},
			days("min_hosts", cfg.MinHosts, "inside hosts; fewer: low at most"),
			days("new_days", cfg.NewDays, "days for which it is new"),
			days("grace_days", cfg.GraceDays, "days in which a site is being learnt; 7 days as others do"),
		},
	}
	return plain(own, info, rareDestinationSQL, rareDestinationWindowsSQL, detect.Params{"min_bytes": detect.Number(int64(cfg.MinBytes)), "max_share": detect.Decimal(cfg.MaxShare), "min_hosts": detect.Number(cfg.MinHosts), "new_days": detect.Number(cfg.NewDays), "grace_days": detect.Number(cfg.GraceDays)}, own.Params().With("min_bytes", detect.Number(int64(cfg.MinBytes))), func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Low
		if c.Strength >= 0.75 && !c.Learning {
			severity = alert.Medium
		}
		a.Reasons = append([]string{detect.Size(float64(c.Bytes)) + " exchanged"}, c.Details...)
		a.Unless = []string{"more inside hosts calling it", "less than " + cfg.MinBytes.String() + " in the hour", "only one rare thing about it"}
		kind := "sni"
		if _, err := netip.ParseAddr(c.Victim); err == nil {
			kind = "victim"
		}
		return c.raise(a, severity, 0.5, c.Actor+" exchanges "+detect.Size(float64(c.Bytes))+" with "+c.Victim+", which is new and rare", "actor", c.Actor, kind, c.Victim)
	})
}
