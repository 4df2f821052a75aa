package query

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Completion is what could stand at a place of a filter: one of Items in the
// place of text[From:To].
type Completion struct {
	From  int        `json:"from" doc:"octets from the start of the text"`
	To    int        `json:"to"`
	Items []Proposal `json:"items" doc:"best first"`
}

// Proposal is a text that could be put there.
type Proposal struct {
	Text string `json:"text"`
	Kind string `json:"kind" enum:"column,word,time,operator,value,join"`
	Doc  string `json:"doc" doc:"one line, may be empty"`
}

// maxProposals bounds a Completion.
const maxProposals = 40

// expects is what the grammar wants next.
type expects uint8

const (
	expectsCondition expects = iota
	expectsName              // behind exists
	expectsOperator
	expectsValue
	expectsMore // , .. or ) in a list
	expectsTime
	expectsJoin // and, or, )
)

// Complete proposes what could be written at the cursor, octets from the start
// of the text. It never fails: where nothing fits, nothing is proposed.
func (l *Language) Complete(text string, cursor int) Completion {
	cursor = max(0, min(cursor, len(text)))
	for cursor > 0 && cursor < len(text) && !utf8.RuneStart(text[cursor]) {
		cursor--
	}
	before, partial, from, quoted := cut(text[:cursor])
	c := Completion{From: from, To: cursor, Items: []Proposal{}}
	if from < 0 { // not even tokens
		c.From = cursor
		return c
	}
	for c.To < len(text) && !quoted { // the rest of the word at the cursor
		r, size := utf8.DecodeRuneInString(text[c.To:])
		if !wordRune(r) {
			break
		}
		c.To += size
	}
	want, name := l.follow(before)
	c.Items = choose(l.proposals(want, name, quoted), partial)
	return c
}

// cut parts a text into the tokens before the word (or open quote) at its end,
// and that; from is -1 where it cannot.
func cut(text string) (before []token, partial string, from int, quoted bool) {
	all, err := tokens(text)
	if err != nil && strings.Contains(err.Message, "is not closed") {
		all, _ = tokens(text[:err.Offset])
		if len(all) > 0 {
			all = all[:len(all)-1]
		}
		return all, text[err.Offset+1:], err.Offset, true
	}
	if err != nil {
		return nil, "", -1, false
	}
	all = all[:len(all)-1]
	if n := len(all); n > 0 && all[n-1].kind == tokenWord && all[n-1].to == len(text) {
		return all[:n-1], all[n-1].value, all[n-1].from, false
	}
	return all, "", len(text), false
}

// follow walks through tokens and says what is wanted behind them, and of which
// column or word.
func (l *Language) follow(all []token) (want expects, name string) {
	times, list, in := 0, false, false
	for _, t := range all {
		switch want {
		case expectsCondition:
			switch k := timeWord(t); {
			case k != nil && k.values > 0:
				want, times = expectsTime, k.values
			case k != nil:
				want = expectsJoin
			case t.is("exists"):
				want = expectsName
			case t.is("(") || t.is("not") || t.kind != tokenWord:
			default:
				want, name = expectsOperator, strings.ToLower(t.value)
			}
		case expectsName:
			want = expectsJoin
		case expectsTime:
			if t.is("and") {
				continue
			}
			if times--; times == 0 {
				want = expectsJoin
			}
		case expectsOperator:
			switch {
			case t.is("not"):
			case t.is("exists"):
				want = expectsJoin
			case slices.ContainsFunc(operatorWords, func(w struct {
				text string
				op   operator
				not  bool
				doc  string
			}) bool {
				return t.is(w.text)
			}):
				want, in, list = expectsValue, t.is("in"), false
			case t.is("("):
				want, in, list = expectsValue, true, true
			default: // a word without operator
				want = expectsJoin
			}
		case expectsValue:
			switch {
			case t.is("(") && in:
				list = true
			case list:
				want = expectsMore
			default:
				want = expectsJoin
			}
		case expectsMore:
			switch {
			case t.is(")"):
				want = expectsJoin
			default:
				want = expectsValue
			}
		case expectsJoin:
			switch {
			case t.is("and") || t.is("or"):
				want = expectsCondition
			case t.is(".."):
				want = expectsValue
			}
		}
	}
	return want, name
}

func (l *Language) proposals(want expects, name string, quoted bool) []Proposal {
	var list []Proposal
	add := func(kind, text, doc string) { list = append(list, Proposal{text, kind, doc}) }
	col := l.byName[name]
	if w := l.byWord[name]; w != nil {
		col = w.columns[0]
	}
	if quoted && want != expectsValue && want != expectsOperator {
		return nil
	}
	switch want {
	case expectsCondition, expectsName:
		for _, w := range l.words {
			add("word", w.Name, w.Doc)
		}
		for _, c := range l.columns {
			add("column", c.Name, c.describe())
		}
		if want == expectsName {
			return list
		}
		for _, k := range timeKinds {
			add("time", k.word, k.doc)
		}
		add("join", "not", "the opposite of the next condition")
		add("join", "(", "")
	case expectsOperator:
		if col == nil {
			return nil
		}
		if l.byWord[name] != nil { // a value may follow at once
			list = append(list, values(col, quoted)...)
		}
		if quoted {
			return list
		}
		takes := col.operators()
		for _, w := range operatorWords {
			if slices.Contains(takes, w.op) {
				add("operator", w.text, w.doc)
			}
		}
		add("operator", "not", "not in, not like")
	case expectsValue:
		if col == nil {
			return nil
		}
		return values(col, quoted)
	case expectsMore:
		add("join", ",", "another value")
		add("join", ")", "end of the list")
	case expectsTime:
		for _, s := range []string{"1h", "24h", "7d", "30d", "today", "yesterday", "now"} {
			add("value", s, "")
		}
	case expectsJoin:
		add("join", "and", "both conditions")
		add("join", "or", "one of the conditions; and binds tighter")
		add("join", ")", "")
	}
	return list
}

// values are those that a column's values are chosen from.
func values(col *Column, quoted bool) []Proposal {
	var list []Proposal
	add := func(s string) {
		if quoted || s == "" || strings.IndexFunc(s, func(r rune) bool { return !wordRune(r) }) >= 0 {
			s = Quote(s)
		}
		list = append(list, Proposal{s, "value", ""})
	}
	for _, n := range col.Names {
		add(n.Name)
	}
	for _, v := range append(slices.Clone(col.Values), col.Usual...) {
		add(v)
	}
	switch col.Kind {
	case Flag:
		add("true")
		add("false")
	case Moment:
		add("now")
		add("today")
		add("yesterday")
	}
	return list
}

// describe is a line about a column.
func (c *Column) describe() string {
	s := c.Kind.String()
	if c.List {
		s = "list of " + s
	}
	if c.Unit != Plain {
		s += ", " + c.Unit.String()
	}
	if c.Doc != "" {
		s += ": " + c.Doc
	}
	return s
}

// choose keeps what begins with what is written already, then what holds it.
func choose(list []Proposal, partial string) []Proposal {
	partial = strings.ToLower(partial)
	chosen := []Proposal{}
	for _, begins := range []bool{true, false} {
		for _, p := range list {
			s := strings.TrimPrefix(strings.ToLower(p.Text), "'")
			switch at := strings.Index(s, partial); {
			case at < 0, (at == 0) != begins, partial == "" && !begins:
				continue
			}
			if chosen = append(chosen, p); len(chosen) == maxProposals {
				return chosen
			}
		}
		if partial == "" {
			break
		}
	}
	return chosen
}
