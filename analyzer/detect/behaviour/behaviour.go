// Package behaviour has the detectors that compare hosts, links and applications
// with their own past.
package behaviour

import (
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	VolumeAnomaly VolumeAnomalyConfig `conf:"volume_anomaly"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		VolumeAnomaly: VolumeAnomalyConfig{MinBytes: 10_000_000, MinZ: 6, HistoryDays: 28},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return detect.CheckPositive(map[string]float64{"volume_anomaly.min_z": c.VolumeAnomaly.MinZ, "volume_anomaly.history_days": float64(c.VolumeAnomaly.HistoryDays)})
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newVolumeAnomaly(own, c.VolumeAnomaly)}
}
