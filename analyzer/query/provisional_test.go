package query

import (
	"testing"
	"time"
)

// An answer is provisional from where the slowest live worker has told all.
func TestProvisional(t *testing.T) {
	r := newRig(t, "query_provisional")
	span := Span{day0.Add(8 * time.Hour), day0.Add(9 * time.Hour)}
	batch := func(seq int, heard time.Time, watermark string, ended bool) map[string]any {
		return map[string]any{"probe": "p", "epoch": 1, "seq": seq, "topic": "flows.v1", "kafka_offset": seq, "status": "stored", "live": true, "end_of_stream": ended, "watermark": watermark,
			"received": heard.UTC().Format("2006-01-02 15:04:05"), "stored": time.Now().UTC().Format("2006-01-02 15:04:05")}
	}
	now := time.Now()
	for i, step := range []struct {
		name string
		row  map[string]any
		want string
	}{
		{"nobody", nil, ""},
		{"silent", batch(1, now.Add(-10*time.Minute), "2026-10-05 08:10:00", false), ""},
		{"live, within", batch(2, now.Add(-3*time.Second), "2026-10-05 08:30:00", false), "2026-10-05T08:30:00Z"},
		{"live, behind", batch(3, now.Add(-2*time.Second), "2026-10-05 07:30:00", false), "2026-10-05T08:00:00Z"},
		{"live, passed", batch(4, now.Add(-time.Second), "2026-10-05 09:00:00", false), ""},
		{"ended", batch(5, now, "2026-10-05 08:40:00", true), ""},
	} {
		if step.row != nil {
			r.insert("batches", []map[string]any{step.row})
		}
		plan, err := NewPlanner(NewAsker(r.conn, nil)).Plan(t.Context(), r.filter(""), span, Need{})
		if err != nil {
			t.Fatal(err)
		}
		if got := tell(plan.Provisional); got != step.want {
			t.Errorf("%d, %s: provisional from %q, want %q", i, step.name, got, step.want)
		}
	}
}
