package alert

import (
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// sweepAt is what a detector says of the window that begins at the given time.
func sweepAt(actor string, at time.Time, score float64) Alert {
	return Alert{Detector: "scan", Version: 1, Title: actor + " scans", Severity: Medium, Score: score, Confidence: 1, Actor: actor,
		Entities: []string{"actor=" + actor}, Start: at, End: at.Add(time.Minute), WindowStart: at, WindowEnd: at.Add(10 * time.Minute),
		SubScores: map[string]float64{"breadth": score}, Magnitude: 10 * score, Gap: 24 * time.Hour, Completeness: 1}
}

// One thing going on is one alert; a repetition changes nothing; what comes
// back after the gap, or from somebody else, is another.
func TestRaise(t *testing.T) {
	conn := localtest.Tables(t)
	s := NewStore(conn)
	steps := []struct {
		name         string
		give         Alert
		new, changed int
		stored       uint64
		score        float64
	}{
		{"first", sweepAt("10.0.0.1", noon, 0.5), 1, 0, 1, 0.5},
		{"the same again", sweepAt("10.0.0.1", noon, 0.5), 0, 0, 1, 0.5},
		{"stronger, an hour later", sweepAt("10.0.0.1", noon.Add(time.Hour), 0.8), 0, 1, 1, 0.8},
		{"weaker, two hours later", sweepAt("10.0.0.1", noon.Add(2*time.Hour), 0.6), 0, 1, 1, 0.8},
		{"somebody else", sweepAt("10.0.0.2", noon, 0.5), 1, 0, 2, 0.5},
		{"after the gap", sweepAt("10.0.0.1", noon.Add(27*time.Hour), 0.5), 1, 0, 3, 0.5},
	}
	var first string
	for _, step := range steps {
		r, err := s.Raise(t.Context(), []Alert{step.give})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if r.New != step.new || r.Changed != step.changed {
			t.Errorf("%s: %d new, %d changed; want %d, %d", step.name, r.New, r.Changed, step.new, step.changed)
		}
		localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", step.stored)
		if len(r.Alerts) == 0 {
			continue
		}
		a := r.Alerts[0]
		if a.Score != step.score {
			t.Errorf("%s: score %v, want %v", step.name, a.Score, step.score)
		}
		if step.name == "first" {
			first = a.ID
		}
		if same := a.ID == first; same != (step.new == 0 || step.name == "first") {
			t.Errorf("%s: id %s, the first was %s", step.name, a.ID, first)
		}
	}
	list, err := s.Get(t.Context(), []string{first})
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if a := list[0]; !a.Start.Equal(noon) || !a.End.Equal(noon.Add(2*time.Hour+time.Minute)) || a.Revision != 3 || a.Raised.After(a.Updated) {
		t.Errorf("episode from %v to %v, revision %d", a.Start, a.End, a.Revision)
	}
}

func TestManyAtOnce(t *testing.T) {
	conn := localtest.Tables(t)
	var list []Alert
	for i := range 3000 {
		list = append(list, sweepAt("10.1."+string(rune('0'+i%10))+"."+time.Duration(i).String(), noon, 0.5))
	}
	for _, want := range []int{3000, 0} {
		r, err := NewStore(conn).Raise(t.Context(), list)
		if err != nil || r.New != want {
			t.Fatalf("%d new of %d, %v", r.New, want, err)
		}
	}
	localtest.Expect(t, conn, "SELECT count() FROM alerts FINAL", 3000)
}
