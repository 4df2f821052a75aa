package console

import "strings"

// where collects the conditions of a question about alerts. The texts come from
// this package only; what a client gave is in the params.
type where struct {
	terms  []string
	params params
}

func (w *where) add(term string, name, value string) {
	w.terms = append(w.terms, term)
	w.params[name] = value
}

// sql is the conditions, each behind an AND.
func (w *where) sql() string {
	var b strings.Builder
	for _, t := range w.terms {
		b.WriteString(" AND (" + t + ")")
	}
	return b.String()
}
