package keep

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parameters of a request, in the order in which they are shown.
var parameters = []string{"start", "end", "src", "dst", "sport", "dport", "proto", "host", "community_id", "filter", "format"}

// maxExpression bounds a BPF expression in a request, in bytes.
const maxExpression = 4096

// ParseQuery reads the parameters of a request: start and end (RFC 3339, or seconds
// since 1970 with a fraction), src, dst, host (addresses), sport, dport, proto (name
// or number), community_id, filter (BPF expression), format (pcap or pcapng). What
// is not known, or given twice, is refused. Errors wrap ErrQuery.
func ParseQuery(v url.Values) (Query, error) {
	var q Query
	for name, values := range v {
		if !slices.Contains(parameters, name) {
			return q, queryError("parameter %q is not one of %s", name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 {
			return q, queryError("parameter %s is given %d times", name, len(values))
		}
	}
	for _, p := range [...]struct {
		name string
		set  func(string) error
	}{
		{"start", func(s string) (err error) { q.Start, err = ParseTime(s); return }},
		{"end", func(s string) (err error) { q.End, err = ParseTime(s); return }},
		{"src", func(s string) (err error) { q.Src, err = parseAddr(s); return }},
		{"dst", func(s string) (err error) { q.Dst, err = parseAddr(s); return }},
		{"host", func(s string) (err error) { q.Host, err = parseAddr(s); return }},
		{"sport", func(s string) (err error) { q.SrcPort, err = parseNumber(s, 65535); return }},
		{"dport", func(s string) (err error) { q.DstPort, err = parseNumber(s, 65535); return }},
		{"proto", func(s string) (err error) { q.Protocol, err = parseProtocol(s); return }},
		{"community_id", func(s string) error { q.CommunityID = s; return nil }},
		{"filter", func(s string) error { q.Filter = s; return nil }},
		{"format", func(s string) error { q.Format = Format(s); return nil }},
	} {
		s := v.Get(p.name)
		if s == "" {
			continue
		}
		if err := p.set(s); err != nil {
			return q, queryError("%s: %v", p.name, err)
		}
	}
	if len(q.Filter) > maxExpression {
		return q, queryError("filter: longer than %d bytes", maxExpression)
	}
	// A + that was not escaped arrives as a blank.
	q.CommunityID = strings.ReplaceAll(q.CommunityID, " ", "+")
	return q, nil
}

// Values is the reverse of ParseQuery. Within is not part of it.
func (q Query) Values() url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"start": q.Start, "end": q.End} {
		if !t.IsZero() {
			set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	for name, a := range map[string]netip.Addr{"src": q.Src, "dst": q.Dst, "host": q.Host} {
		if a.IsValid() {
			set(name, a.String())
		}
	}
	for name, n := range map[string]int{"sport": q.SrcPort, "dport": q.DstPort, "proto": q.Protocol} {
		if n != 0 {
			set(name, strconv.Itoa(n))
		}
	}
	set("community_id", q.CommunityID)
	set("filter", q.Filter)
	set("format", string(q.Format))
	return v
}

// ParseTime reads RFC 3339, a date, or seconds since 1970 with up to nine decimals.
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err == nil && len(fraction) <= 9 && sec >= 0 && sec < 1<<33 {
		ns := int64(0)
		if fraction != "" {
			n, wrong := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
			ns, err = int64(n), wrong
		}
		if err == nil {
			return time.Unix(sec, ns).UTC(), nil
		}
	}
	return time.Time{}, timeError(s)
}

type timeError string

func (e timeError) Error() string {
	return strconv.Quote(string(e)) + " is not a time such as 2026-05-01T12:00:00Z or 1777636800.5"
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, err
	}
	return a.Unmap().WithZone(""), nil
}

func parseNumber(s string, most uint64) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > most {
		return 0, queryNumber{s, most}
	}
	return int(n), nil
}

type queryNumber struct {
	text string
	most uint64
}

func (e queryNumber) Error() string {
	return strconv.Quote(e.text) + " is not within 1 to " + strconv.FormatUint(e.most, 10)
}

func parseProtocol(s string) (int, error) {
	if n, ok := protocols[strings.ToLower(s)]; ok {
		return n, nil
	}
	return parseNumber(s, 255)
}
