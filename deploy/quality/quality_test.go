package quality

import (
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/deploy/lab/scene"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

var update = flag.Bool("update", false, "write testdata/floors.json anew")

func TestMain(m *testing.M) { localtest.Main(m) }

// floors are what the short form must not fall below.
type floors struct {
	Found map[string]int `json:"found"` // attacks found, by case and family
	False map[string]int `json:"false"` // serious incidents about nothing, at most, by case
	Twice map[string]int `json:"twice"` // further incidents for the same thing, at most, by case
}

const floorsFile = "testdata/floors.json"

// TestFloors is the short form of make quality-detect: some of the labelled
// captures, and an hour or two of a generated office with some of its attacks. Each
// figure has a floor; one that got better may be raised with -update.
func TestFloors(t *testing.T) {
	chain := Attach(t.TempDir(), localtest.TestKafka(t).Addr(), localtest.TestClickHouse(t).Addr(), os.Stderr)
	got := floors{Found: map[string]int{}, False: map[string]int{}, Twice: map[string]int{}}
	for _, k := range []Case{shortCaptures(t), shortOffice()} {
		if len(k.Parts) == 0 {
			continue
		}
		outcomes, err := chain.Run(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		s := Summarise(outcomes)
		for family, f := range s.Families {
			got.Found[k.Name+": "+family] = f.found
		}
		got.False[k.Name], got.Twice[k.Name] = s.False, s.Twice
		for _, m := range s.Misses {
			t.Logf("missed: %s", m)
		}
	}
	if *update {
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(floorsFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(floorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var want floors
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(want.Found)) {
		run, _, _ := strings.Cut(name, ":")
		if _, ran := got.False[run]; ran && got.Found[name] < want.Found[name] {
			t.Errorf("%s: %d found, the floor is %d", name, got.Found[name], want.Found[name])
		}
	}
	for what, pair := range map[string][2]map[string]int{"serious incidents about nothing": {got.False, want.False}, "further incidents for the same thing": {got.Twice, want.Twice}} {
		for name, n := range pair[0] {
			// A case without a recorded figure is measured, and held to none yet.
			if most, recorded := pair[1][name]; recorded && n > most {
				t.Errorf("%s: %d %s, at most %d are allowed", name, n, what, most)
			}
		}
	}
}

// shortCaptures are labelled captures that take little time, harmless ones among
// them; none without the shared captures.
func shortCaptures(t *testing.T) Case {
	t.Helper()
	k := Case{Name: "captures"}
	dir, err := filepath.Abs("../../../shared/captures")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "labels.tsv")); err != nil {
		t.Log("the shared captures are not beside the project (../shared/captures): only generated traffic is measured")
		return k
	}
	all, err := captureCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	k.Inside = all[0].Inside
	for _, p := range all[0].Parts {
		for _, wanted := range []string{"malicious-ssh", "simple-scan/port_scan", "RRSIG", "iodine", "kali-normal-ssh"} {
			if strings.Contains(p.Name, wanted) {
				k.Parts = append(k.Parts, p)
			}
		}
	}
	return k
}

// shortOffice are some hours of a small office, with nothing else in them: what
// costs time is the number of windows.
func shortOffice() Case {
	k := syntheticCases(Generated{Seeds: []uint64{5}, Hosts: 1})[0]
	k.Name, k.Delays = "office", false
	k.Parts[0].Load = officeLoad(5)
	return k
}

func TestWilson(t *testing.T) {
	for _, c := range []struct {
		hits, n   int
		low, high float64 // Brown, Cai, DasGupta 2001, and by hand
	}{{0, 10, 0, 0.2775}, {5, 10, 0.2366, 0.7634}, {10, 10, 0.7225, 1}, {0, 0, 0, 1}} {
		low, high := wilson(c.hits, c.n)
		if math.Abs(low-c.low) > 0.001 || math.Abs(high-c.high) > 0.001 {
			t.Errorf("%d of %d: %.4f-%.4f, want %.4f-%.4f", c.hits, c.n, low, high, c.low, c.high)
		}
	}
}

func TestQuantile(t *testing.T) {
	list := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0: 1, 0.5: 3, 0.95: 5, 1: 5} {
		if got := quantile(list, q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
}

// A hit is of the right family, about the right actor and not before the start; a
// second one for the same thing is noise, as is what names nobody known.
func TestMatch(t *testing.T) {
	at := time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)
	truth := Truth{Family: "scan", Kind: "scan", Actors: []string{"10.0.0.1"}, Victims: []string{"10.0.0.2"}, Start: at, End: at.Add(time.Hour)}
	twin := Truth{Family: "exfil", Kind: "exfil", Actors: []string{"10.0.0.9"}, Start: at, End: at.Add(time.Hour), Harmless: true}
	incident := func(detector, severity, actor string, start time.Duration) Incident {
		return Incident{ID: detector + actor + start.String(), Detector: detector, Severity: severity, Actor: actor, Start: at.Add(start), End: at.Add(start + time.Minute)}
	}
	list := []Incident{
		incident("portscan_vertical", "medium", "10.0.0.1", -3*time.Hour),
		incident("portscan_vertical", "low", "10.0.0.1", time.Minute),
		incident("portscan_vertical", "high", "10.0.0.1", 2*time.Minute),
		incident("portscan_slow", "medium", "10.0.0.1", 3*time.Minute),
		incident("beacon", "high", "10.0.0.1", 4*time.Minute),
		incident("beacon", "high", "10.0.0.7", 4*time.Minute),
		incident("beacon", "info", "10.0.0.8", 4*time.Minute),
		incident("exfiltration", "medium", "10.0.0.9", 4*time.Minute),
		incident("exfiltration", "low", "10.0.0.9", 5*time.Minute),
	}
	o := match([]Truth{truth, twin}, list)
	f := o.Findings[0]
	if f.Hit == nil || f.Hit.Severity != "high" || len(f.Twice) != 1 {
		t.Errorf("hit %+v, twice %+v", f.Hit, f.Twice)
	}
	if len(o.Findings[1].False) != 1 {
		t.Errorf("false of the twin: %+v", o.Findings[1].False)
	}
	if len(o.Related) != 1 || len(o.Noise) != 2 || len(o.Low) != 2 {
		t.Errorf("related %d, noise %d, low %d; want 1, 2, 2", len(o.Related), len(o.Noise), len(o.Low))
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		said, wanted string
		want         bool
	}{
		{"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.0/24", true}, {"10.0.1.0/24", "10.0.0.1", false}, {"a.example", "a.example:443", true},
		{"www.a.example", "a.example", true}, {"", "10.0.0.1", false}, {"10.0.0.11", "10.0.0.1", false},
	} {
		if got := same(c.said, c.wanted); got != c.want {
			t.Errorf("%q for %q: %v", c.said, c.wanted, got)
		}
	}
}

// What is said by a detector that the table does not know could never be a hit.
func TestEveryDetectorHasAFamily(t *testing.T) {
	table := answers()
	for _, d := range analyzer.Detectors(analyzer.DefaultConfig()) {
		if _, ok := table[d.Info().Name]; !ok {
			t.Errorf("detector %s is not in the table of families", d.Info().Name)
		}
	}
}

// Every scenario of the generator belongs to a family that some detector answers
// to, and its truth says what is needed to match it.
func TestScenariosHaveTruth(t *testing.T) {
	w := scene.New(1, 18)
	if err := w.Plant(firstDay(), "scan", "sweep", "exfil", "dga", "lateral", "newhost"); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Truths() {
		q := truthOf(s)
		if q.Family == "" || q.Start.IsZero() || len(q.Actors)+len(q.Victims) == 0 {
			t.Errorf("%+v has too little to be matched", s)
		}
	}
}
