// Package forecast says what a series of regular values will be next, and between
// what bounds. In come the values of the past, oldest first, NaN where there are
// none; out go forecasts with intervals. The model is Holt-Winters with additive
// seasons of a day and a week of hours, on log1p where values are amounts, with
// a correction for what the last error says about the next (as forecast's BATS and
// Taylor 2003 have it). Intervals are quantiles of the errors that the model made on
// the series itself, that far ahead.
// Nothing is owned, nothing looks at the clock: the same series gives the same
// forecast.
package forecast

import (
	"fmt"
	"math"
	"slices"
)

// Config is how a series is modelled.
type Config struct {
	Seasons []int // lengths in values, ascending; those of which there are fewer than two in the series are left out
	Log     bool  // model log1p of the values, which must not be negative
}

// Hourly is the configuration for hourly amounts: a day and a week.
func Hourly() Config { return Config{Seasons: []int{24, 168}, Log: true} }

// Model is a series that has been learnt.
type Model struct {
	Config  Config
	Weights Weights
	level   float64
	trend   float64
	last    float64            // by how much level, trend and seasons missed the last value
	seasons [][]float64        // by phase
	n       int                // values learnt, gaps included
	tails   [len(kept)]float64 // share left outside of each kept coverage
	errors  [][]float64        // of 1, 2 … Horizon steps ahead, on the modelled scale, after the warm-up
}

// Weights are the parameters that a series was fitted with.
type Weights struct {
	Level  float64   `json:"level"`  // share of an error that stays in the level
	Trend  float64   `json:"trend"`  // and in the trend, which is damped by Damp each step
	Damp   float64   `json:"damp"`   // 0: no trend
	Error  float64   `json:"error"`  // share of the last error that is expected again
	Season []float64 `json:"season"` // share that stays in each season
}

// MinSeasons is how many of the shortest season a series must have.
const MinSeasons = 3

// Fit learns a series. It needs MinSeasons of the shortest season.
func Fit(values []float64, c Config) (*Model, error) {
	var seasons []int
	for _, s := range c.Seasons {
		if len(values) >= 2*s+s/2 {
			seasons = append(seasons, s)
		}
	}
	if len(c.Seasons) > 0 && len(values) < MinSeasons*c.Seasons[0] {
		return nil, fmt.Errorf("fit forecast: %d values, at least %d are needed", len(values), MinSeasons*c.Seasons[0])
	}
	c.Seasons = seasons
	y := make([]float64, len(values))
	for i, v := range values {
		y[i] = c.in(v)
	}
	best, lowest := (*Model)(nil), math.Inf(1)
	for _, w := range grid(len(seasons)) {
		m := start(y, c, w)
		loss := m.run(y)
		if loss < lowest {
			best, lowest = m, loss
		}
	}
	if best == nil {
		return nil, fmt.Errorf("fit forecast: no values")
	}
	m := start(y, c, best.Weights)
	m.errors = make([][]float64, Horizon)
	m.run(y)
	for i, c := range kept {
		m.tails[i] = 1 - c
	}
	return m, nil
}

// kept are the coverages that are held to their promise as values come in: where
// too many fall outside, the bounds become wider, until their share is right (Gibbs,
// Candès: Adaptive Conformal Inference, 2021). keep is the rate of that.
var kept = [...]float64{0.95, 0.99}

const keep = 0.05

// Horizon is how many values ahead intervals are known for.
const Horizon = 24

// in and out change between values and the modelled scale.
func (c Config) in(v float64) float64 {
	if c.Log {
		return math.Log1p(max(0, v)) // NaN stays
	}
	return v
}

func (c Config) out(y float64) float64 {
	if c.Log {
		return max(0, math.Expm1(y))
	}
	return y
}

// grid is what is tried. A coarse grid is enough: the loss is flat around its
// least, and what is found does not depend on where a search began.
func grid(seasons int) []Weights {
	var list []Weights
	for _, level := range []float64{0.01, 0.05, 0.2, 0.5} {
		for _, season := range []float64{0.03, 0.1, 0.25} {
			for _, again := range []float64{0, 0.3, 0.6} {
				for _, trend := range []float64{0, 0.02} {
					w := Weights{Level: level, Trend: trend, Error: again}
					if trend > 0 {
						w.Damp = 0.98
					}
					for range seasons {
						w.Season = append(w.Season, season)
					}
					list = append(list, w)
				}
			}
		}
	}
	return list
}

// start takes level and seasons from the first cycles: the median of each phase.
func start(y []float64, c Config, w Weights) *Model {
	m := &Model{Config: c, Weights: w}
	head := y
	if k := len(c.Seasons); k > 0 {
		head = y[:min(len(y), 2*c.Seasons[k-1])]
	}
	m.level = median(head)
	rest := make([]float64, len(head))
	for i, v := range head {
		rest[i] = v - m.level
	}
	for _, s := range c.Seasons {
		phases := make([]float64, s)
		for p := range phases {
			var same []float64
			for i := p; i < len(rest); i += s {
				same = append(same, rest[i])
			}
			phases[p] = median(same)
		}
		for i := range rest {
			rest[i] -= phases[i%s]
		}
		m.seasons = append(m.seasons, phases)
	}
	return m
}

// run learns y from its beginning and returns the loss: the mean absolute error,
// which odd values move less than squares.
func (m *Model) run(y []float64) float64 {
	warm := len(y) / 4
	if k := len(m.Config.Seasons); k > 0 {
		warm = min(len(y)/2, m.Config.Seasons[k-1])
	}
	var sum float64
	var count int
	for i, v := range y {
		if i >= warm && m.errors != nil {
			for h := 1; h <= Horizon && i+h <= len(y); h++ {
				if e := y[i+h-1] - m.next(h); !math.IsNaN(e) {
					m.errors[h-1] = append(m.errors[h-1], e)
				}
			}
		}
		e := m.learn(v)
		if i >= warm && !math.IsNaN(e) {
			sum += math.Abs(e)
			count++
		}
	}
	if count == 0 {
		return math.MaxFloat64
	}
	return sum / float64(count)
}

// next is the forecast of h steps ahead, h from 1, on the modelled scale.
func (m *Model) next(h int) float64 {
	v := m.level
	damp, d := 0.0, 1.0
	for range h {
		d *= m.Weights.Damp
		damp += d
	}
	v += damp * m.trend
	for k, s := range m.Config.Seasons {
		v += m.seasons[k][(m.n+h-1)%s]
	}
	return v + math.Pow(m.Weights.Error, float64(h))*m.last
}

// learn takes the next value, returns the error of its forecast, NaN for a gap.
func (m *Model) learn(v float64) float64 {
	again := m.Weights.Error * m.last
	e := v - m.next(1)
	w := m.Weights
	learnt := e
	if math.IsNaN(v) { // as if the forecast had come true
		learnt, m.last = 0, again
	} else {
		m.last = e + again
	}
	m.level += w.Damp*m.trend + w.Level*learnt
	m.trend = w.Damp*m.trend + w.Level*w.Trend*learnt
	for k, s := range m.Config.Seasons {
		m.seasons[k][m.n%s] += w.Season[k] * (1 - w.Level) * learnt
	}
	m.n++
	return e
}

// Observe adds the next value to a learnt series, without fitting it again, and
// returns the error of its forecast on the modelled scale, NaN for a gap. Only the
// intervals of one step ahead learn from it.
func (m *Model) Observe(value float64) float64 {
	y := m.Config.in(value)
	if !math.IsNaN(y) {
		for i, c := range kept {
			low, high := bounds(m.errors[0], 1-m.tails[i])
			missed := 0.0
			if e := y - m.next(1); e < low || e > high {
				missed = 1
			}
			m.tails[i] = min(m.tails[i]+keep*((1-c)-missed), 2*(1-c))
		}
	}
	e := m.learn(y)
	if !math.IsNaN(e) {
		m.errors[0] = append(m.errors[0], e)
	}
	return e
}

// Range is a forecast with its bounds.
type Range struct {
	Expected float64 `json:"expected"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// Ahead is the forecast of h steps ahead, 1 to Horizon, with the bounds that hold
// coverage, 0 to 1, of all values: quantiles of the errors that the model made that
// far ahead, the same share above as below. Fewer errors make wider bounds.
func (m *Model) Ahead(h int, coverage float64) Range {
	v := m.next(h)
	for i, c := range kept {
		if c == coverage {
			coverage = 1 - m.tails[i]
		}
	}
	low, high := bounds(m.errors[h-1], coverage)
	return Range{m.Config.out(v), m.Config.out(v + low), m.Config.out(v + high)}
}

// recent is how many errors make bounds: eight weeks of hours.
const recent = 8 * 168

// bounds are the quantiles of errors that hold a new one with the given
// probability; of too few to say so, the extremes and a half more.
func bounds(errors []float64, coverage float64) (low, high float64) {
	if len(errors) == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	sorted := slices.Clone(errors[max(0, len(errors)-recent):])
	slices.Sort(sorted)
	n := float64(len(sorted))
	tail := (1 - coverage) / 2 * (n + 1) // errors expected outside, on each side
	low, high = pick(sorted, tail-1), pick(sorted, n-tail)
	if tail < 1 { // beyond the extremes: as far as they are from the median, for each missing error half as much
		wider := 0.5 * (1 - tail)
		middle := pick(sorted, (n-1)/2)
		low, high = low-wider*(middle-low), high+wider*(high-middle)
	}
	return low - least, high + least
}

// least is added to bounds on the modelled scale: what is the same every day to the
// octet may be rounded.
const least = 1e-3

// pick is the value at a place between 0 and len-1, between neighbours in proportion.
func pick(sorted []float64, at float64) float64 {
	at = min(max(at, 0), float64(len(sorted)-1))
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// median of what is a number; 0 if nothing is.
func median(list []float64) float64 {
	sorted := make([]float64, 0, len(list))
	for _, v := range list {
		if !math.IsNaN(v) {
			sorted = append(sorted, v)
		}
	}
	if len(sorted) == 0 {
		return 0
	}
	slices.Sort(sorted)
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
