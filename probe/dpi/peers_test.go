package dpi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/dpi"
)

// TestJA4 compares with the results of the authors' implementations: what two
// of them say of a flow must be what we say.
func TestJA4(t *testing.T) {
	captures := corpus.Dir(t)
	files, _ := filepath.Glob(filepath.Join(captures, "ja4/expected/rust/*.snap"))
	if len(files) == 0 {
		t.Fatalf("no results of JA4 in %s", captures)
	}
	a := &tally{t: t, same: map[string]int{}}
	in := dpi.NewInspector(dpi.Config{})
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".snap")
		got := inspectFile(t, filepath.Join(captures, "ja4", name), in)
		said := map[string]map[string]int{} // ports -> fingerprint -> implementations
		say := func(sport, dport, ja4 string) {
			k := sport + ">" + dport
			if said[k] == nil {
				said[k] = map[string]int{}
			}
			said[k][ja4]++
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var sport, dport string
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "- ")), ": ")
			switch key {
			case "src_port":
				sport = value
			case "dst_port":
				dport = value
			case "ja4":
				say(sport, dport, value)
			}
		}
		if raw, err = os.ReadFile(filepath.Join(captures, "ja4/expected/python", name+".json")); err != nil {
			t.Fatal(err)
		}
		var list []map[string]any
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Logf("%s: %v", name, err)
		}
		for _, e := range list {
			if v := text(e["JA4.1"]); v != "" {
				say(text(e["srcport"]), text(e["dstport"]), v)
			}
		}
		for ports, values := range said {
			for v, n := range values {
				if n < 2 {
					continue
				}
				ok := slices.ContainsFunc(got, func(c *conn) bool {
					return fmt.Sprintf("%d>%d", c.key.a.Port(), c.key.b.Port()) == ports && c.records[0].JA4 == v
				})
				a.check(name, "ja4", ok, "%s %s", ports, v)
			}
		}
	}
	if a.same["ja4"] == 0 {
		t.Error("nothing was compared")
	}
	a.report("testdata/ja4-disagreements.tsv")
}
