package demo

import (
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

// checkBeacon scores every pair of every day with the published formula of RITA v5, written here a second
// time and apart from the analyzer: the planted beacon must stand out, and nothing else may come near it.
func checkBeacon(t *testing.T, packets []parsed, labels []Label) {
	l := one(t, labels, "beacon")
	type pair struct {
		src, dst netip.Addr
		port     uint16
		day      int64
	}
	type contact struct {
		at    float64 // seconds
		bytes float64 // sent by the source, IP octets
	}
	contacts := map[pair][]*contact{}
	open := map[[2]netip.AddrPort]*contact{}
	for _, p := range packets {
		if !p.ok || p.Protocol != trace.TCP && p.Protocol != trace.UDP {
			continue
		}
		way := [2]netip.AddrPort{p.Src, p.Dst}
		starts := p.Protocol == trace.TCP && p.Flags&(trace.SYN|trace.ACK) == trace.SYN || p.Protocol == trace.UDP && p.Src.Port() > p.Dst.Port()
		if starts {
			k := pair{p.Src.Addr(), p.Dst.Addr(), p.Dst.Port(), p.Time / 86400e6}
			open[way] = &contact{at: float64(p.Time) / 1e6}
			contacts[k] = append(contacts[k], open[way])
		}
		if c := open[way]; c != nil {
			c.bytes += float64(p.IPLength)
		}
	}
	best, other := 0.0, 0.0
	var rival pair
	for k, list := range contacts {
		times, sizes := make([]float64, len(list)), make([]float64, len(list))
		for i, c := range list {
			times[i], sizes[i] = c.at, c.bytes
		}
		score := rita(times, sizes, float64(k.day*86400))
		if k.src == l.Actor && l.isVictim(k.dst) {
			best = max(best, score)
		} else if score > other {
			other, rival = score, k
		}
	}
	t.Logf("beacon %.3f, next %.3f (%s to %s port %d, day of %s)", best, other, rival.src, rival.dst, rival.port, time.Unix(rival.day*86400, 0).UTC().Format(time.DateOnly))
	if best < 0.95 || other > 0.85 {
		t.Errorf("beacon scores %.3f and the next %.3f (%+v), want at least 0.95 and at most 0.85", best, other, rival)
	}
}

// rita is the beacon score of RITA v5 over the day that begins at start (seconds): the mean of four scores of
// timestamps, sizes, duration and histogram; 0 for fewer than 4 contacts. times are in order.
func rita(times, sizes []float64, start float64) float64 {
	if len(times) < 4 {
		return 0
	}
	gaps := make([]float64, 0, len(times)-1)
	for i := 1; i < len(times); i++ {
		gaps = append(gaps, times[i]-times[i-1])
	}
	var bins [24]float64
	for _, at := range times {
		bins[min(23, max(0, int((at-start)/3600)))]++
	}
	filled, run, longest := 0, 0, 0
	heights := map[float64]int{}
	sum, squares := 0.0, 0.0
	for _, n := range bins {
		sum += n
		squares += n * n
		if n == 0 {
			run = 0
			continue
		}
		filled++
		run++
		longest = max(longest, run)
		heights[n]++
	}
	duration := 0.0
	if filled >= 6 {
		duration = min(1, max((times[len(times)-1]-times[0])/86400, float64(longest)/12))
	}
	mean := sum / 24
	histogram := max(0, 1-math.Sqrt(max(0, squares/24-mean*mean))/mean)
	if filled >= 11 {
		counts := make([]int, 0, len(heights))
		for _, n := range heights {
			counts = append(counts, n)
		}
		slices.Sort(counts)
		common := counts[len(counts)-1]
		if len(counts) > 1 {
			common += counts[len(counts)-2]
		}
		histogram = max(histogram, float64(common)/float64(filled))
	}
	return (regularity(gaps) + regularity(sizes) + duration + histogram) / 4
}

// regularity is RITA's ((1-|Bowley skew|) + max(0, (median-MAD)/median)) / 2.
func regularity(values []float64) float64 {
	q1, q2, q3 := quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)
	skew := 0.0
	if q3-q1 >= 10 && q2 != q1 && q2 != q3 {
		skew = (q1 + q3 - 2*q2) / (q3 - q1)
	}
	away := make([]float64, len(values))
	for i, v := range values {
		away[i] = math.Abs(v - q2)
	}
	spread := 0.0
	if q2 > 0 {
		spread = max(0, (q2-quantile(away, 0.5))/q2)
	}
	return (1 - math.Abs(skew) + spread) / 2
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

// TestRita holds the score of this file to what is known of the formula: a perfect beacon over a whole day has 1, one
// of two hours has a half (timestamps and sizes only).
func TestRita(t *testing.T) {
	for _, c := range []struct {
		name  string
		hours int
		want  float64
	}{{"day", 24, 1}, {"two hours", 2, 0.5}} {
		t.Run(c.name, func(t *testing.T) {
			var times, sizes []float64
			for at := 0.0; at < float64(c.hours)*3600; at += 300 {
				times, sizes = append(times, at), append(sizes, 500)
			}
			if got := rita(times, sizes, 0); math.Abs(got-c.want) > 0.01 {
				t.Errorf("score %.3f, want %.2f", got, c.want)
			}
		})
	}
}
