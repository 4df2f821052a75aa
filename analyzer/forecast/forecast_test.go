package forecast

import (
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// result is what forecasts of the last part of a series were like.
type result struct {
	mase     float64 // mean error one step ahead, in that of the seasonal naive forecast
	inside   int     // values within the 95 % band
	n        int
	inside99 int
}

// measure fits the first two thirds and forecasts each of the others from all
// before it, one step ahead. The naive forecast is the value a season before.
func measure(t *testing.T, values []float64, c Config, season int) result {
	t.Helper()
	cut := len(values) * 2 / 3
	m, err := Fit(values[:cut], c)
	if err != nil {
		t.Fatal(err)
	}
	var r result
	var own, naive float64
	for i := cut; i < len(values); i++ {
		v := values[i]
		if f := m.Ahead(1, 0.95); !math.IsNaN(v) {
			if before := values[i-season]; !math.IsNaN(before) {
				own += math.Abs(v - f.Expected)
				naive += math.Abs(v - before)
			}
			r.n++
			if v >= f.Low && v <= f.High {
				r.inside++
			}
			if g := m.Ahead(1, 0.99); v >= g.Low && v <= g.High {
				r.inside99++
			}
		}
		m.Observe(v)
	}
	r.mase = own / naive
	return r
}

// traffic makes hours of a link: a day and a week in it, noise that remembers,
// bursts now and then, all multiplied.
func traffic(seed uint64, weeks int) []float64 {
	random := rand.New(rand.NewPCG(seed, 4))
	values := make([]float64, weeks*168)
	var noise float64
	for i := range values {
		day := math.Sin(2*math.Pi*float64(i%24)/24-2) * 1.2
		if i%168 >= 5*24 {
			day -= 1
		}
		noise = 0.6*noise + 0.15*random.NormFloat64()
		if random.IntN(200) == 0 {
			noise += 1
		}
		values[i] = 1e9 * math.Exp(day+noise+0.0002*float64(i))
	}
	return values
}

// TestSynthetic: over many seeds.
func TestSynthetic(t *testing.T) {
	var sum result
	var mases []float64
	for seed := range uint64(12) {
		r := measure(t, traffic(seed, 9), Hourly(), 168)
		mases = append(mases, r.mase)
		sum.inside, sum.n, sum.inside99 = sum.inside+r.inside, sum.n+r.n, sum.inside99+r.inside99
		t.Logf("seed %2d: MASE %.2f, within 95 %%: %.1f %%, within 99 %%: %.1f %%", seed, r.mase, share(r.inside, r.n), share(r.inside99, r.n))
	}
	check(t, "synthetic", mases, sum)
}

func share(a, b int) float64 { return 100 * float64(a) / float64(b) }

func check(t *testing.T, name string, mases []float64, sum result) {
	t.Helper()
	slices.Sort(mases)
	var mean float64
	for _, m := range mases {
		mean += m / float64(len(mases))
	}
	inside := share(sum.inside, sum.n)
	t.Logf("%s: %d series, MASE mean %.2f, median %.2f; within the 95 %% band %.1f %% of %d, within 99 %% %.1f %%", name, len(mases), mean, mases[len(mases)/2], inside, sum.n, share(sum.inside99, sum.n))
	if mean > 0.85 || inside < 93 || inside > 97 {
		t.Errorf("%s: MASE %.2f, at most 0.85; %.1f %% within the band, 93 to 97", name, mean, inside)
	}
}

const nab = "../../../shared/captures/flows/nab/"

// hours reads a series of the Numenta benchmark as hourly means.
func hours(t *testing.T, file string) []float64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var sums, counts []float64
	var first time.Time
	for _, line := range lines[1:] {
		at, err := time.Parse(time.DateTime, line[0])
		if err != nil {
			t.Fatal(err)
		}
		v, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if first.IsZero() {
			first = at.Truncate(time.Hour)
		}
		for k := int(at.Sub(first) / time.Hour); len(sums) <= k; {
			sums, counts = append(sums, 0), append(counts, 0)
		}
		k := int(at.Sub(first) / time.Hour)
		sums[k] += v
		counts[k]++
	}
	values := make([]float64, len(sums))
	for i := range sums {
		values[i] = sums[i] / counts[i] // NaN where there are none
	}
	return values
}

// TestNAB measures on real series, hour by hour. Those that never change have no
// naive error to compare with.
func TestNAB(t *testing.T) {
	files, _ := filepath.Glob(nab + "*/*.csv")
	if len(files) == 0 {
		t.Skip("no series in ../shared/captures/flows/nab")
	}
	var sum result
	var mases []float64
	for _, file := range files {
		values := hours(t, file)
		if len(values) < 6*24 {
			t.Logf("%s: only %d hours", file, len(values))
			continue
		}
		r := measure(t, values, Config{Seasons: []int{24, 168}, Log: true}, 24)
		name := strings.TrimPrefix(file, nab)
		sum.inside, sum.n, sum.inside99 = sum.inside+r.inside, sum.n+r.n, sum.inside99+r.inside99
		text := fmt.Sprintf("%-58s %4d hours, within 95 %%: %5.1f %%", name, len(values), share(r.inside, r.n))
		if !math.IsNaN(r.mase) && !math.IsInf(r.mase, 0) {
			mases = append(mases, r.mase)
			text += fmt.Sprintf(", MASE %.2f", r.mase)
		}
		t.Log(text)
	}
	check(t, "NAB", mases, sum)
}
