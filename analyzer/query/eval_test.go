package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// row is a flow with where it is from, as the evaluator sees it: values by
// column, of the Go types uint64, int64, float64, string, bool, flow.Addr, or
// slices of them.
type row map[string]any

// rowOf takes a record apart through its JSON, which is written without this
// package.
func rowOf(l *Language, r *flow.Record, probe, site string) row {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(r.AppendJSON(nil)))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		panic(err)
	}
	out := row{"probe": probe, "site": site}
	for _, c := range l.columns {
		v, ok := fields[c.Name]
		if !ok {
			continue
		}
		if list, isList := v.([]any); isList && c.Kind != Set {
			elements := make([]any, len(list))
			for i, e := range list {
				elements[i] = valueOfJSON(c, e)
			}
			out[c.Name] = elements
			continue
		}
		out[c.Name] = valueOfJSON(c, v)
	}
	out["risks"] = uint64(r.Risks)
	out["community_id"] = flow.CommunityHash(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol)
	out["packets"], out["bytes"] = r.SrcPackets+r.DstPackets, r.SrcBytes+r.DstBytes
	out["frame_bytes"], out["payload_bytes"] = r.SrcFrameBytes+r.DstFrameBytes, r.SrcPayloadBytes+r.DstPayloadBytes
	out["duration"] = r.End - r.Start
	return out
}

func valueOfJSON(c *Column, v any) any {
	s := fmt.Sprint(v)
	switch c.Kind {
	case Address:
		return flow.AddrFrom(netip.MustParseAddr(s))
	case MAC:
		n, _ := strconv.ParseUint(strings.ReplaceAll(s, ":", ""), 16, 64)
		return n
	case Moment:
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			panic(err)
		}
		return t.UnixNano()
	case Float:
		f, _ := strconv.ParseFloat(s, 32)
		return float64(float32(f))
	case Flag:
		return v.(bool)
	case Number, Set:
		if c.signed {
			n, _ := strconv.ParseInt(s, 10, 64)
			return n
		}
		n, _ := strconv.ParseUint(s, 10, 64)
		return n
	}
	return s
}

// passes evaluates a checked filter without ClickHouse.
func passes(e expr, r row) bool {
	switch x := e.(type) {
	case all:
		return !slices.ContainsFunc(x.parts, func(p expr) bool { return !passes(p, r) })
	case some:
		return slices.ContainsFunc(x.parts, func(p expr) bool { return passes(p, r) })
	case not:
		return !passes(x.part, r)
	case truism:
		return x.value
	}
	p := e.(leaf).pred
	v, ok := r[p.col.Name]
	if !ok {
		panic("no value of " + p.col.Name)
	}
	if list, ok := v.([]any); ok && p.col.List {
		if p.op == opExists {
			return len(list) > 0
		}
		return slices.ContainsFunc(list, func(e any) bool { return holds(p, e) })
	}
	return holds(p, v)
}

// holds says whether one value fits.
func holds(p pred, v any) bool {
	have := wrap(v)
	if p.col.Kind == Set {
		var mask uint64
		for _, x := range p.points {
			mask |= x.u
		}
		switch p.op {
		case opHas:
			return have.u&mask == mask
		case opIn:
			return have.u&mask != 0
		case opExists:
			return have.u != 0
		}
		return have.u == mask
	}
	switch p.op {
	case opExists:
		return compare(p.col, have, value{}) != 0
	case opLt:
		return compare(p.col, have, p.points[0]) < 0
	case opLe:
		return compare(p.col, have, p.points[0]) <= 0
	case opGt:
		return compare(p.col, have, p.points[0]) > 0
	case opGe:
		return compare(p.col, have, p.points[0]) >= 0
	case opLike:
		return matcher(p.points[0].text, "(?s)", true).MatchString(have.text)
	case opILike:
		return matcher(p.points[0].text, "(?si)", true).MatchString(have.text)
	case opMatch:
		return matcher(p.points[0].text, "(?s)", false).MatchString(have.text)
	case opContains:
		return strings.Contains(have.text, p.points[0].text)
	}
	for _, x := range p.points {
		if compare(p.col, have, x) == 0 {
			return true
		}
	}
	for _, x := range p.ranges {
		if compare(p.col, have, x[0]) >= 0 && compare(p.col, have, x[1]) <= 0 {
			return true
		}
	}
	return false
}

func wrap(v any) value {
	switch x := v.(type) {
	case uint64:
		return value{u: x}
	case int64:
		return value{i: x}
	case float64:
		return value{f: x}
	case bool:
		if x {
			return value{u: 1}
		}
		return value{}
	case flow.Addr:
		return value{addr: x}
	}
	return value{text: v.(string)}
}

// matchers keeps the compiled patterns: a filter meets every row.
var matchers sync.Map

func matcher(pattern, flags string, isLike bool) *regexp.Regexp {
	key := fmt.Sprint(isLike, flags, pattern)
	if r, ok := matchers.Load(key); ok {
		return r.(*regexp.Regexp)
	}
	r := like(pattern, flags)
	if !isLike {
		r = regexp.MustCompile(flags + pattern)
	}
	matchers.Store(key, r)
	return r
}

// like is a pattern as a regular expression.
func like(pattern, flags string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(flags + "^")
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '%':
			b.WriteString(".*")
		case c == '_':
			b.WriteString(".")
		case c == '\\' && i+1 < len(pattern) && strings.IndexByte(`%_\`, pattern[i+1]) >= 0:
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c >= 0x80:
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return regexp.MustCompile(b.String() + "$")
}
