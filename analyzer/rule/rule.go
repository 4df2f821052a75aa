// Package rule makes detectors of text: rules in YAML, with a filter in the
// language of package query, and Sigma rules about network traffic, as far as the
// columns of flows can answer them. In come files; out go detect.Detectors, which
// are scheduled, back-tested and explained like all others, and errors that name
// file and line. No text of a rule gets into SQL: columns are those of the
// registry, everything else travels as a parameter.
package rule

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/query"
)

// Prefix begins the names of detectors made of rules.
const Prefix = "rule_"

// Bounds of what is read.
const (
	maxFile  = 1 << 20 // octets
	maxFiles = 5000
)

// Rule is a checked rule. It is not changed after it is made.
type Rule struct {
	File string // where it was read from
	Line int    // where it begins there

	Name        string // of the detector, without Prefix
	Title       string // one line for people; {column} and {value} stand for what was found
	Description string
	Filter      string // text in the language of package query
	GroupBy     []string
	Window      time.Duration
	Step        time.Duration
	Gap         time.Duration // zero: alert.DefaultGap
	Conditions  []Condition   // all have to hold; the first is the magnitude
	Severity    alert.Severity
	Rising      []Rise // severities from magnitudes on, ascending
	Confidence  float64
	Techniques  []string
	Actor       string // column of GroupBy, empty: none
	Victim      string
	Unless      []string // known harmless causes, for people
	Sigma       string   // id of the Sigma rule it was made of, empty: none

	filter  *query.Filter
	columns []*query.Column // of GroupBy
}

// Rise is a severity that a magnitude makes.
type Rise struct {
	From     float64
	Severity alert.Severity
}

// Condition compares a measure of a group within a window with a number.
type Condition struct {
	Measure string // count, sum, uniq, min, max or avg
	Column  string // empty for count
	Op      string // >=, >, <=, < or =
	Value   float64

	column *query.Column
}

// Text writes c as a rule has it.
func (c Condition) Text() string {
	return fmt.Sprintf("%s(%s) %s %s", c.Measure, c.Column, c.Op, detect.Decimal(c.Value))
}

// version grows, or at least changes, with everything that may change what the
// rule finds.
func (r *Rule) version() uint16 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%q %q %d %d %d %q %v %v %q %q", r.Filter, r.GroupBy, r.Window, r.Step, r.Gap, r.Severity, r.Rising, r.Confidence, r.Actor, r.Victim)
	for _, c := range r.Conditions {
		fmt.Fprint(h, c.Text())
	}
	return max(uint16(h.Sum32()>>16)^uint16(h.Sum32()), 1)
}

// Load reads every .yml and .yaml of a directory and those below it, in the order
// of their names, and returns the rules that are right and one error for each
// that is not: it names file and line. Sigma rules are told by their detection.
func Load(dir fs.FS, lang *query.Language) ([]*Rule, []error) {
	var rules []*Rule
	var wrong []error
	names := map[string]string{}
	n := 0
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yml", ".yaml"}, path.Ext(name)) {
			return err
		}
		if n++; n > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxFile {
			wrong = append(wrong, fmt.Errorf("%s: larger than %d octets", name, maxFile))
			return nil
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		list, errs := Parse(name, text, lang)
		wrong = append(wrong, errs...)
		for _, r := range list {
			if other, taken := names[r.Name]; taken {
				wrong = append(wrong, fmt.Errorf("%s:%d: the name %s is that of a rule in %s", name, r.Line, r.Name, other))
				continue
			}
			names[r.Name] = name
			rules = append(rules, r)
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, fmt.Errorf("read rules: %w", err))
	}
	return rules, wrong
}

// Detectors makes a detector of each rule.
func Detectors(rules []*Rule) []detect.Detector {
	list := make([]detect.Detector, len(rules))
	for i, r := range rules {
		list[i] = r.Detector()
	}
	return list
}

// label names the value of a column for people.
func label(column, value string) string {
	if value == "" {
		return "no " + strings.ReplaceAll(column, "_", " ")
	}
	return value
}
