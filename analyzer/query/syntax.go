package query

import "strings"

// What the parser makes of a text: names and values as written, with their
// places. Precedence: or binds least, then and, then not.
type (
	syntaxNode interface{ place() (from, to int) }

	// joined is two or more parts with the same word between them.
	joined struct {
		or    bool
		parts []syntaxNode
	}
	negated struct {
		from int
		part syntaxNode
	}
	// condition is `name operator values`.
	condition struct {
		text   string
		name   token
		op     operator
		not    bool  // not in, not like, !=, !~
		opAt   token // where the operator stands; the name's place if there is none
		items  []item
		to     int
		prefix bool // a word without operator: host 10.0.0.1
	}
	// when is a time word: last 7d, since T, until T, between A and B, today.
	when struct {
		text  string
		word  token
		items []item
		to    int
	}
)

// item is a value, or a range lo..hi with both ends in it.
type item struct {
	lo, hi token
	pair   bool
}

func (j joined) place() (int, int) {
	from, _ := j.parts[0].place()
	_, to := j.parts[len(j.parts)-1].place()
	return from, to
}
func (n negated) place() (int, int) {
	_, to := n.part.place()
	return n.from, to
}
func (c condition) place() (int, int) { return c.name.from, c.to }
func (w when) place() (int, int)      { return w.word.from, w.to }

// operator is what a condition does.
type operator uint8

const (
	opNone operator = iota
	opEq
	opLt
	opLe
	opGt
	opGe
	opIn
	opLike
	opILike
	opMatch
	opContains
	opHas
	opExists
)

// operators are the ways to write them. != and !~ are = and ~ negated.
var operatorWords = []struct {
	text string
	op   operator
	not  bool
	doc  string
}{
	{"=", opEq, false, "is this value"},
	{"!=", opEq, true, "is not this value"},
	{"<", opLt, false, "less"},
	{"<=", opLe, false, "at most"},
	{">", opGt, false, "more"},
	{">=", opGe, false, "at least"},
	{"in", opIn, false, "is one of: a value, a network, a range a..b, or (several, of, them)"},
	{"like", opLike, false, "fits a pattern: % is anything, _ one character"},
	{"ilike", opILike, false, "like, in any case of letters"},
	{"~", opMatch, false, "holds a match of a regular expression (RE2)"},
	{"!~", opMatch, true, "holds no match"},
	{"contains", opContains, false, "holds this text; of a list: has this element"},
	{"has", opHas, false, "a list has this element; a set has these members"},
	{"exists", opExists, false, "is neither empty nor 0"},
}

func (o operator) String() string {
	for _, w := range operatorWords {
		if w.op == o {
			return w.text
		}
	}
	return "none"
}

type parser struct {
	lang  *Language
	text  string
	all   []token
	at    int
	depth int
	conds int
	items int
}

// parse returns nil for a text without tokens.
func parse(text string, l *Language) (syntaxNode, error) {
	all, err := tokens(text)
	if err != nil {
		return nil, err
	}
	p := &parser{lang: l, text: text, all: all}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	tree, perr := p.or()
	if perr == nil && p.peek().kind != tokenEnd {
		perr = p.unexpected("and, or, or the end")
	}
	if perr != nil {
		return nil, perr
	}
	return tree, nil
}

func (p *parser) peek() token { return p.all[p.at] }

func (p *parser) next() token {
	t := p.all[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// take moves past the next token if it is s.
func (p *parser) take(s string) bool {
	if p.peek().is(s) {
		p.at++
		return true
	}
	return false
}

func (p *parser) fail(t token, format string, args ...any) *Error {
	return failure(p.text, t.from, t.to, format, args...)
}

func (p *parser) unexpected(wanted string) *Error {
	t := p.peek()
	if t.kind == tokenEnd {
		return p.fail(t, "the filter ends where %s is expected", wanted)
	}
	err := p.fail(t, "%s where %s is expected", quote(p.text[t.from:t.to]), wanted)
	if t.kind == tokenWord && !t.is("and") && !t.is("or") && strings.HasPrefix(wanted, "and") {
		err.Suggest = nearest(t.value, []string{"and", "or"})
	}
	return err
}

func (p *parser) deeper(t token) *Error {
	if p.depth++; p.depth > maxDepth {
		return p.fail(t, "more than %d parentheses and nots within each other", maxDepth)
	}
	return nil
}

func (p *parser) or() (syntaxNode, *Error) { return p.join("or", p.and) }

func (p *parser) and() (syntaxNode, *Error) { return p.join("and", p.not) }

func (p *parser) join(word string, part func() (syntaxNode, *Error)) (syntaxNode, *Error) {
	first, err := part()
	if err != nil {
		return nil, err
	}
	parts := []syntaxNode{first}
	for p.take(word) {
		more, err := part()
		if err != nil {
			return nil, err
		}
		parts = append(parts, more)
	}
	if len(parts) == 1 {
		return first, nil
	}
	return joined{word == "or", parts}, nil
}

func (p *parser) not() (syntaxNode, *Error) {
	t := p.peek()
	if !t.is("not") {
		return p.primary()
	}
	p.next()
	if err := p.deeper(t); err != nil {
		return nil, err
	}
	part, err := p.not()
	p.depth--
	if err != nil {
		return nil, err
	}
	return negated{t.from, part}, nil
}

func (p *parser) primary() (syntaxNode, *Error) {
	t := p.peek()
	switch {
	case t.is("("):
		p.next()
		if err := p.deeper(t); err != nil {
			return nil, err
		}
		inner, err := p.or()
		p.depth--
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.unexpected("and, or, or )")
		}
		return inner, nil
	case t.kind != tokenWord, t.is("and"), t.is("or"):
		return nil, p.unexpected("a condition")
	}
	if p.conds++; p.conds > maxConds {
		return nil, p.fail(t, "more than %d conditions", maxConds)
	}
	if timeWord(t) != nil {
		return p.when()
	}
	return p.condition()
}

func (p *parser) when() (syntaxNode, *Error) {
	w := when{text: p.text, word: p.next()}
	kind := timeWord(w.word)
	w.to = w.word.to
	for i := range kind.values {
		if i > 0 && !p.take("and") {
			return nil, p.unexpected("and with the end of the time")
		}
		t := p.peek()
		if t.kind != tokenWord && t.kind != tokenString || i > 0 && t.is("or") {
			return nil, p.unexpected(kind.wants)
		}
		p.next()
		w.items = append(w.items, item{lo: t})
		w.to = t.to
	}
	return w, nil
}

func (p *parser) condition() (syntaxNode, *Error) {
	if p.peek().is("exists") { // exists tls_sni
		op := p.next()
		name := p.peek()
		if name.kind != tokenWord {
			return nil, p.unexpected("a name")
		}
		p.next()
		return condition{text: p.text, name: name, op: opExists, opAt: op, to: name.to}, nil
	}
	c := condition{text: p.text, name: p.next()}
	c.opAt, c.to = c.name, c.name.to
	t := p.peek()
	if p.take("not") { // not in, not like
		c.not = true
		t = p.peek()
	}
	for _, w := range operatorWords {
		if t.is(w.text) {
			c.op, c.not = w.op, c.not != w.not
		}
	}
	switch {
	case t.is("=="):
		c.op = opEq
	case t.is("<>"):
		c.op, c.not = opEq, !c.not
	}
	switch {
	case c.op != opNone:
		c.opAt, c.to = p.next(), t.to
	case !c.not && p.lang.byWord[strings.ToLower(c.name.value)] != nil && (t.kind == tokenWord && !t.is("and") && !t.is("or") || t.kind == tokenString || t.is("(")):
		c.op, c.prefix = opIn, true
	default:
		return nil, p.noOperator(c.name, t)
	}
	if c.op == opExists {
		return c, nil
	}
	return p.values(c)
}

// noOperator is the error for a name without an operator behind it; an unknown
// name is the likelier mistake.
func (p *parser) noOperator(name, t token) *Error {
	if p.lang.byName[strings.ToLower(name.value)] == nil && p.lang.byWord[strings.ToLower(name.value)] == nil {
		return p.lang.unknown(p.text, name)
	}
	err := p.unexpected("an operator such as = or in behind " + name.value)
	if t.kind == tokenWord {
		var words []string
		for _, w := range operatorWords {
			words = append(words, w.text)
		}
		err.Suggest = nearest(t.value, words)
	}
	return err
}

// values reads what stands behind the operator: one value, or for in (and for
// words without operator) a range or a list in parentheses.
func (p *parser) values(c condition) (syntaxNode, *Error) {
	if c.op != opIn {
		t := p.peek()
		if t.kind != tokenWord && t.kind != tokenString {
			return nil, p.unexpected("a value")
		}
		p.next()
		c.items, c.to = []item{{lo: t}}, t.to
		return c, nil
	}
	if !p.take("(") {
		it, err := p.item()
		if err != nil {
			return nil, err
		}
		c.items, c.to = []item{it}, p.all[p.at-1].to
		return c, nil
	}
	for {
		it, err := p.item()
		if err != nil {
			return nil, err
		}
		c.items = append(c.items, it)
		if p.items++; p.items > maxItems {
			return nil, p.fail(it.lo, "more than %d values in the lists", maxItems)
		}
		if p.take(")") {
			c.to = p.all[p.at-1].to
			return c, nil
		}
		if !p.take(",") {
			return nil, p.unexpected(", or )")
		}
	}
}

func (p *parser) item() (item, *Error) {
	t := p.peek()
	if t.kind != tokenWord && t.kind != tokenString {
		return item{}, p.unexpected("a value")
	}
	p.next()
	it := item{lo: t}
	if p.take("..") {
		it.hi, it.pair = p.peek(), true
		if it.hi.kind != tokenWord && it.hi.kind != tokenString {
			return item{}, p.unexpected("the end of the range")
		}
		p.next()
	}
	return it, nil
}
