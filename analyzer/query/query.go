// Package query is the one language in which people say which flows they mean,
// and the one way in which their questions reach ClickHouse.
//
// In comes a filter as text, such as
//
//	src_ip in 10.0.0.0/8 and dst_port = 443 and tls_sni like '%.ru' and not app = 'dns'
//
// It is parsed, its names and values are checked against the columns (an error
// says where, and what was probably meant), and out goes a condition in SQL that
// holds nothing but this package's own words, identifiers of the registry and
// {p1:Type} parameters, whose values travel apart from the statement. A Planner
// chooses the coarsest tables that answer exactly, an Asker says what a question
// would read, refuses what is too much, bounds the rest and ends it with its
// client. Nothing is written to the database; connections stay the caller's.
package query

import (
	"time"
)

// Bounds of a filter, so that no text can be expensive to understand.
const (
	MaxText  = 16 << 10 // octets of a filter
	maxDepth = 50       // parentheses and nots within each other
	maxConds = 500      // conditions, after words are resolved
	maxItems = 2000     // values in all lists together
	maxRegex = 1000     // octets of a regular expression
)

// Language knows the columns and the words. It is made once, by New, and is not
// changed afterwards: its methods are safe for concurrent use.
type Language struct {
	columns []*Column // in the order of the documentation
	byName  map[string]*Column
	words   []*Word
	byWord  map[string]*Word
}

// New returns the language over the columns of this build.
func New() *Language {
	l := &Language{columns: registry(), byName: map[string]*Column{}, byWord: map[string]*Word{}}
	for _, c := range l.columns {
		l.byName[c.Name] = c
	}
	l.words = l.vocabulary()
	for _, w := range l.words {
		l.byWord[w.Name] = w
	}
	return l
}

// Columns are the columns in the order of the documentation; they are not to be
// changed.
func (l *Language) Columns() []*Column { return l.columns }

// Column returns the column of that name, nil if there is none.
func (l *Language) Column(name string) *Column { return l.byName[name] }

// Parse reads and checks a filter. now is the moment at which `last 7d` ends and
// in whose day `today` is: for stored traffic, the end of it. The error is an
// *Error with the place in the text. An empty text is the filter that all flows
// pass.
func (l *Language) Parse(text string, now time.Time) (*Filter, error) {
	tree, err := parse(text, l)
	if err != nil {
		return nil, err
	}
	if tree == nil {
		return newFilter(nil), nil
	}
	c := checker{lang: l, now: now.UTC()}
	e, err := c.expr(tree)
	if err != nil {
		return nil, err
	}
	return newFilter(e), nil
}
