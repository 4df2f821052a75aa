package channel

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// series makes the calls of one client: period and spread of a beacon that waits
// period*(1-U(0,jitter)) each time, or of a memoryless poller (jitter < 0), sizes
// with a coefficient of variation, and a share of calls that fail.
func series(r *rand.Rand, start int64, period, jitter, cv, misses float64, calls int) (times, sizes []int64) {
	at := float64(start)
	for range calls {
		if r.Float64() >= misses {
			times = append(times, int64(at*1000))
			sizes = append(sizes, int64(max(60, 500*(1+cv*r.NormFloat64()))))
		}
		if jitter < 0 {
			at += max(0.001, r.ExpFloat64()*period)
		} else {
			at += period * (1 - jitter*r.Float64())
		}
	}
	return times, sizes
}

// raised says whether any window from the first call to the last raises the pair,
// with the calls up to the window's end.
func raised(c BeaconConfig, times, sizes []int64) bool {
	p := beaconPair{Src: "10.0.0.1", Target: "203.0.113.1", Way: "out", Port: 443, Clients: 1, Hosts: 100}
	n := 0
	last := times[len(times)-1]/1000/3600*3600 + 3600 // the full hour after the last call
	for to := (times[0]/1000/900 + 1) * 900; to <= last; to += 900 {
		for n < len(times) && times[n] < to*1000 {
			n++
		}
		fresh := int64(900)
		if to%21600 == 0 {
			fresh = 21600
		} else if to%3600 == 0 {
			fresh = 3600
		}
		if n == 0 || times[n-1] < (to-fresh)*1000 {
			continue
		}
		// as the statement does: what is older than the window's reach is not read
		reach, from := lookbacks(to), 0
		for times[from] < (to-reach[len(reach)-1])*1000 {
			from++
		}
		p.Times, p.Sizes = times[from:n], sizes[from:n]
		if _, ok := p.score(c, time.Unix(to, 0)); ok {
			return true
		}
	}
	return false
}

// Beacons of 30 s to 1 h with up to 50 % jitter, sizes that vary and calls that
// fail are found within 20 gaps; a memoryless poller is not, all day.
func TestBeaconSeries(t *testing.T) {
	c := DefaultConfig().Beacon
	r := rand.New(rand.NewPCG(7, 11))
	const each = 40
	found, all := 0, 0
	for _, period := range []float64{30, 60, 300, 900, 1800, 3600} {
		for _, jitter := range []float64{0, 0.2, 0.37, 0.5} {
			for _, cv := range []float64{0, 0.3} {
				for _, misses := range []float64{0, 0.1} {
					n := 0
					for range each {
						times, sizes := series(r, 1772409600+r.Int64N(86400), period, jitter, cv, misses, 21)
						if raised(c, times, sizes) {
							n++
						}
					}
					found, all = found+n, all+each
					if share := float64(n) / each; share < 0.7 {
						t.Errorf("period %v s, jitter %v, size variation %v, misses %v: found %.3f", period, jitter, cv, misses, share)
					}
				}
			}
		}
	}
	if recall := float64(found) / float64(all); recall < 0.95 {
		t.Errorf("recall %.4f of %d series, want 0.95", recall, all)
	} else {
		t.Logf("recall %.4f of %d series", recall, all)
	}
	false0, pairs := 0, 0
	for _, period := range []float64{60, 300, 900, 1800, 3600} {
		for range 300 {
			calls := int(86400 / period)
			times, sizes := series(r, 1772409600, period, -1, 0, 0, calls)
			pairs++
			if raised(c, times, sizes) {
				t.Logf("raised: memoryless, mean %v s", period)
				false0++
			}
		}
	}
	t.Logf("memoryless pollers raised: %d of %d pair-days", false0, pairs)
	if share := float64(false0) / float64(pairs); share > 0.001 {
		t.Errorf("memoryless pollers: %d of %d pair-days are raised (%.4f), want 0.001", false0, pairs, share)
	}
}

// What is harder is reported, and held to what was measured.
func TestBeaconEvasion(t *testing.T) {
	c := DefaultConfig().Beacon
	r := rand.New(rand.NewPCG(3, 5))
	for _, e := range []struct {
		name       string
		jitter, cv float64
		misses     float64
		least      float64
	}{
		{"jitter 70 %", 0.7, 0, 0, 0.9},
		{"jitter 90 %", 0.9, 0, 0, 0.05},
		{"padding to twice the size", 0.2, 0.8, 0, 0.8},
		{"a third fails", 0.2, 0, 0.33, 0.05},
	} {
		n := 0
		for range 100 {
			times, sizes := series(r, 1772409600+r.Int64N(86400), 300, e.jitter, e.cv, e.misses, 145)
			if raised(c, times, sizes) {
				n++
			}
		}
		t.Logf("%s, 12 hours of 5 minutes: found %.3f", e.name, float64(n)/100)
		if float64(n)/100 < e.least {
			t.Errorf("%s: found %.3f, was %v", e.name, float64(n)/100, e.least)
		}
	}
}

func TestQuantiles(t *testing.T) {
	if got := middle([]int64{4, 1, 3, 2}); got != 3 { // ClickHouse: SELECT quantileExact(0.5)(…) is the upper one
		t.Errorf("middle of an even list: %d, want 3", got)
	}
	if got := quantile([]float64{1, 2, 3, 4}, 0.25); math.Abs(got-1.75) > 1e-12 {
		t.Errorf("quantile: %v, want 1.75", got)
	}
}
