package query

import (
	"fmt"
	"strings"
	"time"
)

// Refusal says that a question costs more than it may.
type Refusal struct {
	Limit string // rows, bytes, seconds, memory, result
	Value uint64 // the limit
	// What it would read, where that was known before it ran; Rows 0: it was not.
	Would Estimate
	// How to narrow it, for people.
	Hints []string
	cause error
}

// Unwrap is ClickHouse's error, nil where it was not asked.
func (r *Refusal) Unwrap() error { return r.cause }

// Error says all of it in sentences.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString("the question is too large: it ")
	if r.Would.Rows > 0 {
		fmt.Fprintf(&b, "would read %s rows", people(r.Would.Rows))
		if r.Would.Bytes > 0 {
			fmt.Fprintf(&b, " (about %s, uncompressed)", peopleBytes(r.Would.Bytes))
		}
		fmt.Fprintf(&b, " in %d parts of %s, and ", r.Would.Parts, strings.Join(r.Would.Tables, ", "))
	}
	switch r.Limit {
	case "rows":
		fmt.Fprintf(&b, "may read %s rows", people(r.Value))
	case "bytes":
		fmt.Fprintf(&b, "may read %s", peopleBytes(r.Value))
	case "seconds":
		fmt.Fprintf(&b, "may take %d seconds", r.Value)
	case "memory":
		fmt.Fprintf(&b, "may use %s of memory", peopleBytes(r.Value))
	default:
		fmt.Fprintf(&b, "may answer with %s rows", people(r.Value))
	}
	hints := r.Hints
	if len(hints) == 0 {
		hints = []string{"choose a shorter range or a narrower filter"}
	}
	b.WriteString(": " + strings.Join(hints, "; or "))
	return b.String()
}

func people(n uint64) string {
	for _, u := range []struct {
		unit string
		size float64
	}{{" billion", 1e9}, {" million", 1e6}, {" thousand", 1e3}} {
		if float64(n) >= u.size {
			return fmt.Sprintf("%.3g%s", float64(n)/u.size, u.unit)
		}
	}
	return fmt.Sprint(n)
}

func peopleBytes(n uint64) string {
	for _, u := range []struct {
		unit string
		size float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if float64(n) >= u.size {
			return fmt.Sprintf("%.3g %s", float64(n)/u.size, u.unit)
		}
	}
	return fmt.Sprint(n, " bytes")
}

// narrow says how a question over span would fit.
func narrow(span Span, would, may uint64, raw bool) []string {
	var hints []string
	if length := span.To.Sub(span.From); would > 0 && length > 0 {
		fits := time.Duration(float64(length) * float64(may) / float64(would) * .9)
		switch {
		case fits >= 48*time.Hour:
			hints = append(hints, fmt.Sprintf("ask for about %d days in place of %d", fits/(24*time.Hour), length/(24*time.Hour)))
		case fits >= 2*time.Hour:
			hints = append(hints, fmt.Sprintf("ask for about %d hours", fits/time.Hour))
		case fits >= 2*time.Minute:
			hints = append(hints, fmt.Sprintf("ask for about %d minutes", fits/time.Minute))
		}
	}
	if raw {
		hints = append(hints, "filter and group by probe, site, address, destination port, protocol and app only, which the rollups have")
	}
	return append(hints, "ask for a sample (sample=auto)")
}
