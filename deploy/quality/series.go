package quality

import (
	"context"
	"os/exec"
	"strings"
)

// seriesFigures are what the tests of the streaming detector and of the forecast
// say of themselves: the last line that holds a word. They are measured where they
// are, in the analyzer; dir is its folder.
func seriesFigures(ctx context.Context, dir, tests, pkg, word string) string {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", tests, pkg)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, word) {
			if _, said, ok := strings.Cut(line, "_test.go:"); ok {
				_, line, _ = strings.Cut(said, ": ")
			}
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
	}
	switch {
	case len(found) == 0 && err != nil:
		return "not measured: " + err.Error()
	case len(found) == 0:
		return "not measured"
	case err != nil:
		return found[len(found)-1] + " (below its floor)"
	}
	return found[len(found)-1]
}
