// Package layout holds the rules of the tree as tests: which module may import
// which, and what may stand at the top. It has no code of its own.
package layout

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const root = "github.com/tapwatch/tapwatch/"

// allowed says which modules a module may import, besides itself.
var allowed = map[string][]string{
	"proto":     nil,
	"probe":     {"proto"},
	"collector": {"proto"},
	"analyzer":  {"proto"},
	"deploy":    {"proto", "probe", "collector", "analyzer"},
}

// imports lists "package import" pairs of our own packages in a module, those
// of its tests included.
func imports(t *testing.T, module string) [][2]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}{{range .TestImports}}{{$p}}.test {{.}}{{"\n"}}{{end}}{{range .XTestImports}}{{$p}}.test {{.}}{{"\n"}}{{end}}`, "./...")
	cmd.Dir = "../../" + module
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", module, err)
	}
	var pairs [][2]string
	for line := range strings.Lines(string(out)) {
		if from, to, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(to, root) {
			pairs = append(pairs, [2]string{strings.TrimPrefix(from, root), strings.TrimPrefix(to, root)})
		}
	}
	return pairs
}

func TestImportDirection(t *testing.T) {
	for module, may := range allowed {
		for _, p := range imports(t, module) {
			from, to := p[0], p[1]
			target, _, deep := strings.Cut(to, "/")
			switch {
			case target == module:
			case !slices.Contains(may, target):
				t.Errorf("%s imports %s: %s may import only %v", from, to, module, may)
			case module == "deploy" && target != "proto" && deep:
				t.Errorf("%s imports %s: deploy may import only the root package of a service", from, to)
			}
			if strings.HasPrefix(to, "proto/local") && module != "deploy" && module != "proto" && !strings.HasSuffix(from, "test") { // x.test, and packages for tests
				t.Errorf("%s imports %s: production binaries do not link the embedded servers", from, to)
			}
			if module == "proto" && strings.HasPrefix(to, "proto/local") && !strings.HasPrefix(from, "proto/local") && !strings.HasSuffix(from, ".test") {
				t.Errorf("%s imports %s: only tests may", from, to)
			}
		}
	}
}

// The binaries of production do not link the embedded servers.
func TestProductionLinksNoServers(t *testing.T) {
	for _, module := range []string{"probe", "collector", "analyzer"} {
		cmd := exec.Command("go", "list", "-deps", "./cmd/...")
		cmd.Dir = "../../" + module
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list in %s: %v", module, err)
		}
		for line := range strings.Lines(string(out)) {
			if p := strings.TrimSpace(line); strings.HasPrefix(p, root+"proto/local") || strings.HasPrefix(p, "github.com/twmb/franz-go") {
				t.Errorf("%s links %s", module, p)
			}
		}
	}
}

// Nothing but the known entries stands at the top of the tree.
func TestTopLevel(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	known := []string{"probe", "collector", "analyzer", "proto", "deploy", "docker-compose.yml", "go.work", "go.work.sum",
		"Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
	for line := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(strings.TrimSpace(line), "/")
		if !slices.Contains(known, top) && !strings.HasPrefix(top, ".") {
			t.Errorf("%s stands at the top of the tree", top)
		}
	}
}

// Packages are not drawers.
func TestNoDrawers(t *testing.T) {
	for module := range allowed {
		cmd := exec.Command("go", "list", "./...")
		cmd.Dir = "../../" + module
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list in %s: %v", module, err)
		}
		for line := range strings.Lines(string(out)) {
			for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(line), root), "/") {
				if slices.Contains([]string{"internal", "pkg", "utils", "util", "common", "helpers", "misc"}, part) {
					t.Errorf("%s: %q says nothing", strings.TrimSpace(line), part)
				}
			}
		}
	}
}
