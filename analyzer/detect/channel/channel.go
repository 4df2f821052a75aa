// Package channel has the detectors of hidden ways out and in: calls home, tunnels,
// connections that never end.
package channel

import (
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Beacon BeaconConfig `conf:"beacon"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Beacon: BeaconConfig{MinScore: 0.5, MinGap: 10, MinConnections: 12, MinConcentration: 0.6},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return detect.CheckShares(map[string]float64{"beacon.min_score": c.Beacon.MinScore, "beacon.min_concentration": c.Beacon.MinConcentration})
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newBeacon(own, c.Beacon)}
}
