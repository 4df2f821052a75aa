package query

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of README.md")

// The tables of the README are those of the registry.
func TestReadmeIsCurrent(t *testing.T) {
	body, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text, l := string(body), New()
	for name, table := range map[string]string{"words": wordTable(l), "operators": operatorTable(), "columns": columnTable(l)} {
		open, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(text, open)
		have, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("README.md has no place for the %s", name)
		}
		if have != table && !*update {
			t.Errorf("the %s in README.md are not those of the registry: go test -run Readme -update", name)
		}
		text = before + open + table + end + after
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What it shows as examples can be read.
	examples, _, _ := strings.Cut(text, "## Grammar")
	for line := range strings.Lines(examples) {
		if example, ok := strings.CutPrefix(line, "    "); ok {
			if _, err := l.Parse(example, testNow); err != nil {
				t.Errorf("%s: %v", example, err)
			}
		}
	}
}

func wordTable(l *Language) string {
	var b strings.Builder
	b.WriteString("| word | means | stands for | example |\n| --- | --- | --- | --- |\n")
	for _, w := range l.words {
		var of []string
		for _, c := range w.columns {
			if c.lookup != nil {
				of = append(of, c.lookup.keys[len(c.lookup.keys)-1]+" in "+c.lookup.table)
				continue
			}
			of = append(of, c.Name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", w.Name, w.Doc, strings.Join(of, ", "), w.Example)
		if _, err := l.Parse(w.Example, testNow); err != nil {
			fmt.Fprintf(&b, "the example is wrong: %v\n", err)
		}
	}
	for _, k := range timeKinds {
		doc, example, found := strings.Cut(k.doc, ": ")
		if !found {
			example = "`" + k.word + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | start | %s |\n", k.word, doc, example)
	}
	return b.String()
}

func operatorTable() string {
	var b strings.Builder
	b.WriteString("| operator | means |\n| --- | --- |\n")
	for _, o := range operatorWords {
		fmt.Fprintf(&b, "| `%s` | %s |\n", o.text, o.doc)
	}
	return b.String()
}

func columnTable(l *Language) string {
	var b strings.Builder
	b.WriteString("| column | is | takes | values by name |\n| --- | --- | --- | --- |\n")
	for _, c := range l.columns {
		name := c.Name
		if c.rollup || c.Name == "start" {
			name += " ●"
		}
		var takes, values []string
		for _, o := range c.operators() {
			takes = append(takes, "`"+o.String()+"`")
		}
		for _, n := range c.Names {
			values = append(values, n.Name)
		}
		for _, v := range c.Values {
			if v != "" {
				values = append(values, v)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, c.describe(), strings.Join(takes, " "), strings.Join(values, " "))
	}
	return b.String()
}
