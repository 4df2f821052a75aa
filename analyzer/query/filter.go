package query

import (
	"math"
	"time"
)

// A checked filter is a tree of these. Words are resolved: what is left are
// conditions on columns.
type (
	expr interface{ size() int }

	all    struct{ parts []expr } // and
	some   struct{ parts []expr } // or
	not    struct{ part expr }
	leaf   struct{ pred }
	truism struct{ value bool } // always, or never
)

// pred is a condition on one column. points and ranges are the values of opEq,
// opIn, opHas; the others have one point. On a list it means: of any element.
type pred struct {
	col    *Column
	op     operator
	points []value
	ranges [][2]value // both ends in it
	from   int        // place in the text, for errors found later
	to     int
}

func (e all) size() int    { return sizes(e.parts) }
func (e some) size() int   { return sizes(e.parts) }
func (e not) size() int    { return e.part.size() }
func (e leaf) size() int   { return 1 }
func (e truism) size() int { return 1 }

func sizes(parts []expr) int {
	n := 0
	for _, p := range parts {
		n += p.size()
	}
	return n
}

// both joins by and, and leaves out what is always true.
func both(parts ...expr) expr {
	var list []expr
	for _, p := range parts {
		switch x := p.(type) {
		case nil:
		case truism:
			if !x.value {
				return x
			}
		case all:
			list = append(list, x.parts...)
		default:
			list = append(list, p)
		}
	}
	switch len(list) {
	case 0:
		return truism{true}
	case 1:
		return list[0]
	}
	return all{list}
}

// either joins by or.
func either(parts ...expr) expr {
	if len(parts) == 1 {
		return parts[0]
	}
	return some{parts}
}

// Filter is a checked filter. It is not changed after it is made.
type Filter struct {
	whole expr // all of it, for evaluation
	rest  expr // without the conditions that lo and hi stand for
	lo    int64
	hi    int64 // of start, nanoseconds since 1970, [lo, hi)
}

const (
	minNano = 0
	maxNano = math.MaxInt64
)

func newFilter(e expr) *Filter {
	f := &Filter{whole: e, lo: minNano, hi: maxNano}
	if e == nil {
		f.whole = truism{true}
	}
	f.rest, f.lo, f.hi = splitTime(f.whole)
	return f
}

// And is the filter that passes what both pass. A nil Filter passes all.
func (f *Filter) And(g *Filter) *Filter {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return newFilter(both(f.whole, g.whole))
}

// Range is the time that the filter asks for: a flow that passes began in
// [from, to). The zero time means that the side is open.
func (f *Filter) Range() (from, to time.Time) {
	if f.lo > minNano {
		from = time.Unix(0, f.lo).UTC()
	}
	if f.hi < maxNano {
		to = time.Unix(0, f.hi).UTC()
	}
	return from, to
}

// Columns are the columns that the filter looks at, besides its Range, each
// once, in the order in which they appear.
func (f *Filter) Columns() []*Column {
	var list []*Column
	seen := map[*Column]bool{}
	walk(f.rest, func(p pred) {
		if !seen[p.col] {
			seen[p.col] = true
			list = append(list, p.col)
		}
	})
	return list
}

// Always says whether all flows of the Range pass.
func (f *Filter) Always() bool { return f.rest == truism{true} }

func walk(e expr, visit func(pred)) {
	switch x := e.(type) {
	case all:
		for _, p := range x.parts {
			walk(p, visit)
		}
	case some:
		for _, p := range x.parts {
			walk(p, visit)
		}
	case not:
		walk(x.part, visit)
	case leaf:
		visit(x.pred)
	}
}

// splitTime takes out of e what it says about the start of a flow: the range
// that every flow lies in that passes, and what is left to ask.
func splitTime(e expr) (rest expr, lo, hi int64) {
	lo, hi = minNano, maxNano
	switch x := e.(type) {
	case all:
		var parts []expr
		for _, p := range x.parts {
			r, l, h := splitTime(p)
			lo, hi = max(lo, l), min(hi, h)
			parts = append(parts, r)
		}
		return both(parts...), lo, max(lo, hi)
	case some:
		lo, hi = maxNano, minNano
		for _, p := range x.parts {
			_, l, h := splitTime(p)
			lo, hi = min(lo, l), max(hi, h)
		}
		return e, lo, hi // of which the parts may have less
	case not:
		if inner, ok := x.part.(leaf); ok {
			if l, h, ok := timeOf(inner.pred); ok && l == minNano {
				return truism{true}, h, maxNano
			} else if ok && h == maxNano {
				return truism{true}, minNano, l
			}
		}
	case leaf:
		if l, h, ok := timeOf(x.pred); ok {
			return truism{true}, l, h
		}
	}
	return e, lo, hi
}

// timeOf is the range that a condition on start says, if it says just that.
func timeOf(p pred) (lo, hi int64, ok bool) {
	if p.col.Name != "start" {
		return 0, 0, false
	}
	switch {
	case p.op == opIn && len(p.points) == 0 && len(p.ranges) == 1:
		return p.ranges[0][0].i, p.ranges[0][1].i + 1, true
	case len(p.points) != 1:
		return 0, 0, false
	}
	v := p.points[0].i
	switch p.op {
	case opEq, opIn:
		return v, v + 1, true
	case opLt:
		return minNano, v, true
	case opLe:
		return minNano, v + 1, true
	case opGe:
		return v, maxNano, true
	case opGt:
		return v + 1, maxNano, true
	}
	return 0, 0, false
}
