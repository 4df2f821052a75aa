package baseline

import (
	"math"
	"slices"
)

// ADWIN finds where the mean of a series has changed: the last index from which
// on all values may be of one mean, 0 if all may. delta is the share of series
// without change in which it finds one, about; values should be without season and
// of bounded spread, and their own dependence is taken into account by counting
// memory values as one. After Bifet, Gavaldà: Learning from Time-Changing Data with
// Adaptive Windowing (2007), which keeps buckets where this looks at all cuts a
// memory apart, since series here are short.
func ADWIN(values []float64, delta float64, memory int) int {
	from := 0
	for {
		cut := widestCut(values[from:], delta, max(1, memory))
		if cut == 0 {
			return from
		}
		from += cut
	}
}

// widestCut is the cut whose halves differ most beyond what chance makes, 0 for none.
func widestCut(values []float64, delta float64, memory int) int {
	n := len(values)
	sums := make([]float64, n+1)
	var squares float64
	for i, v := range values {
		sums[i+1] = sums[i] + v
		squares += v * v
	}
	if n < 4*memory {
		return 0
	}
	mean := sums[n] / float64(n)
	variance := max(0, squares/float64(n)-mean*mean)
	best, cut := 0.0, 0
	strict := math.Log(2 * math.Log(float64(n)) / delta)
	for i := 2 * memory; i <= n-2*memory; i += memory {
		a, b := float64(i), float64(n-i)
		inverse := (1/a + 1/b) * float64(memory)
		// The Bernstein bound of the paper; variance shrinks to what is within.
		gap := math.Abs(sums[i]/a - (sums[n]-sums[i])/b)
		within := max(0, variance-a*b/(float64(n)*float64(n))*gap*gap)
		limit := math.Sqrt(2*inverse*within*strict) + 2.0/3*inverse*strict*math.Sqrt(within)
		if beyond := gap - limit; gap > 0 && beyond > best {
			best, cut = beyond, i
		}
	}
	return cut
}

// DriftDelta is the delta of ADWIN where series are learnt anew.
const DriftDelta = 0.01

// minDriftValues is how many values a series needs before it can be said to drift.
const minDriftValues = 200

// minDrift is the least change, on log1p, that is worth learning anew for: a third.
const minDrift = 0.3

// SinceDrift returns the index from which on a series of amounts is to be learnt,
// because its level has changed for good there; 0: all of it. season is the length
// of its season in values: it is taken out, and the values of one count as one. NaN
// are gaps.
func SinceDrift(values []float64, season int) int {
	if len(values) < minDriftValues {
		return 0
	}
	days := len(values) / season
	skip := len(values) - days*season // the last seasons are whole
	levels := make([]float64, days)
	for d := range days {
		var list []float64
		for _, v := range values[skip+d*season : skip+(d+1)*season] {
			if !math.IsNaN(v) {
				list = append(list, math.Log1p(max(0, v)))
			}
		}
		if len(list) == 0 {
			if d > 0 {
				levels[d] = levels[d-1]
			}
			continue
		}
		levels[d] = mean(list)
	}
	from := ADWIN(weekless(levels), DriftDelta, 1)
	if from == 0 || math.Abs(mean(levels[from:])-mean(levels[:from])) < minDrift {
		return 0
	}
	return skip + from*season
}

// weekless takes the week out of daily values, where there are two and more.
func weekless(days []float64) []float64 {
	if len(days) < 14 {
		return days
	}
	out := make([]float64, len(days))
	for weekday := range 7 {
		var same []float64
		for i := weekday; i < len(days); i += 7 {
			same = append(same, days[i])
		}
		slices.Sort(same)
		for i := weekday; i < len(days); i += 7 {
			out[i] = days[i] - middle(same)
		}
	}
	return out
}

// KS is the Kolmogorov-Smirnov test of two samples: the largest distance of their
// distributions, 0 to 1, which is the size of the effect, and the probability of one
// as large if both were of one distribution (asymptotic). Empty samples are alike.
func KS(a, b []float64) (distance, p float64) {
	if len(a) == 0 || len(b) == 0 {
		return 0, 1
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		v := min(a[i], b[j])
		for i < len(a) && a[i] <= v {
			i++
		}
		for j < len(b) && b[j] <= v {
			j++
		}
		distance = max(distance, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := math.Sqrt(float64(len(a)) * float64(len(b)) / float64(len(a)+len(b)))
	lambda := (n + 0.12 + 0.11/n) * distance
	if lambda < 0.2 {
		return distance, 1
	}
	for k := 1; k <= 100; k++ {
		term := 2 * math.Exp(-2*float64(k*k)*lambda*lambda)
		if k%2 == 0 {
			term = -term
		}
		p += term
	}
	return distance, min(max(p, 0), 1)
}
