package novelty_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/detect/novelty"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

// rules are those of the scenarios policy and policy_negative.
func rules() []novelty.Rule {
	return []novelty.Rule{
		{Name: "no-rdp-to-plant", Action: "deny", From: []string{"10.9.0.0/16"}, To: []string{"network:plant", "10.8.0.0/16"}, Ports: []string{"3389"}},
		{Name: "plant-only-modbus", Action: "allow", From: []string{"role:hmi"}, To: []string{"10.8.0.0/16"}, Apps: []string{"modbus"}, Severity: "high"},
		{Name: "no-ssh-at-night", Action: "deny", From: []string{"inside"}, To: []string{"10.9.1.0/24"}, Ports: []string{"22"}, Hours: "20:00-06:00", Zone: "Europe/Berlin"},
	}
}

func all() []detect.Detector {
	c := novelty.DefaultConfig()
	c.Policy = rules()
	return novelty.All(detecttest.Own(), c)
}

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

func TestRules(t *testing.T) {
	good := rules()[0]
	for name, change := range map[string]func(*novelty.Rule){
		"":                   func(*novelty.Rule) {},
		"action":             func(r *novelty.Rule) { r.Action = "block" },
		"from":               func(r *novelty.Rule) { r.From = []string{"10.0.0.0/40"} },
		"to":                 func(r *novelty.Rule) { r.To = []string{"role:"} },
		"ports":              func(r *novelty.Rule) { r.Ports = []string{"70000"} },
		"more than":          func(r *novelty.Rule) { r.Ports = []string{"1-65535"} },
		"hours":              func(r *novelty.Rule) { r.Hours = "8-17" },
		"weekdays":           func(r *novelty.Rule) { r.Weekdays = []string{"monday"} },
		"zone":               func(r *novelty.Rule) { r.Zone = "Mars/Base" },
		"severity":           func(r *novelty.Rule) { r.Severity = "grave" },
		"has no name":        func(r *novelty.Rule) { r.Name = "" },
		"it fits everything": func(r *novelty.Rule) { r.From, r.To, r.Ports = nil, nil, nil },
	} {
		c := novelty.DefaultConfig()
		r := good
		change(&r)
		c.Policy = []novelty.Rule{r}
		err := c.Check()
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	c := novelty.DefaultConfig()
	c.Policy = []novelty.Rule{good, good}
	if c.Check() == nil {
		t.Error("two rules of one name are taken")
	}
}
