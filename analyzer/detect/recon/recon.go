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
	PortscanSlow       PortscanSlowConfig       `conf:"portscan_slow"`
	PortProbe          PortProbeConfig          `conf:"port_probe"`
	StealthScan        StealthScanConfig        `conf:"stealth_scan"`
	HostDiscovery      HostDiscoveryConfig      `conf:"host_discovery"`
	Worm               WormConfig               `conf:"worm"`
	ScanDigest         ScanDigestConfig         `conf:"scan_digest"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		PortscanVertical:   PortscanVerticalConfig{MinPorts: 10, MinShare: 0.5, Extreme: 100},
		PortscanHorizontal: PortscanHorizontalConfig{MinHosts: 15, MinHostsOutside: 25, MinShare: 0.5, MinHostsLow: 10, MinShareLow: 0.35, Extreme: 250},
		PortscanSlow:       PortscanSlowConfig{MinTargets: 15, MediumFrom: 30},
		PortProbe:          PortProbeConfig{MinPorts: 4, MinShare: 0.75},
		StealthScan:        StealthScanConfig{MinHosts: 6},
		HostDiscovery:      HostDiscoveryConfig{MinMinute: 5, MinHosts: 32, Many: 128, MinShare: 0.3},
		Worm:               WormConfig{MinHosts: 10, MinShare: 0.5},
		ScanDigest:         ScanDigestConfig{MinTargets: 15},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckCounts(2, map[string]int{
			"portscan_vertical.min_ports": c.PortscanVertical.MinPorts, "portscan_vertical.extreme": c.PortscanVertical.Extreme,
			"portscan_horizontal.min_hosts": c.PortscanHorizontal.MinHosts, "portscan_horizontal.min_hosts_outside": c.PortscanHorizontal.MinHostsOutside,
			"portscan_horizontal.min_hosts_low": c.PortscanHorizontal.MinHostsLow, "portscan_horizontal.extreme": c.PortscanHorizontal.Extreme,
			"portscan_slow.min_targets": c.PortscanSlow.MinTargets, "portscan_slow.medium_from": c.PortscanSlow.MediumFrom,
			"port_probe.min_ports": c.PortProbe.MinPorts, "stealth_scan.min_hosts": c.StealthScan.MinHosts,
			"host_discovery.min_minute": c.HostDiscovery.MinMinute, "host_discovery.min_hosts": c.HostDiscovery.MinHosts, "host_discovery.many": c.HostDiscovery.Many,
			"worm.min_hosts": c.Worm.MinHosts, "scan_digest.min_targets": c.ScanDigest.MinTargets}),
		detect.CheckShares(map[string]float64{
			"portscan_vertical.min_share": c.PortscanVertical.MinShare, "portscan_horizontal.min_share": c.PortscanHorizontal.MinShare, "portscan_horizontal.min_share_low": c.PortscanHorizontal.MinShareLow,
			"port_probe.min_share": c.PortProbe.MinShare, "host_discovery.min_share": c.HostDiscovery.MinShare, "worm.min_share": c.Worm.MinShare}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	ports, hosts := c.PortscanVertical.MinPorts, c.PortscanHorizontal.MinHostsLow
	return []detect.Detector{
		newPortscanVertical(own, c.PortscanVertical),
		newPortscanHorizontal(own, c.PortscanHorizontal),
		newHostDiscovery(own, c.HostDiscovery),
		newPortProbe(own, c.PortProbe, ports),
		newWorm(own, c.Worm),
		newStealthScan(own, c.StealthScan, hosts, ports),
		newPortscanSlow(own, c.PortscanSlow, ports),
		newScanDigest(own, c.ScanDigest, ports, c.PortscanHorizontal.MinHostsOutside),
	}
}
