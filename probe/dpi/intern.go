package dpi

import (
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// interner returns one string for equal octets, so that what repeats is not
// allocated again. It keeps two generations: when the young one is full the old
// one is forgotten, so the memory is bounded and what is used stays.
type interner struct {
	limit      int // strings of a generation
	young, old map[string]string
}

func (t *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := t.young[string(b)]; ok {
		return s
	}
	s, ok := t.old[string(b)]
	if !ok {
		s = string(b)
	}
	if t.young == nil || len(t.young) >= t.limit {
		t.young, t.old = t.old, t.young
		if t.young == nil {
			t.young = make(map[string]string)
		}
		clear(t.young)
	}
	t.young[s] = s
	return s
}

const hexDigits = "0123456789abcdef"

// printable returns b as text that is valid UTF-8 without control characters:
// such octets are written \xNN, as Zeek does. Text longer than flow.MaxString
// is shortened and marked.
func (in *Inspector) printable(b []byte, rec *flow.Record) string {
	clean := len(b) <= flow.MaxString
	for i := 0; clean && i < len(b); i++ {
		clean = b[i] >= ' ' && b[i] < 0x7f
	}
	if !clean {
		in.text = appendPrintable(in.text[:0], b)
		b = in.shorten(in.text, rec)
	}
	return in.strings.get(b)
}

// appendPrintable appends b, escaped, but stops soon after flow.MaxString.
func appendPrintable(dst, b []byte) []byte {
	for len(b) > 0 && len(dst) <= flow.MaxString {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 || r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			for _, c := range b[:n] {
				dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			}
		} else {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// shorten cuts valid UTF-8 to flow.MaxString octets at a character's border.
func (in *Inspector) shorten(b []byte, rec *flow.Record) []byte {
	if len(b) <= flow.MaxString {
		return b
	}
	rec.Cut |= flow.CutString
	n := flow.MaxString
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}
