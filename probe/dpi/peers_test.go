package dpi_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/dpi"
)

var (
	ndpiFlow  = regexp.MustCompile(`^\s+\d+\s+(TCP|UDP) (\S+) <?-> (\S+) `)
	ndpiField = regexp.MustCompile(`\[(Hostname/SNI|JA4|JA3C|JA3S): ([^\]]*)\]`)
)

// TestNDPI compares with the flow lines of ndpiReader.
func TestNDPI(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(captures, "ndpi/expected/*.out"))
	if len(files) == 0 {
		t.Skipf("no captures at %s: link the shared folder beside the repository to run this", captures)
	}
	a := &tally{t: t, same: map[string]int{}}
	in := dpi.NewInspector(dpi.Config{})
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".out")
		got := inspectFile(t, filepath.Join(captures, "ndpi", name), in)
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			m := ndpiFlow.FindStringSubmatch(line)
			if m == nil || !strings.Contains(line, "[JA4: ") && !strings.Contains(line, "/HTTP") {
				continue
			}
			src, _ := netip.ParseAddrPort(m[2])
			dst, _ := netip.ParseAddrPort(m[3])
			for _, kv := range ndpiField.FindAllStringSubmatch(line, -1) {
				if kv[1] == "Hostname/SNI" && !strings.Contains(line, "[JA4: ") {
					continue
				}
				ok := slices.ContainsFunc(got, func(c *conn) bool {
					if !(c.key.a == src && c.key.b == dst || c.key.a == dst && c.key.b == src) {
						return false
					}
					r := c.records[0]
					return map[string]string{"Hostname/SNI": strings.ToLower(r.TLSSNI), "JA4": r.JA4, "JA3C": r.JA3, "JA3S": r.JA3S}[kv[1]] == kv[2]
				})
				a.check(name, kv[1], ok, "%s %s %s", m[2], m[3], kv[2])
			}
		}
	}
	a.report("testdata/ndpi-disagreements.tsv")
}

// TestJA4 compares with the results of the authors' implementations: what two
// of them say of a flow must be what we say.
func TestJA4(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(captures, "ja4/expected/rust/*.snap"))
	if len(files) == 0 {
		t.Skipf("no captures at %s: link the shared folder beside the repository to run this", captures)
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
