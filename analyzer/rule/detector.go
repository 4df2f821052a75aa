package rule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/query"
)

// group is a row of a rule's statement.
type group struct {
	Keys     []string  `ch:"keys"`
	Value    float64   `ch:"m0"`
	Measures []float64 `ch:"measures"`
	Excess   float64   `ch:"excess"`
	First    time.Time `ch:"first"`
	Last     time.Time `ch:"last"`
	FlowIDs  []string  `ch:"flow_ids"`
}

// Detector makes a detector of the rule. What it finds in a window is a function
// of the flows, as with all detectors: several probes that see the same are not
// added up.
func (r *Rule) Detector() detect.Detector {
	info := detect.Info{
		Name: Prefix + r.Name, Version: r.version(), Title: r.title(nil, ""), Techniques: r.Techniques, Length: r.Window, Step: r.Step, Gap: r.Gap,
		Doc: strings.TrimSpace(strings.TrimSpace(r.Description) + fmt.Sprintf("\nA rule of one's own. Flows that fit %q, by %s, within %s: %s. The magnitude is %s(%s). Severity %s.",
			r.Filter, or(strings.Join(r.GroupBy, ", "), "nothing"), r.Window, r.conditionText(), r.Conditions[0].Measure, r.Conditions[0].Column, r.severityText())),
		Controls: r.Unless,
	}
	for _, c := range r.Conditions {
		info.Parameters = append(info.Parameters, detect.Parameter{Name: c.Measure + "(" + c.Column + ")", Value: c.Op + " " + detect.Decimal(c.Value), Doc: "of " + r.File})
	}
	spec := detect.Spec[group]{
		Info: info,
		SQL:  r.statement(),
		Params: func(w detect.Window) detect.Params {
			return r.params(query.Span{From: w.Start, To: w.End}).Span(w).With("all", "1", "keys", "[]")
		},
		Judge: func(a *alert.Alert, g *group) detect.Verdict {
			r.judge(a, g)
			return detect.Raise
		},
	}
	if !slices.ContainsFunc(r.filter.Columns(), func(c *query.Column) bool { return c.Select() == "''" }) { // of no other table, whose time matters
		spec.Find = detect.Compose("SELECT DISTINCT /*window*/ AS at FROM flows WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (" +
			r.where(query.Params{}, query.Span{}) + ") ORDER BY at")
		spec.FindParams = r.filterParams(query.Span{})
	}
	return detect.New(spec)
}

// where is the filter in SQL. Its text is the same for all spans.
func (r *Rule) where(p query.Params, span query.Span) string { return r.filter.Where(p, span) }

func (r *Rule) filterParams(span query.Span) detect.Params {
	p := query.Params{}
	r.where(p, span)
	return detect.Params(p)
}

// params are those of statement, besides the window and the group.
func (r *Rule) params(span query.Span) detect.Params {
	p := r.filterParams(span)
	for i, c := range r.Conditions {
		p["t"+strconv.Itoa(i)] = detect.Decimal(c.Value)
	}
	return p
}

// statement is made of columns of the registry, words of this package, and
// parameters: flows, by group and probe, then the most that a probe saw.
func (r *Rule) statement() string {
	used := map[string]*query.Column{}
	for _, c := range r.columns {
		used[c.Name] = c
	}
	for _, c := range r.Conditions {
		if c.column != nil {
			used[c.Column] = c.column
		}
	}
	items := []string{"start AS _start", "end AS _end", "segment AS _segment", "probe AS _probe", "/*flow_id*/ AS _id"}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		items = append(items, used[name].Select())
	}
	keys := make([]string, len(r.columns))
	for i, c := range r.columns {
		keys[i] = "toString(`" + c.Name + "`)"
		if c.Kind == query.Address {
			keys[i] = "replaceRegexpOne(" + keys[i] + ", '^::ffff:', '')"
		}
	}
	group := "[" + strings.Join(keys, ", ") + "]::Array(String)"
	var inner, outer, measures, having []string
	for i, c := range r.Conditions {
		m := "m" + strconv.Itoa(i)
		inner = append(inner, "toFloat64("+c.expression()+") AS "+m)
		best := "max"
		if c.Measure == "min" {
			best = "min"
		}
		outer = append(outer, best+"(_"+m+") AS "+m)
		measures = append(measures, m)
		inner[i] = strings.Replace(inner[i], " AS m", " AS _m", 1)
		having = append(having, m+" "+c.Op+" {t"+strconv.Itoa(i)+":Float64}")
	}
	return detect.Compose("SELECT keys, " + strings.Join(outer, ", ") + ", [" + strings.Join(measures, ", ") + `] AS measures,
    least(1, 0.5 + 0.25 * log10(greatest(m0, 1e-9) / greatest({t0:Float64}, 1e-9))) AS excess,
    min(_first) AS first, max(_last) AS last, arraySlice(arraySort(arrayFlatten(groupArray(_ids))), 1, 5) AS flow_ids
FROM
(
    SELECT ` + group + " AS keys, _probe, " + strings.Join(inner, ", ") + `, min(_start) AS _first, max(_end) AS _last, groupArraySorted(5)(_id) AS _ids
    FROM
    (
        SELECT ` + strings.Join(items, ", ") + `
        FROM flows
        WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} AND (` + r.where(query.Params{}, query.Span{}) + `)
    )
    WHERE {all:UInt8} = 1 OR ` + group + ` = {keys:Array(String)}
    GROUP BY keys, _probe
)
GROUP BY keys
HAVING ` + strings.Join(having, " AND ") + `
ORDER BY m0 DESC, keys
LIMIT 10000`)
}

// expression is the measure of one probe's flows.
func (c Condition) expression() string {
	name := "`" + c.Column + "`"
	switch c.Measure {
	case "count":
		return "countIf(_segment = 0)"
	case "uniq":
		if c.column.List {
			return "uniqExactArray(" + name + ")"
		}
		return "uniqExact(" + name + ")"
	}
	return c.Measure + "(" + name + ")" // one of a list, see conditions
}

func (r *Rule) judge(a *alert.Alert, g *group) {
	value := number(g.Value)
	a.Title = r.title(g.Keys, value)
	var pairs []string
	for i, name := range r.GroupBy {
		role := name
		switch name {
		case r.Actor:
			a.Actor, role = g.Keys[i], "actor"
		case r.Victim:
			a.Victim, role = g.Keys[i], "victim"
		case "dst_port":
			role = "port"
		}
		pairs = append(pairs, role, g.Keys[i])
	}
	a.Entities = detect.Entities(pairs...)
	a.Start, a.End, a.FlowIDs, a.Magnitude = g.First, g.Last, g.FlowIDs, g.Value
	a.SubScores = map[string]float64{"excess": g.Excess}
	a.Score, a.Confidence, a.Severity = detect.Bounded(g.Excess), r.Confidence, r.Severity
	for i, c := range r.Conditions {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%s(%s) is %s within %s; the rule has %s %s", c.Measure, c.Column, number(g.Measures[i]), r.Window, c.Op, number(c.Value)))
		a.Unless = append(a.Unless, "not "+c.Text()+" within "+r.Window.String())
	}
	for _, rise := range r.Rising {
		if g.Value >= rise.From && rise.Severity.Rank() > a.Severity.Rank() {
			a.Severity = rise.Severity
			a.Reasons = append(a.Reasons, fmt.Sprintf("%s from %s on", rise.Severity, number(rise.From)))
		}
	}
	a.Unless = append(a.Unless, r.Unless...)
	quoted := make([]string, len(g.Keys))
	for i, k := range g.Keys {
		quoted[i] = "'" + elementEscapes.Replace(k) + "'"
	}
	a.EvidenceParams["all"], a.EvidenceParams["keys"] = "0", "["+strings.Join(quoted, ",")+"]"
}

// title fills in the placeholders; without a group they stay.
func (r *Rule) title(keys []string, value string) string {
	return placeholder.ReplaceAllStringFunc(r.Title, func(s string) string {
		name := s[1 : len(s)-1]
		if keys == nil {
			return s
		}
		if name == "value" {
			return value
		}
		return label(name, keys[slices.Index(r.GroupBy, name)])
	})
}

func (r *Rule) conditionText() string {
	list := make([]string, len(r.Conditions))
	for i, c := range r.Conditions {
		list[i] = c.Text()
	}
	return strings.Join(list, " and ")
}

func (r *Rule) severityText() string {
	text := string(r.Severity)
	for _, rise := range r.Rising {
		text += fmt.Sprintf(", %s from %s on", rise.Severity, number(rise.From))
	}
	return text
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// elementEscapes are for a text within an Array parameter, in single quotes.
var elementEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
