package channel

import (
	"math"
	"slices"
	"strings"
)

// rita sets RITA, the score of RITA v5 over the calls of the 24 hours before to that
// are known, a quarter each for times, sizes, duration and histogram by hour, and Hours.
func (s *beaconScore) rita(to int64) {
	from, _ := slices.BinarySearch(s.Times, (to-86400)*1000)
	t, sizes := make([]float64, 0, len(s.Times)-from), make([]float64, 0, len(s.Times)-from)
	for i := from; i < len(s.Times); i++ {
		second := s.Times[i] / 1000
		t, sizes = append(t, float64(second)), append(sizes, float64(s.Sizes[i]))
		s.Hours[max(0, 23-(to-1-second)/3600)]++
	}
	if len(t) == 0 {
		return
	}
	gaps := make([]float64, 0, len(t))
	for i := 1; i < len(t); i++ {
		gaps = append(gaps, t[i]-t[i-1])
	}
	var bars, all []float64
	var hours strings.Builder
	heights := map[float64]int{}
	for _, h := range s.Hours {
		all = append(all, float64(h))
		if h == 0 {
			hours.WriteByte('0')
			continue
		}
		hours.WriteByte('1')
		bars = append(bars, float64(h))
		heights[float64(h)]++
	}
	var common []int
	for _, n := range heights {
		common = append(common, n)
	}
	slices.Sort(common)
	slices.Reverse(common)
	run := 0
	for _, r := range strings.Split(hours.String(), "0") {
		run = max(run, len(r))
	}
	duration := 0.0
	if len(bars) >= 6 {
		duration = min(1, max((t[len(t)-1]-t[0])/86400, float64(run)/12))
	}
	mean, squares := 0.0, 0.0
	for _, h := range all {
		mean, squares = mean+h/24, squares+h*h/24
	}
	histogram := max(0, 1-math.Sqrt(max(0, squares-mean*mean))/mean)
	if len(bars) >= 11 {
		top := common[0]
		if len(common) > 1 {
			top += common[1]
		}
		histogram = max(histogram, float64(top)/float64(len(bars)))
	}
	s.RITA = (evenness(gaps) + evenness(sizes) + duration + histogram) / 4
}

// evenness is RITA's score of a list: no skew by Bowley, and little deviation.
func evenness(list []float64) float64 {
	if len(list) == 0 {
		return 0.5
	}
	q1, q2, q3 := quantile(list, 0.25), quantile(list, 0.5), quantile(list, 0.75)
	skew := 0.0
	if q3-q1 >= 10 && q2 != q1 && q2 != q3 {
		skew = (q1 + q3 - 2*q2) / (q3 - q1)
	}
	off := make([]float64, len(list))
	for i, x := range list {
		off[i] = math.Abs(x - q2)
	}
	spread := 0.0
	if q2 > 0 {
		spread = max(0, (q2-quantile(off, 0.5))/q2)
	}
	return (1 - math.Abs(skew) + spread) / 2
}

// quantile is ClickHouse's quantileExactInclusive.
func quantile(list []float64, level float64) float64 {
	s := slices.Sorted(slices.Values(list))
	at := level * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}
