package analyzer

import (
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/access"
	"github.com/tapwatch/tapwatch/analyzer/detect/behaviour"
	"github.com/tapwatch/tapwatch/analyzer/detect/channel"
	"github.com/tapwatch/tapwatch/analyzer/detect/content"
	"github.com/tapwatch/tapwatch/analyzer/detect/egress"
	"github.com/tapwatch/tapwatch/analyzer/detect/flood"
	"github.com/tapwatch/tapwatch/analyzer/detect/novelty"
	"github.com/tapwatch/tapwatch/analyzer/detect/recon"
	"github.com/tapwatch/tapwatch/analyzer/detect/threshold"
	"github.com/tapwatch/tapwatch/analyzer/incident"
	"github.com/tapwatch/tapwatch/analyzer/report"
)

// Reports returns what makes the reports of cfg on conn, which stays the caller's.
func Reports(cfg Config, conn driver.Conn) (*report.Maker, error) {
	c := cfg.Report
	// Capacities of reports count where both name a link: the last one does.
	c.Links = slices.Concat(cfg.Detect.Behaviour.LinkCapacity.Links, c.Links)
	return report.NewMaker(c, conn, cfg.Detect.Inside, families(cfg))
}

// families are those of the detectors by name, as the catalogue has them.
func families(cfg Config) map[string]string {
	own, d := cfg.Detect.Own(), cfg.Detect
	out := map[string]string{incident.CaseDetector: "cases"}
	for family, list := range map[string][]detect.Detector{
		"recon": recon.All(own, d.Recon), "access": access.All(own, d.Access), "flood": flood.All(own, d.Flood), "behaviour": behaviour.All(own, d.Behaviour),
		"novelty": novelty.All(own, d.Novelty), "threshold": threshold.All(own, d.Threshold), "egress": egress.All(own, d.Egress), "channel": channel.All(own, d.Channel), "content": content.All(own, d.Content),
	} {
		for _, x := range list {
			out[x.Info().Name] = family
		}
	}
	return out
}
