package baseline

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const nab = "../../../shared/captures/flows/nab/"

// nabSeries is a file of the Numenta Anomaly Benchmark with its windows of
// labelled anomalies, as first and last index.
type nabSeries struct {
	name    string
	at      []time.Time
	values  []float64
	windows [][2]int
}

// readNAB reads the series that are there, in the order of their names.
func readNAB(t *testing.T) []nabSeries {
	t.Helper()
	text, err := os.ReadFile(nab + "labels/combined_windows.json")
	if err != nil {
		t.Skipf("the series of the benchmark are missing: %v", err)
	}
	var labels map[string][][2]string
	if err := json.Unmarshal(text, &labels); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(nab + "*/*.csv")
	slices.Sort(files)
	var list []nabSeries
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		s := nabSeries{name: strings.TrimPrefix(file, nab)}
		index := map[string]int{}
		for i, line := range lines[1:] {
			at, err := time.Parse(time.DateTime, line[0])
			if err != nil {
				t.Fatal(err)
			}
			value, err := strconv.ParseFloat(line[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			s.at, s.values = append(s.at, at), append(s.values, value)
			if _, known := index[line[0]]; !known {
				index[line[0]] = i
			}
		}
		windows, known := labels[s.name]
		if !known {
			t.Fatalf("%s has no labels", s.name)
		}
		for _, w := range windows {
			first, ok1 := index[w[0][:len(time.DateTime)]]
			last, ok2 := index[w[1][:len(time.DateTime)]]
			if !ok1 || !ok2 {
				t.Fatalf("%s: window %v is not in the series", s.name, w)
			}
			s.windows = append(s.windows, [2]int{first, last})
		}
		list = append(list, s)
	}
	return list
}

// step is the median distance of the first values, which a detector may know.
func (s nabSeries) step() time.Duration {
	var gaps []time.Duration
	for i := 1; i < min(101, len(s.at)); i++ {
		gaps = append(gaps, s.at[i].Sub(s.at[i-1]))
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// probation is the length of the part that is not scored: 15 %, of at most 5000 values.
func (s nabSeries) probation() int {
	return int(min(math.Floor(0.15*float64(len(s.values))), 0.15*5000))
}

// scaledSigmoid is the benchmark's weight of an alarm: y = -1 is the first value
// of a window, 0 just after its end.
func scaledSigmoid(y float64) float64 {
	if y >= 3 {
		return -1
	}
	return 2/(1+math.Exp(5*y)) - 1
}

// The weights of the standard profile.
const tpWeight, fpWeight, fnWeight = 1.0, 0.11, 1.0

// nabScore scores alarms as the benchmark's sweeper does: of each window the
// earliest best alarm counts, a missed one is -1, each alarm outside counts against.
func nabScore(s nabSeries, alarms []bool) (score float64, windows, hits, falseAlarms int) {
	first := s.probation()
	best := map[int]float64{}
	for i := first; i < len(s.values); i++ {
		if !alarms[i] {
			continue
		}
		inside, before := -1, -1
		for k, w := range s.windows {
			if i >= w[0] && i <= w[1] {
				inside = k
			}
			if w[1] < i {
				before = k
			}
		}
		if inside >= 0 {
			w := s.windows[inside]
			gain := tpWeight * scaledSigmoid(-float64(w[1]-i+1)/float64(w[1]-w[0]+1)) / scaledSigmoid(-1)
			if old, hit := best[inside]; !hit || gain > old {
				best[inside] = gain
			}
			continue
		}
		falseAlarms++
		past := 3.0
		if before >= 0 {
			w := s.windows[before]
			past = float64(i-w[1]) / float64(w[1]-w[0])
		}
		score += fpWeight * scaledSigmoid(past)
	}
	for k, w := range s.windows {
		if w[1] < first {
			continue
		}
		windows++
		if gain, hit := best[k]; hit {
			hits++
			score += gain
		} else {
			score -= fnWeight
		}
	}
	return score, windows, hits, falseAlarms
}

// normal puts a raw score on the scale on which silence is 0 and perfection 100.
func normal(raw float64, windows int) float64 {
	return 100 * (raw + fnWeight*float64(windows)) / ((tpWeight + fnWeight) * float64(windows))
}

// TestNABScore holds the scorer to what follows from its definition.
func TestNABScore(t *testing.T) {
	s := nabSeries{values: make([]float64, 1000), windows: [][2]int{{400, 499}, {700, 799}}}
	for _, tt := range []struct {
		name   string
		alarms []int
		want   float64
	}{
		{"silence", nil, 0},
		{"the first values of both", []int{400, 700}, 100},
		{"alarms after the first change nothing", []int{400, 401, 499, 700}, 100},
		{"probation is not scored", []int{0, 149, 400, 700}, 100},
		{"one long before", []int{150, 400, 700}, 100 - 100*0.11/4},
		{"one far behind", []int{400, 700, 999}, 100 + 100*0.11*scaledSigmoid(200.0/99)/4},
		{"the last value of one", []int{499}, 100 * (1 + scaledSigmoid(-1.0/100)/scaledSigmoid(-1)) / 4},
	} {
		alarms := make([]bool, 1000)
		for _, i := range tt.alarms {
			alarms[i] = true
		}
		raw, windows, _, _ := nabScore(s, alarms)
		if got := normal(raw, windows); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// nabFloor is a little under what the default configuration reaches here.
const nabFloor = 62

// TestNAB runs one configuration over all series and prints the score of the
// standard profile.
func TestNAB(t *testing.T) {
	raws, counts := map[string]float64{}, map[string]int{}
	var table strings.Builder
	for _, s := range readNAB(t) {
		stream := NewStream(DefaultStreamConfig(s.step()))
		alarms := make([]bool, len(s.values))
		for i, v := range s.values {
			alarms[i] = stream.Observe(s.at[i], v).Alarm
		}
		raw, windows, hits, wrong := nabScore(s, alarms)
		for _, group := range []string{filepath.Dir(s.name), "all"} {
			raws[group] += raw
			counts[group] += windows
		}
		fmt.Fprintf(&table, "\n%-58s windows %d found %d, false alarms %2d, raw %6.2f", s.name, windows, hits, wrong, raw)
	}
	for _, group := range []string{"artificialNoAnomaly", "artificialWithAnomaly", "realAWSCloudwatch", "realAdExchange", "all"} {
		if counts[group] == 0 {
			fmt.Fprintf(&table, "\n%-24s raw %6.2f", group, raws[group])
		} else {
			fmt.Fprintf(&table, "\n%-24s %5.1f of 100", group, normal(raws[group], counts[group]))
		}
	}
	t.Log(table.String())
	if got := normal(raws["all"], counts["all"]); got < nabFloor {
		t.Errorf("standard profile %.1f, at least %v", got, nabFloor)
	}
}
