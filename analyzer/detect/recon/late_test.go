package recon_test

import (
	"context"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// A batch that comes late re-opens its windows: the alert keeps its id and gets a
// revision; windows it does not touch are left alone.
func TestLateBatchMakesARevision(t *testing.T) {
	start, rows, err := detecttest.ParseFlows(`start 2026-03-02T10:00:00Z
at=+2m n=40 every=500ms src=10.0.0.66 dst=10.0.1.5 port={i+1} state=REJ
at=+1h n=1 src=10.0.0.7 dst=10.0.1.5 port=443 out=800 in=4000`)
	if err != nil {
		t.Fatal(err)
	}
	conn := localtest.Tables(t)
	detecttest.Load(t, conn, start, rows[:20], 1)
	detecttest.Load(t, conn, start, rows[40:], 2)
	detecttest.Catchup(t, conn, all())
	before := detecttest.Stored(t, conn)
	detecttest.Load(t, conn, start, rows[20:40], 3)
	detecttest.Catchup(t, conn, all())
	after := detecttest.Stored(t, conn)
	if len(before) != 1 || len(after) != 1 {
		t.Fatalf("alerts: %d, then %d; want 1 and 1", len(before), len(after))
	}
	if before[0].ID != after[0].ID || before[0].Revision != 1 || after[0].Revision != 2 || before[0].Magnitude != 20 || after[0].Magnitude != 40 {
		t.Errorf("%s revision %d of %v ports became %s revision %d of %v", before[0].ID, before[0].Revision, before[0].Magnitude, after[0].ID, after[0].Revision, after[0].Magnitude)
	}
	var again, once uint64
	err = conn.QueryRow(context.Background(), `SELECT countIf(revision = 2), countIf(revision = 1) FROM job_runs FINAL WHERE detector = 'portscan_vertical'`).Scan(&again, &once)
	if err != nil || again != 2 || once != 2 {
		t.Errorf("windows judged twice: %d, once: %d, %v; want the 2 with the scan, and the 2 an hour later", again, once, err)
	}
	if got := after[0].End.Sub(start.Add(2 * time.Minute)); got < 19*time.Second || got > 20*time.Second {
		t.Errorf("the alert ends %v after its start", got)
	}
}
