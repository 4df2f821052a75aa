package egress_test

import (
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/egress"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector { return egress.All(detecttest.Own(), egress.DefaultConfig()) }

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) { detecttest.Readme(t, all()) }

// Every statement is one that ClickHouse takes, and says nothing of no flows.
func TestStatements(t *testing.T) {
	conn := localtest.Tables(t)
	for _, d := range all() {
		start := time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC)
		w := detect.Window{Start: start, End: start.Add(d.Info().Length)}
		r, err := d.Detect(t.Context(), conn, w)
		if err != nil || len(r.Alerts) > 0 {
			t.Errorf("%s: %v, %v", d.Info().Name, r.Alerts, err)
		}
		if f, ok := d.(detect.Finder); ok {
			if list, err := f.Windows(t.Context(), conn, w); err != nil || len(list) > 0 {
				t.Errorf("windows of %s: %v, %v", d.Info().Name, list, err)
			}
		}
	}
}
