package query

import (
	"bytes"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// checker turns what was written into what it means, or says what is wrong.
type checker struct {
	lang  *Language
	now   time.Time
	conds int
}

func (c *checker) expr(s syntaxNode) (expr, error) {
	e, err := c.node(s)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (c *checker) node(s syntaxNode) (expr, *Error) {
	switch x := s.(type) {
	case joined:
		parts := make([]expr, len(x.parts))
		for i, p := range x.parts {
			e, err := c.node(p)
			if err != nil {
				return nil, err
			}
			parts[i] = e
		}
		if x.or {
			return either(parts...), nil
		}
		return both(parts...), nil
	case negated:
		e, err := c.node(x.part)
		if err != nil {
			return nil, err
		}
		return negate(e), nil
	case when:
		return c.when(x)
	}
	return c.condition(s.(condition))
}

func negate(e expr) expr {
	switch x := e.(type) {
	case not:
		return x.part
	case truism:
		return truism{!x.value}
	}
	return not{e}
}

// unknown is the error for a name that is neither a column nor a word.
func (l *Language) unknown(text string, name token) *Error {
	err := failure(text, name.from, name.to, "there is no column or word %s", quote(name.value))
	var known []string
	for _, w := range l.words {
		known = append(known, w.Name)
	}
	for _, k := range timeKinds {
		known = append(known, k.word)
	}
	for _, c := range l.columns {
		known = append(known, c.Name)
	}
	err.Suggest = nearest(name.value, append(known, "not"))
	return err
}

func (c *checker) condition(s condition) (expr, *Error) {
	name := strings.ToLower(s.name.value)
	var columns []*Column
	if w := c.lang.byWord[name]; w != nil {
		columns = w.columns
	} else if col := c.lang.byName[name]; col != nil {
		columns = []*Column{col}
	} else {
		return nil, c.lang.unknown(s.text, s.name)
	}
	if c.conds += len(columns); c.conds > maxConds {
		return nil, failure(s.text, s.name.from, s.to, "more than %d conditions", maxConds)
	}
	parts := make([]expr, len(columns))
	for i, col := range columns {
		p, err := c.pred(s, col)
		if err != nil {
			return nil, err
		}
		parts[i] = leaf{p}
	}
	e := either(parts...)
	if s.not {
		e = negate(e)
	}
	return e, nil
}

// pred checks one condition against one column.
func (c *checker) pred(s condition, col *Column) (pred, *Error) {
	p := pred{col: col, op: s.op, from: s.name.from, to: s.to}
	if s.prefix && col.Kind == Set {
		p.op = opHas
	}
	if !slices.Contains(col.operators(), p.op) {
		return p, c.misfit(s, col)
	}
	switch p.op {
	case opExists:
		return p, nil
	case opLike, opILike, opMatch, opContains:
		if p.op == opContains && col.List {
			p.op = opHas
			break
		}
		return p, c.pattern(s, &p)
	}
	for _, it := range s.items {
		if err := c.item(s, &p, it); err != nil {
			return p, err
		}
	}
	if p.op == opEq && len(p.ranges) > 0 { // = 10.0.0.0/8
		p.op = opIn
	}
	return p, nil
}

// misfit is the error for an operator that the column does not take.
func (c *checker) misfit(s condition, col *Column) *Error {
	var takes []string
	for _, o := range col.operators() {
		takes = append(takes, o.String())
	}
	what := col.Kind.String()
	if col.List {
		what = "list"
	}
	at := s.opAt
	return failure(s.text, at.from, at.to, "%s does not fit %s (%s), which takes %s", s.op, s.name.value, what, strings.Join(takes, " "))
}

func (c *checker) pattern(s condition, p *pred) *Error {
	t := s.items[0].lo
	if len(t.value) > maxRegex {
		return failure(s.text, t.from, t.to, "a pattern of %d octets; at most %d are taken", len(t.value), maxRegex)
	}
	if p.op == opLike || p.op == opILike {
		if bare := strings.TrimRight(t.value, `\`); (len(t.value)-len(bare))%2 == 1 {
			return failure(s.text, t.from, t.to, "the pattern ends with a backslash that escapes nothing")
		}
	}
	if p.op == opMatch {
		if _, err := syntax.Parse(t.value, syntax.Perl); err != nil {
			return failure(s.text, t.from, t.to, "%s", strings.TrimPrefix(err.Error(), "error "))
		}
		if strings.ContainsRune(t.value, 0) {
			return failure(s.text, t.from, t.to, "a regular expression cannot hold the character 0; write \\\\x00")
		}
	}
	p.points = []value{{text: t.value}}
	return nil
}

// item adds a value or a range to a condition.
func (c *checker) item(s condition, p *pred, it item) *Error {
	fail := func(t token, w *wrong) *Error {
		err := failure(s.text, t.from, t.to, "%s", w.message)
		err.Suggest = w.suggest
		return err
	}
	col := p.col
	if !it.pair {
		switch col.Kind {
		case Address:
			lo, hi, ok := network(it.lo.value)
			if !ok {
				return fail(it.lo, bad("%s is neither an address nor a network such as 10.0.0.0/8", quote(it.lo.value)))
			}
			if lo != hi {
				p.ranges = append(p.ranges, [2]value{{addr: lo}, {addr: hi}})
				return nil
			}
		case MAC:
			if lo, hi, ok := macRange(it.lo.value); ok && lo != hi {
				p.ranges = append(p.ranges, [2]value{{u: lo}, {u: hi}})
				return nil
			}
		}
		v, w := c.valueOf(col, it.lo.value)
		if w != nil {
			return fail(it.lo, w)
		}
		p.points = append(p.points, v)
		return nil
	}
	if p.op != opIn || col.Kind == Text || col.Kind == Set || col.Kind == Flag || col.Kind == Hash {
		return failure(s.text, it.lo.from, it.hi.to, "%s is a %s: a range does not fit here", s.name.value, col.Kind)
	}
	lo, w := c.valueOf(col, it.lo.value)
	if w != nil {
		return fail(it.lo, w)
	}
	hi, w := c.valueOf(col, it.hi.value)
	if w != nil {
		return fail(it.hi, w)
	}
	if compare(col, hi, lo) < 0 {
		return failure(s.text, it.lo.from, it.hi.to, "the range ends before it begins")
	}
	p.ranges = append(p.ranges, [2]value{lo, hi})
	return nil
}

// compare orders two values of a column.
func compare(col *Column, a, b value) int {
	switch {
	case col.Kind == Address:
		return bytes.Compare(a.addr[:], b.addr[:])
	case col.Kind == Text:
		return strings.Compare(a.text, b.text)
	case col.Kind == Float:
		return order(a.f, b.f)
	case col.Kind == Moment, col.Kind == Number && col.signed:
		return order(a.i, b.i)
	}
	return order(a.u, b.u)
}

func order[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
