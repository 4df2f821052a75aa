package schedule

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// counting raises an alert in windows with at least least flows, and counts its
// windows. It asks the real tables, as detectors do.
type counting struct {
	info    detect.Info
	least   uint64
	mu      sync.Mutex
	windows map[time.Time]int
	fail    bool
}

func newCounting(length, step time.Duration, least uint64) *counting {
	return &counting{info: detect.Info{Name: "counting", Version: 1, Length: length, Step: step}, least: least, windows: map[time.Time]int{}}
}

func (c *counting) Info() detect.Info { return c.info }

const countFlows = `SELECT count() AS n, min(start) AS first, max(start) AS last FROM flows WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')}`

func (c *counting) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	c.mu.Lock()
	c.windows[w.Start]++
	c.mu.Unlock()
	if c.fail {
		return detect.Result{}, errors.New("it cannot")
	}
	var n uint64
	var first, last time.Time
	err := detect.Each(ctx, db, countFlows, detect.Params{}.Span(w), func(rows driver.Rows) error { return rows.Scan(&n, &first, &last) })
	if err != nil || n < c.least {
		return detect.Result{}, err
	}
	a := detect.Base(c.info, w)
	a.Severity, a.Score, a.Confidence, a.Magnitude, a.Start, a.End, a.Actor, a.Entities = alert.Low, 1, 1, float64(n), first, last, "10.0.0.1", []string{"actor=10.0.0.1"}
	a.Reasons, a.EvidenceSQL, a.EvidenceParams = []string{"many"}, countFlows, detect.Params{}.Span(w)
	return detect.Result{Alerts: []alert.Alert{a}, Judged: 1}, nil
}

// quick is a counting that can tell which windows are worth a look.
type quick struct{ *counting }

func (q quick) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	sql := detect.Compose("SELECT DISTINCT /*window*/ AS at FROM flows WHERE start >= {from:DateTime('UTC')} AND start < {to:DateTime('UTC')} GROUP BY at HAVING count() >= {least:UInt64} ORDER BY at")
	return detect.Windows(ctx, db, q.info, sql, detect.Params{"least": detect.Number(q.least)}, span)
}

// fill stores n flows, every apart, and the batch that promises them: all that a
// probe has seen up to its watermark.
func fill(t testing.TB, conn driver.Conn, seq int, start time.Time, every time.Duration, n int, watermark time.Time, ended bool) {
	t.Helper()
	ctx := context.Background()
	named := []any{clickhouse.Named("start", start.Format(time.DateTime)), clickhouse.Named("every", every.Milliseconds()), clickhouse.Named("n", n), clickhouse.Named("seq", seq)}
	if err := conn.Exec(ctx, `INSERT INTO flows (start, end, received, probe, epoch, worker, seq, row, src_ip, dst_ip, dst_port, protocol)
		SELECT toDateTime64({start:DateTime('UTC')}, 9, 'UTC') + toIntervalMillisecond(number * {every:UInt64}) AS s, s, now(), 'p', 1, 0, {seq:UInt64}, number, toIPv6('10.0.0.1'), toIPv6('10.0.0.2'), 80, 6
		FROM numbers({n:UInt64}) SETTINGS async_insert = 0`, named...); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(ctx, `INSERT INTO batches (probe, topic, epoch, seq, worker, kafka_partition, kafka_offset, status, received, stored, watermark, end_of_stream, minutes, minute_rows)
		SELECT 'p', 't', 1, {seq:UInt64}, 0, 0, {seq:Int64}, 'stored', now64(3), now64(3), {watermark:DateTime('UTC')}, {ended:Bool}, groupArray(m), groupArray(toUInt32(c))
		FROM (SELECT toUInt32(intDiv(toUnixTimestamp(start), 60)) AS m, count() AS c FROM flows WHERE seq = {seq:UInt64} GROUP BY m ORDER BY m) SETTINGS async_insert = 0`,
		clickhouse.Named("seq", seq), clickhouse.Named("watermark", watermark.Format(time.DateTime)), clickhouse.Named("ended", ended)); err != nil {
		t.Fatal(err)
	}
}

func scheduler(conn driver.Conn, d detect.Detector) *Scheduler {
	return New(DefaultConfig(), conn, []detect.Detector{d}, slog.New(slog.DiscardHandler), nil, nil)
}

// Windows of seconds: each is judged, none twice, as many an hour as there are
// are one row, a restart goes on from there, and late rows open those they touch.
func TestWindowsOfSeconds(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	hours := 5
	if n, err := strconv.Atoi(os.Getenv("TAPWATCH_HOURS")); err == nil {
		hours = n
	}
	fill(t, conn, 1, noon, 5*time.Second, hours*720, noon.Add(time.Duration(hours)*time.Hour), true)
	began := time.Now()
	d := newCounting(20*time.Second, 10*time.Second, 5)
	if err := scheduler(conn, quick{d}).Catchup(ctx); err != nil {
		t.Fatal(err)
	}
	if len(d.windows) != 0 {
		t.Errorf("%d windows were looked at, and none is worth it", len(d.windows))
	}
	localtest.Expect(t, conn, "SELECT toUInt64(sum(length(starts))) FROM job_runs FINAL", uint64(hours*360+1)) // and one that begins before noon
	localtest.Expect(t, conn, "SELECT count() FROM job_runs FINAL", uint64(hours+1))
	took := time.Since(began)

	began = time.Now()
	again := newCounting(20*time.Second, 10*time.Second, 5)
	if err := scheduler(conn, again).Catchup(ctx); err != nil || len(again.windows) != 0 {
		t.Errorf("after a restart %d windows are judged again, %v", len(again.windows), err)
	}
	restart := time.Since(began)
	localtest.Exec(t, conn, "OPTIMIZE TABLE job_runs FINAL")
	var bytes uint64
	if err := conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'job_runs'").Scan(&bytes); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d windows: judged in %v, loaded again in %v, %d octets of job_runs", hours*360+1, took, restart, bytes)
	late := noon.Add(2*time.Hour + 30*time.Second)
	fill(t, conn, 2, late, 100*time.Millisecond, 10, late, true)
	if err := scheduler(conn, again).Catchup(ctx); err != nil {
		t.Fatal(err)
	}
	if len(again.windows) != 7 || again.windows[late] != 1 || again.windows[late.Add(-10*time.Second)] != 1 {
		t.Errorf("late rows: judged %v", again.windows)
	}
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL WHERE detector = 'counting' AND NOT withdrawn", 1)
	localtest.Expect(t, conn, "SELECT countIf(r = 2) FROM (SELECT arrayJoin(start_revisions) AS r FROM job_runs FINAL)", 7)
	localtest.Expect(t, conn, "SELECT toUInt64(sum(alerts)) FROM job_runs FINAL", 2)

	bad := newCounting(20*time.Second, 10*time.Second, 5)
	bad.info.Name, bad.fail = "bad", true
	s := scheduler(conn, bad)
	if err := s.Catchup(ctx); err == nil {
		t.Error("an error of a detector is not told")
	}
	localtest.Expect(t, conn, "SELECT count() FROM job_runs FINAL WHERE detector = 'bad' AND error = '' OR detector = 'bad' AND notEmpty(starts)", 0)
}

// A window is judged when the probe has passed it, again only when its minute is
// over, and early words that it does not bear out are withdrawn.
func TestLive(t *testing.T) {
	conn := localtest.Tables(t)
	ctx := context.Background()
	d := newCounting(10*time.Second, 10*time.Second, 5)
	s := scheduler(conn, d)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	loaded := false
	round := func() {
		t.Helper()
		clock = clock.Add(time.Second)
		if err := s.round(ctx, &loaded); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, conn, 1, noon, time.Second, 12, noon.Add(12*time.Second), false)
	round()
	if d.windows[noon] != 1 {
		t.Errorf("the first window was judged %d times when the probe had passed it", d.windows[noon])
	}
	for i := range 4 {
		fill(t, conn, 2+i, noon.Add(time.Duration(20+10*i)*time.Second), time.Second, 1, noon.Add(time.Duration(21+10*i)*time.Second), false)
		round()
	}
	if d.windows[noon] != 1 {
		t.Errorf("the first window was judged %d times before its minute was over", d.windows[noon])
	}
	fill(t, conn, 6, noon.Add(time.Minute), time.Second, 1, noon.Add(2*time.Minute), false)
	round()
	if d.windows[noon] != 2 {
		t.Errorf("the first window was judged %d times when its minute was over", d.windows[noon])
	}
	round()
	if d.windows[noon] != 2 || len(s.jobs[0].pending) != 0 {
		t.Errorf("the first window was judged %d times; %d wait", d.windows[noon], len(s.jobs[0].pending))
	}
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", 1)

	// Another holds the lease: nothing is judged, and then what it left.
	held := false
	s.While(func() bool { return held })
	fill(t, conn, 7, noon.Add(3*time.Minute), time.Second, 1, noon.Add(5*time.Minute), false)
	round()
	if n := d.windows[noon.Add(3*time.Minute)]; n != 0 {
		t.Errorf("judged without the lease")
	}
	held = true
	round()
	if n := d.windows[noon.Add(3*time.Minute)]; n != 1 {
		t.Errorf("judged %d times with the lease", n)
	}
}
