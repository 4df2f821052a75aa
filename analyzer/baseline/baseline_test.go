package baseline

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// TestSeries: what ClickHouse makes of a history is the baseline, and its z is
// that of Baseline.Z.
func TestSeries(t *testing.T) {
	conn := localtest.Database(t, "baseline")
	monday := time.Date(2026, 3, 30, 9, 0, 0, 0, time.UTC)
	day, week := 24*time.Hour, 7*24*time.Hour
	same := func(n int) (values []uint64) {
		for range n {
			values = append(values, 1000)
		}
		return values
	}
	usual := math.Log1p(1000)
	for _, tt := range []struct {
		name        string
		step        time.Duration
		history     []uint64 // one value each step, the last first
		level       Level
		samples     int
		median, mad float64
		observed    uint64
		z           float64
	}{
		{"nothing", day, nil, Learning, 0, 0, 0, 1e9, 0},
		{"six days", day, same(6), Learning, 6, 0, 0, 1e9, 0},
		{"seven days", day, same(7), HourOfDay, 7, usual, 0, 1000, 0},
		{"two weeks", day, same(14), HourOfDay, 14, usual, 0, 1000, 0},
		{"three weeks", day, same(21), HourOfWeek, 3, usual, 0, 1000, 0},
		{"twice as much", day, same(28), HourOfWeek, 4, usual, 0, 2001, math.Log(2) / MinSpread},
		{"other hours do not count", time.Hour, same(24 * 28), HourOfWeek, 4, usual, 0, 1000, 0},
		{"three in any order", week, []uint64{9, 1, 2}, HourOfWeek, 3, math.Log(3), math.Log(3) - math.Log(2), 2, 0},
		{"the middle of four", week, []uint64{9, 1, 2, 4}, HourOfWeek, 4, (math.Log(3) + math.Log(5)) / 2, (math.Log(5) - math.Log(2)) / 2, 4, 0},
		{"seven, skewed", day, []uint64{1, 9, 1, 6, 2, 4, 2}, HourOfDay, 7, math.Log(3), math.Log(3) - math.Log(2), 2, 0},
		// Six odd days of fourteen would widen the spread from 0 to half of their
		// distance: an odd value counts a hundredth.
		{"six poisoned days of fourteen", day, []uint64{1e9, 1000, 1e9, 1000, 1e9, 1000, 1e9, 1000, 1e9, 1000, 1e9, 1000, 1000, 1000}, HourOfDay, 14, usual, 0, 2001, math.Log(2) / MinSpread},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var hours, values []string
			for i, v := range tt.history {
				hours = append(hours, fmt.Sprintf("toDateTime(%d, 'UTC')", monday.Add(-time.Duration(i+1)*tt.step).Unix()))
				values = append(values, fmt.Sprint(v))
			}
			sql := fmt.Sprintf("WITH series AS (SELECT CAST([%s], 'Array(DateTime(\\'UTC\\'))') AS hours, CAST([%s], 'Array(UInt64)') AS bytes, toUInt64(%d) AS observed), %s SELECT level, toUInt64(samples), toFloat64(median), toFloat64(mad), toFloat64(z) FROM judged",
				strings.Join(hours, ","), strings.Join(values, ","), tt.observed, strings.ReplaceAll(SeriesSQL(), "{from:UInt32}", fmt.Sprint(monday.Unix())))
			var level string
			var samples uint64
			var median, mad, z float64
			if err := conn.QueryRow(context.Background(), sql).Scan(&level, &samples, &median, &mad, &z); err != nil {
				t.Fatal(err)
			}
			near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
			if Level(level) != tt.level || samples != uint64(tt.samples) || !near(median, tt.median) || !near(mad, tt.mad) {
				t.Errorf("%s of %d, median %v, MAD %v; want %s of %d, %v, %v", level, samples, median, mad, tt.level, tt.samples, tt.median, tt.mad)
			}
			b := Baseline{Level: Level(level), Samples: int(samples), Median: median, MAD: mad}
			if !near(z, b.Z(float64(tt.observed))) || tt.mad == 0 && math.Abs(z-tt.z) > 1e-3 {
				t.Errorf("z %v, by Baseline.Z %v; want %v", z, b.Z(float64(tt.observed)), tt.z)
			}
		})
	}
}
