package baseline

import (
	"math"
	"testing"
	"time"
)

func TestAt(t *testing.T) {
	monday := time.Date(2026, 3, 30, 9, 0, 0, 0, time.UTC)
	hours := func(n int, step time.Duration, value float64) []Sample {
		var list []Sample
		for i := 1; i <= n; i++ {
			list = append(list, Sample{monday.Add(-time.Duration(i) * step), value})
		}
		return list
	}
	day := 24 * time.Hour
	for _, tt := range []struct {
		name     string
		history  []Sample
		level    Level
		samples  int
		observed float64
		z        float64
	}{
		{"nothing", nil, Learning, 0, 1e9, 0},
		{"six days", hours(6, day, 1000), Learning, 6, 1e9, 0},
		{"seven days", hours(7, day, 1000), HourOfDay, 7, 1000, 0},
		{"three weeks", hours(21, day, 1000), HourOfWeek, 3, 1000, 0},
		{"twice as much", hours(28, day, 1000), HourOfWeek, 4, 2001, math.Log(2) / MinSpread},
		{"the future does not count", []Sample{{monday, 5}, {monday.Add(7 * day), 5}}, Learning, 0, 5, 0},
		{"other hours do not count", hours(24*28, time.Hour, 1000), HourOfWeek, 4, 1000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := At(tt.history, monday)
			if b.Level != tt.level || b.Samples != tt.samples || math.Abs(b.Z(tt.observed)-tt.z) > 1e-3 {
				t.Errorf("%+v, z %v; want %s of %d, z %v", b, b.Z(tt.observed), tt.level, tt.samples, tt.z)
			}
		})
	}
}

func TestMedianAndMAD(t *testing.T) {
	for _, tt := range []struct {
		values      []float64
		median, mad float64
	}{{nil, 0, 0}, {[]float64{3}, 3, 0}, {[]float64{4, 1}, 2.5, 1.5}, {[]float64{9, 1, 2}, 2, 1}, {[]float64{1, 1, 2, 2, 4, 6, 9}, 2, 1}} {
		if m := Median(tt.values); m != tt.median || MAD(tt.values, m) != tt.mad {
			t.Errorf("%v: %v, %v; want %v, %v", tt.values, m, MAD(tt.values, m), tt.median, tt.mad)
		}
	}
}
