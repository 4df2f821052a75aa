// Package baseline compares a value with what is usual at that time of the week.
// In come hourly values of the past; out goes a robust baseline (median and
// median absolute deviation on log1p) and how far a value is from it. ClickHouse
// makes it, with the statements of series.sql: of the same hour of the same
// weekday if there are three of them (with two, one odd week would be half of the
// past), else of the same hour of every day if there are seven. So that nobody
// widens the usual range by doing odd things in it, values of the past that are
// far from their median count less: a tenth from 3 robust standard deviations, a
// hundredth from 4 (the learning rates .5, .05 and .005 of Slips). Baseline.Z judges
// where only the numbers are at hand. Stream judges any series value by value. Nothing is owned, and nothing looks at the
// clock.
package baseline

import (
	_ "embed"
	"math"
)

// Level says which hours of the past a value was compared with.
type Level string

const (
	HourOfWeek Level = "hour of week" // the same hour of the same weekday
	HourOfDay  Level = "hour of day"  // the same hour of every day
	Learning   Level = "learning"     // too few of either: no judgement
)

// How a spread is taken.
const (
	// MinSpread bounds the scaled MAD from below, in natural logarithms: a host
	// that does the same to the byte every week may still grow by half.
	MinSpread = 0.5
	// Scale makes the MAD of a normal distribution its standard deviation.
	Scale = 1.4826
)

// Baseline is what is usual, on log1p of the values.
type Baseline struct {
	Level   Level   `json:"level"`
	Samples int     `json:"samples"`
	Median  float64 `json:"median_log1p"`
	MAD     float64 `json:"mad_log1p"`
}

// Z is how far value is above what is usual, in robust standard deviations;
// below zero: less than usual. 0 while learning.
func (b Baseline) Z(value float64) float64 {
	if b.Level == Learning {
		return 0
	}
	return (math.Log1p(max(0, value)) - b.Median) / max(Scale*b.MAD, MinSpread)
}

//go:embed series.sql
var series string

// SeriesSQL returns the common table expressions that follow `WITH` and the table
// `series` (site, key, hours Array(DateTime), bytes Array(UInt64), observed
// UInt64): they add the table `judged` with the same keys and samples, level,
// median, mad, z and ceiling, the 0.995 quantile of the past. The window begins at
// {from:UInt32}.
func SeriesSQL() string { return series }
