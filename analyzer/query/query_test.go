package query

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// testNow is a moment for time words.
var testNow = time.Date(2026, 11, 3, 12, 30, 0, 0, time.UTC)

// show writes a statement with its parameters in place, for comparison only.
func show(sql string, p Params) string {
	for _, name := range slices.SortedFunc(maps.Keys(p), func(a, b string) int { return len(b) - len(a) }) {
		from := strings.Index(sql, "{"+name+":")
		to := from + strings.Index(sql[from:], "}")
		sql = sql[:from] + "«" + p[name] + "»" + sql[to+1:]
	}
	return sql
}

func TestCompile(t *testing.T) {
	l := New()
	tests := []struct{ text, sql string }{
		{"", "1"},
		{"  \n ", "1"},
		{"dst_port = 443", "`dst_port` = «443»"},
		{"DST_PORT == 443", "`dst_port` = «443»"},
		{"src_ip in 10.0.0.0/8 and dst_port = 443 and tls_sni like '%.ru' and not app = 'dns'",
			"(`src_ip` BETWEEN «10.0.0.0» AND «10.255.255.255») AND (`dst_port` = «443») AND (`tls_sni` LIKE «%.ru») AND (NOT (`app` = «dns»))"},
		// or binds least, not most
		{"app = a or app = b and not app = c or app = d", "(`app` = «a») OR ((`app` = «b») AND (NOT (`app` = «c»))) OR (`app` = «d»)"},
		{"(app = a or app = b) and app = c", "((`app` = «a») OR (`app` = «b»)) AND (`app` = «c»)"},
		{"not not app = a", "`app` = «a»"},
		{"not (app = a or app = b)", "NOT ((`app` = «a») OR (`app` = «b»))"},
		{"app != a", "NOT (`app` = «a»)"},
		{"app not in (a, b)", "NOT (`app` IN «['a','b']»)"},
		{"app != ''", "NOT (`app` = «»)"},
		{`app = 'it\'s \\ "x" \x41\n' and app = "it's" and app = 'it''s'`, "(`app` = «it's \\\\ \"x\" A\\n») AND (`app` = «it's») AND (`app` = «it's»)"},
		{"host 10.0.0.1", "(`src_ip` = «10.0.0.1») OR (`dst_ip` = «10.0.0.1»)"},
		{"host != 10.0.0.1", "NOT ((`src_ip` = «10.0.0.1») OR (`dst_ip` = «10.0.0.1»))"},
		{"net (10.0.0.0/8, 10.1.2.3..10.1.2.9, ::1)", "(`src_ip` = «::1» OR `src_ip` BETWEEN «10.0.0.0» AND «10.255.255.255» OR `src_ip` BETWEEN «10.1.2.3» AND «10.1.2.9») OR " +
			"(`dst_ip` = «::1» OR `dst_ip` BETWEEN «10.0.0.0» AND «10.255.255.255» OR `dst_ip` BETWEEN «10.1.2.3» AND «10.1.2.9»)"},
		{"port in (80, 443, 8000..8100)", "(`src_port` IN «[80,443]» OR `src_port` BETWEEN «8000» AND «8100») OR (`dst_port` IN «[80,443]» OR `dst_port` BETWEEN «8000» AND «8100»)"},
		{"src_ip = 2001:db8::/32", "`src_ip` BETWEEN «2001:db8::» AND «2001:db8:ffff:ffff:ffff:ffff:ffff:ffff»"},
		{"src_ip = ::ffff:10.0.0.1", "`src_ip` = «10.0.0.1»"},
		{"protocol = tcp and protocol in (udp, 1)", "(`protocol` = «6») AND (`protocol` IN «[17,1]»)"},
		{"bytes >= 10MB", "(`src_bytes` + `dst_bytes`) >= «10000000»"},
		{"src_bytes > 1.5GiB", "`src_bytes` > «1610612736»"},
		{"duration > 3h", "(toUnixTimestamp64Nano(`end`) - toUnixTimestamp64Nano(`start`)) > «10800000000000»"},
		{"src_rtt_us > 250ms and dst_rtt_us < 1.5s and dns_latency_us = 12", "(`src_rtt_us` > «250000») AND (`dst_rtt_us` < «1500000») AND (`dns_latency_us` = «12»)"},
		{"src_packets > 5k", "`src_packets` > «5000»"},
		{"tls_version < tls1.2 and tls_cipher = 0x1301", "(`tls_version` < «771») AND (`tls_cipher` = «4865»)"},
		{"conn_state in (s0, REJ)", "`conn_state` IN «['S0','REJ']»"},
		{"conn_state = ''", "`conn_state` = «»"},
		{"src_tcp_flags has syn+ack", "bitAnd(`src_tcp_flags`, «18») = «18»"},
		{"src_tcp_flags = 'syn|ack' and dst_tcp_flags in (rst, fin)", "(`src_tcp_flags` = «18») AND (bitAnd(`dst_tcp_flags`, «5») != 0)"},
		{"risk has tls_weak_cipher or risks exists", "(bitAnd(`risks`, «256») = «256») OR (`risks` != «0»)"},
		{"risk tls_weak_cipher", "bitAnd(`risks`, «256») = «256»"},
		{"dns_names has 'a' and dns_names contains b and dns_names = c", "(has(`dns_names`, «a»)) AND (has(`dns_names`, «b»)) AND (has(`dns_names`, «c»))"},
		{"dns_names in (a, b) and dns_names like 'x%' and exists dns_names", "(hasAny(`dns_names`, «['a','b']»)) AND (arrayExists(e -> e LIKE «x%», `dns_names`)) AND (notEmpty(`dns_names`))"},
		{"first_sizes < -1400 and first_sizes in -5..7", "(arrayExists(e -> e < «-1400», `first_sizes`)) AND (arrayExists(e -> e BETWEEN «-5» AND «7», `first_sizes`))"},
		{"http_uri ~ '^/admin\\.php' and http_uri !~ x and http_uri contains y", "(match(`http_uri`, «^/admin\\\\.php»)) AND (NOT (match(`http_uri`, «x»))) AND (position(`http_uri`, «y») > 0)"},
		{"tls_sni exists and not initiator_guessed = true", "(`tls_sni` != «») AND (NOT (`initiator_guessed` = «1»))"},
		{"src_mac = 00:1b:21:3c:9d:f8 and mac 00-1b-21", "(`src_mac` = «116521737720») AND ((`src_mac` BETWEEN «116517765120» AND «116534542335») OR (`dst_mac` BETWEEN «116517765120» AND «116534542335»))"},
		{"country = no and asn = AS64500", "((`src_country` = «NO») OR (`dst_country` = «NO»)) AND ((`src_asn` = «64500») OR (`dst_asn` = «64500»))"},
		{"threat = feodo and network office and role in (server)", "(has(`threats`, «feodo»)) AND ((`src_network` = «office») OR (`dst_network` = «office»)) AND ((`src_role` = «server») OR (`dst_role` = «server»))"},
		{"name = x.example", "(`tls_sni` = «x.example») OR (`http_host` = «x.example») OR (has(`dns_names`, «x.example»))"},
		{"payload_entropy > 7.5", "`payload_entropy` > «7.5»"},
		{"community = '1:LQU9qZlK+B5F3KDmev6m5PMibrg='", "`community_hash` = «3244066905220904990»"},
		{"tls_cert_not_after < 2026-11-01", "`tls_cert_not_after` < «1793491200»"},
		{"received >= 2026-11-01T10:00:00Z", "`received` >= «2026-11-01 10:00:00.000000000»"},
		{"user = alice", "`user` = «alice»"},
		{"asset = 'Printer-3' and last 1d", "((`site`, `src_ip`) IN (SELECT `site`, `ip` FROM `assets_seen` WHERE (lower(`name`) = «printer-3») AND `hour` < «2026-11-03 12:30:00.000000000» AND `hour` >= «2026-11-02 12:00:00.000000000»)) OR " +
			"((`site`, `dst_ip`) IN (SELECT `site`, `ip` FROM `assets_seen` WHERE (lower(`name`) = «printer-3») AND `hour` < «2026-11-03 12:30:00.000000000» AND `hour` >= «2026-11-02 12:00:00.000000000»))"},
		// time that is not one range stays a condition
		{"today or yesterday and app = dns", "((`start` >= «2026-11-03 00:00:00.000000000») AND (`start` < «2026-11-04 00:00:00.000000000»)) OR " +
			"((`start` >= «2026-11-02 00:00:00.000000000») AND (`start` < «2026-11-03 00:00:00.000000000») AND (`app` = «dns»))"},
	}
	for _, tt := range tests {
		f, err := l.Parse(tt.text, testNow)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		p := Params{}
		from, to := f.Range()
		if got := show(f.Where(p, Span{from, to}), p); got != tt.sql {
			t.Errorf("%s (-got +want)\n-%s\n+%s", tt.text, got, tt.sql)
		}
	}
}

func TestErrors(t *testing.T) {
	l := New()
	tests := []struct{ text, want string }{
		{"dst_prot = 443", `line 1, column 1: there is no column or word "dst_prot": did you mean dst_port?`},
		{"app = dns and\n  not tls_snl like x", `line 2, column 7: there is no column or word "tls_snl": did you mean tls_sni?`},
		{"protocol = tpc", `line 1, column 12: "tpc" is no name or number of protocol: did you mean tcp?`},
		{"conn_state = S9", `line 1, column 14: "S9" is no value of conn_state, which has S0, S1, SF, REJ, S2, S3, RSTO, RSTR, RSTOS0, RSTRH, SH, SHR, OTH: did you mean S0?`},
		{"risk has tls_weak_cypher", `line 1, column 10: "tls_weak_cypher" is no member of risks: did you mean tls_weak_cipher?`},
		{"dst_port = 70000", `line 1, column 12: "70000" is not from 0 to 65535, as dst_port is`},
		{"dst_port = -1", `line 1, column 12: "-1" is not from 0 to 65535, as dst_port is`},
		{"dst_port = 10MB", `line 1, column 12: "10MB" is not a number`},
		{"src_bytes > 10ms", `line 1, column 13: "10ms" is not a number of bytes such as 1500, 10MB or 1GiB`},
		{"src_bytes > 1.3B", `line 1, column 13: "1.3B" is not whole in the unit of src_bytes`},
		{"src_bytes > 99999999999999999999", `line 1, column 13: "99999999999999999999" is not from 0 to 18446744073709551615, as src_bytes is`},
		{"duration > 5", `line 1, column 12: "5" has no unit: write 5s or 5ms`},
		{"src_ip = 10.0.0", `line 1, column 10: "10.0.0" is neither an address nor a network such as 10.0.0.0/8`},
		{"src_ip = 10.0.0.0/33", `line 1, column 10: "10.0.0.0/33" is neither an address nor a network such as 10.0.0.0/8`},
		{"src_ip like '10.%'", "line 1, column 8: like does not fit src_ip (address), which takes = in exists"},
		{"app > dns", "line 1, column 5: > does not fit app (text), which takes = in like ilike ~ contains exists"},
		{"app in a..b", "line 1, column 8: app is a text: a range does not fit here"},
		{"dst_port in 9..1", "line 1, column 13: the range ends before it begins"},
		{"http_uri ~ '(('", "line 1, column 12: parsing regexp: missing closing ): `((`"},
		{"app = 'x", "line 1, column 7: the quote ' is not closed"},
		{"app = dns && app = x", `line 1, column 11: "&" has no meaning here: did you mean and?`},
		{"app = dns ; drop", `line 1, column 11: ";" has no meaning here`},
		{"app = dns an dst_port = 1", `line 1, column 11: "an" where and, or, or the end is expected: did you mean and?`},
		{"app dns", `line 1, column 5: "dns" where an operator such as = or in behind app is expected`},
		{"app lik dns", `line 1, column 5: "lik" where an operator such as = or in behind app is expected: did you mean like?`},
		{"ap dns", `line 1, column 1: there is no column or word "ap": did you mean app?`},
		{"app =", "line 1, column 6: the filter ends where a value is expected"},
		{"(app = dns", "line 1, column 11: the filter ends where and, or, or ) is expected"},
		{"app = dns)", `line 1, column 10: ")" where and, or, or the end is expected`},
		{"app in (a b)", `line 1, column 11: "b" where , or ) is expected`},
		{"last 5x", `line 1, column 6: "5x" is not a length of time; write 15m, 24h, 7d or 2w`},
		{"since tomorow", `line 1, column 7: "tomorow" is not a time; write 2026-11-01, 2026-11-01T10:00:00Z or Unix seconds`},
		{"between 2026-11-02 and 2026-11-01", "line 1, column 24: the end lies before the begin"},
		{"between 2026-11-02 or app = x", `line 1, column 20: "or" where and with the end of the time is expected`},
		{"community = x", `line 1, column 13: "x" is not a Community ID, 1: and 28 characters of base64`},
		{"initiator_guessed = maybe", `line 1, column 21: "maybe" is neither true nor false`},
		{"and", `line 1, column 1: "and" where a condition is expected`},
		{"ä = 1", `line 1, column 1: there is no column or word "\u00e4"`},
		{"app = ä and ö = 1", `line 1, column 13: there is no column or word "\u00f6"`},
		{strings.Repeat("(", 60) + "app = x", "line 1, column 51: more than 50 parentheses and nots within each other"},
		{strings.Repeat("not ", 60) + "app = x", "line 1, column 201: more than 50 parentheses and nots within each other"},
		{"app = x" + strings.Repeat(" or app = x", 500), "line 1, column 5501: more than 500 conditions"},
		{"app in (x" + strings.Repeat(",x", 2000) + ")", "line 1, column 4009: more than 2000 values in the lists"},
		{"app = " + strings.Repeat("x", MaxText), "line 1, column 16385: the filter has 16390 octets, at most 16384 are read"},
		{"http_uri ~ " + strings.Repeat("x", 1001), "line 1, column 12: a pattern of 1001 octets; at most 1000 are taken"},
	}
	for _, tt := range tests {
		_, err := l.Parse(tt.text, testNow)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.80s: error %v", tt.text, err)
			continue
		}
		if e.Error() != tt.want {
			t.Errorf("%.80s (-got +want)\n-%s\n+%s", tt.text, e, tt.want)
		}
		if e.Offset < 0 || e.Offset+e.Length > len(tt.text) {
			t.Errorf("%.80s: place %d+%d", tt.text, e.Offset, e.Length)
		}
	}
}

func TestRange(t *testing.T) {
	l := New()
	tests := []struct{ text, from, to, rest string }{
		{"app = dns", "", "", "`app` = «dns»"},
		{"last 7d", "2026-10-27T12:30:00Z", "2026-11-03T12:30:00Z", "1"},
		{"since 2026-11-01 and app = dns", "2026-11-01T00:00:00Z", "", "`app` = «dns»"},
		{"until 2026-11-01T10:00", "", "2026-11-01T10:00:00Z", "1"},
		{"between 2026-11-01 and 2026-11-02 and app = dns", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "`app` = «dns»"},
		{"today", "2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z", "1"},
		{"yesterday and since yesterday", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z", "1"},
		{"not since 2026-11-01", "", "2026-11-01T00:00:00Z", "1"},
		{"start >= 2026-11-01 and start <= 2026-11-01T00:00:00.5Z", "2026-11-01T00:00:00Z", "2026-11-01T00:00:00.500000001Z", "1"},
		{"start in 2026-11-01..2026-11-02", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00.000000001Z", "1"},
		{"(since 2026-11-01 and app = a) and (until 2026-11-02 and app = b)", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "(`app` = «a») AND (`app` = «b»)"},
		{"since 2026-11-02 and until 2026-11-01", "2026-11-02T00:00:00Z", "2026-11-02T00:00:00Z", "1"},
		{"since 2026-11-01 or app = dns", "", "", "(`start` >= «2026-11-01 00:00:00.000000000») OR (`app` = «dns»)"},
	}
	for _, tt := range tests {
		f, err := l.Parse(tt.text, testNow)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		from, to := f.Range()
		p := Params{}
		got := [3]string{tell(from), tell(to), show(f.Where(p, Span{}), p)}
		if want := [3]string{tt.from, tt.to, tt.rest}; got != want {
			t.Errorf("%s (-got +want)\n-%q\n+%q", tt.text, got, want)
		}
	}
	a, _ := l.Parse("since 2026-11-01 and app = a", testNow)
	b, _ := l.Parse("until 2026-11-02 and app = b", testNow)
	from, to := a.And(b).And(nil).Range()
	if tell(from) != "2026-11-01T00:00:00Z" || tell(to) != "2026-11-02T00:00:00Z" || fmt.Sprint(len(a.And(b).Columns())) != "1" {
		t.Errorf("And: %v to %v, %d columns", from, to, len(a.And(b).Columns()))
	}
}

func tell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func TestQuote(t *testing.T) {
	l := New()
	for _, s := range []string{"", "a", `'`, `\`, `\'`, "\n\x00\x7f", "%_", `it's \x41`, "ä😀"} {
		f, err := l.Parse("app = "+Quote(s), testNow)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if got := f.rest.(leaf).points[0].text; got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		f, err = l.Parse("app like "+QuotePattern("", s, ""), testNow)
		if err != nil {
			t.Fatal(err)
		}
		if !like(f.rest.(leaf).points[0].text, "(?s)").MatchString(s) {
			t.Errorf("%q does not fit its own pattern", s)
		}
	}
}
