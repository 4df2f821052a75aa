package query

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"
)

//go:embed sql/stored.sql
var storedSQL string

// Stored is the time of the flows that are stored, empty when there are none. It
// ends behind the begin of the newest, with the minute.
func (p *Planner) Stored(ctx context.Context) (Span, error) {
	var n uint64
	var first, last int64
	if err := p.ask.One(ctx, System, Statement{SQL: storedSQL}, &n, &first, &last); err != nil {
		return Span{}, fmt.Errorf("read the range of the traffic: %w", err)
	}
	if n == 0 {
		return Span{}, nil
	}
	return Span{time.Unix(0, first).UTC().Truncate(time.Minute), time.Unix(0, last).UTC().Truncate(time.Minute).Add(time.Minute)}, nil
}

// Select is the column as an expression over flows, with its name.
func (c *Column) Select() string {
	switch {
	case c.lookup != nil:
		return "''"
	case c.Kind == Hash: // the table has its text as an ALIAS
		return "`" + c.Name + "`"
	}
	return c.expression() + " AS `" + c.Name + "`"
}

// Disarm keeps a spreadsheet from taking a cell for a formula: one that begins
// with = + - @, tab or carriage return gets an apostrophe (OWASP, CSV
// injection), also where blanks stand before it.
func Disarm(cell string) string {
	if s := strings.TrimLeft(cell, " \u00a0\ufeff"); s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + cell
	}
	return cell
}

// Stored says whether the tables have the column as it is, so that rows can be
// grouped by it; the others are made of several.
func (c *Column) Stored() bool { return c.from == "" && c.lookup == nil }

// Nearest is the column that was probably meant by a name, or "".
func (l *Language) Nearest(name string) string {
	known := make([]string, len(l.columns))
	for i, c := range l.columns {
		known[i] = c.Name
	}
	return nearest(name, known)
}
