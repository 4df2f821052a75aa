package alert

import (
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func closed(version uint16, at time.Time) []Judged {
	return []Judged{{Detector: "scan", Version: version, Start: at, End: at.Add(10 * time.Minute), Step: 5 * time.Minute}}
}

func open(a Alert) Alert { a.Provisional = true; return a }

func of(version uint16, a Alert) Alert { a.Version = version; return a }

func none() []Alert { return nil }

// What an early look at a window said stands only as long as the closed window,
// or a newer version, says so too.
func TestSettle(t *testing.T) {
	one, later := "10.0.0.1", noon.Add(time.Hour)
	type step struct {
		judged  []Judged
		found   []Alert
		changes int // new and changed
	}
	tests := []struct {
		name      string
		steps     []step
		alerts    uint64
		withdrawn uint64
		score     float64
		end       time.Time
	}{
		{"an early alert that the closed window does not confirm", []step{
			{nil, []Alert{open(sweepAt(one, noon, .5))}, 1}, {closed(1, noon), none(), 1}, {closed(1, noon), none(), 0}},
			1, 1, .5, noon.Add(time.Minute)},
		{"an open window takes nothing back", []step{{nil, []Alert{open(sweepAt(one, noon, .5))}, 1}, {nil, none(), 0}}, 1, 0, .5, noon.Add(time.Minute)},
		{"confirmed", []step{{nil, []Alert{open(sweepAt(one, noon, .5))}, 1}, {closed(1, noon), []Alert{sweepAt(one, noon, .6)}, 1}}, 1, 0, .6, noon.Add(time.Minute)},
		{"one of two windows", []step{
			{closed(1, noon), []Alert{sweepAt(one, noon, .5)}, 1}, {nil, []Alert{open(sweepAt(one, later, .9))}, 1}, {closed(1, later), none(), 1}},
			1, 0, .5, noon.Add(time.Minute)},
		{"the strongest window becomes weaker than another", []step{
			{closed(1, noon), []Alert{sweepAt(one, noon, .9)}, 1}, {closed(1, later), []Alert{sweepAt(one, later, .7)}, 1}, {closed(1, noon), []Alert{sweepAt(one, noon, .2)}, 1}},
			1, 0, .7, later.Add(time.Minute)},
		{"it comes back", []step{
			{nil, []Alert{open(sweepAt(one, noon, .5))}, 1}, {closed(1, noon), none(), 1}, {closed(1, later), []Alert{sweepAt(one, later, .4)}, 1}},
			1, 0, .4, later.Add(time.Minute)},
		{"a newer version says the same", []step{
			{closed(1, noon), []Alert{sweepAt(one, noon, .5)}, 1}, {closed(2, noon), []Alert{of(2, sweepAt(one, noon, .5))}, 1}, {closed(2, noon), []Alert{of(2, sweepAt(one, noon, .5))}, 0}},
			1, 0, .5, noon.Add(time.Minute)},
		{"a newer version sees nothing", []step{{closed(1, noon), []Alert{sweepAt(one, noon, .5)}, 1}, {closed(2, noon), none(), 1}}, 1, 1, .5, noon.Add(time.Minute)},
		{"a newer version with windows elsewhere sees nothing", []step{
			{closed(1, noon.Add(2*time.Minute)), []Alert{sweepAt(one, noon.Add(2*time.Minute), .5)}, 1}, {closed(2, noon), none(), 1}}, 1, 1, .5, noon.Add(3 * time.Minute)},
		{"a newer version calls it otherwise", []step{
			{closed(1, noon), []Alert{sweepAt(one, noon, .5)}, 1}, {closed(2, noon), []Alert{of(2, sweepAt("10.0.0.2", noon, .5))}, 2}},
			2, 1, .5, noon.Add(time.Minute)},
	}
	conn := localtest.Tables(t)
	s := NewStore(conn)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			localtest.Exec(t, conn, "TRUNCATE TABLE alerts")
			localtest.Exec(t, conn, "TRUNCATE TABLE alert_findings")
			var first string
			for i, step := range test.steps {
				r, err := s.Settle(t.Context(), step.judged, step.found)
				if err != nil {
					t.Fatal(err)
				}
				if r.New+r.Changed != step.changes {
					t.Errorf("step %d: %d new and %d changed, want %d", i+1, r.New, r.Changed, step.changes)
				}
				if i == 0 {
					first = r.Alerts[0].ID
				}
			}
			localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", test.alerts)
			localtest.Expect(t, conn, "SELECT countIf(withdrawn) FROM alerts FINAL", test.withdrawn)
			list, err := s.Get(t.Context(), []string{first})
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			if a := list[0]; a.Score != test.score || !a.End.Equal(test.end) {
				t.Errorf("score %v, end %v, want %v and %v", a.Score, a.End, test.score, test.end)
			}
		})
	}
}

// In whatever order windows are judged, and judged again, the alert is the same.
func TestOrderDoesNotMatter(t *testing.T) {
	var want Alert
	conn := localtest.Tables(t)
	s := NewStore(conn)
	for i, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2, 1, 1}} {
		localtest.Exec(t, conn, "TRUNCATE TABLE alerts")
		localtest.Exec(t, conn, "TRUNCATE TABLE alert_findings")
		for _, n := range order {
			at := noon.Add(time.Duration(n) * 5 * time.Minute)
			a := sweepAt("10.0.0.1", at, []float64{.5, .8, .8, .1}[n])
			if _, err := s.Settle(t.Context(), closed(1, at), []Alert{a}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := s.Raise(t.Context(), []Alert{sweepAt("10.0.0.1", noon, .5)})
		if err != nil || len(r.Alerts) != 1 || r.New+r.Changed > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		a := r.Alerts[0]
		if i == 0 {
			want = a
		} else if a.Key() != want.Key() || !a.equal(&want) {
			t.Errorf("order %v: %+v, want %+v", order, a, want)
		}
		list, err := s.Findings(t.Context(), a.ID, 3)
		if err != nil || len(list) != 3 || !slices.IsSortedFunc(list, func(a, b Alert) int { return a.WindowStart.Compare(b.WindowStart) }) || list[2].Score != .1 {
			t.Errorf("findings %+v, %v", list, err)
		}
	}
}
