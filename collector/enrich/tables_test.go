package enrich

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tapwatch/tapwatch/collector/store"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

var _ store.Enricher = (*Enricher)(nil)

// Tables hold what was read, and no more, whoever has filled them before.
func testFill(t *testing.T, conn driver.Conn) {
	dir := t.TempDir()
	nets, list, db := filepath.Join(dir, "n.csv"), filepath.Join(dir, "l.txt"), filepath.Join(dir, "a.mmdb")
	write(t, nets, []byte("network,name,role,site\n10.0.0.0/8,office,clients,\n192.168.0.0/16,lab,test,hq\n"))
	write(t, list, []byte("203.0.113.9\nevil.example\n"))
	write(t, db, testDatabase(t, "ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64500, "One"), "198.51.100.0/24": asnRecord(64501, "Two")}))
	e := enricher(t, Config{Networks: []string{nets}, Databases: []string{db}, Threats: []ThreatList{{Name: "l", Location: list, Confidence: 60}}})
	k := newKeeper(e, conn)
	const all = `SELECT concat(prefix, ' ', name) FROM networks FINAL ORDER BY prefix
		UNION ALL SELECT concat(kind, ' ', value, ' ', list, ' ', toString(confidence)) FROM indicators FINAL ORDER BY value
		UNION ALL SELECT concat(toString(asn), ' ', name) FROM asns FINAL ORDER BY asn`
	check := func(want string) {
		t.Helper()
		k.pass(t.Context())
		lines := strings.Split(texts(t, conn, "SELECT * FROM ("+all+") ORDER BY 1"), "\n")
		if got := strings.Join(lines, "; "); got != want {
			t.Errorf("(-got +want)\n-%s\n+%s", got, want)
		}
	}
	check("10.0.0.0/8 office; 192.168.0.0/16 lab; 64500 One; 64501 Two; address 203.0.113.9 l 60; domain evil.example l 60")
	write(t, nets, []byte("network,name,role,site\n10.0.0.0/8,campus,clients,\n"))
	write(t, list, []byte("evil.example\nworse.example\n"))
	e.Reload(t.Context())
	check("10.0.0.0/8 campus; 64500 One; 64501 Two; domain evil.example l 60; domain worse.example l 60")
	// Another collector, with the same files, finds nothing to do.
	before := texts(t, conn, "SELECT toString((max(updated), count())) FROM networks")
	k = newKeeper(e, conn)
	check("10.0.0.0/8 campus; 64500 One; 64501 Two; domain evil.example l 60; domain worse.example l 60")
	if after := texts(t, conn, "SELECT toString((max(updated), count())) FROM networks"); after != before {
		t.Errorf("written again: %s, before %s", after, before)
	}
	// One that has no files takes nothing away.
	k = newKeeper(enricher(t, Config{}), conn)
	check("10.0.0.0/8 campus; 64500 One; 64501 Two; domain evil.example l 60; domain worse.example l 60")
}

// feedServer is a feed over TLS that knows ETags and wants a token.
type feedServer struct {
	mu     sync.Mutex
	text   string
	status int
	asked  int
	same   int
}

func (s *feedServer) set(status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.text = status, text
}

func (s *feedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	tag := fmt.Sprintf("%q", fmt.Sprint(len(s.text), s.text[:min(len(s.text), 40)]))
	tag = strings.Map(func(r rune) rune {
		if r < 32 {
			return '_'
		}
		return r
	}, tag)
	switch {
	case r.Header.Get("Authorization") != "Bearer sesame":
		w.WriteHeader(http.StatusUnauthorized)
	case s.status != 0:
		w.WriteHeader(s.status)
	case r.Header.Get("If-None-Match") == tag:
		s.same++
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", tag)
		_, _ = w.Write([]byte(s.text))
	}
}

// Workloads come and go as the feed says; a feed that is broken ends nothing.
func testWorkloads(t *testing.T, conn driver.Conn) {
	feed := &feedServer{text: "ip,name,kind,namespace,node\n10.0.0.5,web,pod,shop,n1\n10.0.0.6,db,pod,shop,n1\n"}
	server := httptest.NewUnstartedServer(feed)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	e := enricher(t, Config{Workloads: []Feed{{Name: "k8s", Location: server.URL, Access: Access{Token: "sesame", TLS: kit.TLS{Enabled: true, CA: ca}}}}})
	now := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	e.now = func() time.Time { return now }
	e.sources[0].polled = now
	e.data.Store(e.data.Load().polled(e.sources))
	k := newKeeper(e, conn)
	pass := func(after time.Duration) {
		t.Helper()
		now = now.Add(after)
		e.Reload(t.Context())
		if err := k.followWorkloads(t.Context(), e.data.Load()); err != nil {
			t.Fatal(err)
		}
	}
	const all = `SELECT concat(replaceOne(toString(ip), '::ffff:', ''), ' ', name, ' ', node, ' ', formatDateTime(from, '%H:%i'), '-', formatDateTime(to, '%H:%i'), if(open, ' open', ''))
		FROM workloads FINAL ORDER BY ip, from, name`
	check := func(want string) {
		t.Helper()
		if got := strings.ReplaceAll(texts(t, conn, all), "\n", "; "); got != want {
			t.Errorf("(-got +want)\n-%s\n+%s", got, want)
		}
	}
	pass(0)
	check("10.0.0.5 web n1 10:00-10:00 open; 10.0.0.6 db n1 10:00-10:00 open")
	pass(time.Minute)
	if feed.same == 0 {
		t.Error("the feed was read again, though it had not changed")
	}
	feed.set(0, "ip,name,kind,namespace,node\n10.0.0.5,cache,pod,shop,n2\n10.0.0.6,db,pod,shop,n1\n")
	pass(9 * time.Minute)
	check("10.0.0.5 web n1 10:00-10:01; 10.0.0.5 cache n2 10:10-10:10 open; 10.0.0.6 db n1 10:00-10:10 open")
	for name, broken := range map[string]func(){"error": func() { feed.set(500, "") }, "page": func() { feed.set(0, "<html>") }, "cut": func() { feed.set(0, `{"workloads":[{"ip":`) }} {
		broken()
		pass(time.Minute)
		if got := texts(t, conn, "SELECT toString(count()) FROM workloads FINAL WHERE open"); got != "2" {
			t.Errorf("%s: %s open", name, got)
		}
	}
	// Another collector takes over, and the feed is empty: all have ended.
	feed.set(0, `{"workloads":[]}`)
	k = newKeeper(e, conn)
	pass(7 * time.Minute)
	check("10.0.0.5 web n1 10:00-10:01; 10.0.0.5 cache n2 10:10-10:10; 10.0.0.6 db n1 10:00-10:10")
	// What the feed says of the time counts.
	feed.set(0, `[{"ip":"10.0.0.7","name":"vm1","kind":"vm","from":"2026-10-30T08:00:00Z"},{"ip":"10.0.0.7","name":"vm0","kind":"vm","from":"2026-10-29T08:00:00Z","to":"2026-10-30T07:00:00Z"}]`)
	pass(time.Minute)
	pass(time.Minute)
	for at, want := range map[string]string{"2026-10-29 12:00:00": "vm0", "2026-10-30 07:30:00": "", "2026-10-30 09:00:00": "vm1", "2026-11-20 00:00:00": "vm1"} {
		if got := texts(t, conn, "SELECT name FROM workload_at(ip = '10.0.0.7', time = '"+at+"')"); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
	if got := texts(t, conn, "SELECT name FROM workload_at(ip = '10.0.0.5', time = '2026-11-01 10:00:30')"); got != "web" {
		t.Errorf("at 10:00:30: %q", got)
	}
}

// All on one database: making one costs more than the tests.
func TestTables(t *testing.T) {
	conn := localtest.Tables(t)
	t.Run("fill", func(t *testing.T) { testFill(t, conn) })
	t.Run("workloads", func(t *testing.T) { testWorkloads(t, conn) })
	t.Run("again", func(t *testing.T) { testAgain(t, conn) })
	for name, test := range map[string]func(*testing.T, driver.Conn){"hosts": testHosts, "users": testUsers, "goes on": testDeriveGoesOn} {
		for _, table := range []string{"flows", "batches", "assets_seen", "users_seen", "enrich_state"} {
			localtest.Exec(t, conn, "TRUNCATE TABLE "+table)
		}
		t.Run(name, func(t *testing.T) { test(t, conn) })
	}
}

// Answers that are too large, not the feed's, or elsewhere.
func TestFeedIsBounded(t *testing.T) {
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20)) }))
	defer big.Close()
	away := httptest.NewServer(http.RedirectHandler(big.URL, http.StatusFound))
	defer away.Close()
	for url, want := range map[string]string{big.URL: "too large", away.URL: "redirected"} {
		r, err := newReader(url, 1000, Access{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := newReader(big.URL, 1000, Access{}); err != nil {
		t.Fatal(err)
	} else if _, err := r.read(ctx); err == nil {
		t.Error("no error of an ended context")
	}
	if _, err := newReader("https://x.example", 1, Access{TLS: kit.TLS{Enabled: true, CA: "/does/not/exist"}}); err == nil {
		t.Error("an authority that is not there, and no error")
	}
	path := file(t, "big", strings.Repeat("x", 2000))
	r, _ := newReader(path, 1000, Access{})
	if _, err := r.read(t.Context()); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("%v of a large file", err)
	}
}

// insert puts rows into flows as the store would, with the values of e.
func insertFlows(t *testing.T, conn driver.Conn, e *Enricher, site string, records ...*flow.Record) {
	t.Helper()
	b := block(t, records...)
	names := append([]string{"site"}, flow.ColumnNames()...)
	values := []any{sites(site, len(records))}
	for i := range flow.ColumnNames() {
		v := b.Values(i)
		if ns, ok := v.([]int64); ok {
			times := make([]time.Time, len(ns))
			for j := range ns {
				times[j] = time.Unix(0, ns[j])
			}
			v = times
		}
		values = append(values, v)
	}
	if e != nil {
		names, values = append(names, e.Columns()...), append(values, e.Values(values[0].([]string), b)...)
	}
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO flows ("+strings.Join(names, ", ")+", received) SETTINGS async_insert = 0")
	if err != nil {
		t.Fatal(err)
	}
	received := make([]time.Time, len(records))
	for i := range received {
		received[i] = time.Now()
	}
	for i, v := range append(values, received) {
		if err := batch.Column(i).Append(v); err != nil {
			t.Fatal(names, i, err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
}

// Rows that are enriched again get the very values that they would get at the
// insert, on several days, sites and lists.
func testAgain(t *testing.T, conn driver.Conn) {
	dir := t.TempDir()
	db := filepath.Join(dir, "city.mmdb")
	write(t, db, testDatabase(t, "City", map[string]mmdbtype.Map{"203.0.113.0/25": cityRecord("DE", "Köln"), "2001:db8::/32": cityRecord("FR", "Lyon")}))
	e := enricher(t, Config{Databases: []string{db},
		Networks: []string{file(t, "n.csv", "network,name,role,site\n10.0.0.0/8,office,clients,\n10.0.0.0/8,plant,ot,factory\n")},
		Threats: []ThreatList{{Name: "a", Location: file(t, "a.txt", "203.0.113.9\n203.0.113.8/29\nevil.example\ncd08e31494f9531f560d64c695473da9\n")},
			{Name: "b", Location: file(t, "b.txt", "http://files.evil.example/x\n2001:db8:bad::/48\nt13d1516h2_8daaf6152771_e5627efa2ab1\n")}}})
	var records []*flow.Record
	for day := range 3 {
		for i := range 40 {
			r := record([]string{"10.0.0.1", "2001:db8::7", "198.51.100.3"}[i%3], []string{"203.0.113.9", "203.0.113.10", "2001:db8:bad::1", "10.0.0.2", "192.0.2.1"}[i%5])
			r.Start += int64(day) * int64(24*time.Hour)
			r.End, r.FlowID = r.Start+1, uint64(i)
			switch i % 7 {
			case 0:
				r.TLSSNI = "Files.Evil.Example"
			case 1:
				r.HTTPHost = "x.evil.example:8080"
			case 2:
				r.DNSNames = []string{"good.example", "www.evil.example", "files.evil.example"}
			case 3:
				r.JA3 = "cd08e31494f9531f560d64c695473da9"
			case 4:
				r.JA4, r.TLSSNI = "t13d1516h2_8daaf6152771_e5627efa2ab1", "evil.example"
			}
			records = append(records, r)
		}
	}
	for day := range 3 {
		for _, site := range []string{"", "factory"} {
			insertFlows(t, conn, e, site, records[40*day:40*day+40]...)
		}
	}
	const all = `SELECT toString((count(), groupBitXor(cityHash64(site, start, flow_id, arraySort(threats), enrichment, src_asn, dst_asn, src_country, dst_country, src_city, dst_city,
		src_network, dst_network, src_role, dst_role)))) FROM flows`
	const rest = `SELECT toString((count(), groupBitXor(cityHash64(* EXCEPT(threats, enrichment, src_asn, dst_asn, src_country, dst_country, src_city, dst_city,
		src_network, dst_network, src_role, dst_role))))) FROM flows`
	atInsert, untouched := texts(t, conn, all), texts(t, conn, rest)
	localtest.Exec(t, conn, "ALTER TABLE flows UPDATE threats = ['old'], enrichment = 5, src_country = 'XX', dst_network = 'old' WHERE 1 SETTINGS mutations_sync = 1")
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	var done []string
	note := func(d Day) { done = append(done, fmt.Sprint(d.Date.Day(), " ", d.Rows)) }
	if err := e.Again(t.Context(), conn, day(2), day(2), note); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(done, ", "); got != "2 80" {
		t.Errorf("done: %s", got)
	}
	// One at a time.
	_, release, err := lease(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Again(t.Context(), conn, time.Time{}, time.Time{}, note); !errors.Is(err, ErrBusy) {
		t.Errorf("while another is at it: %v", err)
	}
	release()
	// An end in the middle: what is left is done the next time.
	ctx, cancel := context.WithCancel(t.Context())
	done = nil
	if err := e.Again(ctx, conn, time.Time{}, time.Time{}, func(d Day) { note(d); cancel() }); err == nil {
		t.Error("ended, and no error")
	}
	if err := e.Again(t.Context(), conn, time.Time{}, time.Time{}, note); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(done, ", "); got != "3 80, 1 80" {
		t.Errorf("done: %s", got)
	}
	if got := texts(t, conn, all); got != atInsert {
		t.Errorf("again %s, at the insert %s: %s", got, atInsert, texts(t, conn, "SELECT toString((site, src_ip, dst_ip, tls_sni, threats, src_country, dst_network)) FROM flows LIMIT 8"))
	}
	if got := texts(t, conn, rest); got != untouched {
		t.Errorf("other columns have changed: %s, before %s", got, untouched)
	}
	if err := enricher(t, Config{}).Again(t.Context(), conn, time.Time{}, time.Time{}, note); err == nil {
		t.Error("nothing is known, and no error")
	}
}
