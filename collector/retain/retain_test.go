package retain

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func keeper(t *testing.T, conn driver.Conn, o Options) *Keeper {
	t.Helper()
	s, err := ops.New("collector", ops.Config{LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Conn: conn, Options: o, Ops: s})
}

// flows adds rows of one day of traffic, received daysAgo.
func flows(t *testing.T, conn driver.Conn, seq int, day string, daysAgo, n int) {
	t.Helper()
	localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO flows (probe, epoch, seq, row, received, src_ip, dst_ip, dst_port, protocol, start, end, tls_sni, user, dns_names)
		SELECT 'p', 1, %d, number, now64(3) - INTERVAL %d DAY, toIPv6('10.0.0.1'), toIPv6('10.0.0.' || toString(number %% 5)), 443, 6,
		toDateTime64('%s 00:00:00', 9, 'UTC') + INTERVAL number MINUTE AS s, s, if(number %% 7 = 0, 'a.example', randomPrintableASCII(200)), if(number %% 11 = 0, 'ann', ''),
		if(number %% 13 = 0, ['x.example', 'a.example'], [])
		FROM numbers(%d)`, seq, daysAgo, day, n))
	localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO batches (probe, epoch, seq, topic, received, stored, status, rows, days)
		VALUES ('p', 1, %d, 'flows', now64(3) - INTERVAL %d DAY, now64(3), 'stored', %d, ['%s'])`, seq, daysAgo, n, day))
}

func pass(t *testing.T, k *Keeper) {
	t.Helper()
	if err := k.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Retention goes by when flows were received; holds and missing sums keep them;
// a budget takes the oldest.
func TestPass(t *testing.T) {
	conn := localtest.Tables(t)
	o := DefaultOptions()
	o.Reserve = 1
	k := keeper(t, conn, o)
	k.settles = -time.Hour
	behind := map[time.Time]bool{}
	known := false
	k.Behind = func() (map[time.Time]bool, bool) { return behind, known }
	pass(t, k) // takes the table's own TTL off
	old := time.Now().AddDate(0, 0, -100).UTC().Format(layoutDay)
	held := time.Now().AddDate(0, 0, -101).UTC().Format(layoutDay)
	fresh := time.Now().AddDate(0, 0, -3).UTC().Format(layoutDay)
	flows(t, conn, 1, old, 100, 300)
	flows(t, conn, 2, held, 101, 300)
	flows(t, conn, 3, fresh, 3, 300)
	flows(t, conn, 4, "2019-02-03", 2, 300) // an old capture, read two days ago
	first, err := time.Parse(layoutDay, held)
	if err != nil {
		t.Fatal(err)
	}
	hold, err := Place(t.Context(), conn, Hold{First: first, Last: first, Reason: "case 7", Owner: "legal"})
	if err != nil {
		t.Fatal(err)
	}
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 1200) // nobody knows what has been summed
	known = true
	k.settles = settling
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 1200) // it has just been written
	k.settles = -time.Hour
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 900)
	localtest.Expect(t, conn, "SELECT count() FROM flows WHERE toDate(start) = '"+held+"'", 300)
	if err := Release(t.Context(), conn, hold.ID); err != nil {
		t.Fatal(err)
	}
	k.sampled = time.Time{}
	if err := Release(t.Context(), conn, hold.ID); err == nil {
		t.Error("released twice")
	}
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 600)
	localtest.Expect(t, conn, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'flows' AND engine_full LIKE '% TTL %'", 0)
	localtest.Expect(t, conn, "SELECT sum(rows) FROM retention_log WHERE reason = 'age' AND table = 'flows'", 600)
	localtest.Expect(t, conn, "SELECT toUInt64(count() > 1) FROM storage_samples", 1)

	// No room: the one that was received first goes, and the other one stays for its least time.
	u, err := Measure(t.Context(), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	k.Options.MaxBytes = kit.Bytes(u.Used - 1)
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows WHERE toYear(start) = 2019", 300)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 300)
	localtest.Expect(t, conn, "SELECT sum(rows) FROM retention_log WHERE reason = 'budget'", 300)
	k.Options.MaxBytes, k.Options.Least = 1, 30
	pass(t, k)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 300)
	if k.left == 0 {
		t.Error("an excess that cannot be mended is not reported")
	}
}

func TestErase(t *testing.T) {
	conn := localtest.Tables(t)
	flows(t, conn, 1, "2026-03-02", 1, 600)
	localtest.Exec(t, conn, "INSERT INTO alerts (id, actor, entities) VALUES ('1', '10.0.0.3', []), ('2', '', ['src=10.0.0.3']), ('3', '10.0.0.4', [])")
	localtest.Exec(t, conn, "INSERT INTO flows_1m_builds (bucket, minute, src_ip, dst_ip) VALUES (0, 0, toIPv6('10.0.0.3'), toIPv6('::')), (0, 0, toIPv6('10.0.0.4'), toIPv6('::'))")
	ctx := context.Background()
	host := Subject{Address, "10.0.0.3"}
	first := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	hold, err := Place(ctx, conn, Hold{First: first, Last: first, Reason: "case 7", Owner: "legal"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Erase(ctx, conn, host, "dpo", "request 12"); !errors.Is(err, ErrHeld) {
		t.Fatalf("on hold: %v", err)
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows", 600)
	if err := Release(ctx, conn, hold.ID); err != nil {
		t.Fatal(err)
	}
	e, err := Erase(ctx, conn, host, "dpo", "request 12")
	if err != nil {
		t.Fatal(err)
	}
	if e.Rows["flows"] != 120 || e.Rows["alerts"] != 2 || e.Rows["flows_1m_builds"] != 1 {
		t.Errorf("erased %v", e.Rows)
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows WHERE dst_ip = toIPv6('10.0.0.3')", 0)
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", 1)
	for s, want := range map[Subject]string{{User, "ann"}: "user = 'ann'", {Name, "a.example"}: "tls_sni = 'a.example' OR has(dns_names, 'a.example')"} {
		if _, err := Erase(ctx, conn, s, "dpo", "request 13"); err != nil {
			t.Fatal(err)
		}
		localtest.Expect(t, conn, "SELECT count() FROM flows WHERE "+want, 0)
	}
	localtest.Expect(t, conn, "SELECT toUInt64(count() > 300) FROM flows", 1)
	// A name that would be SQL is a name.
	if e, err := Erase(ctx, conn, Subject{User, "' OR 1=1 --\\"}, "dpo", "request 14"); err != nil || len(e.Rows) != 0 {
		t.Errorf("%v, %v", e.Rows, err)
	}
	all, err := Erasures(ctx, conn)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d erasures, %v", len(all), err)
	}
	if !all[0].Concerns(host) || all[0].Concerns(Subject{Address, "10.0.0.4"}) || all[0].Finished.IsZero() || all[0].Rows["flows"] != 120 {
		t.Errorf("%+v", all[0])
	}
	localtest.Expect(t, conn, "SELECT count() FROM erasures WHERE position(toString(tuple(*)), '10.0.0.3') > 0", 0)
	for _, bad := range []Subject{{Address, "x"}, {User, ""}, {"mac", "1"}} {
		if _, err := Erase(ctx, conn, bad, "dpo", "r"); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
