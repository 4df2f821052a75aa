// Package quality holds the probe's records against what the references of the
// field say of the same captures. It has tests only; `make quality` prints
// their table.
package quality

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// records meters a capture with everything on and returns copies of its records.
func records(t *testing.T, path string) (all []flow.Record) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	table := meter.New(meter.DefaultConfig(), dpi.NewInspector(dpi.DefaultConfig()), func(r *flow.Record) {
		all = append(all, r.Clone())
	})
	var f capture.Frame
	var p decode.Packet
	for {
		if err := src.Next(&f); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Logf("%s: %v", path, err)
			}
			break
		}
		if dec.Decode(&f, &p) == decode.OK {
			table.Observe(&p)
		}
	}
	table.Flush(flow.EndForced)
	return all
}

// tally counts agreement with a reference, and holds each difference against
// the list of those that are explained.
type tally struct {
	name        string
	same, total int
	by          map[string][2]int // same and total of a part
	wrong       []string
}

func (a *tally) check(part string, ok bool, format string, args ...any) {
	if a.by == nil {
		a.by = map[string][2]int{}
	}
	n := a.by[part]
	a.total++
	n[1]++
	if ok {
		a.same++
		n[0]++
	} else {
		a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
	}
	a.by[part] = n
}

// report prints the row of the table, and fails below least percent or where a
// difference is in no line of the list (file TAB difference TAB explanation).
func (a *tally) report(t *testing.T, least float64, explained string) {
	t.Helper()
	percent := 100 * float64(a.same) / float64(max(a.total, 1))
	t.Logf("quality: %-44s %6d of %6d  %6.2f %%", a.name, a.same, a.total, percent)
	if percent < least || a.total == 0 {
		t.Errorf("%s: %.2f %%, at least %.2f %% are promised", a.name, percent, least)
	}
	known := map[string]bool{}
	text, err := os.ReadFile(explained)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if c := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(c) == 3 {
			known[c[0]+"\t"+c[1]] = true
		}
	}
	slices.Sort(a.wrong)
	for _, w := range slices.Compact(a.wrong) {
		if !known[w] {
			t.Errorf("not explained in %s: %s", explained, w)
		}
	}
}

// parts prints the agreement by protocol too.
var parts = flag.Bool("parts", false, "print the agreement protocol by protocol")
