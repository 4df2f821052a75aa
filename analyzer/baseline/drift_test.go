package baseline

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestADWIN: without change it finds one rarely, and a change near where it is.
func TestADWIN(t *testing.T) {
	const runs = 500
	wrong, far := 0, 0
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 1))
		values := make([]float64, 200)
		for i := range values {
			values[i] = random.NormFloat64()
		}
		if ADWIN(values, DriftDelta, 1) != 0 {
			wrong++
		}
		for i := 120; i < 200; i++ {
			values[i] += 2
		}
		if at := ADWIN(values, DriftDelta, 1); at < 110 || at > 130 {
			far++
		}
	}
	if far > runs/100 {
		t.Errorf("%d of %d changes are found more than 10 values away", far, runs)
	}
	if wrong > runs*3*DriftDelta {
		t.Errorf("%d of %d series without change have one", wrong, runs)
	}
}

// week makes hours of a link with day, week and noise that remembers.
func week(seed uint64, days int) []float64 {
	random := rand.New(rand.NewPCG(seed, 2))
	values := make([]float64, days*24)
	var noise float64
	for i := range values {
		noise = 0.6*noise + 0.2*random.NormFloat64()
		level := 15 + math.Sin(2*math.Pi*float64(i%24)/24) + noise
		if i%168 >= 120 {
			level -= 1
		}
		values[i] = math.Exp(level)
	}
	return values
}

func TestSinceDrift(t *testing.T) {
	wrong, missed := 0, 0
	const runs = 60
	for seed := range uint64(runs) {
		values := week(seed, 35)
		if SinceDrift(values, 24) != 0 {
			wrong++
		}
		for i := 24 * 25; i < len(values); i++ {
			values[i] *= 3
		}
		values[5] = math.NaN()
		if at := SinceDrift(values, 24); at < 24*23 || at > 24*27 {
			missed++
		}
	}
	if wrong > 2 || missed > 2 {
		t.Errorf("of %d series %d without change have one, and %d changes are not found", runs, wrong, missed)
	}
	if SinceDrift(week(1, 8), 24) != 0 {
		t.Error("192 hours are enough")
	}
}

// TestKS: against values of scipy.stats.ks_2samp's definition, and of its own distribution.
func TestKS(t *testing.T) {
	if d, p := KS([]float64{1, 2, 3}, []float64{1, 2, 3}); d != 0 || p != 1 {
		t.Errorf("the same: %v, %v", d, p)
	}
	if d, p := KS([]float64{1, 1, 2, 2}, []float64{3, 3, 4, 4}); d != 1 || p > 0.05 {
		t.Errorf("apart: %v, %v", d, p)
	}
	if d, p := KS(nil, []float64{1}); d != 0 || p != 1 {
		t.Errorf("nothing: %v, %v", d, p)
	}
	below := 0
	const runs = 1000
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 3))
		a, b := make([]float64, 150), make([]float64, 150)
		for i := range a {
			a[i], b[i] = random.NormFloat64(), random.NormFloat64()
		}
		if _, p := KS(a, b); p < 0.05 {
			below++
		}
	}
	if below < runs*2/100 || below > runs*8/100 {
		t.Errorf("p below 0.05 in %d of %d pairs of one distribution", below, runs)
	}
}
