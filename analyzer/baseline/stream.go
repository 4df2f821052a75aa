package baseline

import (
	"math"
	"slices"
	"time"
)

// StreamConfig says how a Stream judges. The defaults are one compromise for all
// series; none was fitted to a kind of series.
type StreamConfig struct {
	Step     time.Duration // between two values; needed
	Season   time.Duration // what repeats; at least 4 steps, else nothing does
	Window   int           // values of the past that are compared with
	WarmUp   int           // values before anything is said
	Quantile float64       // a deviation is measured in this quantile of past deviations
	MinMAD   float64       // but at least in so many scaled median deviations
	MinShare float64       // and at least in this share of the median
	Alarm    float64       // score from which on an alarm is raised
	CoolDown int           // values after an alarm without another: the onset counts
	Mean     int           // values of the slow mean
}

// DefaultStreamConfig returns what is used for hourly series and for the Numenta
// benchmark alike. Quantile is that of Slips' benign scores.
func DefaultStreamConfig(step time.Duration) StreamConfig {
	return StreamConfig{Step: step, Season: 24 * time.Hour, Window: 2500, WarmUp: 40, Quantile: 0.995, MinMAD: 3, MinShare: 0.02,
		Alarm: 1.2, CoolDown: 100, Mean: 12}
}

// Reading is what a Stream says of a value.
type Reading struct {
	Score    float64 // deviation, in units of the largest usual ones: 1 is rare, Alarm and more an anomaly; 0 while learning
	Alarm    bool    // the onset of an anomaly
	Aspect   Aspect  // what deviates most
	Expected float64 // usual value of that aspect
	Learning bool    // no aspect has enough history
}

// Aspect is a view of a series that has a usual range of its own.
type Aspect string

const (
	Pair     Aspect = "mean of two values" // spikes and shifts; a single stray value counts half
	Slow     Aspect = "slow mean"          // what lasts
	Seasonal Aspect = "against its season" // away from the median of the same time of earlier days
)

// seasons is how many earlier seasons a value is compared with: the median of
// five is not moved by two odd ones.
const seasons = 5

// relearn is how many values pass until centre and quantile are taken anew: a
// sort of the window for every value would cost more than it gives.
const relearn = 50

// Stream judges one series value by value, with bounded memory, and looks at
// nothing but the values it has been given: the same series gives the same
// readings. It needs no parameters of the series: each aspect is measured in the
// extremes of its own past, so that what is spiky by nature must spike higher. A
// Stream is not for several goroutines.
type Stream struct {
	c       StreamConfig
	n       int
	since   int // values since the last alarm
	recent  []float64
	season  int // steps
	slots   []slot
	aspects [3]aspect
}

// slot is the value of a time, for the season.
type slot struct {
	number int64
	value  float64
	set    bool
}

// aspect is the past of one view.
type aspect struct {
	past          []float64 // ring of Window values
	next          int
	count, warm   int
	median, scale float64
}

// NewStream returns a Stream that has seen nothing.
func NewStream(c StreamConfig) *Stream {
	s := &Stream{c: c, since: c.CoolDown}
	if c.Step > 0 && c.Season >= 4*c.Step {
		s.season = int(c.Season / c.Step)
		s.slots = make([]slot, seasons*s.season+1)
	}
	for i := range s.aspects {
		s.aspects[i].warm = c.WarmUp
	}
	if s.season > 0 {
		s.aspects[2].warm += s.season
	}
	return s
}

// Observe takes the value of a time and says how it fits. Times should grow;
// gaps are no values. NaN and infinite values are skipped.
func (s *Stream) Observe(at time.Time, value float64) Reading {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return Reading{Learning: s.n < s.c.WarmUp}
	}
	s.n++
	s.since++
	if len(s.recent) == s.c.Mean {
		s.recent = s.recent[:copy(s.recent, s.recent[1:])]
	}
	s.recent = append(s.recent, value)
	two, slow := mean(s.recent[max(0, len(s.recent)-2):]), mean(s.recent)

	best := Reading{Learning: true}
	look := func(i int, name Aspect, v, offset float64) {
		score, ready := s.aspects[i].observe(v, s.c)
		if !ready {
			return
		}
		best.Learning = false
		if score >= best.Score {
			best.Score, best.Aspect, best.Expected = score, name, s.aspects[i].median+offset
		}
	}
	look(0, Pair, two, 0)
	look(1, Slow, slow, 0)
	if usual, ok := s.usual(at, two); ok {
		look(2, Seasonal, two-usual, usual)
	}
	if best.Score >= s.c.Alarm && s.since > s.c.CoolDown {
		best.Alarm = true
		s.since = 0
	}
	return best
}

// usual is the median of the same time of earlier seasons; it keeps value for later ones.
func (s *Stream) usual(at time.Time, value float64) (float64, bool) {
	if s.season == 0 {
		return 0, false
	}
	number := at.Round(s.c.Step).UnixNano() / int64(s.c.Step)
	var same []float64
	for k := 1; k <= seasons; k++ {
		if before := number - int64(k*s.season); before >= 0 {
			if p := s.slots[before%int64(len(s.slots))]; p.set && p.number == before {
				same = append(same, p.value)
			}
		}
	}
	if number >= 0 {
		s.slots[number%int64(len(s.slots))] = slot{number, value, true}
	}
	if len(same) == 0 {
		return 0, false
	}
	slices.Sort(same)
	return same[len(same)/2], true
}

// observe scores v against the past and adds it.
func (a *aspect) observe(v float64, c StreamConfig) (score float64, ready bool) {
	if a.count >= a.warm {
		if a.count == a.warm || a.count%relearn == 0 {
			a.learn(c)
		}
		score, ready = math.Abs(v-a.median)/a.scale, true
	}
	if len(a.past) < c.Window {
		a.past = append(a.past, v)
	} else {
		a.past[a.next] = v
		a.next = (a.next + 1) % c.Window
	}
	a.count++
	return score, ready
}

// learn takes the centre and the scale of the past.
func (a *aspect) learn(c StreamConfig) {
	sorted := slices.Clone(a.past)
	slices.Sort(sorted)
	a.median = middle(sorted)
	for i, v := range sorted {
		sorted[i] = math.Abs(v - a.median)
	}
	slices.Sort(sorted)
	a.scale = max(rank(sorted, c.Quantile), c.MinMAD*Scale*rank(sorted, 0.5), c.MinShare*math.Abs(a.median), math.SmallestNonzeroFloat32)
}

// middle is the median of a sorted list that is not empty.
func middle(sorted []float64) float64 {
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// rank is a quantile of a sorted list that is not empty, an element of it.
func rank(sorted []float64, q float64) float64 { return sorted[int(q*float64(len(sorted)-1))] }

func mean(list []float64) float64 {
	var sum float64
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}
