package enrich

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// The example of the README is one.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	dir := t.TempDir()
	example = strings.ReplaceAll(example, "/etc/tapwatch", dir)
	write(t, filepath.Join(dir, "feed.token"), []byte("sesame\n"))
	whole := struct {
		Enrich Config `conf:"enrich"`
	}{DefaultConfig()}
	path := filepath.Join(dir, "c.yaml")
	write(t, path, []byte(example))
	if err := config.Load(&whole, config.Source{File: path, Environ: []string{"INVENTORY_TOKEN=open"}}); err != nil {
		t.Fatal(err)
	}
	cfg := whole.Enrich
	if err := Check(cfg); err != nil {
		t.Error(err)
	}
	if len(cfg.Databases) != 2 || len(cfg.Threats) != 3 || cfg.Threats[1].Access.Token.Reveal() != "sesame" || cfg.Workloads[0].Access.Token.Reveal() != "open" {
		t.Errorf("%+v", cfg)
	}
	if standard := DefaultConfig(); cfg.Reload != standard.Reload || cfg.MaxTime != standard.MaxTime || cfg.MaxIndicators != standard.MaxIndicators || cfg.Interval != standard.Interval {
		t.Error("the example has other defaults")
	}
	metrics, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flows_total", "late_flows_total", "threat_flows_total", "panics_total", "loads_total", "entries", "broken", "refused_entries_total", "looks_total",
		"failures_total", "rewritten_partitions_total", "seconds"} {
		if !strings.Contains(string(metrics), `"`+name+`"`) || !strings.Contains(string(text), "`"+name) {
			t.Errorf("%s is not in both metrics.go and the README", name)
		}
	}
}

func TestCheck(t *testing.T) {
	good := DefaultConfig()
	for name, change := range map[string]func(*Config){
		"reload":                func(c *Config) { c.Reload = 0 },
		"max_time":              func(c *Config) { c.MaxTime = 0 },
		"interval":              func(c *Config) { c.Interval = -1 },
		"threats[0].name":       func(c *Config) { c.Threats = []ThreatList{{Location: "x"}} },
		"threats[1].name":       func(c *Config) { c.Threats = []ThreatList{{Name: "a", Location: "x"}, {Name: "a", Location: "y"}} },
		"threats[0].format":     func(c *Config) { c.Threats = []ThreatList{{Name: "a", Location: "x", Format: "xml"}} },
		"threats[0].confidence": func(c *Config) { c.Threats = []ThreatList{{Name: "a", Location: "x", Confidence: 101}} },
		"threats[0].access":     func(c *Config) { c.Threats = []ThreatList{{Name: "a", Location: "x", Access: Access{Token: "t"}}} },
		"workloads[0].location": func(c *Config) { c.Workloads = []Feed{{Name: "a"}} },
	} {
		cfg := good
		change(&cfg)
		if err := Check(cfg); err == nil || !strings.Contains(err.Error(), "enrich."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(good); err != nil {
		t.Error(err)
	}
}
