package detecttest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

var update = flag.Bool("update", false, "write README.md anew")

// Readme holds the page about detectors to what they say of themselves, and each
// of them to a scenario of its own and a negative twin.
func Readme(t *testing.T, detectors []detect.Detector) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Detectors\n\nMade by `go test -run Readme -update .` from what each detector says of itself.\n")
	for _, d := range detectors {
		i := d.Info()
		fmt.Fprintf(&b, "\n## %s\n`%s`, version %d; ATT&CK %s; windows of %v, every %v.\n\n%s\n", i.Title, i.Name, i.Version, strings.Join(i.Techniques, ", "), i.Length, i.Step, i.Doc)
		if len(i.Controls) > 0 {
			b.WriteString("\nIt is quiet about:\n")
			for _, c := range i.Controls {
				fmt.Fprintf(&b, "- %s\n", c)
			}
		}
		if len(i.Parameters) > 0 {
			b.WriteString("\n| parameter | default | |\n| --- | --- | --- |\n")
			for _, p := range i.Parameters {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, p.Value, p.Doc)
			}
		}
		for _, file := range []string{i.Name + ".txtar", i.Name + "_negative.txtar"} {
			if _, err := os.Stat("testdata/" + file); err != nil {
				t.Errorf("detector %s has no scenario: %v", i.Name, err)
			}
		}
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("README.md")
	if err != nil || string(got) != b.String() {
		t.Errorf("README.md is not what the detectors say (%v): run go test -run Readme -update .", err)
	}
}
