package notify

import (
	"math"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

func TestDue(t *testing.T) {
	last := func(revision uint32, s alert.Severity, magnitude float64) told { return told{revision, s, magnitude} }
	tests := []struct {
		name      string
		revision  uint32
		severity  alert.Severity
		magnitude float64
		last      told
		min       alert.Severity
		want      Reason
	}{
		{"first", 1, alert.Medium, 10, told{}, alert.Low, ReasonNew},
		{"first seen at revision 7", 7, alert.Medium, 10, told{}, alert.Low, ReasonNew},
		{"first at the minimum", 1, alert.Low, 10, told{}, alert.Low, ReasonNew},
		{"first below the minimum", 1, alert.Info, 10, told{}, alert.Low, notDue},
		{"told", 1, alert.Medium, 10, last(1, alert.Medium, 10), alert.Low, notDue},
		{"told of a newer one", 1, alert.Critical, 10, last(2, alert.Medium, 10), alert.Low, notDue},
		{"small change", 2, alert.Medium, 99, last(1, alert.Medium, 10), alert.Low, notDue},
		{"tenfold", 2, alert.Medium, 100, last(1, alert.Medium, 10), alert.Low, ReasonGrowth},
		{"tenfold of nothing", 2, alert.Medium, 100, last(1, alert.Medium, 0), alert.Low, notDue},
		{"not a number", 2, alert.Medium, math.NaN(), last(1, alert.Medium, 1), alert.Low, notDue},
		{"worse", 2, alert.High, 10, last(1, alert.Medium, 10), alert.Low, ReasonSeverity},
		{"better", 2, alert.Low, 10, last(1, alert.Medium, 10), alert.Low, ReasonSeverity},
		{"rises above the minimum", 2, alert.Low, 10, told{}, alert.Low, ReasonNew},
		{"falls below the minimum", 2, alert.Info, 10, last(1, alert.Medium, 10), alert.Low, ReasonSeverity},
		{"stays below the minimum, and grows", 3, alert.Info, 1000, last(2, alert.Info, 10), alert.Low, notDue},
		{"unknown severity", 1, "odd", 10, told{}, alert.Info, notDue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := due(tt.revision, tt.severity, tt.magnitude, tt.last, tt.min.Rank()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRate(t *testing.T) {
	r := newRate(3)
	start := time.Unix(1000, 0)
	now := start
	var sent []time.Time
	for len(sent) < 8 {
		if free := r.free(now); free.After(now) {
			now = free
			continue
		}
		r.count(now)
		sent = append(sent, now)
		now = now.Add(time.Second)
	}
	for i := 3; i < len(sent); i++ {
		if d := sent[i].Sub(sent[i-3]); d != time.Minute {
			t.Errorf("messages %d and %d are %v apart, want a minute", i-3, i, d)
		}
	}
	if free := r.free(start.Add(-time.Hour)); free.After(start.Add(-time.Hour)) {
		t.Error("a clock that was set back stops the sink")
	}
}

func TestQueueKeepsWhatMatters(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newSink(common{name: "x", perMinute: 60}, nil, DefaultConfig())
	s.limit = 2
	s.offer(candidate{id: "a", revision: 1, severity: alert.Low, updated: now}, now)
	s.offer(candidate{id: "b", revision: 1, severity: alert.Medium, updated: now}, now)
	s.offer(candidate{id: "c", revision: 1, severity: alert.Low, updated: now}, now) // turned away
	s.offer(candidate{id: "d", revision: 1, severity: alert.Critical, updated: now}, now)
	if missed, _ := s.missed(); !missed {
		t.Error("nothing was noted as turned away")
	}
	var order []string
	for it, _ := s.pick(now); it != nil; it, _ = s.pick(now) {
		order = append(order, it.id)
		s.remove(it.id)
	}
	if len(order) != 2 || order[0] != "d" || order[1] != "b" {
		t.Errorf("order %v, want [d b]", order)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "-1": 0, "1e9": 0, "99999999999999999999999": time.Hour, "86400": time.Hour,
		"Sun, 22 Nov 2026 12:00:30 GMT": 30 * time.Second, "Sun, 22 Nov 2026 11:00:00 GMT": 0, "Sun, 22 Nov 2099 12:00:00 GMT": time.Hour, "soon": 0,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "Sun, 22 Nov 2026 12:00:30 GMT", "18446744073709551616", "Sunday, 06-Nov-94 08:49:37 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if d := parseRetryAfter(text, now); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %v", text, d)
		}
	})
}
