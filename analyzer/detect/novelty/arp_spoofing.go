package novelty

import (
	_ "embed"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed arp_spoofing.sql
var arpSpoofingSQL string

//go:embed arp_spoofing_windows.sql
var arpSpoofingWindowsSQL string

// ArpSpoofingConfig are the thresholds of arp_spoofing.
type ArpSpoofingConfig struct {
	MinAnswers int `conf:"min_answers" help:"answers of ARP that nobody asked for, in 10 minutes"`
}

// newArpSpoofing looks for: a card claims addresses of others.
func newArpSpoofing(own detect.Own, cfg ArpSpoofingConfig) detect.Detector {
	info := detect.Info{
		Name: "arp_spoofing", Version: 1, Title: "A card claims addresses of others", Techniques: []string{"T1557.002"},
		Length: 10 * time.Minute, Step: 10 * time.Minute,
		Doc: `A network card answers ARP without being asked and claims two or more addresses to two or more hosts, or one that another card uses too. High when it tells two hosts that it is the other, or
an address is in dispute; else medium. The magnitude is the number of addresses claimed.`,
		Controls: []string{
			"virtual addresses of VRRP and HSRP",
			"announcements of the own address",
			"networks of the roles gateway, proxy and nat",
			"answers to questions that were seen, as long as they are the greater part",
		},
		Parameters: []detect.Parameter{
			{Name: "min_answers", Value: detect.Number(cfg.MinAnswers), Doc: "a host that comes up announces itself 3 times (RFC 5227)"},
		},
	}
	return plain(own, info, arpSpoofingSQL, arpSpoofingWindowsSQL, detect.Params{"min_answers": detect.Number(cfg.MinAnswers)}, nil, func(a *alert.Alert, c *finding) detect.Verdict {
		severity := alert.High
		if c.Learning {
			severity = alert.Medium
		}
		a.Reasons = c.Details
		a.Unless = []string{"fewer than " + detect.Number(cfg.MinAnswers) + " answers without a question in 10 minutes", "only its own address", "the role gateway, proxy or nat"}
		return c.raise(a, severity, 0.8, "Card "+c.Actor+" claims addresses of others", "actor", c.Actor)
	})
}
