package console

import (
	"context"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

func (r *rig) exec(sql string) {
	r.t.Helper()
	if err := r.conn.Exec(context.Background(), sql); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) total(question string) (series, top uint64) {
	r.t.Helper()
	r.console.db.cache = cache{}
	r.console.planner = query.NewPlanner(r.console.db.asker)
	var s Timeseries
	r.get("/api/v1/timeseries?split=app&metric=packets&"+question, &s)
	for _, one := range s.Series {
		series += one.Total
		if len(one.Values) != len(s.Times) {
			r.t.Errorf("%s: %d values for %d times", one.Name, len(one.Values), len(s.Times))
		}
	}
	var t Top
	r.get("/api/v1/top?by=app&n=1000&metric=packets&"+question, &t)
	for _, e := range t.Top {
		top += e.Packets
	}
	if top != t.Total.Packets {
		r.t.Errorf("top: %d packets of %d", top, t.Total.Packets)
	}
	return series, top
}

// Sums are those of the raw flows. The rollup is read for an hour only while it
// holds every row that was promised.
func TestSumsAreThoseOfRaw(t *testing.T) {
	r := newRig(t, "console_sums", Config{})
	rows, want := r.fill(3)
	if s, top := r.total("last=all"); s != want || top != want {
		t.Errorf("raw: timeseries %d, top %d, want %d", s, top, want)
	}
	perHour := uint64(rows / 3)
	// A build of the second hour that is wrong on purpose shows who reads it.
	r.exec(`INSERT INTO flows_1m_builds SELECT toStartOfHour(toDateTime(start, 'UTC')) AS bucket, 1, toStartOfMinute(toDateTime(start, 'UTC')), probe, site, src_ip, dst_ip, dst_port, protocol, app,
		countIf(segment = 0), count(), 0, sum(src_packets) + 1000, sum(dst_packets), sum(src_bytes), sum(dst_bytes), sum(src_frame_bytes), sum(dst_frame_bytes), sum(src_payload_bytes), sum(dst_payload_bytes)
		FROM flows WHERE toStartOfHour(toDateTime(start, 'UTC')) = '2026-10-05 09:00:00' GROUP BY ALL`)
	r.insert("rollup_builds", []map[string]any{{"rollup": "flows_1m", "bucket": "2026-10-05 09:00:00", "build": 1, "raw_rows": perHour - 1}})
	if s, top := r.total("last=all"); s != want || top != want {
		t.Errorf("with a build that is behind: timeseries %d, top %d, want %d", s, top, want)
	}
	r.insert("rollup_builds", []map[string]any{{"rollup": "flows_1m", "bucket": "2026-10-05 09:00:00", "build": 1, "raw_rows": perHour}})
	r.exec("OPTIMIZE TABLE rollup_builds FINAL")
	if s, top := r.total("last=all"); s <= want || s != top {
		t.Errorf("a build that is whole is not read: timeseries %d, top %d, raw %d", s, top, want)
	}
	var fine Timeseries
	r.get("/api/v1/timeseries?last=all&step=30s&metric=packets", &fine)
	if fine.Series[0].Total != want {
		t.Errorf("steps below a minute: %d, want %d", fine.Series[0].Total, want)
	}
}

// The range, when none is given, is all of a capture that was read; steps
// without traffic are there.
func TestRanges(t *testing.T) {
	r := newRig(t, "console_ranges", Config{})
	r.fill(30)
	var s Timeseries
	r.get("/api/v1/timeseries?step=1h", &s)
	if s.Range.From != "2026-10-05T08:00:00Z" || len(s.Times) != 30 {
		t.Errorf("without a range: %v with %d steps", s.Range, len(s.Times))
	}
	r.get("/api/v1/timeseries?step=1h&last=24h", &s)
	// The clock of the last batch stands at the end of the 30th hour.
	if s.Range.From != "2026-10-06T14:00:00Z" && s.Range.From != "2026-10-05T14:00:00Z" || len(s.Times) != 24 {
		t.Errorf("range %v with %d steps", s.Range, len(s.Times))
	}
	r.get("/api/v1/timeseries?step=1h&from=2026-10-01&to=2026-10-03T12:00:00Z", &s)
	if len(s.Times) != 60 || len(s.Series) != 1 || s.Series[0].Total != 0 || s.Times[0] != time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC).Unix() {
		t.Errorf("a range without traffic: %d steps, %v", len(s.Times), s.Series)
	}
	if s.Completeness.Share != nil {
		t.Errorf("nothing was seen, but the share is %v", *s.Completeness.Share)
	}
	for _, bad := range []string{"from=x", "to=tomorrow", "last=5x", "last=0h", "from=1&last=1h", "from=2026-10-02&to=2026-10-01", "from=1969-01-01", "host=10.0.0.1/33", "host=fe80::1%25eth0",
		"port=65536", "protocol=tcpp", "community_id=1:xx", "flow=a/b", "step=1s&last=30d", "step=0s", "nosuch=1", "metric=bits", "n=13"} {
		if resp := r.get("/api/v1/timeseries?"+bad, nil); resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: %d", bad, resp.StatusCode)
		} else if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: content type %q", bad, got)
		}
	}
}

// seen = in flows + losses; what a spool dropped counts as seen and lost, a hole
// in the numbers as a gap.
func TestLedger(t *testing.T) {
	r := newRig(t, "console_ledger", Config{})
	rows, packets := r.fill(2)
	var l Ledger
	r.get("/api/v1/ledger?last=all", &l)
	c := l.Completeness
	if c.SeenPackets != packets+30 || c.FlowPackets != packets || c.Open != 0 || c.Gaps != 0 || len(c.Losses) != 2 || c.Losses[0].Reason != "ring" {
		t.Errorf("%+v", c)
	}
	if l.Total.Rows.Stored != uint64(rows) || l.Total.Rows.Published != uint64(rows) || len(l.Probes) != 1 {
		t.Errorf("%+v", l.Total)
	}
	at := day0.Add(time.Hour)
	batch := func(seq int, more map[string]any) map[string]any {
		b := map[string]any{"probe": "tap-2", "epoch": 5, "seq": seq, "status": "stored", "kafka_offset": seq, "clock": stamp(at.Add(time.Duration(seq) * time.Second)), "sealed": stamp(at), "live": true, "open_flows": 7}
		for k, v := range more {
			b[k] = v
		}
		return b
	}
	r.insert("batches", []map[string]any{batch(1, nil), batch(6, map[string]any{"drop_epoch": []int{5}, "drop_worker": []int{0}, "drop_seq_from": []int{2}, "drop_seq_to": []int{3},
		"drop_records": []int{11}, "drop_packets": []int{100}, "drop_frame_bytes": []int{1}, "drop_reason": []string{"full"}}),
		{"probe": "tap-2", "epoch": 6, "seq": 1, "status": "stored", "kafka_offset": 99, "clock": stamp(at.Add(30 * time.Second)), "sealed": stamp(at.Add(time.Second)), "live": true},
		{"topic": "dead", "status": "quarantined", "kafka_offset": 3}})
	r.console.db.cache = cache{}
	r.get("/api/v1/ledger?last=all", &l)
	for _, a := range l.Probes {
		if a.Probe != "tap-2" {
			continue
		}
		if a.Gaps != 2 || a.SeenPackets != 100 || len(a.Losses) != 1 || a.Losses[0].Reason != "spool_full" || a.Losses[0].Packets != 100 || a.Open != 0 || len(a.Dropped) != 1 {
			t.Errorf("%+v", a)
		}
		if len(a.Interruptions) != 1 || a.Interruptions[0].Seconds != 24 || a.Interruptions[0].FlowsAtMost != 7 {
			t.Errorf("interruptions %+v", a.Interruptions)
		}
	}
	var s Status
	r.get("/api/v1/status", &s)
	if len(s.Probes) != 2 || s.Probes[0].State != "ended" || s.Probes[1].State != "live" {
		t.Errorf("%+v", s.Probes)
	}
}
