package rollup

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func builder(t *testing.T, conn driver.Conn) *Builder {
	t.Helper()
	o, err := ops.New("collector", ops.Config{LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	b := New(Config{Conn: conn, Interval: time.Nanosecond, Ops: o})
	b.quiet = 0
	return b
}

// raw adds n rows to flows, from hour on, three to a minute, in the way that seq
// names them.
func raw(t *testing.T, conn driver.Conn, seq, hour, n int) {
	t.Helper()
	localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO flows (probe, epoch, seq, row, received, src_ip, dst_ip, dst_port, protocol, start, end, segment, src_packets, dst_packets, src_bytes, dst_bytes, dst_payload_bytes)
		SELECT 'p', 1, %d, number, now64(3), toIPv6('10.0.0.1'), toIPv6('10.0.0.' || toString(number %% 5)), 443, 6,
		(toDateTime64('2026-03-02 00:00:00', 9, 'UTC') + INTERVAL %d HOUR) + INTERVAL intDiv(number, 3) MINUTE AS start, start, number %% 2, 1, 2, 100 + number, 7, number %% 4 FROM numbers(%d)`, seq, hour, n))
}

// promise adds the batch that tells of them.
func promise(t *testing.T, conn driver.Conn, seq, hour, n int) {
	t.Helper()
	localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO batches (probe, epoch, seq, topic, received, stored, status, rows, days, minutes, minute_rows)
		SELECT 'p', 1, %d, 'flows', now64(3), now64(3), 'stored', %d, groupUniqArray(toDate(toDateTime(m * 60, 'UTC'))), groupArray(m), groupArray(c) FROM
		(SELECT toUInt32(intDiv(toUnixTimestamp(toDateTime('2026-03-02 00:00:00', 'UTC')), 60) + %d * 60 + intDiv(number, 3)) AS m, toUInt32(count()) AS c FROM numbers(%d) GROUP BY m)`, seq, n, hour, n))
}

func pass(t *testing.T, b *Builder) {
	t.Helper()
	if err := b.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As if the rest after a build were over.
	for _, k := range b.buckets {
		k.notBefore = time.Time{}
	}
	for _, r := range b.days {
		r.notBefore = time.Time{}
	}
}

// builds counts those of flows_1m that have been published.
func builds(t *testing.T, conn driver.Conn, want uint64) {
	t.Helper()
	localtest.Expect(t, conn, "SELECT uniqExact(bucket, build) FROM rollup_builds WHERE rollup = 'flows_1m'", want)
}

// same compares the rollup with raw, minute by minute.
func same(t *testing.T, conn driver.Conn, segments uint64) {
	t.Helper()
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m", segments)
	localtest.Expect(t, conn, `SELECT count() FROM
		(SELECT minute, dst_ip, sum(segments) AS n, sum(flows) AS f, sum(failed) AS x, sum(src_bytes) AS s, sum(dst_bytes) AS d FROM flows_1m GROUP BY minute, dst_ip) AS a
		FULL JOIN
		(SELECT toStartOfMinute(start) AS minute, dst_ip, count() AS n, countIf(segment = 0) AS f, countIf(segment = 0 AND dst_payload_bytes = 0) AS x, sum(src_bytes) AS s, sum(dst_bytes) AS d FROM flows GROUP BY minute, dst_ip) AS b
		USING (minute, dst_ip)
		WHERE a.n != b.n OR a.f != b.f OR a.x != b.x OR a.s != b.s OR a.d != b.d`, 0)
}

func TestBuilds(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	pass(t, b)
	same(t, conn, 0)
	for hour := range 30 { // two days, more than are built at once
		raw(t, conn, hour+1, hour, 100)
		promise(t, conn, hour+1, hour, 100)
	}
	pass(t, b)
	same(t, conn, 3000)
	builds(t, conn, 30)
	pass(t, b) // nothing is dirty: nothing is built
	builds(t, conn, 30)

	raw(t, conn, 100, 5, 40) // late, and not promised yet
	pass(t, b)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m", 3000)
	promise(t, conn, 100, 5, 40)
	pass(t, b)
	same(t, conn, 3040)
	localtest.Expect(t, conn, "SELECT count() FROM rollup_builds FINAL WHERE rollup = 'flows_1m'", 30)
	builds(t, conn, 31)

	pass(t, builder(t, conn)) // another owner sees no work
	builds(t, conn, 31)
}

// A builder that dies between the rows of a build and its entry leaves nothing
// that anyone sees, and the next one builds anew.
func TestCrash(t *testing.T) {
	conn := localtest.Tables(t)
	raw(t, conn, 1, 0, 90)
	promise(t, conn, 1, 0, 90)
	dead := builder(t, conn)
	if err := dead.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := dead.fillHours(t.Context(), dead.sorted(), dead.number(), hourly(), rowsOf); err != nil {
		t.Fatal(err)
	}
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m_builds", 90)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := dead.build(ctx, dead.sorted()); err == nil {
		t.Error("a build without time has succeeded")
	}
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m", 0)
	pass(t, builder(t, conn))
	same(t, conn, 90)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1h", 90)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1d", 90)
}

func TestClean(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	for seq := range 4 {
		raw(t, conn, seq+1, 0, 60)
		promise(t, conn, seq+1, 0, 60)
		pass(t, b)
	}
	b.cleaned = time.Now()
	same(t, conn, 240)
	localtest.Expect(t, conn, "SELECT uniqExact(build) FROM flows_1m_builds", 4)
	if err := b.Clean(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	localtest.Expect(t, conn, "SELECT uniqExact(build) FROM flows_1m_builds", 4) // a query may be reading them
	if err := b.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	until(t, conn, "SELECT uniqExact(build) FROM flows_1m_builds", 1)
	same(t, conn, 240)
}

// until waits for what ClickHouse does in the background.
func until(t *testing.T, conn driver.Conn, sql string, want uint64) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var got uint64
		if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: (-got +want)\n-%d\n+%d", sql, got, want)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// A bucket whose raw rows retention has taken keeps what was built of them.
func TestShrunk(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	raw(t, conn, 1, 0, 60)
	promise(t, conn, 1, 0, 60)
	pass(t, b)
	localtest.Exec(t, conn, "TRUNCATE TABLE flows")
	localtest.Exec(t, conn, "TRUNCATE TABLE batches")
	pass(t, builder(t, conn))
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1m", 60)
}

// A build that was made of rows that batches has taken back, because their message
// was stored twice, is made again.
func TestTakenBack(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	for seq := range 2 {
		raw(t, conn, seq+1, 0, 60)
		promise(t, conn, seq+1, 0, 60)
	}
	b.quiet = time.Hour
	pass(t, b)
	same(t, conn, 120)
	localtest.Exec(t, conn, "DELETE FROM flows WHERE seq = 2")
	localtest.Exec(t, conn, "INSERT INTO batches SELECT * REPLACE ('duplicate' AS status, now64(3) AS stored) FROM batches WHERE seq = 2")
	b.quiet = 0
	pass(t, b)
	pass(t, b)
	same(t, conn, 60)
	localtest.Expect(t, conn, "SELECT sum(segments) FROM flows_1d", 60)
}

// A bucket that lacks rows for good is tried less and less often, and in the end
// is taken as it is.
func TestShort(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	raw(t, conn, 1, 0, 50)
	promise(t, conn, 1, 0, 60)
	var length time.Duration
	for i := range patience - 1 {
		pass(t, b)
		if len(b.buckets) != 1 {
			t.Fatalf("pass %d: %d dirty buckets, want 1", i, len(b.buckets))
		}
		for _, k := range b.buckets {
			if i > 0 && k.length < 2*length {
				t.Errorf("pass %d: rests for %s after %s", i, k.length, length)
			}
			length = k.length
		}
	}
	same(t, conn, 50)
	for range 4 {
		pass(t, b)
	}
	if len(b.buckets) != 0 {
		t.Errorf("a bucket whose rows are not to be had is still remembered")
	}
	same(t, conn, 50)
	localtest.Expect(t, conn, "SELECT countIf(provisional) FROM flows_1m", 0)
}
