package rule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/query"
)

// sigma turns the detection of a Sigma rule into a filter. It refuses what flows
// cannot answer, with the reason, rather than to answer something else.
type sigma struct {
	fields     map[string]field
	selections map[string]string // text in our language
	order      []string
}

// parseSigma reads a rule as of the Sigma specification 2.0, and the pipe
// "| count(field) by field > n" of version 1.
func parseSigma(n *yaml.Node, at map[string]*yaml.Node, lang *query.Language) (*Rule, error) {
	for _, name := range []string{"title", "logsource"} {
		if at[name] == nil {
			return nil, fault(n, "a Sigma rule needs %s", name)
		}
	}
	fields, err := sourceOf(at["logsource"])
	if err != nil {
		return nil, err
	}
	r := &Rule{Confidence: .7, Severity: alert.Medium, Window: 5 * time.Minute, GroupBy: []string{"src_ip", "dst_ip"}}
	r.Title, err = scalar(at["title"])
	if err != nil {
		return nil, err
	}
	if d := at["description"]; d != nil {
		r.Description = d.Value
	}
	r.Sigma = or(valueOf(at["id"]), valueOf(at["name"]))
	r.Name = slug("sigma_" + r.Title)
	r.Title = strings.NewReplacer("{", "(", "}", ")").Replace(r.Title) + ": {src_ip} to {dst_ip}"
	if level := valueOf(at["level"]); level != "" {
		if r.Severity = alert.Severity(strings.Replace(level, "informational", "info", 1)); r.Severity.Rank() < 0 {
			return nil, fault(at["level"], "level: %q is none of informational, low, medium, high and critical", level)
		}
	}
	if f := at["falsepositives"]; f != nil {
		if r.Unless, err = texts(f); err != nil {
			return nil, err
		}
	}
	if t := at["tags"]; t != nil {
		tags, err := texts(t)
		if err != nil {
			return nil, err
		}
		for _, tag := range tags {
			if id, ok := strings.CutPrefix(strings.ToLower(tag), "attack.t"); ok && techniqueForm.MatchString("T"+id) {
				r.Techniques = append(r.Techniques, "T"+id)
			}
		}
	}
	if err := sigmaDetection(r, at["detection"], fields); err != nil {
		return nil, err
	}
	return r, r.check(n, map[string]*yaml.Node{"filter": at["detection"], "condition": at["detection"]}, lang)
}

func valueOf(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// slug makes a name of a title.
func slug(text string) string {
	s := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(text), "_"), "_")
	return strings.TrimRight(s[:min(len(s), 60)], "_")
}

func sigmaDetection(r *Rule, n *yaml.Node, fields map[string]field) error {
	list, err := entries(n, "detection")
	if err != nil {
		return err
	}
	s := sigma{fields: fields, selections: map[string]string{}}
	var condition *yaml.Node
	for _, e := range list {
		switch e[0].Value {
		case "condition":
			condition = e[1]
		case "timeframe":
			if r.Window, err = query.ParseLength(e[1].Value); err != nil {
				return fault(e[1], "timeframe: %w", err)
			}
			if r.Window < 10*time.Second {
				return fault(e[1], "timeframe: shorter than 10s")
			}
			r.Window = (r.Window + 10*time.Second - 1).Truncate(10 * time.Second)
		default:
			text, err := s.selection(e[1])
			if err != nil {
				return err
			}
			s.selections[e[0].Value] = text
			s.order = append(s.order, e[0].Value)
		}
	}
	if condition == nil {
		return fault(n, "detection has no condition")
	}
	conditions, err := texts(condition)
	if err != nil {
		return err
	}
	r.Conditions = []Condition{{Measure: "count", Op: ">=", Value: 1}}
	var any []string
	for _, c := range conditions {
		c, pipe, piped := strings.Cut(c, "|")
		if piped {
			if len(conditions) > 1 {
				return fault(condition, "condition: a pipe in one of several conditions")
			}
			if err := s.pipe(r, pipe); err != nil {
				return fault(condition, "condition: %w", err)
			}
		}
		text, err := s.condition(c)
		if err != nil {
			return fault(condition, "condition: %w", err)
		}
		any = append(any, "("+text+")")
	}
	r.Filter = strings.Join(any, " or ")
	return nil
}

// selection is a mapping, all of which has to fit, or a list of such, of which
// one has to.
func (s *sigma) selection(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.MappingNode:
		list, err := entries(n, "a selection")
		if err != nil {
			return "", err
		}
		if len(list) == 0 {
			return "", fault(n, "an empty selection")
		}
		var all []string
		for _, e := range list {
			text, err := s.match(e[0], e[1])
			if err != nil {
				return "", err
			}
			all = append(all, "("+text+")")
		}
		return strings.Join(all, " and "), nil
	case yaml.SequenceNode:
		var any []string
		for _, c := range n.Content {
			if c.Kind != yaml.MappingNode {
				return "", fault(c, "keywords without a field cannot be answered: flows have fields, and no text of logs")
			}
			text, err := s.selection(c)
			if err != nil {
				return "", err
			}
			any = append(any, "("+text+")")
		}
		if len(any) == 0 {
			return "", fault(n, "an empty selection")
		}
		return strings.Join(any, " or "), nil
	}
	return "", fault(n, "a selection is made of field: value")
}

// match is one field with its modifiers and values.
func (s *sigma) match(key, n *yaml.Node) (string, error) {
	parts := strings.Split(key.Value, "|")
	f, ok := s.fields[strings.ToLower(parts[0])]
	if !ok {
		return "", fault(key, "the field %s cannot be answered: flows do not have it", parts[0])
	}
	if f.refused != "" {
		return "", fault(key, "the field %s cannot be answered: %s", parts[0], f.refused)
	}
	joined := " or "
	op := ""
	for _, m := range parts[1:] {
		switch m {
		case "all":
			joined = " and "
		case "contains", "startswith", "endswith", "re", "cidr", "gt", "gte", "lt", "lte", "exists", "cased":
			if op != "" && m != "cased" {
				return "", fault(key, "the modifiers %s and %s together", op, m)
			}
			op = m
		default:
			return "", fault(key, "the modifier %s is not supported", m)
		}
	}
	values := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		values = n.Content
	}
	var list []string
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return "", fault(v, "a value is expected")
		}
		text, err := f.match(op, v)
		if err != nil {
			return "", fault(v, "%s: %w", parts[0], err)
		}
		list = append(list, text)
	}
	if len(list) == 0 {
		return "", fault(n, "%s has no values", parts[0])
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return "(" + strings.Join(list, ")"+joined+"(") + ")", nil
}

var pipeForm = regexp.MustCompile(`^\s*count\(\s*([\w.\-]*)\s*\)(?:\s+by\s+([\w.\-]+))?\s*(>=|<=|>|<|==?)\s*(\d+)\s*$`)

// pipe is the aggregation of Sigma version 1.
func (s *sigma) pipe(r *Rule, text string) error {
	m := pipeForm.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("the pipe %q is not of the form count(field) by field > 10", strings.TrimSpace(text))
	}
	n, err := strconv.ParseFloat(m[4], 64)
	if err != nil {
		return err
	}
	c := Condition{Measure: "count", Op: strings.Replace(m[3], "==", "=", 1), Value: n}
	if m[1] != "" {
		f := s.fields[strings.ToLower(m[1])]
		if f.columns == nil {
			return fmt.Errorf("the field %s cannot be counted", m[1])
		}
		c.Measure, c.Column = "uniq", f.columns[0]
	}
	r.Conditions, r.GroupBy = []Condition{c}, nil
	if m[2] != "" {
		f := s.fields[strings.ToLower(m[2])]
		if f.columns == nil {
			return fmt.Errorf("flows cannot be grouped by %s", m[2])
		}
		r.GroupBy = f.columns[:1]
	}
	title, _, _ := strings.Cut(r.Title, ": {src_ip}")
	r.Title = title
	for _, g := range r.GroupBy {
		r.Title += ": {" + g + "}"
	}
	return nil
}

// condition turns a condition over selections into our language.
func (s *sigma) condition(text string) (string, error) {
	words := regexp.MustCompile(`\(|\)|[^\s()]+`).FindAllString(text, -1)
	if len(words) > 500 {
		return "", errors.New("longer than 500 words")
	}
	p := conditionParser{sigma: s, words: words}
	out, err := p.or(0)
	if err == nil && p.at < len(words) {
		err = fmt.Errorf("%q is not expected", words[p.at])
	}
	return out, err
}

type conditionParser struct {
	*sigma
	words []string
	at    int
}

func (p *conditionParser) next(word string) bool {
	if p.at < len(p.words) && strings.EqualFold(p.words[p.at], word) {
		p.at++
		return true
	}
	return false
}

func (p *conditionParser) or(depth int) (string, error) { return p.joined("or", depth, p.and) }

func (p *conditionParser) and(depth int) (string, error) { return p.joined("and", depth, p.not) }

func (p *conditionParser) joined(word string, depth int, part func(int) (string, error)) (string, error) {
	var list []string
	for {
		text, err := part(depth + 1)
		if err != nil {
			return "", err
		}
		if list = append(list, "("+text+")"); !p.next(word) {
			return strings.Join(list, " "+word+" "), nil
		}
	}
}

func (p *conditionParser) not(depth int) (string, error) {
	switch {
	case depth > 60:
		return "", errors.New("too deep")
	case p.next("not"):
		text, err := p.not(depth + 1)
		return "not (" + text + ")", err
	case p.next("("):
		text, err := p.or(depth + 1)
		if err == nil && !p.next(")") {
			err = errors.New("a ) is missing")
		}
		return text, err
	case p.at >= len(p.words):
		return "", errors.New("it ends where a selection is expected")
	}
	word := p.words[p.at]
	p.at++
	between := map[string]string{"1": " or ", "any": " or ", "all": " and "}[strings.ToLower(word)]
	if between == "" || !p.next("of") {
		text, ok := p.selections[word]
		if !ok {
			return "", fmt.Errorf("there is no selection %q", word)
		}
		return text, nil
	}
	if p.at >= len(p.words) {
		return "", errors.New("it ends where selections are expected")
	}
	pattern := p.words[p.at]
	p.at++
	if strings.EqualFold(pattern, "them") {
		pattern = "*"
	}
	var list []string
	for _, name := range p.order {
		if ok := wild(pattern, name); ok {
			list = append(list, "("+p.selections[name]+")")
		}
	}
	if len(list) == 0 {
		return "", fmt.Errorf("no selection is called %s", pattern)
	}
	return strings.Join(list, between), nil
}

// wild says whether a name fits a pattern with *.
func wild(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) || !strings.HasSuffix(name[len(parts[0]):], parts[len(parts)-1]) {
		return false
	}
	rest := name[len(parts[0]) : len(name)-len(parts[len(parts)-1])]
	return !slices.ContainsFunc(parts[1:len(parts)-1], func(part string) bool {
		i := strings.Index(rest, part)
		if i >= 0 {
			rest = rest[i+len(part):]
		}
		return i < 0
	})
}
