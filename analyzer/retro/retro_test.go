package retro

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var day0 = time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)

// fillRandom stores flows of small universes of addresses, names and prints over
// days, of two probes that see some of them twice, and the batches that tell of them.
func fillRandom(t testing.TB, conn driver.Conn, rows, days int, seed uint64) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO flows (probe, epoch, seq, row, received, src_ip, dst_ip, src_port, dst_port, protocol, start, end, flow_id, segment, src_packets, dst_packets, src_bytes, dst_bytes,
			src_payload_bytes, dst_payload_bytes, conn_state, app, tls_sni, http_host, dns_names, ja3, ja4, hassh, hassh_server, tls_cert_sha256)
		WITH cityHash64({seed:UInt64}, intDiv(number * 10, 11)) AS h, cityHash64(h, 1) AS a, cityHash64(h, 2) AS b, cityHash64(h, 3) AS c
		SELECT if(number % 11 = 10, 'p2', 'p1'), 7, toUInt64(intDiv(number, 1000)), toUInt32(number % 1000), now(),
			toIPv6(if(a % 5 = 0, concat('2001:db8::', hex(a % 4096)), concat('10.', toString(bitShiftRight(a, 8) % 3), '.', toString(bitShiftRight(a, 16) % 4), '.', toString(bitShiftRight(a, 24) % 50)))),
			toIPv6(if(b % 7 = 0, concat('2001:db8:1::', hex(b % 4096)), concat(toString(11 + b % 180), '.', toString(bitShiftRight(b, 8) % 4), '.7.', toString(bitShiftRight(b, 24) % 200)))),
			40000, if(c % 3 = 0, 443, 80), 6,
			toDateTime64({day0:DateTime('UTC')}, 9, 'UTC') + toIntervalSecond(h % ({days:UInt32} * 86400)) AS start, start + toIntervalSecond(c % 100), number, if(c % 13 = 0, 1, 0), 5, 5, 500 + c % 1000, c % 5000,
			100, if(c % 4 = 0, 0, 200), 'SF', '', if(a % 3 = 0, concat('WWW', toString(a % 50), '.Site', toString(b % 40), '.example'), ''),
			if(a % 4 = 0, concat('h', toString(c % 60), '.co.uk', if(c % 2 = 0, ':8080', '')), ''),
			if(b % 4 = 0, [concat('q', toString(a % 90), '.site', toString(a % 40), '.example'), 'plain.test'], []),
			if(c % 5 = 0, lower(hex(MD5(toString(c % 70)))), ''), if(c % 6 = 0, concat('t13d1516h2_8daaf615', leftPad(toString(c % 70), 4, '0'), '_e5627efa2ab1'), ''),
			if(c % 17 = 0, lower(hex(MD5(toString(c % 99)))), ''), if(c % 19 = 0, lower(hex(MD5(toString(c % 80)))), ''), if(c % 8 = 0, lower(hex(SHA256(toString(a % 300)))), '')
		FROM numbers({rows:UInt64})`,
		`INSERT INTO batches (probe, epoch, worker, seq, topic, kafka_offset, received, stored, status, rows, minutes, minute_rows, watermark, end_of_stream, ledger_second, seen_packets, flow_packets,
			seen_frame_bytes, flow_frame_bytes, flows_started, flows_ended, records)
		SELECT probe, 7, 0, seq, 'flows.v1', seq, now64(3), now64(3), 'stored', sum(n), groupArray(minute), groupArray(n), now64(9), true, groupArray(toDateTime(minute * 60, 'UTC')), groupArray(n * 10), groupArray(n * 10),
			groupArray(n), groupArray(n), groupArray(n), groupArray(n), groupArray(n)
		FROM (SELECT probe, seq, toUInt32(intDiv(toUnixTimestamp(start), 60)) AS minute, toUInt32(count()) AS n FROM flows GROUP BY probe, seq, minute) GROUP BY probe, seq`} {
		ctx, sql, args := named(sql, rows, days, seed)
		if err := conn.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
}

// hitKey is a hit as brute force and sweep are compared by.
type hitKey struct{ kind, value, field, seen, host string }

type hitWhat struct {
	first, last time.Time
	flows       uint64
}

// brute compares every row with every indicator, in Go.
func brute(t testing.TB, conn driver.Conn, list []Indicator) map[hitKey]hitWhat {
	t.Helper()
	byValue := map[string][]Indicator{}
	var nets []Indicator
	for _, x := range list {
		if x.Kind == "network" {
			nets = append(nets, x)
			continue
		}
		byValue[x.Value] = append(byValue[x.Value], x)
	}
	perProbe := map[hitKey]map[string]hitWhat{}
	rows, err := conn.Query(t.Context(), `SELECT toString(probe), toString(src_ip), toString(dst_ip), tls_sni, http_host, dns_names, toString(ja3), toString(ja4), toString(hassh), toString(hassh_server), tls_cert_sha256, start, end, segment FROM flows`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var probe, src, dst, sni, hh, ja3, ja4, hassh, server, cert string
		var dns []string
		var start, end time.Time
		var segment uint32
		if err := rows.Scan(&probe, &src, &dst, &sni, &hh, &dns, &ja3, &ja4, &hassh, &server, &cert, &start, &end, &segment); err != nil {
			t.Fatal(err)
		}
		hit := func(x Indicator, field, seen, host string) {
			k := hitKey{x.Kind, x.Value, field, strings.TrimPrefix(seen, "::ffff:"), strings.TrimPrefix(host, "::ffff:")}
			if perProbe[k] == nil {
				perProbe[k] = map[string]hitWhat{}
			}
			w, ok := perProbe[k][probe]
			if !ok || start.Before(w.first) {
				w.first = start
			}
			if end.After(w.last) {
				w.last = end
			}
			if segment == 0 {
				w.flows++
			}
			perProbe[k][probe] = w
		}
		for _, side := range []struct{ field, seen, host string }{{"src_ip", src, dst}, {"dst_ip", dst, src}} {
			a := netip.MustParseAddr(side.seen).Unmap()
			for _, x := range byValue[a.String()] {
				if x.Kind == "address" {
					hit(x, side.field, side.seen, side.host)
				}
			}
			for _, x := range nets {
				if netip.MustParsePrefix(x.Value).Contains(a) {
					hit(x, side.field, side.seen, side.host)
				}
			}
		}
		name := func(field, seen string) {
			s := strings.ToLower(seen)
			s, _, _ = strings.Cut(s, ":")
			for whole, more := s, true; more; _, s, more = strings.Cut(s, ".") {
				for _, x := range byValue[s] {
					if x.Kind == "domain" || x.Kind == "url_host" && s == whole && field != "dns_names" {
						hit(x, field, seen, src)
					}
				}
			}
		}
		name("tls_sni", sni)
		name("http_host", hh)
		slices.Sort(dns)
		for _, n := range slices.Compact(dns) {
			name("dns_names", n)
		}
		for field, v := range map[string]string{"ja3": ja3, "ja4": ja4, "hassh": hassh, "hassh_server": server, "tls_cert_sha256": cert} {
			for _, x := range byValue[strings.ToLower(v)] {
				hit(x, field, v, src)
			}
		}
	}
	out := map[hitKey]hitWhat{}
	for k, probes := range perProbe {
		var all hitWhat
		for _, w := range probes {
			if all.first.IsZero() || w.first.Before(all.first) {
				all.first = w.first
			}
			if w.last.After(all.last) {
				all.last = w.last
			}
			all.flows = max(all.flows, w.flows)
		}
		out[k] = all
	}
	return out
}

// someIndicators are on some of the values that fillRandom makes, and on others.
func someIndicators(t testing.TB) []Indicator {
	t.Helper()
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "%d.%d.7.%d\n", 11+i*4, i%4, i*5)
		fmt.Fprintf(&b, "203.0.113.%d\n", i)
	}
	for i := range 10 {
		fmt.Fprintf(&b, "www%d.site%d.example\nurl:http://h%d.co.uk/path\n", i, i*3, i)
	}
	b.WriteString("site7.example\nsite39.example\nco.uk\nplain.test\nnone.example\n10.1.2.0/24\n10.2.0.0/16\n150.0.0.0/9\n2001:db8::/120\n2001:db8:1::f\n2001:db8:1::20/123\n10.1.2.3\n")
	b.WriteString("ja4:t13d1516h2_8daaf6150006_e5627efa2ab1\nja3:4c56ff4ce4aaf9573aa5dff913df997a\nhassh:e4da3b7fbbce2345d7772b0674a318d5\ncfcd208495d565ef66e7dff9f98764da\n") // md5 of 5, 0
	b.WriteString("cert:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9\n0.0.0.0/0\ncom\n/etc/passwd\n")                                                       // sha256 of 0
	list, refused, err := Parse(strings.NewReader(b.String()))
	if err != nil || refused != 3 {
		t.Fatalf("%d refused: %v", refused, err)
	}
	return list
}

func sweeperOf(conn driver.Conn) *Sweeper {
	s := New(conn, alert.NewStore(conn), slog.New(slog.DiscardHandler), nil)
	s.delay = 0
	return s
}

func stored1(t testing.TB, s *Store, sweep string) map[hitKey]hitWhat {
	t.Helper()
	hits, err := s.Hits(t.Context(), sweep, "", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	out := map[hitKey]hitWhat{}
	for _, h := range hits {
		out[hitKey{h.Kind, h.Value, h.Field, h.Seen, h.Host}] = hitWhat{h.First, h.Last, h.Flows}
	}
	return out
}

// A sweep finds what comparing every row with every indicator finds, no more and
// no less, with the same first and last contact and counts.
func TestAgainstBruteForce(t *testing.T) {
	conn := localtest.Tables(t)
	const days = 6
	fillRandom(t, conn, 12_000, days, 1)
	list := someIndicators(t)
	want := brute(t, conn, list)
	s := sweeperOf(conn)
	w, err := s.Sweep(t.Context(), "test", "tester", list)
	if err != nil {
		t.Fatal(err)
	}
	got := stored1(t, s.store, w.ID)
	kinds := map[string]int{}
	for k, x := range want {
		kinds[k.kind+" "+k.field]++
		if y, ok := got[k]; !ok {
			t.Errorf("not found: %v", k)
		} else if !x.first.Equal(y.first) || !x.last.Equal(y.last) || (y.flows != x.flows) {
			t.Errorf("%v: (-got +want)\n-%v\n+%v", k, y, x)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("found, and not there: %v", k)
		}
	}
	for _, k := range []string{"address dst_ip", "address src_ip", "network src_ip", "network dst_ip", "domain tls_sni", "domain http_host", "domain dns_names", "url_host http_host", "ja3 ja3", "ja4 ja4", "hassh hassh", "ja3 hassh_server", "cert_sha256 tls_cert_sha256"} {
		if kinds[k] == 0 {
			t.Errorf("the data have no %s", k)
		}
	}
	c, err := s.store.Coverage(t.Context(), w.ID)
	if err != nil || c.Verdicts[Complete] != days || len(c.Verdicts) != 1 || c.Share != 1 {
		t.Errorf("coverage %v %v: %v", c.Verdicts, c.Share, err)
	}
	if w, err = s.store.Get(t.Context(), w.ID); err != nil || w.State != Done || w.PartsDone != w.Parts || w.Hits == 0 || w.Hosts == 0 {
		t.Errorf("sweep %+v: %v", w, err)
	}
	checkAlerts(t, conn)
}

// checkAlerts runs the evidence of all alerts again: the sub-scores are its columns.
func checkAlerts(t testing.TB, conn driver.Conn) {
	t.Helper()
	n := 0
	for _, a := range detecttest.Stored(t, conn) {
		if a.Detector != Detector {
			continue
		}
		if n++; n > 5 {
			break
		}
		var args []any
		for k, v := range a.EvidenceParams {
			args = append(args, driverNamed(k, v))
		}
		var x contact
		rows := 0
		err := each(t.Context(), conn, a.EvidenceSQL, func(r driver.Rows) error {
			rows++
			return x.scan(r)
		}, args...)
		if err != nil || rows != 1 || math.Abs(x.contact-a.SubScores["contact"]) > 1e-9 || float64(x.indicators) != a.SubScores["indicators"] || math.Abs(x.confidence-a.SubScores["confidence_said"]) > 1e-9 {
			t.Errorf("evidence of %s: %d rows, %+v, %v: %v", a.Title, rows, x, a.SubScores, err)
		}
	}
	if n == 0 {
		t.Error("no alert")
	}
	// What many hosts met is one alert.
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL WHERE detector = 'retro_hit' AND has(entities, 'indicator=domain plain.test')", 1)
	localtest.Expect(t, conn, "SELECT toUInt64(count() > 0) FROM alerts FINAL WHERE detector = 'retro_hit' AND actor != ''", 1)
}

// What a threat list brings is swept by itself, once; what comes later alone;
// what left and came back, again. A sweep that is cut short goes on.
func TestByItself(t *testing.T) {
	conn := localtest.Tables(t)
	fillRandom(t, conn, 2_000, 2, 2)
	s := sweeperOf(conn)
	pass := func() {
		t.Helper()
		if err := s.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweeps := func() []Sweep {
		t.Helper()
		list, err := s.store.Sweeps(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	pass()
	if n := len(sweeps()); n != 0 {
		t.Fatalf("%d sweeps for nothing", n)
	}
	localtest.Exec(t, conn, "INSERT INTO indicators VALUES ('network', '10.1.0.0/16', 'a', 90, 0, now64(3)), ('domain', 'site7.example', 'a', 0, 0, now64(3)), ('domain', 'site8.example', 'a', 0, '2020-01-01 00:00:00', now64(3))")
	pass()
	first := sweeps()
	if len(first) != 1 || first[0].Indicators != 2 || first[0].State != Done || first[0].Hits == 0 {
		t.Fatalf("%+v", first)
	}
	var alerts uint64
	count := func() (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT sum(revision) FROM alerts FINAL WHERE detector = 'retro_hit'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if alerts = count(); alerts == 0 {
		t.Error("no alert")
	}
	pass() // the same again does nothing
	sweeperOf(conn).Pass(t.Context())
	if n := len(sweeps()); n != 1 || count() != alerts {
		t.Errorf("%d sweeps, %d alerts", n, count())
	}
	// The loader replaces the rows of a list: the same indicator is not new for that.
	localtest.Exec(t, conn, "INSERT INTO indicators VALUES ('network', '10.1.0.0/16', 'a', 95, 0, now64(3) + 1), ('domain', 'plain.test', 'a', 0, 0, now64(3) + 1)")
	pass()
	if n := sweeps(); len(n) != 2 || n[0].Indicators != 1 {
		t.Errorf("%d sweeps: %+v", len(n), n[0])
	}
	localtest.Exec(t, conn, "DELETE FROM indicators WHERE value = 'plain.test'")
	pass()
	localtest.Exec(t, conn, "INSERT INTO indicators VALUES ('domain', 'plain.test', 'a', 0, 0, now64(3) + 5)")
	pass()
	if n := len(sweeps()); n != 3 {
		t.Errorf("%d sweeps after one came back", n)
	}
	// Cut short in the middle: another Sweeper ends it, to the same hits.
	localtest.Exec(t, conn, "INSERT INTO indicators VALUES ('network', '10.2.0.0/16', 'b', 90, 0, now64(3) + 5)")
	broken, cancel := context.WithCancel(t.Context())
	s.now = func() time.Time {
		cancel()
		return time.Now()
	}
	if err := s.Pass(broken); err == nil {
		t.Fatal("a sweep that is cut short says nothing")
	}
	s.now = time.Now
	pass()
	last := sweeps()[0]
	list, _, _ := Parse(strings.NewReader("10.2.0.0/16"))
	if want := brute(t, conn, list); last.State != Done || len(stored1(t, s.store, last.ID)) != len(want) {
		t.Errorf("%+v: %d hits of %d", last, len(stored1(t, s.store, last.ID)), len(want))
	}
}

// Where flows are gone, rollups tell of addresses, and of names that they were
// seen; and the coverage says so.
func TestFlowsGone(t *testing.T) {
	conn := localtest.Tables(t)
	const days = 2
	fillRandom(t, conn, 3_000, days, 3)
	detecttest.Rollup(t, conn)
	list := someIndicators(t)
	want := brute(t, conn, list)
	localtest.Exec(t, conn, "ALTER TABLE flows DROP PARTITION ID '20261005'")
	localtest.Exec(t, conn, "INSERT INTO retention_log VALUES (now64(3), 'flows', '20261005', 1, 1, 'age')")
	s := sweeperOf(conn)
	w, err := s.Sweep(t.Context(), "test", "tester", list)
	if err != nil {
		t.Fatal(err)
	}
	got := stored1(t, s.store, w.ID)
	anybody := map[[2]string]bool{}
	for k := range got {
		anybody[[2]string{k.value, k.seen}] = true
	}
	for k, x := range want {
		if y, ok := got[k]; ok && y.flows != x.flows && strings.HasSuffix(k.field, "_ip") {
			t.Errorf("%v: %d connections, want %d", k, y.flows, x.flows)
		} else if !ok && strings.HasSuffix(k.field, "_ip") {
			t.Errorf("not found: %v", k)
		} else if !ok && k.field != "dns_names" && k.field != "http_host" && !anybody[[2]string{k.value, strings.ToLower(k.seen)}] {
			t.Errorf("not even seen: %v", k)
		}
	}
	c, err := s.store.Coverage(t.Context(), w.ID)
	if err != nil || c.Verdicts[Complete] != days-1 || c.Verdicts[Addresses] != 1 {
		t.Errorf("coverage %v: %v", c.Verdicts, err)
	}
	if text := c.Text(); !strings.Contains(text, "1 complete, 1 by pairs of addresses only") {
		t.Error(text)
	}
}

func TestStatements(t *testing.T) {
	err := fs.WalkDir(statements, "sql", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(statement(strings.TrimSuffix(d.Name(), ".sql"))) < 50 {
			t.Errorf("%s is empty", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
