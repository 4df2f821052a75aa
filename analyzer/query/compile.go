package query

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// Params are the values of {name:Type} in a statement, in the text form that
// ClickHouse reads.
type Params map[string]string

// add keeps a value under a new name and returns how the statement says it. typ
// comes from this package.
func (p Params) add(typ, value string) string {
	name := "p" + strconv.Itoa(len(p)+1)
	p[name] = value
	return "{" + name + ":" + typ + "}"
}

// elementEscapes are for a text within an Array parameter, in single quotes.
var elementEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)

// Quote writes a text as the language reads it.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\' || c == '\'':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			b.WriteString(`\x` + hex.EncodeToString([]byte{c}))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// QuotePattern is Quote of a like pattern that fits this text and nothing else.
func QuotePattern(before, s, after string) string {
	return Quote(before + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + after)
}

// Where is the filter as a condition of SQL, without its Range, which belongs to
// whoever chooses the table. Values are added to p. span is the time that the
// question is about, for what addresses were called then. It consists of this
// package's words, of columns of the registry and of parameters.
func (f *Filter) Where(p Params, span Span) string {
	c := compiler{params: p, span: span}
	return c.expr(f.rest)
}

// Span is a half-open range of traffic time, [From, To).
type Span struct{ From, To time.Time }

// Empty says that no moment is in it.
func (s Span) Empty() bool { return !s.From.Before(s.To) }

type compiler struct {
	params Params
	span   Span
}

func (c *compiler) expr(e expr) string {
	switch x := e.(type) {
	case all:
		return c.join(x.parts, " AND ")
	case some:
		return c.join(x.parts, " OR ")
	case not:
		return "NOT (" + c.expr(x.part) + ")"
	case leaf:
		return c.pred(x.pred)
	case truism:
		if !x.value {
			return "0"
		}
	}
	return "1"
}

func (c *compiler) join(parts []expr, between string) string {
	list := make([]string, len(parts))
	for i, p := range parts {
		list[i] = "(" + c.expr(p) + ")"
	}
	return strings.Join(list, between)
}

func (c *compiler) pred(p pred) string {
	switch {
	case p.col.lookup != nil:
		return c.lookup(p)
	case p.col.List:
		return c.list(p)
	}
	return c.one(p, p.col.expression())
}

// one is a condition on the single value x.
func (c *compiler) one(p pred, x string) string {
	col := p.col
	add := func(v value) string { return c.params.add(col.parameter(), col.encode(v)) }
	switch p.op {
	case opLt:
		return x + " < " + add(p.points[0])
	case opLe:
		return x + " <= " + add(p.points[0])
	case opGt:
		return x + " > " + add(p.points[0])
	case opGe:
		return x + " >= " + add(p.points[0])
	case opLike:
		return x + " LIKE " + add(p.points[0])
	case opILike:
		return x + " ILIKE " + add(p.points[0])
	case opMatch:
		return "match(" + x + ", " + add(p.points[0]) + ")"
	case opContains:
		return "position(" + x + ", " + add(p.points[0]) + ") > 0"
	case opExists:
		return x + " != " + add(value{})
	}
	if col.Kind == Set {
		return c.set(p, x)
	}
	var parts []string
	switch len(p.points) {
	case 0:
	case 1:
		parts = append(parts, x+" = "+add(p.points[0]))
	default:
		parts = append(parts, x+" IN "+c.array(col, p.points))
	}
	for _, r := range p.ranges {
		parts = append(parts, x+" BETWEEN "+add(r[0])+" AND "+add(r[1]))
	}
	return strings.Join(parts, " OR ")
}

func (c *compiler) set(p pred, x string) string {
	var union uint64
	for _, v := range p.points {
		union |= v.u
	}
	mask := func() string { return c.params.add(p.col.sql, strconv.FormatUint(union, 10)) }
	switch p.op {
	case opHas:
		return "bitAnd(" + x + ", " + mask() + ") = " + mask()
	case opIn:
		return "bitAnd(" + x + ", " + mask() + ") != 0"
	}
	return x + " = " + mask()
}

// list is a condition on any element of a list.
func (c *compiler) list(p pred) string {
	x := p.col.expression()
	plain := len(p.ranges) == 0
	switch {
	case p.op == opExists:
		return "notEmpty(" + x + ")"
	case plain && len(p.points) == 1 && (p.op == opHas || p.op == opEq || p.op == opIn):
		return "has(" + x + ", " + c.params.add(p.col.parameter(), p.col.encode(p.points[0])) + ")"
	case plain && p.op == opIn:
		return "hasAny(" + x + ", " + c.array(p.col, p.points) + ")"
	}
	return "arrayExists(e -> " + c.one(p, "e") + ", " + x + ")"
}

// lookup is a condition by what another table knew at the time.
func (c *compiler) lookup(p pred) string {
	t := p.col.lookup
	name := "`" + t.name + "`"
	if p.op == opEq || p.op == opIn {
		name = "lower(" + name + ")"
		lower := p
		lower.points = make([]value, len(p.points))
		for i, v := range p.points {
			lower.points[i] = value{text: strings.ToLower(v.text)}
		}
		p = lower
	}
	s := "(" + columnList(t.keys) + ") IN (SELECT " + columnList(t.find) + " FROM `" + t.table + "` WHERE (" + c.one(p, name) + ")"
	if to := c.span.To; !to.IsZero() {
		s += " AND `" + t.first + "` < " + c.params.add(momentType, stamp(to))
	}
	if from := c.span.From; !from.IsZero() {
		if t.hours {
			from = from.Truncate(time.Hour)
		}
		s += " AND `" + t.last + "` >= " + c.params.add(momentType, stamp(from))
	}
	return s + ")"
}

func columnList(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

func (c *compiler) array(col *Column, points []value) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range points {
		if i > 0 {
			b.WriteByte(',')
		}
		switch col.Kind {
		case Text:
			b.WriteString("'" + elementEscapes.Replace(v.text) + "'")
		case Address, Moment:
			b.WriteString("'" + col.encode(v) + "'")
		default:
			b.WriteString(col.encode(v))
		}
	}
	b.WriteByte(']')
	return c.params.add("Array("+col.parameter()+")", b.String())
}

const momentType = "DateTime64(9, 'UTC')"

// parameter is the type of a value's parameter.
func (c *Column) parameter() string {
	switch c.Kind {
	case Moment:
		return momentType
	case Float:
		return "Float64"
	}
	return c.sql
}

// encode writes a value as a parameter of that type.
func (c *Column) encode(v value) string {
	switch c.Kind {
	case Text:
		return clickhouse.Text(v.text)
	case Address:
		return v.addr.String()
	case Moment:
		return stamp(time.Unix(0, v.i))
	case Float:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	}
	if c.signed {
		return strconv.FormatInt(v.i, 10)
	}
	return strconv.FormatUint(v.u, 10)
}

// stamp writes a time as a DateTime64(9, 'UTC') parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }
