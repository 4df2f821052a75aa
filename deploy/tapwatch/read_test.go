package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/deploy/demo"
	"github.com/tapwatch/tapwatch/proto/local"
)

func TestMain(m *testing.M) {
	local.RunChildIfAsked()
	os.Exit(m.Run())
}

func readJSON(t *testing.T, path string) (f findings) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Probe.Capture.Files = []string{path}
	var out bytes.Buffer
	err := read(t.Context(), cfg, "error", true, &out)
	if errors.Is(err, local.ErrNoClickHouse) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return f
}

// detectors of which one has to notice what labels.tsv calls by a family. An
// unusual hour that exfiltration explains is said by exfiltration alone.
var detectors = map[string][]string{"scan": {"portscan_vertical"}, "sweep": {"portscan_horizontal"}, "flood": {"syn_flood"},
	"beacon": {"beacon"}, "exfiltration": {"exfiltration"}, "volume": {"host_behaviour", "exfiltration"}}

// Each recorded attack is noticed with its actor or victim and within its time,
// and nothing else is said above low but the case that joins two of them: the
// backup and the polls stay quiet.
func TestReadFindsTheRecordedAttacks(t *testing.T) {
	f := readJSON(t, "../demo/captures")
	if f.Packets != 142903 || f.PacketsInFlows+f.Lost["non_ip"] != f.Packets || f.FlowFrameBytes+f.LostFrameBytes["non_ip"] != f.FrameBytes || f.StoredRows < f.Flows {
		t.Errorf("account: %+v", f)
	}
	labels, err := demo.ReadLabels("../demo/captures/labels.tsv")
	if err != nil {
		t.Fatal(err)
	}
	noticed := make([]bool, len(f.Alerts))
	for _, l := range labels {
		if l.Family == "benign" {
			continue
		}
		i := slices.IndexFunc(f.Alerts, func(a finding) bool {
			who := strings.Join(a.Entities, " ")
			host := l.Victim
			if l.Actor.IsValid() {
				host = l.Actor.String()
			}
			return slices.Contains(detectors[l.Family], a.Detector) && strings.Contains(who, "="+host) && !a.Start.After(l.End) && !a.End.Before(l.Start)
		})
		if i < 0 {
			t.Errorf("nobody noticed %+v", l)
			continue
		}
		noticed[i] = true
	}
	for i, a := range f.Alerts {
		if !noticed[i] && a.Detector != "case" && a.Severity != "low" && a.Severity != "info" {
			t.Errorf("nothing was planted for %+v", a)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no capture at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, filepath.Join(t.TempDir(), "none")} {
		cfg := DefaultConfig()
		cfg.Probe.Capture.Files = []string{path}
		if err := read(t.Context(), cfg, "error", false, new(bytes.Buffer)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestStateIsLocked(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil {
		t.Error("a second instance was let in")
	}
	unlock()
	if unlock, err = lockState(dir); err != nil {
		t.Errorf("after the first has gone: %v", err)
	} else {
		unlock()
	}
}

func TestPlain(t *testing.T) {
	if got := plain("a\x1b[31mb\nc\u202ed"); got != "a\uFFFD[31mb\uFFFDc\uFFFDd" {
		t.Errorf("%q", got)
	}
}
