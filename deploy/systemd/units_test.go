// Package systemd holds the units of the services. It has no code of its own.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unit reads the settings of a unit, section before key.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	settings, section := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("%s: %q is no setting", name, line)
		}
		settings[section+"."+key] = append(settings[section+"."+key], value)
	}
	return settings
}

func TestUnits(t *testing.T) {
	for _, program := range []string{"probe", "collector", "analyzer"} {
		t.Run(program, func(t *testing.T) {
			s := unit(t, "tapwatch-"+program+".service")
			capabilities := ""
			if program == "probe" {
				capabilities = "CAP_NET_RAW CAP_NET_ADMIN CAP_BPF CAP_PERFMON"
			}
			for key, want := range map[string]string{
				"Service.ExecStart":                "/usr/local/bin/" + program + " --config /etc/tapwatch/" + program + ".yaml",
				"Service.Restart":                  "always",
				"Service.RestartPreventExitStatus": "2",
				"Service.DynamicUser":              "yes",
				"Service.CapabilityBoundingSet":    capabilities,
				"Service.NoNewPrivileges":          "yes",
				"Service.ProtectSystem":            "strict",
				"Install.WantedBy":                 "multi-user.target",
			} {
				if !slices.Equal(s[key], []string{want}) {
					t.Errorf("%s (-got +want)\n- %q\n+ %q", key, s[key], want)
				}
			}
			if _, err := os.Stat(filepath.Join("../..", program, "cmd", program)); err != nil {
				t.Errorf("the program: %v", err)
			}
		})
	}
}

// systemd itself has nothing to say about the units: no unknown setting, no
// value that it would ignore.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("units %v, %v", units, err)
	}
	dir := t.TempDir()
	var copies []string
	for _, name := range units {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// The programs are not installed where the test runs.
		text = []byte(strings.ReplaceAll(string(text), "ExecStart=/usr/local/bin/", "ExecStart=/bin/true /usr/local/bin/"))
		copies = append(copies, filepath.Join(dir, name))
		if err := os.WriteFile(copies[len(copies)-1], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, copies...)...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.Contains(line, "tapwatch-") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if err != nil && !t.Failed() {
		t.Skipf("systemd-analyze cannot work here: %v: %s", err, out)
	}
}
