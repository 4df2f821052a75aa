package query

import (
	"strings"
	"time"
)

// Word is a name that stands for several columns: a condition on it holds where
// it holds for one of them.
type Word struct {
	Name    string
	Doc     string
	Example string
	columns []*Column
}

// Columns are the columns the word stands for.
func (w *Word) Columns() []*Column { return w.columns }

// lookup is a condition on an address (or other column) by what another table
// knows of it at the time of the question.
type lookup struct {
	table string   // where it is looked up
	keys  []string // columns of flows
	find  []string // the same in table
	name  string   // column of table that the condition is about
	first string   // columns of table, in time: when the row is from
	last  string
	hours bool // first and last are the begin of an hour
}

func (l *Language) vocabulary() []*Word {
	of := func(names ...string) []*Column {
		list := make([]*Column, len(names))
		for i, n := range names {
			if list[i] = l.byName[n]; list[i] == nil {
				panic("query: no column " + n)
			}
		}
		return list
	}
	sides := func(name string) []*Column { return of("src_"+name, "dst_"+name) }
	looked := func(word string, t lookup) []*Column {
		var list []*Column
		for _, side := range []string{"src_ip", "dst_ip"} {
			one := t
			one.keys = append(append([]string{}, t.keys...), side)
			list = append(list, &Column{Name: word, Kind: Text, sql: "String", lookup: &one, rollup: true})
		}
		return list
	}
	return []*Word{
		{"host", "address or network on either side", "host 10.0.0.1", sides("ip")},
		{"net", "the same as host", "net in (10.0.0.0/8, 192.168.0.0/16)", sides("ip")},
		{"port", "port on either side", "port in (80, 443, 8000..8100)", sides("port")},
		{"mac", "MAC address on either side, or its first octets", "mac 00:1b:21:3c:9d:f8", sides("mac")},
		{"name", "server name of TLS or QUIC, HTTP host, or name asked in DNS", "name like '%.example.org'", of("tls_sni", "http_host", "dns_names")},
		{"asset", "name that an address on either side had at the time", "asset = 'printer-3'", looked("asset", lookup{table: "assets_seen", keys: []string{"site"}, find: []string{"site", "ip"}, name: "name", first: "hour", last: "hour", hours: true})},
		{"account", "user who was seen at an address on either side at the time", "account = 'alice'", looked("account", lookup{table: "users_seen", keys: []string{"site"}, find: []string{"site", "ip"}, name: "user", first: "hour", last: "hour", hours: true})},
		{"workload", "pod, container or VM that had an address on either side at the time", "workload like 'shop-%'", looked("workload", lookup{table: "workloads", find: []string{"ip"}, name: "name", first: "from", last: "to"})},
		{"country", "country of either side", "country in (CN, RU)", sides("country")},
		{"city", "city of either side", "city = 'Oslo'", sides("city")},
		{"asn", "autonomous system of either side", "asn = AS64500", sides("asn")},
		{"network", "own network of either side, by name", "network = 'office'", sides("network")},
		{"role", "role of the own network of either side", "role = 'server'", sides("role")},
		{"threat", "threat list that the flow is on", "threat exists", of("threats")},
		{"risk", "what is unusual about the flow", "risk has tls_weak_cipher", of("risks")},
		{"community", "Community ID", "community = '1:LQU9qZlK+B5F3KDmev6m5PMibrg='", of("community_id")},
	}
}

// timeKind is a word that is a condition on the start of the flow.
type timeKind struct {
	word   string
	values int
	wants  string
	doc    string
}

var timeKinds = []timeKind{
	{"last", 1, "a length of time such as 24h or 7d", "the time up to now: `last 7d`"},
	{"since", 1, "a time such as 2026-11-01 or 2026-11-01T10:00:00Z", "from that time on: `since 2026-11-01`"},
	{"until", 1, "a time such as 2026-11-01 or 2026-11-01T10:00:00Z", "before that time: `until 2026-11-01T12:00`"},
	{"between", 2, "a time such as 2026-11-01 or 2026-11-01T10:00:00Z", "from the first time to before the second: `between 2026-11-01 and 2026-11-03`"},
	{"today", 0, "", "since midnight, UTC"},
	{"yesterday", 0, "", "the day before"},
}

func timeWord(t token) *timeKind {
	if t.kind != tokenWord {
		return nil
	}
	for i := range timeKinds {
		if strings.EqualFold(timeKinds[i].word, t.value) {
			return &timeKinds[i]
		}
	}
	return nil
}

// moment reads a time, which may be now, today or yesterday.
func (c *checker) moment(s string) (time.Time, *wrong) {
	day := c.now.Truncate(24 * time.Hour)
	switch strings.ToLower(s) {
	case "now":
		return c.now, nil
	case "today":
		return day, nil
	case "yesterday":
		return day.AddDate(0, 0, -1), nil
	}
	t, err := ParseTime(s)
	if err != nil {
		return t, bad("%s", err)
	}
	return t, nil
}

// when turns a time word into conditions on start.
func (c *checker) when(w when) (expr, *Error) {
	var times []time.Time
	for _, it := range w.items {
		if strings.EqualFold(w.word.value, "last") {
			d, err := ParseLength(it.lo.value)
			if err != nil {
				return nil, failure(w.text, it.lo.from, it.lo.to, "%s", err)
			}
			times = append(times, c.now.Add(-d))
			continue
		}
		t, problem := c.moment(it.lo.value)
		if problem != nil {
			return nil, failure(w.text, it.lo.from, it.lo.to, "%s", problem.message)
		}
		times = append(times, t)
	}
	day := c.now.Truncate(24 * time.Hour)
	start := c.lang.byName["start"]
	from, to := w.place()
	at := func(op operator, t time.Time) expr {
		if t.Before(minTime) {
			t = minTime
		}
		return leaf{pred{col: start, op: op, points: []value{{i: t.UnixNano()}}, from: from, to: to}}
	}
	switch strings.ToLower(w.word.value) {
	case "last":
		return both(at(opGe, times[0]), at(opLt, c.now)), nil
	case "since":
		return at(opGe, times[0]), nil
	case "until":
		return at(opLt, times[0]), nil
	case "between":
		if times[1].Before(times[0]) {
			return nil, failure(w.text, w.items[1].lo.from, w.items[1].lo.to, "the end lies before the begin")
		}
		return both(at(opGe, times[0]), at(opLt, times[1])), nil
	case "today":
		return both(at(opGe, day), at(opLt, day.AddDate(0, 0, 1))), nil
	}
	return both(at(opGe, day.AddDate(0, 0, -1)), at(opLt, day)), nil
}
