package query

import (
	"slices"
	"strings"
	"time"
)

// sides parts a filter for the table flows, whose key begins with src_ip and
// which has another order by dst_ip: a condition on either side is read from
// each by itself, the second without what the first has. ClickHouse would read
// the union of both through neither.
func sides(e expr) []expr {
	parts := []expr{e}
	if x, ok := e.(all); ok {
		parts = x.parts
	}
	for i, part := range parts {
		x, ok := part.(some)
		if !ok || len(x.parts) != 2 || columnOf(x.parts[0]) != "src_ip" || columnOf(x.parts[1]) != "dst_ip" {
			continue
		}
		rest := slices.Delete(slices.Clone(parts), i, i+1)
		return []expr{both(append([]expr{x.parts[0]}, rest...)...), both(append([]expr{x.parts[1], negate(x.parts[0])}, rest...)...)}
	}
	return []expr{e}
}

// columnOf is the column of a condition that names addresses or networks.
func columnOf(e expr) string {
	if x, ok := e.(leaf); ok && x.col.lookup == nil && x.op != opExists {
		return x.col.Name
	}
	return ""
}

// List is a statement for the flows themselves (Need.Raw): items are the
// columns of the answer as expressions, each AS its name in names; order are
// expressions over flows, DESC behind them where the greatest comes first. The
// caller sets the parameter limit (UInt32).
func (p *Plan) List(items, names, order []string) string {
	const limit = " LIMIT {limit:UInt32}"
	if len(p.flows) == 1 {
		return "SELECT " + strings.Join(items, ", ") + "\nFROM flows\nWHERE " + p.flows[0] + "\nORDER BY " + strings.Join(order, ", ") + limit
	}
	items, outer := slices.Clone(items), make([]string, len(order))
	for i, o := range order {
		by, desc := strings.CutSuffix(o, " DESC")
		outer[i] = "o" + string(rune('0'+i))
		items = append(items, by+" AS "+outer[i])
		if desc {
			outer[i] += " DESC"
		}
	}
	ways := make([]string, len(p.flows))
	for i, where := range p.flows {
		ways[i] = "SELECT " + strings.Join(items, ", ") + "\nFROM flows\nWHERE " + where + "\nORDER BY " + strings.Join(order, ", ") + limit
	}
	return "SELECT `" + strings.Join(names, "`, `") + "`\nFROM ((" + strings.Join(ways, ")\nUNION ALL\n(") + "))\nORDER BY " + strings.Join(outer, ", ") + limit
}

// stages are how far back a list of the newest (or on, of the oldest) flows
// looks before it looks further.
var stages = []time.Duration{24 * time.Hour, 8 * 24 * time.Hour}

// Stages parts a plan for a list in the order of time into plans that follow
// each other: the next need only be asked where the one before had too few.
// Together they read what the plan would. Cuts are at midnight, where the
// table is parted.
func (p *Plan) Stages(newest bool) []*Plan {
	if p.Sample != nil || len(p.Parts) != 1 {
		return []*Plan{p}
	}
	const day = 24 * time.Hour
	var list []*Plan
	add := func(from, to time.Time) {
		if from.Before(to) {
			stage := *p
			stage.compile([]Part{{"flows", from, to}}, 0)
			list = append(list, &stage)
		}
	}
	from, to := p.span.From, p.span.To
	for _, s := range stages {
		if newest {
			cut := later(p.span.From, p.span.To.Add(-1).Truncate(day).Add(day-s))
			add(cut, to)
			to = earlier(to, cut)
		} else {
			cut := earlier(p.span.To, p.span.From.Truncate(day).Add(s))
			add(from, cut)
			from = later(from, cut)
		}
	}
	add(from, to)
	return list
}
