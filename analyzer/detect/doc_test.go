package detect_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

var update = flag.Bool("update", false, "write README.md anew")

// The page about the detectors is made of what the detectors say of themselves.
func TestReadme(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Detectors\n\nMade by `go test ./detect -run Readme -update` from what each detector says of itself.\n")
	for _, d := range detect.All(detect.DefaultConfig()) {
		i := d.Info()
		fmt.Fprintf(&b, "\n## %s\n`%s`, version %d; ATT&CK %s; windows of %v, every %v.\n\n%s\n", i.Title, i.Name, i.Version, strings.Join(i.Techniques, ", "), i.Length, i.Step, i.Doc)
		if len(i.Parameters) > 0 {
			b.WriteString("\n| parameter | default | |\n| --- | --- | --- |\n")
			for _, p := range i.Parameters {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, p.Value, p.Doc)
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
		t.Errorf("README.md is not what the detectors say (%v): run go test ./detect -run Readme -update", err)
	}
}
