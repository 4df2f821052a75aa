package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestGaps: a series with hours that nobody saw, six hours a day, is forecast like
// one without; what stops is outside of the band.
func TestGaps(t *testing.T) {
	for _, days := range []int{5, 7, 14} {
		wrong := 0
		for seed := range uint64(10) {
			random := rand.New(rand.NewPCG(seed, 5))
			values := make([]float64, days*24-2)
			for i := range values {
				values[i] = math.NaN()
				if i%24 < 6 {
					values[i] = 3e8 * (0.8 + 0.4*random.Float64())
				}
			}
			m, err := Fit(values, Hourly())
			if err != nil {
				t.Fatal(err)
			}
			for h := 3; h <= 6; h++ {
				r := m.Ahead(h, 0.99)
				if r.Low <= 0 || r.Expected < 2e8 || r.Expected > 4e8 {
					t.Errorf("%d days, seed %d: %d ahead %+v", days, seed, h, r)
				}
				if v := 3e8 * (0.8 + 0.4*random.Float64()); v < r.Low || v > r.High {
					wrong++
				}
			}
		}
		if wrong > 4 {
			t.Errorf("%d days: %d of 40 are outside of a 99 %% band", days, wrong)
		}
	}
}
