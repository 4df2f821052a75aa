package rule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/query"
)

// Parse reads the rules of one file, documents of YAML, and returns those that
// are right and an error for each that is not. file only names it in errors.
func Parse(file string, text []byte, lang *query.Language) (rules []*Rule, wrong []error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return rules, wrong
		}
		if err != nil {
			return rules, append(wrong, fmt.Errorf("%s: %w", file, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))))
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		r, err := parseRule(doc.Content[0], lang)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%w", file, err))
			continue
		}
		r.File, r.Line = file, doc.Content[0].Line
		rules = append(rules, r)
	}
}

// fault is an error at a line.
func fault(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%d: "+format, append([]any{n.Line}, args...)...)
}

// entries are the keys and values of a mapping.
func entries(n *yaml.Node, what string) ([][2]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, fault(n, "%s is not made of name: value", what)
	}
	var list [][2]*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || n.Content[i+1].Kind == yaml.AliasNode || k.Tag == "!!merge" {
			return nil, fault(k, "%s: a name is expected, and no alias", what)
		}
		if seen[k.Value] {
			return nil, fault(k, "%s is there twice", k.Value)
		}
		seen[k.Value] = true
		list = append(list, [2]*yaml.Node{k, n.Content[i+1]})
	}
	return list, nil
}

func scalar(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fault(n, "one value is expected")
	}
	return n.Value, nil
}

// texts reads one value or a list of them.
func texts(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, fault(n, "a list is expected")
	}
	var list []string
	for _, c := range n.Content {
		s, err := scalar(c)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

var (
	nameForm      = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	techniqueForm = regexp.MustCompile(`^T1[0-9]{3}(\.[0-9]{3})?$`)
	conditionForm = regexp.MustCompile(`^\s*(\w+)\s*\(\s*(\w*)\s*\)\s*(>=|<=|>|<|==?)\s*(\S+)\s*$`)
)

// fields of a rule, for the error about one that is none.
var fields = []string{"name", "title", "description", "filter", "group_by", "window", "step", "gap", "condition", "severity", "rising", "confidence", "techniques", "actor", "victim", "unless"}

func parseRule(n *yaml.Node, lang *query.Language) (*Rule, error) {
	list, err := entries(n, "a rule")
	if err != nil {
		return nil, err
	}
	at := map[string]*yaml.Node{}
	for _, e := range list {
		at[e[0].Value] = e[1]
	}
	if at["detection"] != nil {
		return parseSigma(n, at, lang)
	}
	r := &Rule{Confidence: .7, Severity: alert.Medium, Window: 10 * time.Minute}
	for _, e := range list {
		if err := r.field(e[0].Value, e[1]); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"name", "title", "condition"} {
		if at[name] == nil {
			return nil, fault(n, "a rule needs %s", name)
		}
	}
	return r, r.check(n, at, lang)
}

// field reads one field; what hangs on others is left to check.
func (r *Rule) field(name string, n *yaml.Node) (err error) {
	texted := map[string]*string{"title": &r.Title, "description": &r.Description, "filter": &r.Filter, "actor": &r.Actor, "victim": &r.Victim, "name": &r.Name}
	listed := map[string]*[]string{"group_by": &r.GroupBy, "techniques": &r.Techniques, "unless": &r.Unless}
	timed := map[string]*time.Duration{"window": &r.Window, "step": &r.Step, "gap": &r.Gap}
	switch {
	case texted[name] != nil:
		*texted[name], err = scalar(n)
		return err
	case listed[name] != nil:
		*listed[name], err = texts(n)
		return err
	}
	if name == "rising" {
		return r.rising(n)
	}
	if name == "condition" {
		return r.conditions(n)
	}
	text, err := scalar(n)
	if err != nil {
		return err
	}
	switch {
	case timed[name] != nil:
		if *timed[name], err = query.ParseLength(text); err != nil {
			return fault(n, "%s: %w", name, err)
		}
	case name == "severity":
		if r.Severity = alert.Severity(text); r.Severity.Rank() < 0 {
			return fault(n, "severity: %q is none of info, low, medium, high and critical", text)
		}
	case name == "confidence":
		if r.Confidence, err = strconv.ParseFloat(text, 64); err != nil || !(r.Confidence > 0 && r.Confidence <= 1) {
			return fault(n, "confidence: %q is not a number above 0 and up to 1", text)
		}
	default:
		return fault(n, "there is no field %q; a rule has %s", name, strings.Join(fields, ", "))
	}
	return nil
}

func (r *Rule) rising(n *yaml.Node) error {
	list, err := entries(n, "rising")
	if err != nil {
		return err
	}
	for _, e := range list {
		rise := Rise{Severity: alert.Severity(e[0].Value)}
		if rise.Severity.Rank() < 0 {
			return fault(e[0], "rising: %q is no severity", e[0].Value)
		}
		if rise.From, err = quantity(e[1].Value); err != nil {
			return fault(e[1], "rising: %w", err)
		}
		r.Rising = append(r.Rising, rise)
	}
	slices.SortFunc(r.Rising, func(a, b Rise) int { return a.Severity.Rank() - b.Severity.Rank() })
	return nil
}

func (r *Rule) conditions(n *yaml.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	for _, part := range strings.Split(text, " and ") {
		m := conditionForm.FindStringSubmatch(part)
		if m == nil {
			return fault(n, "condition: %q is not of the form uniq(dst_ip) >= 10; several are joined by and", part)
		}
		c := Condition{Measure: m[1], Column: m[2], Op: strings.Replace(m[3], "==", "=", 1)}
		if c.Value, err = quantity(m[4]); err != nil {
			return fault(n, "condition: %w", err)
		}
		if !slices.Contains([]string{"count", "sum", "uniq", "min", "max", "avg"}, c.Measure) {
			return fault(n, "condition: there is no measure %q: count, sum, uniq, min, max and avg", c.Measure)
		}
		if (c.Column == "") != (c.Measure == "count") {
			return fault(n, "condition: count() has no column, and the others have one")
		}
		r.Conditions = append(r.Conditions, c)
	}
	return nil
}

// quantity reads a number, with k, M, G, kB, MB, GB, KiB, MiB or GiB behind it.
func quantity(text string) (float64, error) {
	number := strings.TrimRight(text, "kKMGTiB")
	factor, ok := map[string]float64{"": 1, "B": 1, "k": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[text[len(number):]]
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(f >= 0 && f < 1e300) {
		return 0, fmt.Errorf("%q is not a number such as 10, 2.5k or 100MB", text)
	}
	return f * factor, nil
}

// check resolves the names of columns. n is the rule, at its fields.
func (r *Rule) check(n *yaml.Node, at map[string]*yaml.Node, lang *query.Language) (err error) {
	where := func(name string) *yaml.Node {
		if at[name] != nil {
			return at[name]
		}
		return n
	}
	if !nameForm.MatchString(r.Name) {
		return fault(where("name"), "name: %q is not of small letters, digits and _, at most 63", r.Name)
	}
	for _, t := range r.Techniques {
		if !techniqueForm.MatchString(t) {
			return fault(where("techniques"), "techniques: %q is not of the form T1046 or T1021.001", t)
		}
	}
	if r.filter, err = lang.Parse(r.Filter, time.Unix(0, 0)); err != nil {
		return fault(where("filter"), "filter: %w", err)
	}
	if from, to := r.filter.Range(); !from.IsZero() || !to.IsZero() {
		return fault(where("filter"), "filter: it has a time; the time of a rule is its window")
	}
	for _, name := range r.GroupBy {
		c, err := column(lang, name)
		if err != nil {
			return fault(where("group_by"), "group_by: %w", err)
		}
		if c.List || !c.Stored() {
			return fault(where("group_by"), "group_by: flows cannot be grouped by %s", name)
		}
		r.columns = append(r.columns, c)
	}
	if at["actor"] == nil && slices.Contains(r.GroupBy, "src_ip") {
		r.Actor = "src_ip"
	}
	if at["victim"] == nil && slices.Contains(r.GroupBy, "dst_ip") {
		r.Victim = "dst_ip"
	}
	for field, name := range map[string]string{"actor": r.Actor, "victim": r.Victim} {
		if name != "" && !slices.Contains(r.GroupBy, name) {
			return fault(where(field), "%s: %s is not in group_by", field, name)
		}
	}
	for i := range r.Conditions {
		c := &r.Conditions[i]
		if c.Column != "" {
			if c.column, err = column(lang, c.Column); err != nil {
				return fault(where("condition"), "condition: %w", err)
			}
		}
		if number := c.column != nil && !c.column.List && (c.column.Kind == query.Number || c.column.Kind == query.Float); c.Measure != "count" && c.Measure != "uniq" && !number {
			return fault(where("condition"), "condition: %s is not a number", c.Column)
		}
	}
	if first := r.Conditions[0]; first.Op != ">=" && first.Op != ">" || first.Value <= 0 && first.Op == ">=" {
		return fault(where("condition"), "condition: the first has to ask for more than something, as it is the magnitude: %s", first.Text())
	}
	if r.Step == 0 {
		r.Step = r.Window
	}
	switch {
	case r.Step%(10*time.Second) != 0 || r.Window%r.Step != 0:
		return fault(where("step"), "step: %v is not a multiple of 10s that the window %v is a multiple of", r.Step, r.Window)
	case r.Window > 7*24*time.Hour || r.Window/r.Step > 1000:
		return fault(where("window"), "window: longer than 7d, or than 1000 steps")
	}
	for _, m := range placeholder.FindAllStringSubmatch(r.Title, -1) {
		if m[1] != "value" && !slices.Contains(r.GroupBy, m[1]) {
			return fault(where("title"), "title: {%s} is neither value nor in group_by", m[1])
		}
	}
	return nil
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

func column(lang *query.Language, name string) (*query.Column, error) {
	if c := lang.Column(name); c != nil {
		return c, nil
	}
	if near := lang.Nearest(name); near != "" {
		return nil, fmt.Errorf("there is no column %q: did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("there is no column %q", name)
}
