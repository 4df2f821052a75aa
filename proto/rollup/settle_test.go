package rollup

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// An hour is provisional until every worker has passed it, or is silent.
func TestProvisional(t *testing.T) {
	conn := localtest.Tables(t)
	b := builder(t, conn)
	if _, known := b.Behind(); known {
		t.Error("what retention has to leave is known before anything was looked at")
	}
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	tell := func(worker int, passed time.Duration, live bool, ago time.Duration, ends bool) {
		t.Helper()
		localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO batches (probe, epoch, worker, seq, topic, received, stored, status, watermark, clock, live, end_of_stream)
			SELECT 'w', 1, %d, %d, 'flows', now64(3), now64(3) - INTERVAL %d SECOND, 'stored', toDateTime64('2026-03-02 00:00:00', 9, 'UTC') + INTERVAL %d SECOND AS w, w + INTERVAL 20 SECOND, %v, %v`,
			worker, time.Now().UnixNano(), int(ago.Seconds()), int(passed.Seconds()), live, ends))
	}
	expect := func(why string, provisional bool) {
		t.Helper()
		pass(t, b)
		pass(t, b)
		var got uint64
		if err := conn.QueryRow(t.Context(), "SELECT countIf(provisional) FROM flows_1h").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got > 0 != provisional {
			t.Errorf("%s: provisional is %v", why, got > 0)
		}
		behind, known := b.Behind()
		if !known || behind[day] != provisional {
			t.Errorf("%s: retention is told %v, %v", why, behind, known)
		}
	}
	raw(t, conn, 1, 1, 90)
	promise(t, conn, 1, 1, 90)
	tell(1, 90*time.Minute, true, 0, false)
	expect("a worker on the wire is in the hour", true)
	tell(1, 3*time.Hour, true, 0, false)
	tell(2, 80*time.Minute, false, 0, false)
	expect("one that reads a file is", true)
	tell(2, 81*time.Minute, false, 0, true)
	tell(3, 0, false, 0, false) // reads a file of an earlier time
	tell(4, 80*time.Minute, true, 2*lateness, false)
	expect("all have passed it, ended, or are silent", false)
	localtest.Expect(t, conn, "SELECT sum(rows) FROM rollup_covers", 90)
	localtest.Expect(t, conn, "SELECT countIf(provisional) FROM hosts_1h", 0)
}

func TestRuns(t *testing.T) {
	tests := []struct {
		name string
		seqs []uint64
		want []run
	}{
		{"none", nil, nil},
		{"one", []uint64{7}, []run{{7, 7}}},
		{"a gap", []uint64{1, 2, 3, 5, 9, 10}, []run{{1, 3}, {5, 5}, {9, 10}}},
		{"again", []uint64{1, 1, 2}, []run{{1, 2}}},
	}
	for _, tt := range tests {
		got := runs(tt.seqs)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: (-got +want)\n-%v\n+%v", tt.name, got, tt.want)
		}
		var single []run
		for _, seq := range slices.Backward(tt.seqs) {
			single = append(single, run{seq, seq})
		}
		if got := merged(single); !slices.Equal(got, tt.want) {
			t.Errorf("%s, merged: (-got +want)\n-%v\n+%v", tt.name, got, tt.want)
		}
	}
}
