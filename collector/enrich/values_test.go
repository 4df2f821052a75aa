package enrich

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// row is what a record got, by column.
func row(e *Enricher, values []any, i int) map[string]any {
	got := map[string]any{}
	for c, name := range e.Columns() {
		switch v := values[c].(type) {
		case []uint64:
			got[name] = v[i]
		case []uint32:
			got[name] = v[i]
		case []string:
			got[name] = v[i]
		case [][]string:
			got[name] = strings.Join(v[i], " ")
		}
	}
	return got
}

func want(t *testing.T, got map[string]any, want map[string]any) {
	t.Helper()
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s (-got +want)\n-%v\n+%v", name, got[name], v)
		}
	}
}

func sites(site string, n int) []string { return slices.Repeat([]string{site}, n) }

// values of the records seen at a site.
func values(t *testing.T, e *Enricher, site string, records ...*flow.Record) []map[string]any {
	t.Helper()
	v := e.Values(sites(site, len(records)), block(t, records...))
	var all []map[string]any
	for i := range records {
		all = append(all, row(e, v, i))
	}
	return all
}

func TestValues(t *testing.T) {
	dir := t.TempDir()
	asn, city := filepath.Join(dir, "asn.mmdb"), filepath.Join(dir, "city.mmdb")
	write(t, asn, testDatabase(t, "GeoLite2-ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64500, "Example"), "2001:db8::/32": asnRecord(4200000000, "Six")}))
	write(t, city, testDatabase(t, "GeoLite2-City", map[string]mmdbtype.Map{"203.0.113.0/25": cityRecord("DE", "Köln"), "2001:db8::/32": cityRecord("FR", "Lyon")}))
	e := enricher(t, Config{
		Databases: []string{asn, city},
		Networks:  []string{file(t, "own.csv", "network,name,role,site\n10.0.0.0/8,office,clients,\n10.1.0.0/16,servers,server,\n10.0.0.0/8,plant,ot,factory\n")},
		Threats: []ThreatList{
			{Name: "addresses", Location: file(t, "a.txt", "# bad\n203.0.113.9\n2001:db8:bad::/48 # net\n")},
			{Name: "names", Location: file(t, "n.txt", "evil.example\nja3:cd08e31494f9531f560d64c695473da9\nt13d1516h2_8daaf6152771_e5627efa2ab1\nhttp://files.example/x.exe\n")},
		},
	})
	tls := record("10.1.2.3", "203.0.113.9")
	tls.App, tls.TLSSNI = "tls", "A.b.Evil.Example."
	dns := record("10.2.0.1", "10.1.0.53")
	dns.App, dns.DNSNames = "dns", []string{"good.example", "www.evil.example", "files.example"}
	print := record("2001:db8::1", "2001:db8:bad::7")
	print.JA3, print.JA4 = "cd08e31494f9531f560d64c695473da9", "t13d1516h2_8daaf6152771_e5627efa2ab1"
	url := record("10.2.0.1", "198.51.100.1")
	url.HTTPHost = "files.example:8080"
	above := record("10.2.0.1", "198.51.100.1")
	above.TLSSNI = "x.files.example" // below the host of a URL: another host
	got := values(t, e, "hq", tls, dns, print, url, above, record("198.51.100.1", "notevil.example.invalid"[:0]+"198.51.100.2"))
	want(t, got[0], map[string]any{"src_network": "servers", "src_role": "server", "dst_asn": uint32(64500), "dst_country": "DE", "dst_city": "Köln",
		"src_asn": uint32(0), "src_country": "", "dst_network": "", "threats": "addresses names", "enrichment": e.Version()})
	want(t, got[1], map[string]any{"src_network": "office", "dst_network": "servers", "threats": "names"})
	want(t, got[2], map[string]any{"src_asn": uint32(4200000000), "src_country": "FR", "dst_city": "Lyon", "threats": "addresses names"})
	want(t, got[3], map[string]any{"threats": "names"})
	want(t, got[4], map[string]any{"threats": ""})
	want(t, got[5], map[string]any{"threats": "", "src_network": "", "src_asn": uint32(0), "enrichment": e.Version()})
	if e.Version() == 0 {
		t.Error("data without a version")
	}

	// The site of a probe comes first, another's network is better than none.
	got = values(t, e, "factory", record("10.0.0.1", "10.1.0.1"))
	want(t, got[0], map[string]any{"src_network": "plant", "src_role": "ot", "dst_network": "servers"})

	// Sites mixed in one block.
	v := e.Values([]string{"hq", "factory", "hq"}, block(t, record("10.0.0.1", "10.0.0.1"), record("10.0.0.1", "10.0.0.1"), record("10.0.0.1", "10.0.0.1")))
	for i, name := range []string{"office", "plant", "office"} {
		want(t, row(e, v, i), map[string]any{"src_network": name, "dst_network": name})
	}
}

func TestColumnsAreTheTables(t *testing.T) {
	e := enricher(t, Config{})
	v := e.Values(sites("", 3), block(t, record("10.0.0.1", "10.0.0.2"), record("10.0.0.1", "10.0.0.2"), record("10.0.0.1", "10.0.0.2")))
	if len(v) != len(e.Columns()) {
		t.Fatalf("%d columns for %d names", len(v), len(e.Columns()))
	}
	for i := range 3 {
		want(t, row(e, v, i), map[string]any{"enrichment": uint64(0), "threats": "", "src_network": ""})
	}
	if e.ForFlows() != nil {
		t.Error("nothing configured, and flows are enriched")
	}
}

// A file that changes is in force after the next look, whole; a broken or
// missing one leaves what was there.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	db, nets, list := filepath.Join(dir, "asn.mmdb"), filepath.Join(dir, "own.yaml"), filepath.Join(dir, "list.txt")
	e := enricher(t, Config{Databases: []string{db}, Networks: []string{nets}, Threats: []ThreatList{{Name: "l", Location: list}}})
	look := func() map[string]any {
		t.Helper()
		return values(t, e, "", record("10.0.0.1", "203.0.113.9"))[0]
	}
	want(t, look(), map[string]any{"enrichment": uint64(0)}) // missing at the start: nothing is known
	first := testDatabase(t, "ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64500, "a")})
	write(t, db, first)
	write(t, nets, []byte("networks:\n  - {network: 10.0.0.0/8, name: office, role: clients}\n"))
	write(t, list, []byte("203.0.113.9\n"))
	e.Reload(t.Context())
	before := e.Version()
	want(t, look(), map[string]any{"dst_asn": uint32(64500), "src_network": "office", "threats": "l", "enrichment": before})

	write(t, db, testDatabase(t, "ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64501, "b")}))
	write(t, nets, []byte("- {network: 10.0.0.0/9, name: lab}\n"))
	write(t, list, []byte("203.0.113.8\n"))
	want(t, look(), map[string]any{"dst_asn": uint32(64500)})
	e.Reload(t.Context())
	after := e.Version()
	want(t, look(), map[string]any{"dst_asn": uint32(64501), "src_network": "lab", "src_role": "", "threats": "", "enrichment": after})
	if after == before {
		t.Error("other data, same version")
	}

	for name, broken := range map[string][]byte{"truncated": first[:len(first)-40], "no database": []byte("<html>502</html>"), "empty": {}} {
		write(t, db, broken)
		write(t, nets, []byte("networks:\n  - {netwrok: 10.0.0.0/8}\n"))
		e.Reload(t.Context())
		want(t, look(), map[string]any{"dst_asn": uint32(64501), "src_network": "lab", "enrichment": after})
		if t.Failed() {
			t.Fatalf("after a %s file", name)
		}
	}
	if err := os.Remove(nets); err != nil {
		t.Fatal(err)
	}
	e.Reload(t.Context())
	want(t, look(), map[string]any{"dst_asn": uint32(64501), "src_network": "lab"})
	write(t, db, first)
	write(t, nets, []byte("networks:\n  - {network: 10.0.0.0/8, name: office, role: clients}\n"))
	write(t, list, []byte("203.0.113.9\n"))
	e.Reload(t.Context())
	if e.Version() != before {
		t.Error("same data, another version")
	}
}

// What is not done in time is left out, and the flows go on.
func TestTimeIsBounded(t *testing.T) {
	e := enricher(t, Config{MaxTime: time.Millisecond, Networks: []string{file(t, "own.csv", "network,name\n10.0.0.0/8,office\n")}})
	tick := time.Unix(0, 0)
	e.now = func() time.Time { tick = tick.Add(400 * time.Microsecond); return tick }
	records := make([]*flow.Record, 4*clockEvery)
	for i := range records {
		records[i] = record(fmt.Sprintf("10.0.%d.%d", i/256, i%256), "10.0.0.1")
	}
	v := e.Values(sites("", len(records)), block(t, records...))
	if got := row(e, v, 0); got["src_network"] != "office" {
		t.Errorf("first row: %v", got)
	}
	last := row(e, v, len(records)-1)
	want(t, last, map[string]any{"src_network": "", "enrichment": uint64(0)})
	for c, name := range e.Columns() {
		if n := length(v[c]); n != len(records) {
			t.Errorf("%s has %d values for %d records", name, n, len(records))
		}
	}
}

func length(v any) int {
	switch v := v.(type) {
	case []uint64:
		return len(v)
	case []uint32:
		return len(v)
	case []string:
		return len(v)
	case [][]string:
		return len(v)
	}
	return -1
}

// Something that breaks within costs the block its enrichment, nothing else.
func TestPanicIsContained(t *testing.T) {
	e := enricher(t, Config{Networks: []string{file(t, "own.csv", "network,name\n10.0.0.0/8,office\n")}})
	d := *e.data.Load()
	d.databases = []*database{{}} // no reader: a nil dereference
	e.data.Store(&d)
	v := e.Values(sites("", 1), block(t, record("10.0.0.1", "10.0.0.2")))
	want(t, row(e, v, 0), map[string]any{"enrichment": uint64(0), "src_network": ""})
}

// An indicator ends when its list says so, without the list being changed.
func TestExpiry(t *testing.T) {
	e := enricher(t, Config{Threats: []ThreatList{{Name: "l", Location: file(t, "l.csv", "indicator,expires\n203.0.113.9,2026-11-01T00:00:00Z\n")}}})
	now := time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC)
	e.now = func() time.Time { return now }
	e.sources[0].reader.forget()
	e.sources[0].sum = 0
	e.Reload(t.Context())
	want(t, values(t, e, "", record("10.0.0.1", "203.0.113.9"))[0], map[string]any{"threats": "l"})
	now = now.Add(25 * time.Hour)
	e.Reload(t.Context())
	want(t, values(t, e, "", record("10.0.0.1", "203.0.113.9"))[0], map[string]any{"threats": ""})
}

func TestMaxIndicators(t *testing.T) {
	e := enricher(t, Config{MaxIndicators: 2, Threats: []ThreatList{{Name: "a", Location: file(t, "a.txt", "203.0.113.1\n203.0.113.2\n203.0.113.3\n")},
		{Name: "b", Location: file(t, "b.txt", "203.0.113.4\n")}}})
	if n := e.data.Load().threats.size; n != 2 {
		t.Errorf("%d indicators, want 2", n)
	}
}

func benchEnricher(b *testing.B, indicators int) *Enricher {
	asns := map[string]mmdbtype.Map{}
	cities := map[string]mmdbtype.Map{}
	for i := range 4096 {
		p := fmt.Sprintf("%d.%d.0.0/16", 11+i/256, i%256)
		asns[p], cities[p] = asnRecord(uint32(i+1), fmt.Sprintf("AS %d", i)), cityRecord("DE", fmt.Sprintf("City %d", i%900))
	}
	dir := b.TempDir()
	asn, city := filepath.Join(dir, "asn.mmdb"), filepath.Join(dir, "city.mmdb")
	write(b, asn, testDatabase(b, "ASN", asns))
	write(b, city, testDatabase(b, "City", cities))
	var own, list strings.Builder
	own.WriteString("network,name,role\n")
	for i := range 1000 {
		fmt.Fprintf(&own, "10.%d.%d.0/24,net %d,clients\n", i/256, i%256, i)
	}
	for i := range indicators / 4 {
		fmt.Fprintf(&list, "host%d.bad%d.example\n%d.%d.%d.%d\n%032x\n%d.%d.%d.0/24\n", i, i%1000, 30+i>>24, i>>16&255, i>>8&255, i&255, i, 100+i>>16, i>>8&255, i&255)
	}
	return enricher(b, Config{Databases: []string{asn, city}, Networks: []string{file(b, "own.csv", own.String())},
		Threats: []ThreatList{{Name: "l", Location: file(b, "l.txt", list.String())}}})
}

// ns/flow with databases, networks and a million indicators.
func BenchmarkValues(b *testing.B) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	e := benchEnricher(b, 1_000_000)
	b.Logf("%d indicators, %.0f MiB", e.data.Load().threats.size, heap()-before)
	for _, c := range []struct {
		name    string
		servers int
	}{{"2000 servers", 2000}, {"every address new", 1 << 22}} {
		b.Run(c.name, func(b *testing.B) {
			records := make([]*flow.Record, 20_000)
			x := uint32(1)
			for i := range records {
				x = x*1664525 + 1013904223
				server := x % uint32(c.servers)
				r := record(fmt.Sprintf("10.%d.%d.%d", i%4, i/4%256, i%200), fmt.Sprintf("%d.%d.%d.%d", 11+server%16, server>>4&255, server>>12&255, server>>20))
				switch i % 3 {
				case 0:
					r.App, r.TLSSNI, r.JA3, r.JA4 = "tls", fmt.Sprintf("www.s%d.cloud.example", server%3000), "cd08e31494f9531f560d64c695473da9", "t13d1516h2_8daaf6152771_e5627efa2ab1"
				case 1:
					r.App, r.DNSNames = "dns", []string{fmt.Sprintf("a%d.b.example", i)}
				}
				records[i] = r
			}
			k, site := block(b, records...), sites("", len(records))
			b.ResetTimer()
			began := cpu()
			for range b.N {
				if c.servers > 1<<20 { // nothing remembered
					e.scratch.New = func() any { return new(scratch) }
					s := e.scratch.Get().(*scratch)
					s.places, s.data = nil, nil
					e.scratch.Put(s)
				}
				e.Values(site, k)
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N*len(records)), "cpu-ns/flow") // other work on the machine apart
		})
	}
}

// cpu is the processor time of this process, ns.
func cpu() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
