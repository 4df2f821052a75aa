// Package egress has the detectors of data that leaves: by volume in an hour, a
// day or two weeks, by content, and by attempts that nobody answers.
package egress

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Exfiltration     ExfiltrationConfig     `conf:"exfiltration"`
	SlowExfiltration SlowExfiltrationConfig `conf:"slow_exfiltration"`
	FileUpload       FileUploadConfig       `conf:"file_upload"`
	RefusedUpload    RefusedUploadConfig    `conf:"refused_upload"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Exfiltration:     ExfiltrationConfig{MinBytes: 50_000_000, MinBytesAny: 500_000_000, MinBytesOdd: 5_000_000, MinRatio: 3, MinZ: 4, HistoryDays: 28},
		SlowExfiltration: SlowExfiltrationConfig{MinBytes: 100_000_000, MaxDayBytes: 50_000_000, Slack: 0.5, Threshold: 5, MinRatio: 3, NewDays: 14},
		FileUpload:       FileUploadConfig{HistoryDays: 30, GraceDays: 7},
		RefusedUpload:    RefusedUploadConfig{MinAttempts: 30, MaxAnswered: 0.1, HistoryDays: 30},
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckPositive(map[string]float64{
			"exfiltration.min_ratio": c.Exfiltration.MinRatio, "exfiltration.history_days": float64(c.Exfiltration.HistoryDays),
			"exfiltration.min_bytes": float64(c.Exfiltration.MinBytes), "exfiltration.min_bytes_odd": float64(c.Exfiltration.MinBytesOdd),
			"slow_exfiltration.min_bytes": float64(c.SlowExfiltration.MinBytes), "slow_exfiltration.threshold": c.SlowExfiltration.Threshold}),
		detect.CheckCounts(2, map[string]int{"slow_exfiltration.new_days": c.SlowExfiltration.NewDays, "refused_upload.min_attempts": c.RefusedUpload.MinAttempts}),
		detect.CheckCounts(1, map[string]int{"file_upload.history_days": c.FileUpload.HistoryDays, "refused_upload.history_days": c.RefusedUpload.HistoryDays}),
		detect.CheckShares(map[string]float64{"refused_upload.max_answered": c.RefusedUpload.MaxAnswered}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{
		newRefusedUpload(own, c.RefusedUpload),
		newFileUpload(own, c.FileUpload),
		newExfiltration(own, c.Exfiltration),
		newExfiltrationDay(own, c.Exfiltration),
		newSlowExfiltration(own, c.SlowExfiltration),
	}
}
