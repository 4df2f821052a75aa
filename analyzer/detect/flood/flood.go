// Package flood has the detectors of denial of service.
package flood

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// What is too much for any host, whatever it is used to: the defaults of
// FastNetMon.
const (
	ceilingPackets = 20_000 // a second
	ceilingBits    = 1e9    // a second
	ceilingFlows   = 3_500  // a second
)

// Config are the thresholds of the detectors here.
type Config struct {
	SynFlood      SynFloodConfig      `conf:"syn_flood"`
	Amplification AmplificationConfig `conf:"amplification"`
	PacketFlood   PacketFloodConfig   `conf:"packet_flood"`
	HTTPFlood     HTTPFloodConfig     `conf:"http_flood"`
	SlowHTTP      SlowHTTPConfig      `conf:"slow_http"`
	DHCPFlood     DHCPFloodConfig     `conf:"dhcp_flood"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		SynFlood:      SynFloodConfig{MinRate: 200, MinRateSingle: 10, MaxCompletion: 0.2},
		Amplification: AmplificationConfig{MinRate: 10, MinBytes: 400, MinReflectors: 3, SmallRate: 1000, SmallReflectors: 20, Ports: amplifierPorts()},
		PacketFlood: PacketFloodConfig{MinRate: 150, MinUDPRate: 1000, MaxPackets: 3, Crowd: 100,
			CeilingPackets: ceilingPackets, CeilingBits: ceilingBits, CeilingFlows: ceilingFlows},
		HTTPFlood: HTTPFloodConfig{MinRate: 50, HardRate: 5},
		SlowHTTP:  SlowHTTPConfig{MinConnections: 100, MinDuration: 5 * time.Minute, MaxRate: 1000},
		DHCPFlood: DHCPFloodConfig{MinRate: 10},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckShares(map[string]float64{"syn_flood.max_completion": c.SynFlood.MaxCompletion}),
		detect.CheckPositive(map[string]float64{"syn_flood.min_rate": c.SynFlood.MinRate, "syn_flood.min_rate_single": c.SynFlood.MinRateSingle,
			"amplification.min_rate": c.Amplification.MinRate, "amplification.small_rate": c.Amplification.SmallRate,
			"packet_flood.min_rate": c.PacketFlood.MinRate, "packet_flood.min_udp_rate": c.PacketFlood.MinUDPRate, "packet_flood.max_packets": c.PacketFlood.MaxPackets,
			"packet_flood.ceiling_packets": c.PacketFlood.CeilingPackets, "packet_flood.ceiling_bits": c.PacketFlood.CeilingBits, "packet_flood.ceiling_flows": c.PacketFlood.CeilingFlows,
			"dhcp_flood.min_rate": c.DHCPFlood.MinRate, "http_flood.min_rate": c.HTTPFlood.MinRate, "http_flood.hard_rate": c.HTTPFlood.HardRate, "slow_http.max_rate": c.SlowHTTP.MaxRate, "slow_http.min_duration": float64(c.SlowHTTP.MinDuration)}),
		detect.CheckCounts(1, map[string]int{"amplification.min_reflectors": c.Amplification.MinReflectors, "amplification.small_reflectors": c.Amplification.SmallReflectors,
			"slow_http.min_connections": c.SlowHTTP.MinConnections}),
		checkPorts("amplification.ports", c.Amplification.Ports),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newSynFlood(own, c.SynFlood), newAmplification(own, c.Amplification), newPacketFlood(own, c.PacketFlood, c.Amplification.Ports),
		newHTTPFlood(own, c.HTTPFlood), newSlowHTTP(own, c.SlowHTTP), newDHCPFlood(own, c.DHCPFlood)}
}

// checkPorts says which of the ports is none.
func checkPorts(name string, list []int) error {
	for _, p := range list {
		if p < 1 || p > 65535 {
			return fmt.Errorf("%s: %d is no port", name, p)
		}
	}
	return nil
}
