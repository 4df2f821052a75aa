package forest

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

var names = []string{"a", "b", "c"}

// cloud makes rows around the origin.
func cloud(seed uint64, n int) [][]float64 {
	random := rand.New(rand.NewPCG(seed, 9))
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = []float64{random.NormFloat64(), random.NormFloat64(), random.NormFloat64()}
	}
	return rows
}

// TestScore: what lies apart is odd, by the feature in which it does, for any seed.
func TestScore(t *testing.T) {
	for seed := range uint64(5) {
		f, err := Train(cloud(seed, 600), names, Config{Trees: 100, Sample: 256, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		usual, parts := f.Score([]float64{0, 0, 0})
		if usual > 0.5 {
			t.Errorf("seed %d: the middle scores %.2f", seed, usual)
		}
		for feature := range names {
			row := []float64{0, 0, 0}
			row[feature] = 9
			odd, parts := f.Score(row)
			if odd < usual+0.05 {
				t.Errorf("seed %d: far in %s scores %.2f, the middle %.2f", seed, names[feature], odd, usual)
			}
			for i := range parts {
				if i != feature && parts[i] >= parts[feature] {
					t.Errorf("seed %d: far in %s, contributions %.2f", seed, names[feature], parts)
				}
			}
		}
		var sum float64
		for _, p := range parts {
			sum += p
		}
		if want := expected(256) * (1 + math.Log2(usual)); math.Abs(sum-want) > 1e-9 {
			t.Errorf("seed %d: contributions add up to %v, the path is shorter by %v", seed, sum, want)
		}
	}
}

func TestTrainAgain(t *testing.T) {
	one, _ := Train(cloud(1, 300), names, DefaultConfig())
	two, _ := Train(cloud(1, 300), names, DefaultConfig())
	if !reflect.DeepEqual(one, two) {
		t.Error("the same rows and seed make another forest")
	}
}

func TestTrainRefuses(t *testing.T) {
	if _, err := Train(cloud(1, 7), names, DefaultConfig()); err == nil {
		t.Error("seven rows are enough")
	}
	if _, err := Train(append(cloud(1, 20), []float64{1}), names, DefaultConfig()); err == nil {
		t.Error("a short row is taken")
	}
}

// TestEqualRows: a host that always does the same is told from one that does not.
func TestEqualRows(t *testing.T) {
	rows := make([][]float64, 50)
	for i := range rows {
		rows[i] = []float64{1, 2, 3}
	}
	f, err := Train(rows, names, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	usual, _ := f.Score([]float64{1, 2, 3})
	odd, parts := f.Score([]float64{1, 9, 3})
	if usual >= 0.5 || odd < usual+0.05 || parts[1] <= parts[0] || parts[1] <= parts[2] {
		t.Errorf("the usual row %.2f, another %.2f by %.2f", usual, odd, parts)
	}
}

func BenchmarkTrain(b *testing.B) {
	rows := cloud(1, 672)
	for b.Loop() {
		if _, err := Train(rows, names, DefaultConfig()); err != nil {
			b.Fatal(err)
		}
	}
}
