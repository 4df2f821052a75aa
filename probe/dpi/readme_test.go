package dpi

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestREADME: the table of protocols is that of the code and the samples.
func TestREADME(t *testing.T) {
	fields := map[string][]string{}
	for _, s := range loadSamples(t) {
		for _, w := range s.want {
			if name, _, _ := strings.Cut(w, " "); name != "app" && !slices.Contains(fields[s.app()], name) {
				fields[s.app()] = append(fields[s.app()], name)
			}
		}
	}
	ports := func(list []uint16) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]") }
	table := "| app | TCP | UDP | fields |\n|---|---|---|---|\n"
	all := protocols()
	slices.SortFunc(all, func(a, b protocol) int { return strings.Compare(a.app, b.app) })
	for _, p := range all {
		slices.Sort(fields[p.app])
		table += fmt.Sprintf("| %s | %s | %s | %s |\n", p.app, ports(p.tcp), ports(p.udp), strings.Join(fields[p.app], ", "))
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const mark = "-update -->\n"
	before, after, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("README.md has no line that ends with %q", mark)
	}
	if after == table {
		return
	}
	if !*update {
		t.Errorf("the table of README.md is not that of the code: go test ./dpi -run TestREADME -update")
		return
	}
	if err := os.WriteFile("README.md", []byte(before+mark+table), 0o644); err != nil {
		t.Fatal(err)
	}
}
