package query

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// injections are texts that would change a statement they were pasted into.
func injections() []string {
	list := []string{
		`'`, `"`, "`", `\`, `\'`, `''`, `';`, `--`, `/*`, `*/`, `#`, `)`, `(`, `]`, `}`, `{`, `{x:String}`, `{p1:String}`, `{from:DateTime64(9, 'UTC')}`, `%`, `_`, `?`, `@x`, `$1`, `\0`, "\x00",
		"\n", "\r\n", "\t", "\\n", "\\\\", "\u2028", "ÿ", "😀", strings.Repeat("A", 250), strings.Repeat("'", 200), strings.Repeat(`\`, 200),
		`' UNION ALL SELECT name FROM system.tables --`, `') UNION ALL SELECT 1 --`, `'; DROP TABLE flows; --`, `\'; DROP TABLE flows; --`,
		`' FORMAT TSV --`, `' INTO OUTFILE '/tmp/x' --`, `' SETTINGS readonly=0 --`, `1; SELECT sleep(3)`, `(SELECT sleep(3))`, `' OR sleep(3)=1 --`, `file('/etc/passwd')`,
		`' UNION SELECT * FROM url('http://127.0.0.1:1/x', TSV, 'a String') --`, `NULL`, `null`, `NaN`, `inf`, `-1`, `0x10`, `1e9`, `99999999999999999999`, `true`, `[1,2]`, `['a']`, `['`, `']`, `{}`, `()`,
		`tuple()`, `toString(1)`, `version()`, `currentUser()`, `\N`, `\x27`, `%27`, `&apos;`, `＇`, `ʼ`, `","`, `','`, `\',\'`,
	}
	heads := []string{"x", "1", "10.0.0.1", "www.example.org", "", "ä", "{p1:", "[", "tls"}
	ends := []string{"'", `\`, `\\`, "`", `"`, "\\'", "']", "}"}
	tails := []string{"", " OR 1=1", " OR '1'='1", ") --", ")) OR 1=1 --", " UNION ALL SELECT 1,2,3 --", "\n--", "||version()||", "; SELECT 1", " AND sleep(1)", ", 1) OR (1", "::String", "/**/OR/**/1"}
	for _, head := range heads {
		for _, end := range ends {
			for _, tail := range tails {
				list = append(list, head+end+tail)
			}
		}
	}
	return list
}

// A thousand payloads as values of filters, and as texts that came off the wire
// and are stored: each is found by itself and by nothing else (S4).
func TestPayloadsAreOnlyValues(t *testing.T) {
	r := newRig(t, "query_payloads")
	list := injections()
	seen := map[string]bool{}
	var payloads []string
	for _, p := range list {
		if !seen[p] {
			seen[p] = true
			payloads = append(payloads, p)
		}
	}
	if len(payloads) < 1000 {
		t.Fatalf("%d payloads", len(payloads))
	}
	var rows []map[string]any
	var known []row
	rng := rand.New(rand.NewPCG(7, 7))
	for i, p := range payloads {
		record := &flow.Record{Start: testNow.Add(-time.Duration(i+1) * time.Second).UnixNano(), TLSSNI: p, HTTPUserAgent: p, DNSNames: []string{"x", p}, App: p, JA4: p}
		record.End = record.Start
		rows = append(rows, stored(record, p, "s"))
		known = append(known, rowOf(r.lang, record, p, "s"))
	}
	r.insert("flows", rows)
	var filters []*Filter
	var written []string
	ask := func(text string) {
		t.Helper()
		f, err := r.lang.Parse(text, testNow)
		if err != nil {
			if _, ours := err.(*Error); !ours {
				t.Errorf("%s: %v", text, err)
			}
			return // refused before ClickHouse
		}
		filters, written = append(filters, f), append(written, text)
	}
	for i, p := range payloads {
		q := Quote(p)
		switch i % 8 { // each way of saying it, not each payload in each
		case 0:
			ask("tls_sni = " + q)
		case 1:
			ask("http_user_agent in (" + q + ", 'nosuch')")
		case 2:
			ask("dns_names has " + q)
		case 3:
			ask("tls_sni like " + QuotePattern("", p, "") + " or name like " + QuotePattern("%", p, "%"))
		case 4:
			ask("ja4 contains " + q)
		case 5:
			ask("probe = " + q + " and app != " + Quote(pick(rng, payloads)))
		case 6:
			ask("dns_names in ('nosuch', " + q + ")")
		case 7:
			ask("http_user_agent like " + QuotePattern("", p, "%"))
		}
		// As they are, outside of quotes or as patterns: refused, or just values.
		ask("tls_sni = " + p)
		ask("tls_sni like " + q)
		if !strings.Contains(p, "\x00") {
			ask("app ~ " + q)
		}
	}
	counts, err := r.counts(filters)
	if err != nil {
		t.Fatalf("%s: %v", written[len(counts)], err)
	}
	for i, f := range filters {
		var want uint64
		for _, k := range known {
			if passes(f.whole, k) {
				want++
			}
		}
		if counts[i] != want {
			t.Errorf("%s: ClickHouse counts %d, the evaluator %d", written[i], counts[i], want)
		}
	}
	t.Logf("%d payloads, %d filters reached ClickHouse", len(payloads), len(filters))
	if len(filters) < 2500 {
		t.Errorf("only %d filters reached ClickHouse", len(filters))
	}
	localtest.Expect(t, r.conn, "SELECT count() FROM flows", uint64(len(payloads)))
}
