package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// Error says what is wrong with a filter, and where.
type Error struct {
	Offset  int    // of the place, in octets from the start of the text
	Length  int    // octets that are meant, 0 at the end of the text
	Line    int    // from 1
	Column  int    // from 1, in characters
	Message string // without the place
	Suggest string // what was probably meant, to put in the place of those octets; empty: nothing is near
}

// Error is one line: `line 1, column 5: there is no dst_prot: did you mean dst_port?`.
func (e *Error) Error() string {
	s := fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	if e.Suggest != "" {
		s += ": did you mean " + e.Suggest + "?"
	}
	return s
}

// failure makes an *Error about text[from:to].
func failure(text string, from, to int, format string, args ...any) *Error {
	from, to = min(from, len(text)), min(to, len(text))
	before := text[:from]
	line := strings.Count(before, "\n")
	col := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &Error{Offset: from, Length: max(to-from, 0), Line: line + 1, Column: col + 1, Message: fmt.Sprintf(format, args...)}
}

// quote shows what was written, shortened, in ASCII.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// nearest is the known name that was probably meant, or "".
func nearest(word string, known []string) string {
	word = strings.ToLower(word)
	if len(word) < 2 {
		return ""
	}
	written := make(map[string]string, len(known))
	lower := make([]string, len(known))
	for i, k := range known {
		lower[i] = strings.ToLower(k)
		written[lower[i]] = k
	}
	near := config.Nearest(word, lower)
	if near == "" || near == word || len(word) < 4 && near[0] != word[0] { // of three letters two are too many to be wrong
		return written[word]
	}
	return written[near]
}
