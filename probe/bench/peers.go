package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// peers runs the shared script, which times public flow meters and the probe
// on the same capture, once for each format in every run; the best of each
// program's runs counts.
func peers(ctx context.Context, o options, out io.Writer) error {
	script := filepath.Join(o.shared, "bench/peers.sh")
	if _, err := os.Stat(script); err != nil {
		fmt.Fprintf(out, "\nOther flow meters: %s is missing, so none was measured.\n", script)
		return nil
	}
	best := make(map[string]float64)
	var order []string
	for range o.runs {
		for _, format := range []string{"none", "batch"} {
			cmd := exec.CommandContext(ctx, "bash", script, o.capture)
			cmd.Env = append(os.Environ(), "PROBE_CMD="+o.probe+" flows --quiet -r FILE -o /dev/null --format "+format)
			text, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("run %s: %w", script, err)
			}
			for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
				f := strings.Fields(lines.Text())
				if len(f) != 5 || f[0] == "name" {
					continue
				}
				name := f[0]
				if name == "probe" {
					name += " --format " + format
				}
				rate, err := strconv.ParseFloat(f[4], 64)
				if err != nil {
					continue
				}
				if _, met := best[name]; !met {
					order = append(order, name)
				}
				best[name] = max(best[name], rate)
			}
		}
	}
	fmt.Fprintf(out, "\n## Packets per CPU second, %s, best of %d\n\n| program | packets per CPU second | probe none is | probe batch is |\n| --- | ---: | ---: | ---: |\n", filepath.Base(o.capture), o.runs)
	for _, name := range order {
		fmt.Fprintf(out, "| %s | %s | %.2f x | %.2f x |\n", name, count(best[name]), best["probe --format none"]/best[name], best["probe --format batch"]/best[name])
	}
	return nil
}
