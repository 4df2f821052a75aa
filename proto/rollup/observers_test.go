package rollup

import (
	"fmt"
	"testing"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// Of several probes that saw one flow, one counts. Each row has its own power of
// two as octets, so that the sum says which rows were counted.
func TestObservers(t *testing.T) {
	conn := localtest.Tables(t)
	rows := []struct {
		probe, site string
		flow        int     // Community ID
		start, end  float64 // s
		packets     int
		aggregated  int
		primary     bool
		why         string
	}{
		{"a", "", 1, 0, 5, 10, 0, false, "b saw more packets"},
		{"b", "", 1, 0.01, 5, 12, 0, true, ""},
		{"c", "", 1, 4, 4, 12, 0, false, "as many as b, whose name is lower"},
		{"c", "elsewhere", 1, 0, 5, 1, 0, true, "another site has hosts of its own"},
		{"b", "", 2, 0, 5, 3, 0, true, "one probe, two rows: two flows"},
		{"b", "", 2, 2, 7, 1, 0, true, ""},
		{"a", "", 3, 0, 5, 2, 0, true, "not at the same time as the next one"},
		{"b", "", 3, 20, 25, 9, 0, true, ""},
		{"a", "", 4, 10, 10, 1, 0, true, "one packet each, and clocks that differ"},
		{"b", "", 4, 10.3, 10.3, 1, 0, false, ""},
		{"a", "", 5, 0, 60, 50, 0, true, "cut in two, and more packets together"},
		{"a", "", 5, 60, 90, 30, 0, true, ""},
		{"b", "", 5, 0, 90, 79, 0, false, ""},
		{"a", "", 6, 0, 9, 5, 7, true, "these stand for many flows, of which nobody knows whether they are the same"},
		{"b", "", 6, 0, 9, 6, 7, true, ""},
	}
	var want uint64
	var wrong []string
	for i, r := range rows {
		localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO flows (probe, site, epoch, seq, row, received, src_ip, dst_ip, dst_port, protocol, start, end, src_packets, src_bytes, src_payload_bytes, dst_payload_bytes, community_hash, aggregated_flows)
			SELECT '%s', '%s', 1, %d, 3, now64(3), toIPv6('10.0.0.1'), toIPv6('10.0.0.2'), 443, 6, toDateTime64('2026-03-02 01:00:00', 9, 'UTC') + INTERVAL %d MILLISECOND AS s, s + INTERVAL %d MILLISECOND, %d, %d, 1, 1, %d, %d`,
			r.probe, r.site, i, int(r.start*1000), int((r.end-r.start)*1000), r.packets, uint64(1)<<i, r.flow, r.aggregated))
		localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO batches (probe, site, epoch, seq, topic, received, stored, status, rows, days, minutes, minute_rows)
			SELECT probe, site, epoch, seq, 'flows', now64(3), now64(3), 'stored', 1, [toDate(start)], [toUInt32(intDiv(toUnixTimestamp(start), 60))], [1] FROM flows WHERE seq = %d`, i))
		if r.primary {
			want |= 1 << i
		}
	}
	pass(t, builder(t, conn))
	for _, sql := range []string{
		"SELECT sum(bytes_once) FROM flows_1m", "SELECT sum(bytes_once) FROM flows_1h", "SELECT sum(bytes_once) FROM flows_1d",
		"SELECT sum(sent_bytes) FROM hosts_1h WHERE role = 'initiator' AND primary_observer", "SELECT sum(received_bytes) FROM hosts_1h WHERE role = 'responder' AND primary_observer",
		"SELECT sum(src_bytes) FROM beacons_1h WHERE primary_observer",
	} {
		var got uint64
		if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			if (got^want)>>i&1 == 1 {
				wrong = append(wrong, fmt.Sprintf("%s: row %d of probe %s, flow %d (%s): counted %v, want %v", sql, i, r.probe, r.flow, r.why, got>>i&1 == 1, r.primary))
			}
		}
	}
	for _, w := range wrong {
		t.Error(w)
	}
	// All are kept.
	localtest.Expect(t, conn, "SELECT sum(src_bytes) FROM flows_1m", 1<<len(rows)-1)
	localtest.Expect(t, conn, "SELECT sum(packets_once) FROM flows_1h", 12+1+3+1+2+9+1+50+30+5+6)
	localtest.Expect(t, conn, "SELECT uniqExact(probe) FROM flows_1d", 3)
}

// A collector of the version before, which names no columns, goes on beside a new one.
func TestOldBuilder(t *testing.T) {
	conn := localtest.Tables(t)
	raw(t, conn, 1, 0, 90)
	promise(t, conn, 1, 0, 90)
	localtest.Exec(t, conn, `INSERT INTO flows_1m_builds
		SELECT toStartOfHour(start) AS bucket, 4 AS build, toStartOfMinute(start) AS minute, probe, site, src_ip, dst_ip, dst_port, protocol, app,
		       countIf(segment = 0) AS flows, count() AS segments, countIf(segment = 0 AND dst_payload_bytes = 0) AS failed,
		       sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)
		FROM flows GROUP BY bucket, minute, probe, site, src_ip, dst_ip, dst_port, protocol, app`)
	localtest.Exec(t, conn, `INSERT INTO rollup_builds (rollup, bucket, build, raw_rows, built) SELECT 'flows_1m', bucket, build, sum(segments), now64(3) FROM flows_1m_builds WHERE build = 4 GROUP BY bucket, build`)
	same(t, conn, 90)
	localtest.Expect(t, conn, "SELECT toUInt64(sum(bytes_once) = (SELECT sum(src_bytes + dst_bytes) FROM flows)) FROM flows_1m", 1)
	b := builder(t, conn)
	pass(t, b) // the other rollups are missing
	pass(t, b)
	same(t, conn, 90)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1d", 90)
	localtest.Expect(t, conn, "SELECT countIf(provisional) FROM flows_1h", 0)
}
