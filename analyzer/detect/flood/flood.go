// Package flood has the detectors of denial of service.
package flood

import (
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	SynFlood SynFloodConfig `conf:"syn_flood"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		SynFlood: SynFloodConfig{MinRate: 200, MinRateSingle: 10, MaxCompletion: 0.2},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return detect.CheckShares(map[string]float64{"syn_flood.max_completion": c.SynFlood.MaxCompletion})
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newSynFlood(own, c.SynFlood)}
}
