package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// day0 is when the traffic of these tests begins.
var day0 = time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)

// traffic stores n flows over some days, evenly, from day0 on.
func (r *rig) traffic(n, days int) {
	r.exec(fmt.Sprintf(`INSERT INTO flows (probe, site, epoch, seq, row, flow_id, start, end, src_ip, dst_ip, src_port, dst_port, protocol, app, segment,
			src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes, tls_sni, http_uri, community_hash, received)
		SELECT ['p1', 'p2'][h %% 2 + 1], 's', 1, 1, number, number, at, at + INTERVAL 1 SECOND, toIPv6(concat('10.0.', toString(h %% 3), '.', toString(h %% 50))), toIPv6(concat('10.1.0.', toString(h %% 20))),
			1024 + h %% 60000, [80, 443, 53, 22][h %% 4 + 1], [6, 17][h %% 2 + 1], ['http', 'tls', 'dns', ''][h %% 4 + 1], h %% 5 = 0,
			1 + h %% 7, h %% 5, h %% 1500, h %% 9000, h %% 1500 + 14, h %% 9000 + 14, h %% 1400, h %% 8000, concat('host', toString(h %% 100), '.example'), concat('/', hex(h)), cityHash64(h), now()
		FROM (SELECT number, cityHash64(number) AS h, toDateTime64('2026-10-05 00:00:00', 9, 'UTC') + toIntervalMillisecond(intDiv(number * %d, %d)) AS at FROM numbers(%d))
		SETTINGS max_partitions_per_insert_block = 1000, max_insert_threads = 1`, int64(days)*86400*1000, n, n))
}

// build makes a build of some buckets, as the collector does.
func (r *rig) build(name, bucket string, number int, where string) {
	r.t.Helper()
	column := map[string]string{"flows_1m": "minute", "flows_1h": "hour", "flows_1d": "day"}[name]
	start := map[string]string{"flows_1m": "toStartOfMinute", "flows_1h": "toStartOfHour", "flows_1d": "toStartOfDay"}[name]
	bucketOf := map[string]string{"flows_1m": "toStartOfHour", "flows_1h": "toStartOfHour", "flows_1d": "toStartOfDay"}[name]
	primary, primaryValue, received, receivedValue := "", "", "", ""
	if name != "flows_1m" {
		primary, primaryValue, received, receivedValue = "primary_observer, ", "true, ", ", received", ", max(received)"
	}
	r.exec(fmt.Sprintf(`INSERT INTO %s_builds (bucket, build, %s, probe, site, src_ip, dst_ip, dst_port, protocol, app, %sflows, segments, failed,
			src_packets, dst_packets, src_bytes, dst_bytes, src_frame_bytes, dst_frame_bytes, src_payload_bytes, dst_payload_bytes%s)
		SELECT %s(toDateTime(start, 'UTC')) AS bucket, %d, %s(toDateTime(start, 'UTC')) AS at, probe, site, src_ip, dst_ip, dst_port, protocol, app, %scountIf(segment = 0), count(), 0,
			sum(src_packets), sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)%s
		FROM flows WHERE %s GROUP BY bucket, at, probe, site, src_ip, dst_ip, dst_port, protocol, app`, name, column, primary, received, bucketOf, number, start, primaryValue, receivedValue, where))
	r.exec(fmt.Sprintf(`INSERT INTO rollup_builds (rollup, bucket, build, raw_rows, built) SELECT '%s', bucket, build, sum(segments), now64(3) FROM %s_builds WHERE build = %d GROUP BY bucket, build`, name, name, number))
}

// have says whether a table is there.
func (r *rig) have(table string) bool {
	var n uint64
	if err := r.conn.QueryRow(r.t.Context(), "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = '"+table+"'").Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n > 0
}

func (r *rig) filter(text string) *Filter {
	r.t.Helper()
	f, err := r.lang.Parse(text, testNow)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// totals are the sums of a plan, and those of raw for the same question.
func (r *rig) totals(a *Asker, p *Plan, f *Filter, span Span) (got, want [4]uint64) {
	r.t.Helper()
	scan := func(into *[4]uint64) func(driver.Rows) error {
		return func(rows driver.Rows) error { return rows.Scan(&into[0], &into[1], &into[2], &into[3]) }
	}
	if err := a.Each(r.t.Context(), Analyst, Statement{"SELECT sum(flows), sum(segments), sum(packets), sum(bytes) FROM " + p.Source, p.Params}, scan(&got)); err != nil {
		r.t.Fatalf("%v\n%s\n%v", err, p.Source, p.Params)
	}
	params := Params{}
	where := f.Where(params, span)
	params["from"], params["to"] = stamp(span.From), stamp(span.To)
	sql := "SELECT countIf(segment = 0), count(), sum(src_packets + dst_packets), sum(src_bytes + dst_bytes) FROM flows WHERE start >= {from:DateTime64(9, 'UTC')} AND start < {to:DateTime64(9, 'UTC')} AND (" + where + ")"
	if err := a.Each(r.t.Context(), Analyst, Statement{sql, params}, scan(&want)); err != nil {
		r.t.Fatal(err)
	}
	return got, want
}

func tables(p *Plan) string {
	var list []string
	for _, part := range p.Parts {
		if !slices.Contains(list, part.Table) {
			list = append(list, part.Table)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// The answer is that of raw, whichever tables give it, for random ranges and
// filters, with builds that are whole, behind, or not there.
func TestPlansAnswerAsRawDoes(t *testing.T) {
	r := newRig(t, "query_plans")
	r.traffic(30000, 5)
	r.build("flows_1m", "hour", 1, "toHour(start) % 7 != 3")
	whole := []string{"flows_1m"}
	if r.have("flows_1h") && r.have("flows_1d") {
		r.build("flows_1h", "hour", 2, "toHour(start) % 5 != 1")
		r.build("flows_1d", "day", 3, "toDate(start) != '2026-10-07'")
		whole = []string{"flows_1m", "flows_1h", "flows_1d"}
	} else {
		t.Log("there are no rollups by hour and day yet")
	}
	// Late flows leave builds behind: those must not be read for their buckets.
	r.exec("INSERT INTO flows (probe, epoch, seq, row, start, end, src_packets, received) SELECT 'late', 9, 9, 1, '2026-10-06 10:20:30', '2026-10-06 10:20:30', 1000000, now()")
	a := NewAsker(r.conn, nil)
	p := NewPlanner(a)
	rng := rand.New(rand.NewPCG(5, 5))
	used := map[string]int{}
	for i := range 40 {
		from := day0.Add(time.Duration(rng.Int64N(int64(5 * 24 * time.Hour))))
		to := from.Add(time.Duration(rng.Int64N(int64(4 * 24 * time.Hour))))
		switch i % 4 {
		case 0:
			from, to = from.Truncate(time.Hour), to.Truncate(24*time.Hour)
		case 1:
			from, to = from.Truncate(time.Minute), to.Truncate(time.Second)
		case 2:
			from, to = from.Truncate(24*time.Hour), to.Truncate(time.Hour)
		}
		if !from.Before(to) {
			continue
		}
		text := pick(rng, []string{"", "dst_port = 443", "host 10.0.1.7", "app in (dns, tls) and not probe = p1", "net 10.0.0.0/16 and protocol = tcp", "src_bytes > 700", "tls_sni like 'host1%'"})
		f := r.filter(text)
		plan, err := p.Plan(t.Context(), f, Span{from, to}, Need{Columns: []string{"app"}, Step: pick(rng, []time.Duration{0, 0, time.Minute, time.Hour, time.Second})})
		if err != nil {
			t.Fatal(err)
		}
		got, want := r.totals(a, plan, f, Span{from, to})
		if got != want {
			t.Errorf("%q from %v to %v (-got +want)\n-%v\n+%v\nby %+v", text, from, to, got, want, plan.Parts)
		}
		at := from
		for _, part := range plan.Parts {
			if !part.From.Equal(at) || !part.To.After(at) {
				t.Errorf("%q: %v: a part begins at %v", text, at, part.From)
			}
			at = part.To
			used[part.Table]++
		}
		if !at.Equal(to) {
			t.Errorf("%q: the parts end at %v of %v", text, at, to)
		}
	}
	t.Log(used)
	for _, name := range whole {
		if used[name] == 0 {
			t.Errorf("%s was never used: %v", name, used)
		}
	}
	// The day of the late flow is read without its day's build, the others with it.
	plan, err := p.Plan(t.Context(), r.filter("app = dns"), Span{day0, day0.Add(5 * 24 * time.Hour)}, Need{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d parts of %s", len(plan.Parts), tables(plan))
	for _, part := range plan.Parts {
		if late := day0.Add(34*time.Hour + 20*time.Minute); part.Table != "flows" && part.From.Before(late) && part.To.After(late) {
			t.Errorf("the hour of the late flow comes from %+v", part)
		}
	}
	// What raw has lost is taken from the builds, and said to be gone where the
	// filter needs raw.
	r.exec("ALTER TABLE flows DROP PARTITION 20261005")
	p = NewPlanner(a)
	plan, err = p.Plan(t.Context(), r.filter(""), Span{day0, day0.Add(24 * time.Hour)}, Need{})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := r.totals(a, plan, r.filter(""), Span{day0, day0.Add(24 * time.Hour)})
	if len(whole) == 3 && (got[1] != 6000 || tables(plan) != "flows_1d") {
		t.Errorf("the day that raw has lost: %v by %+v\n%s\n%v", got, plan.Parts, plan.Source, plan.Params)
	}
	plan, err = p.Plan(t.Context(), r.filter("tls_sni exists"), Span{day0, day0.Add(48 * time.Hour)}, Need{})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Gone) == 0 || !plan.Gone[0].From.Before(day0.Add(24*time.Hour)) {
		t.Errorf("gone: %v", plan.Gone)
	}
}

// What is too much is refused with what it would read and how to narrow it, or
// becomes a sample that says so.
func TestRefusalAndSample(t *testing.T) {
	r := newRig(t, "query_refusal")
	r.traffic(200000, 10)
	a := NewAsker(r.conn, map[Role]Limits{Viewer: {Rows: 50000, Time: 10 * time.Second, Memory: 1 << 30}})
	p := NewPlanner(a)
	span := Span{day0, day0.Add(10 * 24 * time.Hour)}
	f := r.filter("tls_sni like '%7.example'")
	sums := func(p *Plan) Statement {
		return Statement{"SELECT sum(bytes), sum(flows) FROM " + p.Source, p.Params}
	}
	plan, err := p.Plan(t.Context(), f, span, Need{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Fit(t.Context(), Viewer, plan, sums)
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("Fit = %v", err)
	}
	t.Log(refusal)
	if refusal.Would.Rows != 200000 || e.Parts == 0 || e.Marks == 0 || refusal.Would.Bytes == 0 || !strings.Contains(refusal.Error(), "ask for about 2 days in place of 10") {
		t.Errorf("refusal: %+v", refusal)
	}
	// ClickHouse refuses by itself, if asked all the same.
	err = a.Each(t.Context(), Viewer, sums(plan), func(driver.Rows) error { return nil })
	if !errors.As(err, &refusal) || refusal.Limit != "rows" {
		t.Errorf("Each = %v", err)
	}
	if _, err := p.Fit(t.Context(), Analyst, plan, sums); err != nil {
		t.Errorf("within the limits: %v", err)
	}
	var all [2]uint64
	if err := a.One(t.Context(), Analyst, sums(plan), &all[0], &all[1]); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"auto", "hours", "days", "hours/3", "hash/8"} {
		role := Viewer
		if strings.Contains(kind, "/") {
			role = Analyst
		}
		plan, err := p.Plan(t.Context(), f, span, Need{Sample: kind})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Fit(t.Context(), role, plan, sums); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if plan.Sample == nil {
			t.Errorf("%s: the sample is not marked", kind)
			continue
		}
		var part [2]uint64
		if err := a.One(t.Context(), role, sums(plan), &part[0], &part[1]); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		off := float64(plan.Scale(part[0]))/float64(all[0]) - 1
		t.Logf("%s: %+v: %+.1f %%", kind, *plan.Sample, off*100)
		if off < -.2 || off > .2 || part[0] >= all[0] {
			t.Errorf("%s: %d scaled to %d of %d", kind, part[0], plan.Scale(part[0]), all[0])
		}
	}
	if plan, err = p.Plan(t.Context(), f, span, Need{}); err != nil || plan.Sample != nil {
		t.Errorf("not asked for, but %+v (%v)", plan.Sample, err)
	}
	for _, bad := range []string{"some", "hours/0", "hours/x", "/3"} {
		if CheckSample(bad) == nil {
			t.Errorf("sample %q is taken", bad)
		}
	}
	// The other limits.
	for name, l := range map[string]Limits{
		"bytes":   {Bytes: 1 << 20},
		"memory":  {Memory: 1 << 20},
		"result":  {ResultRows: 10},
		"seconds": {Time: time.Second},
	} {
		a := NewAsker(r.conn, map[Role]Limits{Viewer: l})
		sql := "SELECT http_uri, groupArray(tls_sni) FROM flows GROUP BY http_uri"
		if name == "seconds" {
			sql = "SELECT count() FROM flows AS a, flows AS b WHERE cityHash64(a.http_uri, b.http_uri) = 1"
		}
		err := a.Each(t.Context(), Viewer, Statement{SQL: sql}, func(driver.Rows) error { return nil })
		if !errors.As(err, &refusal) || refusal.Limit != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// When a client goes, its question ends in ClickHouse; a role has no more places
// than it may.
func TestEndsWithItsClient(t *testing.T) {
	r := newRig(t, "query_cancel")
	r.traffic(50000, 1)
	a := NewAsker(r.conn, map[Role]Limits{Viewer: {Concurrent: 2, Time: 60 * time.Second}})
	slow := Statement{SQL: "SELECT count() FROM flows AS a, flows AS b WHERE cityHash64(a.http_uri, b.http_uri) = 1 AND 'marked' != ''"}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	for range 3 {
		go func() {
			done <- a.Each(ctx, Viewer, slow, func(driver.Rows) error { return nil })
		}()
	}
	running := func() (n uint64) {
		if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%marked%' AND query NOT LIKE '%system.processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if !eventually(func() bool { return running() == 2 }) {
		t.Fatalf("%d of 3 questions run, want 2", running())
	}
	if n := running(); n > 2 {
		t.Errorf("%d questions run in 2 places", n)
	}
	cancel()
	for range 3 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Each = %v", err)
		}
	}
	if !eventually(func() bool { return running() == 0 }) {
		t.Errorf("%d questions still run", running())
	}
	localtest.Expect(t, r.conn, "SELECT count() FROM flows", 50000)
}

// eventually asks again until it is so, for up to 15 s.
func eventually(so func() bool) bool {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		if so() {
			return true
		}
	}
	return false
}
