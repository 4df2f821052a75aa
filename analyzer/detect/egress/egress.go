// Package egress has the detectors of data that leaves.
package egress

import (
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Exfiltration ExfiltrationConfig `conf:"exfiltration"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Exfiltration: ExfiltrationConfig{MinBytes: 50_000_000, MinBytesAny: 500_000_000, MinRatio: 3, MinZ: 4, HistoryDays: 28},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return detect.CheckPositive(map[string]float64{"exfiltration.min_ratio": c.Exfiltration.MinRatio, "exfiltration.history_days": float64(c.Exfiltration.HistoryDays)})
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newExfiltration(own, c.Exfiltration)}
}
