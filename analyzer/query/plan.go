package query

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Need is what a question wants of the flows that pass its filter.
type Need struct {
	// Columns are the columns that are asked for or grouped by, besides sums and
	// time. Only what the rollups have keeps the question off the raw table.
	Columns []string
	// Step is the length of the steps that the answer is told in, counted from
	// 1970; 0: time does not matter within the range.
	Step time.Duration
	// Raw: the answer needs the flows themselves.
	Raw bool
	// Measure: the estimate is wanted for its own sake, however small the question.
	Measure bool
	// Sample is what may be left out: "" nothing, or one of Samples.
	Sample string
}

// Part is a stretch of an answer and the table it comes from.
type Part struct {
	Table string    `json:"table"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// Plan is where the answer to a question comes from.
type Plan struct {
	// Source is a parenthesised SELECT to ask from. Its columns are t (DateTime,
	// UTC: begin of the row's bucket, or of the flow), those of Need, and the sums
	// flows, segments, packets, bytes, frame_bytes, payload_bytes, src_bytes and
	// dst_bytes, all UInt64. flows counts connections: segment 0.
	Source string
	Params Params
	// Parts in the order of time.
	Parts []Part
	// Provisional: from here on flows may still come in. Zero: nowhere in the range.
	Provisional time.Time
	// Gone are stretches whose raw flows are no longer stored, or not all of them,
	// though the question needs them.
	Gone []Span
	// Sample says what was left out; nil: nothing.
	Sample *Sample

	filter  *Filter
	need    Need
	span    Span
	catalog *catalog
	flows   []string // conditions over flows, of which each flow fits one at most
}

// sumsWidth is the octets of the time and of the four sums that a question of
// both directions reads of a row.
const sumsWidth = 5 * 8

// Width is about how many octets of a row Source reads.
func (p *Plan) Width() int {
	n := sumsWidth
	for _, c := range p.filter.Columns() {
		n += c.width
	}
	return n + 16*len(p.need.Columns)
}

// Planner chooses tables. Its methods are safe for concurrent use.
type Planner struct {
	ask      *Asker
	catalogs catalogs
}

// NewPlanner returns a Planner that asks through a.
func NewPlanner(a *Asker) *Planner { return &Planner{ask: a, catalogs: catalogs{ask: a}} }

// maxParts bounds the stretches of a statement. Where more would be needed, the
// raw table takes the place of the finest rollups.
const maxParts = 200

// Plan chooses the tables for a question about the flows of span that pass f.
// The answer from them is the same as that of the raw table. The Range of f must
// have been taken into span by the caller (Clip).
func (p *Planner) Plan(ctx context.Context, f *Filter, span Span, need Need) (*Plan, error) {
	plan := &Plan{filter: f, need: need, span: span, Params: Params{}}
	c, err := p.catalogs.get(ctx, span)
	if err != nil {
		return nil, err
	}
	plan.Provisional = c.provisional(span)
	tables := usable(f, need)
	for {
		plan.Parts = divide(span, c, tables)
		if len(plan.Parts) <= maxParts || len(tables) == 0 {
			break
		}
		tables = tables[:len(tables)-1]
	}
	plan.catalog = c
	plan.Gone = c.gone(plan.Parts)
	plan.compile(plan.Parts, 0)
	return plan, nil
}

// Clip is what span and the Range of f have in common.
func (f *Filter) Clip(span Span) Span {
	from, to := f.Range()
	if !from.IsZero() && from.After(span.From) {
		span.From = from
	}
	if !to.IsZero() && to.Before(span.To) {
		span.To = to
	}
	if span.To.Before(span.From) {
		span.To = span.From
	}
	return span
}

// usable are the rollups that can answer, if they are built.
func usable(f *Filter, need Need) []rollup {
	if need.Raw || need.Sample == "hash" {
		return nil
	}
	for _, c := range f.Columns() {
		if !c.rollup {
			return nil
		}
	}
	for _, name := range need.Columns {
		if !inRollup[name] {
			return nil
		}
	}
	var list []rollup
	for _, r := range rollups {
		if step := int64(need.Step / time.Second); need.Step%time.Second == 0 && step%r.length == 0 {
			list = append(list, r)
		}
	}
	return list
}

// divide cuts span into the stretches of the coarsest tables that hold them.
func divide(span Span, c *catalog, tables []rollup) []Part {
	var parts []Part
	add := func(table string, from, to time.Time) {
		if n := len(parts); n > 0 && parts[n-1].Table == table {
			parts[n-1].To = to
			return
		}
		parts = append(parts, Part{table, from, to})
	}
	whole := span.To.Unix() // the last whole second
	for t := span.From; t.Before(span.To); {
		s := t.Unix()
		aligned := t.Nanosecond() == 0
		table, end := "flows", min(s-s%hour+hour, whole+day)
		for _, r := range tables {
			if !aligned || s%r.length != 0 || s+r.length > whole {
				if st := c.state(r, s); st != behind && s-s%r.length+r.length < end {
					end = s - s%r.length + r.length // from there on it may serve
				}
				continue
			}
			st := c.state(r, s)
			if st == behind || st == empty && (len(parts) == 0 || parts[len(parts)-1].Table != r.name) {
				continue
			}
			table, end = r.name, s+r.length
			if r.length < r.bucket { // all whole minutes of the hour
				end = min(s-s%r.bucket+r.bucket, whole-whole%r.length)
			}
			break
		}
		next := time.Unix(end, 0).UTC()
		if next.After(span.To) {
			next = span.To
		}
		add(table, t, next)
		t = next
	}
	return parts
}

// gone are the stretches of parts that are read from raw though raw has less
// than was once built.
func (c *catalog) gone(parts []Part) []Span {
	var list []Span
	for _, p := range parts {
		if p.Table != "flows" {
			continue
		}
		for s := p.From.Unix() / hour * hour; s < p.To.Unix(); s += hour {
			lost := false
			for _, r := range rollups {
				lost = lost || c.state(r, s) == sealed
			}
			if !lost {
				continue
			}
			from, to := time.Unix(s, 0).UTC(), time.Unix(s+hour, 0).UTC()
			if n := len(list); n > 0 && list[n-1].To.Equal(from) {
				list[n-1].To = to
			} else {
				list = append(list, Span{from, to})
			}
		}
	}
	return list
}

// provisional is the first moment of span from which more may come.
func (c *catalog) provisional(span Span) time.Time {
	if c.settled.IsZero() || !c.settled.Before(span.To) {
		return time.Time{}
	}
	return later(c.settled, span.From)
}

// sumColumns are the sums of Source and what they are made of, in the rollups;
// raw has flows and segments as conditions.
var sumColumns = []struct{ name, from string }{
	{"flows", "`flows`"},
	{"segments", "`segments`"},
	{"packets", "(`src_packets` + `dst_packets`)"},
	{"bytes", "(`src_bytes` + `dst_bytes`)"},
	{"frame_bytes", "(`src_frame_bytes` + `dst_frame_bytes`)"},
	{"payload_bytes", "(`src_payload_bytes` + `dst_payload_bytes`)"},
	{"src_bytes", "`src_bytes`"},
	{"dst_bytes", "`dst_bytes`"},
}

// compile writes Source over parts. With hash > 1 one in so many connections is
// taken.
func (p *Plan) compile(parts []Part, hash uint64) {
	p.Params, p.flows = Params{}, nil
	by := map[string][]Part{}
	var order []string
	for _, part := range parts {
		if by[part.Table] == nil {
			order = append(order, part.Table)
		}
		by[part.Table] = append(by[part.Table], part)
	}
	if len(order) == 0 {
		order, by = []string{"flows"}, map[string][]Part{"flows": {{"flows", p.span.From, p.span.From}}}
	}
	var selects []string
	for _, table := range order {
		ways := []expr{p.filter.rest}
		if table == "flows" {
			ways = sides(p.filter.rest)
		}
		for _, way := range ways {
			s := "(" + p.times(table, by[table]) + ")"
			if c := (&compiler{p.Params, p.span}); way != (expr)(truism{true}) {
				s += " AND (" + c.expr(way) + ")"
			}
			if hash > 1 {
				s += " AND `community_hash` % " + p.Params.add("UInt64", fmt.Sprint(hash)) + " = 0"
			}
			if table == "flows" {
				p.flows = append(p.flows, s)
			}
			selects = append(selects, "SELECT "+p.columns(table)+"\nFROM `"+table+"`\nWHERE "+s)
		}
	}
	p.Source = "(" + strings.Join(selects, "\nUNION ALL\n") + ")"
}

func (p *Plan) columns(table string) string {
	var list []string
	for _, r := range rollups {
		if r.name == table {
			list = append(list, "`"+r.time+"` AS t")
		}
	}
	raw := len(list) == 0
	if raw {
		list = append(list, "toDateTime(`start`, 'UTC') AS t")
	}
	for _, name := range p.need.Columns {
		list = append(list, "`"+name+"`")
	}
	for _, s := range sumColumns {
		from := s.from
		switch {
		case raw && s.name == "flows":
			from = "toUInt64(`segment` = 0)"
		case raw && s.name == "segments":
			from = "toUInt64(1)"
		}
		list = append(list, from+" AS `"+s.name+"`")
	}
	return strings.Join(list, ", ")
}

// times is the condition for the stretches of one table.
func (p *Plan) times(table string, parts []Part) string {
	column, typ := "`start`", momentType
	for _, r := range rollups {
		if r.name == table {
			column, typ = "`"+r.time+"`", "DateTime('UTC')"
		}
	}
	write := func(t time.Time) string {
		if typ == momentType {
			return p.Params.add(typ, stamp(t))
		}
		return p.Params.add(typ, t.UTC().Format(time.DateTime))
	}
	list := make([]string, len(parts))
	for i, part := range parts {
		list[i] = column + " >= " + write(part.From) + " AND " + column + " < " + write(part.To)
	}
	return strings.Join(list, " OR ")
}
