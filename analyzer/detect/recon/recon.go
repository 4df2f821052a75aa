// Package recon has the detectors of those who look around: scans of ports and
// hosts, from inside and outside.
package recon

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	PortscanVertical   PortscanVerticalConfig   `conf:"portscan_vertical"`
	PortscanHorizontal PortscanHorizontalConfig `conf:"portscan_horizontal"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		PortscanVertical:   PortscanVerticalConfig{MinPorts: 10, MinShare: 0.5},
		PortscanHorizontal: PortscanHorizontalConfig{MinHosts: 15, MinHostsOutside: 25, MinShare: 0.5},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckCounts(2, map[string]int{"portscan_vertical.min_ports": c.PortscanVertical.MinPorts,
			"portscan_horizontal.min_hosts": c.PortscanHorizontal.MinHosts, "portscan_horizontal.min_hosts_outside": c.PortscanHorizontal.MinHostsOutside}),
		detect.CheckShares(map[string]float64{"portscan_vertical.min_share": c.PortscanVertical.MinShare,
			"portscan_horizontal.min_share": c.PortscanHorizontal.MinShare}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newPortscanVertical(own, c.PortscanVertical), newPortscanHorizontal(own, c.PortscanHorizontal)}
}
