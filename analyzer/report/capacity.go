package report

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/forecast"
)

const (
	// trendDays is how much of the past makes the trend: eight weeks.
	trendDays = 56
	// filled is the share of the capacity that the busiest hour may take, as
	// link_capacity of the detectors has it: an hour's mean hides its peaks.
	filled = 0.8
	// fewestDays make a trend.
	fewestDays = 7
)

func (c *collector) capacity(ctx context.Context) error {
	type key struct{ site, name string }
	since := c.p.End.Add(-trendDays * 24 * time.Hour).UTC().Truncate(time.Hour)
	end := c.p.End.UTC().Truncate(time.Hour)
	n := int(end.Sub(since) / time.Hour)
	hours := map[key][]float64{}
	err := c.each(ctx, "hours", func(rows driver.Rows) error {
		var k key
		var at uint32
		var octets uint64
		if err := rows.Scan(&k.site, &k.name, &at, &octets); err != nil {
			return err
		}
		if hours[k] == nil {
			hours[k] = slices.Repeat([]float64{math.NaN()}, n)
		}
		if i := int(time.Unix(int64(at), 0).Sub(since) / time.Hour); i >= 0 && i < n {
			hours[k][i] = float64(octets)
		}
		return nil
	}, clickhouse.Named("from", unix(since)), clickhouse.Named("to", unix(end)))
	for k, values := range hours {
		c.r.Capacity = append(c.r.Capacity, trend(k.site, k.name, values, c.Maker.capacity[k.name], c.p.End))
	}
	slices.SortFunc(c.r.Capacity, func(a, b Capacity) int {
		return first(compare(b.Load, a.Load), compare(b.Busiest, a.Busiest), compare(a.Site, b.Site), compare(a.Name, b.Name))
	})
	if len(c.r.Capacity) > maxLinks {
		c.r.Capacity = c.r.Capacity[:maxLinks]
	}
	return err
}

// trend says where the hours of a link are going, NaN where there are none. The
// line is that of Theil and Sen: the median of the slopes of all pairs of days.
func trend(site, name string, hours []float64, capacity float64, end time.Time) Capacity {
	out := Capacity{Site: site, Name: name, Capacity: capacity}
	type day struct{ at, rate float64 }
	var days []day
	for d := 0; d*24 < len(hours); d++ {
		most, some := 0.0, false
		for _, v := range hours[d*24 : min(d*24+24, len(hours))] {
			if !math.IsNaN(v) {
				most, some = max(most, v), true
			}
		}
		if some {
			days = append(days, day{float64(d), most * 8 / 3600})
		}
	}
	out.Days = len(days)
	if len(days) == 0 {
		return out
	}
	var slopes, levels []float64
	for i, a := range days {
		for _, b := range days[i+1:] {
			slopes = append(slopes, (b.rate-a.rate)/(b.at-a.at))
		}
	}
	if len(days) >= fewestDays {
		out.Slope = median(slopes)
	}
	last := float64(len(hours))/24 - 1
	for _, d := range days {
		levels = append(levels, d.rate+out.Slope*(last-d.at))
	}
	out.Busiest = max(0, median(levels))
	if from := slices.IndexFunc(hours, func(v float64) bool { return !math.IsNaN(v) }); from >= 0 {
		if m, err := forecast.Fit(hours[from:], forecast.Hourly()); err == nil {
			for h := 1; h <= forecast.Horizon; h++ {
				r := m.Ahead(h, 0.95)
				out.Next, out.NextHigh = max(out.Next, r.Expected*8/3600), max(out.NextHigh, r.High*8/3600)
			}
		}
	}
	if capacity > 0 {
		out.Load = out.Busiest / capacity
		const year = 366
		if left := (filled*capacity - out.Busiest) / out.Slope; out.Load >= filled {
			out.Full = end
		} else if out.Slope > 0 && left < year {
			out.Full = end.Add(time.Duration(left * 24 * float64(time.Hour)))
		}
	}
	return out
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Clone(list)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

func first(results ...int) int { return cmp.Or(results...) }

func severityRank(s string) int { return alert.Severity(s).Rank() }
