package threshold_test

import (
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/threshold"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

// all has limits besides the defaults, which have none.
func all() []detect.Detector {
	c := threshold.DefaultConfig()
	c.Limits = []threshold.Limit{
		{Name: "upload", Of: "host", Value: "10.0.0.5", Direction: "out", Bytes: 100_000, Duration: 5 * time.Minute},
		{Name: "below", Of: "host", Value: "10.0.0.6", Direction: "out", Bytes: 100_000, Duration: 5 * time.Minute},
		{Name: "lab", Of: "network", Value: "10.9.0.0/16", Direction: "both", Packets: 1000, Duration: 5 * time.Minute, Severity: "high"},
		{Name: "logins", Of: "port", Value: "22", Flows: 1, Duration: 5 * time.Minute, Severity: "low"},
		{Name: "video", Of: "application", Value: "rtp", Direction: "in", Bytes: 1_000_000, Duration: 5 * time.Minute},
		{Name: "uplink", Of: "interface", Value: "eth9", Direction: "in", Bytes: 1_000_000, Duration: 5 * time.Minute},
		{Name: "any host", Of: "host", Direction: "in", Bytes: 2_000_000, Duration: 5 * time.Minute},
	}
	return threshold.All(detecttest.Own(), c)
}

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }
