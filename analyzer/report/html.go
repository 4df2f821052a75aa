package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

//go:embed page.html
var pageText string

// pages are the templates with the times of a zone; html/template escapes.
func pages(loc *time.Location) (*template.Template, error) {
	return template.New("pages").Funcs(template.FuncMap{
		"time": func(t time.Time) string {
			if t.IsZero() {
				return "–"
			}
			return t.In(loc).Format("2006-01-02 15:04:05")
		},
		"date":    func(t time.Time) string { return t.In(loc).Format(time.DateOnly) },
		"slot":    func(seconds int) string { return strconv.Itoa(seconds/60) + " min" },
		"octets":  octets,
		"bps":     bps,
		"slope":   func(v float64) string { return signed(v) },
		"percent": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
		"floor":   func(v float64) string { return fmt.Sprintf("%.2f %%", math.Floor(v*1e4)/100) }, // 99.999 is not 100
		"num":     func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) },
		"text":    func(s string) string { return printable(s, 500, false) },
		"lines":   func(s string) string { return printable(s, 100_000, true) },
		"list":    func(l []string) string { return printable(strings.Join(l, ", "), 4000, false) },
		"level":   func(l Link) string { return fmt.Sprintf("%.1f", 98-96*ratio(l.P95, l.Peak)) },
		"curve":   curve,
	}).Parse(pageText)
}

// printable is text without what is not printable: escape sequences, overrides of
// the writing direction, broken UTF-8. Line ends stay if lines is true.
func printable(s string, most int, lines bool) string {
	n := 0
	s = strings.Map(func(r rune) rune {
		n++
		switch {
		case n > most:
			return -1
		case lines && (r == '\n' || r == '\t') || r != unicode.ReplacementChar && unicode.IsPrint(r):
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, " "))
	if n > most {
		s += " …"
	}
	return s
}

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return min(a/b, 1)
}

// octets in powers of 1000, as rates are.
func octets(n uint64) string { return scaled(float64(n)) + "B" }

func bps(v float64) string { return scaled(v) + "bit/s" }

func signed(v float64) string {
	if v < 0 {
		return "−" + bps(-v)
	}
	return "+" + bps(v)
}

func scaled(v float64) string {
	for _, s := range []struct {
		at   float64
		unit string
	}{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= s.at {
			return fmt.Sprintf("%.3g %s", v/s.at, s.unit)
		}
	}
	return fmt.Sprintf("%.3g ", v)
}

// curve draws the slots of a link into 1000 × 100, the busiest of those that
// share a place; slots without traffic are zero.
func curve(r *Report, l Link) string {
	const places = 500
	span := r.To.Sub(r.From).Seconds()
	if l.Peak <= 0 || span <= 0 || r.SlotSeconds <= 0 {
		return ""
	}
	n := min(places, int(math.Ceil(span/float64(r.SlotSeconds))))
	var height [places]float64
	for _, p := range l.points {
		i := int(float64(int64(p.at)-r.From.Unix()) / span * float64(n))
		if i = max(0, min(i, n-1)); p.octets > height[i] {
			height[i] = p.octets
		}
	}
	most := l.Peak * float64(r.SlotSeconds) / 8
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%.1f,%.1f ", (float64(i)+0.5)/float64(n)*1000, 98-96*ratio(height[i], most))
	}
	return strings.TrimSpace(b.String())
}

// HTML writes the report as one file that needs no other, without scripts.
func (r *Report) HTML(w io.Writer) error {
	loc := r.loc
	if loc == nil {
		loc = time.UTC
	}
	t, err := pages(loc)
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, "report", r)
}
