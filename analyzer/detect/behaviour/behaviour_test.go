package behaviour_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/behaviour"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

// TestScenarios runs each detector over its own scenarios, because each hour of a
// scenario has to be built into rollups and judged; with less to learn than by
// default, for the same reason.
func TestScenarios(t *testing.T) {
	c := behaviour.DefaultConfig()
	c.LinkForecast.WarmUpDays, c.AppForecast.WarmUpDays = 4, 4
	c.Drift.MinValues = 50
	c.LinkCapacity.Links = []string{"p7=800k"}
	localtest.Database(t, "scenarios") // looks for ClickHouse from here, before the directory changes
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range behaviour.All(detecttest.Own(), c) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "testdata"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{d.Info().Name + ".txtar", d.Info().Name + "_negative.txtar"} {
			if err := os.Symlink(filepath.Join(here, "testdata", name), filepath.Join(dir, "testdata", name)); err != nil {
				t.Fatal(err)
			}
		}
		t.Chdir(dir)
		detecttest.Scenarios(t, []detect.Detector{d})
	}
	t.Chdir(here)
}

func TestReadme(t *testing.T) {
	c := behaviour.DefaultConfig()
	c.LinkCapacity.Links = []string{"edge1=10G"}
	detecttest.Readme(t, behaviour.All(detecttest.Own(), c))
}

func TestConfig(t *testing.T) {
	if err := behaviour.DefaultConfig().Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*behaviour.Config){
		"no threshold":          func(c *behaviour.Config) { c.HostBehaviour.MinZ = 0 },
		"a short memory":        func(c *behaviour.Config) { c.UserBehaviour.KnownDays = 7 },
		"several of one":        func(c *behaviour.Config) { c.UserBehaviour.Several = 1 },
		"no warm-up":            func(c *behaviour.Config) { c.HostBehaviour.WarmUpDays = 0 },
		"a model that is none":  func(c *behaviour.Config) { c.HostBehaviour.Model = "behaviour.go" },
		"a band of all":         func(c *behaviour.Config) { c.AppForecast.Coverage = 1 },
		"a link without a name": func(c *behaviour.Config) { c.LinkCapacity.Links = []string{"=10G"} },
		"no capacity":           func(c *behaviour.Config) { c.LinkCapacity.Links = []string{"edge1=G"} },
		"a negative capacity":   func(c *behaviour.Config) { c.LinkCapacity.Links = []string{"edge1=-1G"} },
		"a share of two":        func(c *behaviour.Config) { c.Drift.MinEffect = 2 },
	} {
		c := behaviour.DefaultConfig()
		spoil(&c)
		if err := c.Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if n := len(behaviour.All(detecttest.Own(), behaviour.DefaultConfig())); n != 5 {
		t.Errorf("%d detectors without capacities", n)
	}
}
