// Package catalogue has all detectors, by family.
package catalogue

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
)

// Config is what the detectors share, and the thresholds of each, by family.
type Config struct {
	Inside    []netip.Prefix   `conf:"inside" help:"own networks; default: private, unique local and link-local addresses"`
	Exempt    []netip.Prefix   `conf:"exempt" help:"sources that scan on purpose (scanners, monitors): never reported as scans"`
	Recon     recon.Config     `conf:"recon"`
	Access    access.Config    `conf:"access"`
	Flood     flood.Config     `conf:"flood"`
	Channel   channel.Config   `conf:"channel"`
	Egress    egress.Config    `conf:"egress"`
	Behaviour behaviour.Config `conf:"behaviour"`
	Content   content.Config   `conf:"content"`
	Novelty   novelty.Config   `conf:"novelty"`
	Threshold threshold.Config `conf:"threshold"`
}

// DefaultConfig returns the published thresholds; see the Info of each detector.
func DefaultConfig() Config {
	return Config{
		Inside: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
			netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
		},
		Recon:     recon.DefaultConfig(),
		Access:    access.DefaultConfig(),
		Flood:     flood.DefaultConfig(),
		Channel:   channel.DefaultConfig(),
		Egress:    egress.DefaultConfig(),
		Behaviour: behaviour.DefaultConfig(),
		Content:   content.DefaultConfig(),
		Novelty:   novelty.DefaultConfig(),
		Threshold: threshold.DefaultConfig(),
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	if len(c.Inside) == 0 {
		return errors.New("detect.inside: at least one network is needed")
	}
	for _, f := range []struct {
		name  string
		check func() error
	}{
		{"recon", c.Recon.Check},
		{"access", c.Access.Check},
		{"flood", c.Flood.Check},
		{"channel", c.Channel.Check},
		{"egress", c.Egress.Check},
		{"behaviour", c.Behaviour.Check},
		{"content", c.Content.Check},
		{"novelty", c.Novelty.Check},
		{"threshold", c.Threshold.Check},
	} {
		if err := f.check(); err != nil {
			return fmt.Errorf("detect.%s.%w", f.name, err)
		}
	}
	return nil
}

// Own is what the detectors share.
func (c Config) Own() detect.Own { return detect.Own{Inside: c.Inside, Exempt: c.Exempt} }

// All returns every detector, the quick families first: in a backlog they are
// heard first.
func All(c Config) []detect.Detector {
	own := c.Own()
	return slices.Concat(
		recon.All(own, c.Recon),
		access.All(own, c.Access),
		flood.All(own, c.Flood),
		behaviour.All(own, c.Behaviour),
		content.All(own, c.Content),
		novelty.All(own, c.Novelty),
		threshold.All(own, c.Threshold),
		egress.All(own, c.Egress),
		channel.All(own, c.Channel),
	)
}
