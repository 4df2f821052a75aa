package query

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sqlTokens takes a condition apart; what it does not know, it does not match.
var sqlTokens = regexp.MustCompile("^(?:`[a-z0-9_]+`|\\{p[0-9]+:[A-Za-z0-9(), ']+\\}|[A-Za-z0-9_]+|->|!=|<=|>=|[-+(),=<>]|''| |\n)")

// allowed are the words of the language's SQL besides identifiers and
// parameters.
var allowed = []string{"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "SELECT", "FROM", "WHERE", "match", "position", "has", "hasAny", "arrayExists", "notEmpty", "bitAnd", "lower",
	"toUnixTimestamp64Nano", "e", "0", "1"}

var parameterTypes = []string{"String", "IPv6", "Bool", "Float64", "UInt8", "UInt16", "UInt32", "UInt64", "Int32", "Int64", "DateTime64(9, 'UTC')"}

// foreign returns the first piece of a condition that is not of the registry.
func foreign(l *Language, sql string, p Params) error {
	identifiers := map[string]bool{"community_hash": true}
	for _, c := range l.columns {
		identifiers[c.Name] = true
	}
	for _, w := range l.words {
		for _, c := range w.columns {
			if t := c.lookup; t != nil {
				for _, s := range append(append([]string{t.table, t.name, t.first, t.last}, t.keys...), t.find...) {
					identifiers[s] = true
				}
			}
		}
	}
	seen := map[string]bool{}
	for rest := sql; rest != ""; {
		token := sqlTokens.FindString(rest)
		if token == "" {
			return fmt.Errorf("%.40q is no token", rest)
		}
		rest = rest[len(token):]
		switch token[0] {
		case '`':
			if !identifiers[strings.Trim(token, "`")] {
				return fmt.Errorf("%s is no identifier of the registry", token)
			}
		case '{':
			name, typ, _ := strings.Cut(strings.Trim(token, "{}"), ":")
			inner := strings.TrimSuffix(strings.TrimPrefix(typ, "Array("), ")")
			if !strings.HasPrefix(typ, "Array(") {
				inner = typ
			}
			if !slices.Contains(parameterTypes, inner) {
				return fmt.Errorf("%s has a type of its own", token)
			}
			if _, ok := p[name]; !ok || seen[name] {
				return fmt.Errorf("%s has no value, or is used twice", token)
			}
			seen[name] = true
		case ' ', '\n', '-', '+', '(', ')', ',', '=', '<', '>', '!', '\'':
		default:
			if !slices.Contains(allowed, token) {
				return fmt.Errorf("%s is no word of the language's SQL", token)
			}
		}
	}
	if len(seen) != len(p) {
		return fmt.Errorf("%d values for %d parameters", len(p), len(seen))
	}
	return nil
}

// Whatever is written, the SQL consists of the registry's identifiers, a fixed
// list of words, and parameters; and the time to read it is bounded by its
// length (S4).
func FuzzCompile(f *testing.F) {
	for _, s := range injections()[:80] {
		f.Add("app = " + Quote(s))
		f.Add("app = " + s)
		f.Add(s)
	}
	for _, s := range []string{"asset = x and last 2d", "account like 'a%' or workload in (a, b)", "community = '1:LQU9qZlK+B5F3KDmev6m5PMibrg='", "net (10.0.0.0/8, ::1..::2)", "dns_names ~ 'x' and first_sizes < -3",
		"duration > 3h or bytes in 1k..2MB", "risk in (tls_weak_cipher, 4)", "src_tcp_flags = 0x12", "not (today or since 2026-11-01)", "mac 00:1b:21", "tls_cert_not_after < now"} {
		f.Add(s)
	}
	l := New()
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := l.Parse(text, testNow)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error without a place: %v", err)
			}
			if e.Line < 1 || e.Column < 1 || e.Offset < 0 || e.Offset+e.Length > len(text) || strings.ContainsAny(e.Message, "\x00\n") && e.Message == text {
				t.Fatalf("place of %+v", e)
			}
			return
		}
		p := Params{}
		from, to := filter.Range()
		sql := filter.Where(p, Span{from, to})
		if err := foreign(l, sql, p); err != nil {
			t.Fatalf("%q: %v\n%s", text, err, sql)
		}
		if len(p) > 4*maxItems+4*maxConds {
			t.Fatalf("%d parameters", len(p))
		}
		for _, value := range p {
			if strings.ContainsAny(value, "\t\n\r\x00") {
				t.Fatalf("%q: parameter %q is not escaped", text, value)
			}
		}
	})
}

// The check itself can see failure.
func TestForeignIsSeen(t *testing.T) {
	l := New()
	for _, sql := range []string{"`app` = 'dns'", "`nosuch` = {p1:String}", "`app` = {p1:String} OR 1=2", "`app` = {p1:Nullable(String)}", "sleep(1)", "`app` = {p2:String}", "`app` = {p1:String};", "`app` = {p1:String} -- x", "`app` = {p1:String} UNION ALL 1", "version()"} {
		if foreign(l, sql, Params{"p1": "x"}) == nil {
			t.Errorf("%s passes", sql)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Parse("src_ip in 10.0.0.0/8 and dst_port = 443 and tls_sni like '%.ru' and not app = 'dns'", testNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	l := New()
	f, err := l.Parse("src_ip in 10.0.0.0/8 and dst_port = 443 and tls_sni like '%.ru' and not app = 'dns'", testNow)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Where(Params{}, Span{})
	}
}
