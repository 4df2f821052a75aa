package rollup

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// world is a database, the rows that were ever stored in it, and random batches
// to come. everything has all rows, also those that retention takes from flows.
type world struct {
	*testing.T
	conn driver.Conn
	rand *rand.Rand
	seq  int
	held []int // batches whose rows are stored and that batches does not tell of yet
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Logf("seed %d", seed)
	w := &world{T: t, conn: localtest.Tables(t), rand: rand.New(rand.NewPCG(seed, 5))}
	localtest.Exec(t, w.conn, "CREATE TABLE everything AS flows ENGINE = MergeTree ORDER BY start")
	return w
}

// store adds a batch of n rows, spread over some hours of three days.
func (w *world) store(n int) { w.storeAt(n, 6*3600+w.rand.IntN(40*3600), 1+w.rand.IntN(3*3600)) }

// storeAt adds a batch of n rows of width seconds, from so many after the begin
// of the first day.
func (w *world) storeAt(n, from, width int) {
	w.Helper()
	w.seq++
	localtest.Exec(w, w.conn, fmt.Sprintf(`INSERT INTO everything (probe, site, epoch, worker, seq, row, received, src_ip, dst_ip, src_port, dst_port, protocol, start, end, segment,
			src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes, app, app_errors, community_hash, conn_state,
			tls_sni, ja4, http_host, http_user_agent, dns_names, dns_qtypes, dns_rcodes, dns_answers, hassh, user, initiator_guessed)
		SELECT ['a', 'b', 'c'][1 + %[1]d %% 3] AS probe, if(probe = 'c', 'other', ''), 7, %[1]d %% 2, %[1]d, number, now64(3),
			toIPv6(concat('10.0.0.', toString(h %% 5))) AS src_ip, toIPv6(if(h %% 7 = 0, '2001:db8::5', concat('192.0.2.', toString(intDiv(h, 5) %% 4)))) AS dst_ip, 4000 + intDiv(h, 20) %% 3, [443, 53, 22, 80][1 + intDiv(h, 60) %% 4] AS port, if(port = 53, 17, 6),
			toDateTime64('2026-03-02 00:00:00', 9, 'UTC') + INTERVAL (%[2]d + intDiv(h, 300) %% %[3]d) SECOND + INTERVAL (h %% 1000000000) NANOSECOND AS start, start + INTERVAL (h %% 90000) MILLISECOND, if(h %% 11 = 0, 1 + h %% 3, 0),
			1 + h %% 9, intDiv(h, 9) %% 7 AS back, 40 + h %% 100000, 40 * back, 54 + h %% 100000, 54 * back, h %% 99000, if(back = 0, 0, h %% 5 * 100), ['tls', 'dns', 'ssh', ''][1 + intDiv(h, 60) %% 4], h %% 3 = 0,
			cityHash64(src_ip, dst_ip, port), if(h %% 13 = 0, 'S0', 'SF'),
			if(port = 443, concat('WWW', toString(h %% 4), '.example.com'), ''), if(port = 443, concat('t13d', toString(h %% 3)), ''), if(port = 80, ['Plain.example:8080', '192.0.2.7', '[2001:db8::1]:80'][1 + h %% 3], ''), if(port = 80, 'agent', ''),
			if(port = 53, [['x.example'], ['X.example', 'x.example'], ['x.example', 'y.example'], ['7.2.0.192.in-addr.arpa']][1 + h %% 4], []), if(port = 53, [1], []), if(port = 53, [0, 3, 65535], []),
			if(port = 53, [['192.0.2.9', 'alias.example'], ['2001:db8::9', '192.0.2.9'], ['192.0.2.10'], ['Host.example']][1 + h %% 4], []), if(port = 22, 'ab', ''), if(port = 22, 'root', ''), h %% 17 = 0
		FROM (SELECT number, cityHash64(%[1]d, number, %[4]d) AS h FROM numbers(%[5]d))`, w.seq, from, width, w.rand.IntN(1000), n))
	localtest.Exec(w, w.conn, fmt.Sprintf("INSERT INTO flows SELECT * FROM everything WHERE seq = %d", w.seq))
	w.held = append(w.held, w.seq)
}

// promise tells of the oldest of the batches held.
func (w *world) promise() {
	w.Helper()
	if len(w.held) == 0 {
		return
	}
	localtest.Exec(w, w.conn, fmt.Sprintf(`INSERT INTO batches (probe, site, epoch, worker, seq, topic, received, stored, status, rows, days, minutes, minute_rows)
		SELECT probe, site, epoch, worker, seq, 'flows', now64(3), now64(3), 'stored', sum(c), groupUniqArray(toDate(toDateTime(m * 60, 'UTC'))), groupArray(m), groupArray(c) FROM
		(SELECT probe, site, epoch, worker, seq, toUInt32(intDiv(toUnixTimestamp(start), 60)) AS m, toUInt32(count()) AS c FROM everything WHERE seq = %d GROUP BY probe, site, epoch, worker, seq, m)
		GROUP BY probe, site, epoch, worker, seq`, w.held[0]))
	w.held = w.held[1:]
}

// volumes are the additive columns of the rollups of flows.
const volumes = `sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)`

// truths are what each rollup has to say, of raw and of itself.
var truths = []struct{ name, raw, rollup string }{
	{"flows_1m", `SELECT toStartOfMinute(start) AS t, probe, site, src_ip, dst_ip, dst_port, protocol, app, countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0), ` + volumes + ` FROM everything GROUP BY ALL`,
		`SELECT minute, probe, site, src_ip, dst_ip, dst_port, protocol, app, sum(flows), sum(segments), sum(failed), ` + volumes + ` FROM flows_1m GROUP BY ALL`},
	{"flows_1h", `SELECT toStartOfHour(start) AS t, probe, site, src_ip, dst_ip, dst_port, protocol, app, countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0), ` + volumes + ` FROM everything GROUP BY ALL`,
		`SELECT hour, probe, site, src_ip, dst_ip, dst_port, protocol, app, sum(flows), sum(segments), sum(failed), ` + volumes + ` FROM flows_1h GROUP BY ALL`},
	{"flows_1d", `SELECT toStartOfDay(start) AS t, probe, site, src_ip, dst_ip, dst_port, protocol, app, countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0), ` + volumes + ` FROM everything GROUP BY ALL`,
		`SELECT toStartOfDay(day), probe, site, src_ip, dst_ip, dst_port, protocol, app, sum(flows), sum(segments), sum(failed), ` + volumes + ` FROM flows_1d GROUP BY ALL`},
	{"hosts_1h", `SELECT toStartOfHour(start) AS t, probe, site, side.1 AS host, side.2 AS role, countIf(segment = 0), count(), countIf(segment = 0 AND dst_payload_bytes = 0),
			sum(side.3), sum(side.4), sum(side.5), sum(side.6), sum(side.7), sum(side.8), sum(app_errors), sum(length(dns_names)), sum(arrayCount(c -> c = 3, dns_rcodes)),
			uniqExact(side.9), uniqExactIf(side.9, segment = 0 AND dst_payload_bytes = 0), uniqExact(protocol, dst_port), uniqExactIf(tls_sni, tls_sni != ''), arraySort(groupUniqArrayIf(app, app != '')), min(start), max(end)
		FROM everything ARRAY JOIN [(src_ip, 'initiator', src_packets, dst_packets, src_bytes, dst_bytes, src_payload_bytes, dst_payload_bytes, dst_ip),
			(dst_ip, 'responder', dst_packets, src_packets, dst_bytes, src_bytes, dst_payload_bytes, src_payload_bytes, src_ip)] AS side GROUP BY t, probe, site, host, role`,
		`SELECT hour, probe, site, host, role, sum(flows), sum(segments), sum(failed), sum(sent_packets), sum(received_packets), sum(sent_bytes), sum(received_bytes), sum(sent_payload_bytes), sum(received_payload_bytes),
			sum(app_errors), sum(dns_queries), sum(dns_failed), uniqCombinedMerge(14)(peers), uniqCombinedMerge(14)(failed_peers), uniqCombinedMerge(14)(ports), uniqCombinedMerge(14)(names),
			arraySort(groupUniqArrayArray(apps)), min(first), max(last) FROM hosts_1h GROUP BY hour, probe, site, host, role`},
	{"beacons_1h", `SELECT toStartOfHour(start) AS t, probe, site, src_ip, dst_ip, dst_port, protocol, lower(if(tls_sni != '', tls_sni, replaceRegexpOne(http_host, ':[0-9]*$', ''))) AS name, ja4, app,
			count(), sum(src_bytes), sum(dst_bytes), arraySort(groupArray(toUnixTimestamp(start))), arraySort(groupArray(src_bytes)), min(start), max(end)
		FROM everything WHERE segment = 0 AND NOT initiator_guessed AND src_payload_bytes > 0 AND dst_payload_bytes > 0 AND dst_port != 53 GROUP BY t, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app`,
		`SELECT hour, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app, sum(connections), sum(src_bytes), sum(dst_bytes), arraySort(groupArrayArray(times)), arraySort(groupArrayArray(sizes)), min(first), max(last)
		FROM beacons_1h GROUP BY hour, probe, site, src_ip, dst_ip, dst_port, protocol, name, ja4, app`},
	{"names_1h", `SELECT toStartOfHour(start) AS t, probe, site, pair.1 AS source, pair.2 AS name, pair.3 AS address, count(), uniqExact(src_ip), min(start), max(end)
		FROM everything ARRAY JOIN arrayConcat(
			if(tls_sni = '', [], [('sni', lower(tls_sni), dst_ip)]), if(startsWith(http_host, 'P'), [('http', 'plain.example', dst_ip)], []),
			multiIf(dns_names[1] = '7.2.0.192.in-addr.arpa', [('ptr', 'host.example', toIPv6('192.0.2.7'))], dns_names[1] = 'X.example', [('dns', 'x.example', toIPv6('2001:db8::9')), ('dns', 'x.example', toIPv6('192.0.2.9'))],
				length(dns_names) = 1, [('dns', 'x.example', toIPv6('192.0.2.9'))], [])) AS pair GROUP BY t, probe, site, source, name, address`,
		`SELECT hour, probe, site, source, name, address, sum(records), uniqCombinedMerge(12)(clients), min(first), max(last) FROM names_1h GROUP BY hour, probe, site, source, name, address`},
	{"first_seen", `SELECT kind, value, site, probe, min(f), max(l) FROM (
			SELECT 'host' AS kind, toString(src_ip) AS value, site, probe, start AS f, end AS l FROM everything UNION ALL
			SELECT 'host', toString(dst_ip), site, probe, start, end FROM everything WHERE dst_packets > 0 UNION ALL
			SELECT 'service', concat(toString(dst_ip), ' ', toString(protocol), '/', toString(dst_port)), site, probe, start, end FROM everything WHERE dst_payload_bytes > 0 OR conn_state = 'SF' UNION ALL
			SELECT 'login', concat(toString(src_ip), ' ', toString(dst_ip), ' 22'), site, probe, start, end FROM everything WHERE dst_port = 22 AND (dst_payload_bytes > 0 OR conn_state = 'SF') UNION ALL
			SELECT 'host_app', concat(toString(src_ip), ' ', app), site, probe, start, end FROM everything WHERE app != '' UNION ALL
			SELECT 'sni', lower(tls_sni), site, probe, start, end FROM everything UNION ALL SELECT 'ja4', ja4, site, probe, start, end FROM everything UNION ALL
			SELECT 'user_agent', http_user_agent, site, probe, start, end FROM everything UNION ALL SELECT 'hassh', hassh, site, probe, start, end FROM everything UNION ALL SELECT 'user', user, site, probe, start, end FROM everything)
		WHERE value != '' GROUP BY kind, value, site, probe`,
		`SELECT kind, if(kind IN ('host', 'service', 'login', 'host_app'), replaceRegexpAll(value, '(10\\.0|192\\.0)\\.', '::ffff:\\1.'), value) AS v, site, probe, first, last FROM first_seen`},
}

// compare holds every rollup against all rows that were ever stored.
func (w *world) compare(when string) {
	w.Helper()
	for _, truth := range truths {
		var rows, different uint64
		sql := "SELECT sum(n), countIf(n != 2) FROM (SELECT COLUMNS('.*'), count() AS n FROM (" + truth.raw + " UNION ALL " + truth.rollup + ") GROUP BY ALL)"
		if err := w.conn.QueryRow(w.Context(), sql).Scan(&rows, &different); err != nil {
			w.Fatalf("%s: %v", truth.name, err)
		}
		if rows == 0 || different != 0 {
			w.Errorf("%s, %s: %d differences in %d rows", when, truth.name, different, rows)
		}
	}
	localtest.Expect(w, w.conn, `SELECT count() FROM (SELECT bucket FROM rollup_builds GROUP BY bucket, rollup HAVING argMax(raw_rows, (build, cover)) = 0)`, 0)
}

// Sums equal those of raw, whatever comes late, dies halfway or is built by two
// at once, and whatever retention takes of raw.
func TestExact(t *testing.T) {
	seeds := uint64(1)
	if os.Getenv("TAPWATCH_E2E") == "full" {
		seeds = 12
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { exact(newWorld(t, seed)) })
	}
}

func exact(w *world) {
	b := builder(w.T, w.conn)
	step := func() {
		switch w.rand.IntN(8) {
		case 0, 1, 2:
			w.store(1 + w.rand.IntN(400))
		case 3, 4:
			w.promise()
		case 5: // dies between the rows of a build and its entry
			if err := b.look(w.Context()); err != nil {
				w.Fatal(err)
			}
			if list := b.sorted(); len(list) > 0 {
				if err := b.fillHours(w.Context(), list[:1], b.number(), hourly(), rowsOf); err != nil {
					w.Fatal(err)
				}
			}
			b = builder(w.T, w.conn)
		case 6: // another owner, who does not know that he is one no more
			other := builder(w.T, w.conn)
			done := make(chan error)
			go func() { done <- other.Pass(w.Context()) }()
			pass(w.T, b)
			if err := <-done; err != nil {
				w.Fatal(err)
			}
		case 7:
			pass(w.T, b)
		}
	}
	calm := func() {
		for len(w.held) > 0 {
			w.promise()
		}
		for range 3 {
			pass(w.T, b)
		}
	}
	for range 9 {
		step()
	}
	w.store(300)
	calm()
	w.compare("while raw is there")
	localtest.Expect(w, w.conn, "SELECT count() FROM flows_1m WHERE provisional", 0)
	localtest.Expect(w, w.conn, "SELECT count() FROM flows_1d WHERE provisional", 0)

	// Retention takes a day, and half of the parts of another.
	localtest.Exec(w, w.conn, "ALTER TABLE flows DROP PARTITION 20260302")
	localtest.Exec(w, w.conn, "DELETE FROM flows WHERE seq % 2 = 0")
	for range 5 {
		step()
	}
	var lost uint64 // an hour without raw
	if err := w.conn.QueryRow(w.Context(), "SELECT toUInt64(toUnixTimestamp(min(start)) - toUnixTimestamp(toDateTime('2026-03-02 00:00:00', 'UTC'))) FROM everything WHERE (epoch, seq) NOT IN (SELECT epoch, seq FROM flows)").Scan(&lost); err != nil {
		w.Fatal(err)
	}
	w.storeAt(300, int(lost), 600)
	calm()
	if err := b.Clean(w.Context(), b.cleaned.Add(2*keepUnsaid)); err != nil {
		w.Fatal(err)
	}
	w.compare("rows came for hours without raw")
	var added uint64
	if err := w.conn.QueryRow(w.Context(), "SELECT count() FROM (SELECT bucket FROM rollup_covers GROUP BY bucket HAVING uniqExact(cover) > 1)").Scan(&added); err != nil || added == 0 {
		w.Errorf("nothing was added (%v)", err)
	}
}
