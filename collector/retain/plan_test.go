package retain

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC)

func day(s string) time.Time {
	t, err := time.Parse("20060102", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestPlan(t *testing.T) {
	rules := []rule{{"flows", 30 * dayLong, 2 * dayLong, true}, {"minutes", 60 * dayLong, 5 * dayLong, false}}
	all := []Partition{
		{"flows", "20260628", 100, 1, dayLong}, {"flows", "20260601", 100, 1, dayLong}, {"flows", "20260520", 100, 1, dayLong}, {"flows", "20190101", 100, 1, dayLong},
		{"flows", "20180101", 100, 1, dayLong}, {"flows", "20170101", 100, 1, time.Minute}, {"flows", "20260630", 100, 1, dayLong},
		{"minutes", "20260520", 10, 1, dayLong}, {"minutes", "202606", 10, 1, dayLong}, {"minutes", "202603", 10, 1, dayLong}, {"other", "20200101", 5, 1, dayLong}, {"flows", "all", 5, 1, dayLong},
	}
	received := map[time.Time]time.Time{
		day("20190101"): now.Add(-5 * dayLong),  // an old capture, read five days ago
		day("20170101"): now.Add(-50 * dayLong), // one read long ago, of which something more has just come
	}
	for _, d := range []string{"20260628", "20260601", "20260520", "20260630", "20260310"} { // of 2018 nobody knows yet
		received[day(d)] = day(d).AddDate(0, 0, 1)
	}
	for name, c := range map[string]struct {
		excess   int64
		held     string
		unsummed string
		want     []string
		left     int64
	}{
		"age alone":             {want: []string{"flows/20260520 age", "minutes/202603 age"}},
		"raw goes first":        {excess: 150, want: []string{"flows/20260520 age", "flows/20260601 budget", "minutes/202603 age"}},
		"oldest on arrival":     {excess: 250, want: []string{"flows/20260520 age", "flows/20260601 budget", "flows/20190101 budget", "minutes/202603 age"}},
		"then the next":         {excess: 1000, want: []string{"flows/20260520 age", "flows/20260601 budget", "flows/20190101 budget", "minutes/202603 age", "minutes/20260520 budget"}, left: 680},
		"what is held stays":    {held: "20260520", want: []string{"minutes/202603 age"}},
		"what has no sum stays": {unsummed: "20260520", want: []string{"minutes/202603 age"}},
	} {
		within := func(text string) func(first, after time.Time) bool {
			return func(first, after time.Time) bool {
				return text != "" && !day(text).Before(first) && day(text).Before(after)
			}
		}
		unsummed := within(c.unsummed)
		drops, left := plan(situation{now: now, rules: rules, partitions: all, received: received, held: within(c.held),
			summed: func(first, after time.Time) bool { return !unsummed(first, after) }, excess: c.excess, settling: settling})
		var got []string
		for _, d := range drops {
			got = append(got, fmt.Sprintf("%s/%s %s", d.Table, d.Name, d.Reason))
		}
		if !slices.Equal(got, c.want) || left != c.left {
			t.Errorf("%s: %v, %d left; want %v, %d", name, got, left, c.want, c.left)
		}
	}
}

func TestForecast(t *testing.T) {
	line := func(n int, perDay, gone int64) (list []Sample) {
		for i := range n {
			in := perDay * int64(i) / 24
			out := gone * int64(i) / 24
			list = append(list, Sample{now.Add(time.Duration(i-n+1) * time.Hour), 1000 + in - out, out})
		}
		return list
	}
	if _, ok := forecast(line(2, 240, 0), 1000, dayLong); ok {
		t.Error("two samples tell something")
	}
	f, ok := forecast(line(49, 240, 0), 2480, 90*dayLong)
	if !ok || math.Abs(f.Growth-240) > 1e-6 || math.Abs(f.Steady-240*90) > 1e-3 {
		t.Errorf("%+v", f)
	}
	if want := now.Add(time.Duration(float64(2480-1480) / 240 * 24 * float64(time.Hour))); f.Full.Sub(want).Abs() > time.Second {
		t.Errorf("full at %s, want %s", f.Full, want)
	}
	if f, _ := forecast(line(49, 240, 240), 30000, 90*dayLong); math.Abs(f.Growth-240) > 1e-6 || !f.Full.IsZero() {
		t.Errorf("what is dropped again: %+v", f)
	}
	if f, ok := forecast(line(49, 0, 0), 10, 90*dayLong); !ok || f.Growth != 0 || !f.Full.IsZero() {
		t.Errorf("no growth: %+v", f)
	}
}
