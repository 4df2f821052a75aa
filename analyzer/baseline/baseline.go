// Package baseline compares a value with what is usual at that time of the week.
// In come hourly values of the past; out goes a robust baseline (median and
// median absolute deviation on log1p) and how far a value is from it. Detectors
// do the same inside ClickHouse with the statements of series.sql; the functions
// here are their definition, and judge where only the numbers are at hand.
// Nothing is owned, and nothing looks at the clock.
package baseline

import (
	_ "embed"
	"math"
	"slices"
	"time"
)

// Level says which hours of the past a value was compared with.
type Level string

const (
	HourOfWeek Level = "hour of week" // the same hour of the same weekday
	HourOfDay  Level = "hour of day"  // the same hour of every day
	Learning   Level = "learning"     // too few of either: no judgement
)

// What a level needs, and the least spread.
const (
	// MinWeeks samples of the hour of week: with two, one odd week would be
	// half of the past.
	MinWeeks = 3
	// MinDays samples of the hour of day.
	MinDays = 7
	// MinSpread bounds the scaled MAD from below, in natural logarithms: a host
	// that does the same to the byte every week may still grow by half.
	MinSpread = 0.5
	// Scale makes the MAD of a normal distribution its standard deviation.
	Scale = 1.4826
)

// Sample is the value of one hour.
type Sample struct {
	Hour  time.Time // its start, UTC
	Value float64   // 0 or more
}

// Baseline is what is usual, on log1p of the values.
type Baseline struct {
	Level   Level   `json:"level"`
	Samples int     `json:"samples"`
	Median  float64 `json:"median_log1p"`
	MAD     float64 `json:"mad_log1p"`
}

// At returns the baseline for the hour that begins at hour, from the history
// before it. The history has one sample per hour in which there was a probe to
// see the host, zeros included.
func At(history []Sample, hour time.Time) Baseline {
	hour = hour.UTC()
	var week, day []float64
	for _, s := range history {
		at := s.Hour.UTC()
		if !at.Before(hour) || at.Hour() != hour.Hour() {
			continue
		}
		v := math.Log1p(max(0, s.Value))
		day = append(day, v)
		if at.Weekday() == hour.Weekday() {
			week = append(week, v)
		}
	}
	switch {
	case len(week) >= MinWeeks:
		return of(HourOfWeek, week)
	case len(day) >= MinDays:
		return of(HourOfDay, day)
	}
	return Baseline{Level: Learning, Samples: len(day)}
}

func of(level Level, values []float64) Baseline {
	m := Median(values)
	return Baseline{Level: level, Samples: len(values), Median: m, MAD: MAD(values, m)}
}

// Z is how far value is above what is usual, in robust standard deviations;
// below zero: less than usual. 0 while learning.
func (b Baseline) Z(value float64) float64 {
	if b.Level == Learning {
		return 0
	}
	return (math.Log1p(max(0, value)) - b.Median) / max(Scale*b.MAD, MinSpread)
}

// Median returns the middle of values, the mean of the two in the middle of an
// even number; 0 of none. values stay as they are.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// MAD returns the median of the distances from m.
func MAD(values []float64, m float64) float64 {
	away := make([]float64, len(values))
	for i, v := range values {
		away[i] = math.Abs(v - m)
	}
	return Median(away)
}

//go:embed series.sql
var series string

// SeriesSQL returns the common table expressions that follow `WITH` and the table
// `series` (site, key, hours Array(DateTime), bytes Array(UInt64), observed
// UInt64): they add the table `judged` with the same keys and samples, level,
// median, mad, z and ceiling, the 0.995 quantile of the past. The window begins at
// {from:UInt32}.
func SeriesSQL() string { return series }
