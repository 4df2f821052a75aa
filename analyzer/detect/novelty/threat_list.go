package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/kit"
)

//go:embed threat_list.sql
var threatListSQL string

//go:embed threat_list_windows.sql
var threatListWindowsSQL string

// ThreatListConfig are the thresholds of threat_list.
type ThreatListConfig struct {
	RaiseBytes kit.Bytes `conf:"raise_bytes" help:"octets from which a hit is high"`
}

// newThreatList looks for: contact with what is on a threat list.
func newThreatList(own detect.Own, cfg ThreatListConfig) detect.Detector {
	info := detect.Info{
		Name: "threat_list", Version: 1, Title: "Contact with what is on a threat list", Techniques: []string{"T1071"},
		Doc: `An inside host talks to an address, name or fingerprint that is on a threat list (column threats of flows), or answers one that calls it. Medium; high from raise_bytes, or when several lists
have it and it answered; low when only its name was asked for, nothing was answered, or the list is not sure (below 50 of 100). The magnitude is the octets. How old the list is stands in the reasons.`,
		Controls: []string{
			"outside hosts on lists that knock and get no answer",
			"networks of the role scanner",
			"lists that say of themselves that they are not sure: low",
		},
		Parameters: []detect.Parameter{
			{Name: "raise_bytes", Value: cfg.RaiseBytes.String(), Doc: "RITA raises by data size; 25 MB is the threshold of its score"},
		},
	}
	return plain(own, info, threatListSQL, threatListWindowsSQL, nil, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.Medium
		switch {
		case c.Hosts == 0 || c.Learning:
			severity = alert.Low
		case c.Bytes >= uint64(cfg.RaiseBytes) || c.Rarity >= 1:
			severity = alert.High
		}
		a.Reasons = append([]string{detect.Size(float64(c.Bytes)) + " exchanged, high from " + cfg.RaiseBytes.String()}, c.Details...)
		a.Unless = []string{"the indicator had not been on the list at the time, or had expired", "for calls from outside: no answer"}
		what := " met "
		if c.Value == "in" {
			what = " answered "
		}
		return c.raise(a, severity, 0.7, c.Actor+what+c.Victim+", which is on a threat list", "actor", c.Actor, "indicator", c.Victim)
	})
}
