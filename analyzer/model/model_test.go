package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	file "github.com/tapwatch/tapwatch/analyzer/baseline/model"
)

// shaped draws flows of n hosts of a class: first sizes around those given.
func shaped(random *rand.Rand, class string, hosts, flows int, sizes []int32, gap uint32) (list []Labelled) {
	for h := range hosts {
		for i := range flows {
			f := Flow{Host: fmt.Sprintf("10.0.%d.%d", len(class), h), Server: "10.1.0.1", Port: 443, Protocol: 6, App: class, AppSource: "dpi", SrcPackets: 9, DstPackets: 9}
			for _, s := range sizes {
				v := s + int32(random.IntN(41)) - 20
				if s > 0 {
					f.SrcPayload += uint64(max(v, 1))
					v = max(v, 1)
				} else {
					f.DstPayload += uint64(max(-v, 1))
					v = min(v, -1)
				}
				f.FirstSizes = append(f.FirstSizes, v)
				f.FirstGaps = append(f.FirstGaps, gap+uint32(random.IntN(int(gap))))
			}
			list = append(list, Labelled{f, class, "s " + f.Host, fmt.Sprintf("%s %d %d", class, h, i)})
		}
	}
	return list
}

func example() []Labelled {
	r := rand.New(rand.NewPCG(1, 1))
	return slices.Concat(
		shaped(r, "chat", 20, 5, []int32{60, -70, 80, -60, 50, -90}, 900_000),
		shaped(r, "web", 20, 5, []int32{517, -1400, -1400, 126, 300, -1400}, 20_000),
		shaped(r, "upload", 20, 5, []int32{517, -1400, 1400, 1400, 1400, -60}, 5_000))
}

// The same flows and seed make the same octets, in whatever order they come, once or twice.
func TestReproducible(t *testing.T) {
	flows := example()
	other := slices.Concat(flows, flows[:40])
	rand.New(rand.NewPCG(7, 7)).Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
	c := DefaultConfig()
	c.Trees = 20
	var texts [][]byte
	for i, list := range [][]Labelled{flows, other} {
		m, err := Train(list, c)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
		if _, err := Load(path); err != nil {
			t.Errorf("what was written is not read: %v", err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("the same flows in another order make another model")
	}
	c.Seed = 2
	m, err := Train(flows, c)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(m)
	if bytes.Equal(append(text, '\n'), texts[0]) {
		t.Error("another seed makes the same model")
	}
}

// Hosts are held back as a whole, classes that it knows are told apart on them, and
// what it has never seen is unknown.
func TestHeldBack(t *testing.T) {
	c := DefaultConfig()
	flows := example()
	r := rand.New(rand.NewPCG(9, 9))
	strange := shaped(r, "strange", 2, 30, []int32{-9, 9, -9, 9, -9, 9, -9, 9}, 30_000_000) // too few hosts to be learnt
	strange = append(strange, shaped(r, "stranger", 2, 30, []int32{-9, 9, -9, 9, -9, 9, -9, 9}, 30_000_000)...)
	m, err := Train(flows, c)
	if err != nil {
		t.Fatal(err)
	}
	e := m.Model.Report
	if e.Hosts == 0 || e.Hosts+m.Model.Hosts != 60 {
		t.Errorf("%d hosts held back, %d trained on, of 60", e.Hosts, m.Model.Hosts)
	}
	if e.Right < e.Flows*9/10 {
		t.Errorf("%d of %d are right: %+v", e.Right, e.Flows, e.Confusion)
	}
	e = m.Model.Evaluate(strange)
	if e.Foreign != 120 || e.Refused < 110 {
		t.Errorf("of %d flows of a kind that it has not seen %d are unknown: %+v", e.Foreign, e.Refused, e.Confusion)
	}
}

// Labels that mean nothing give no confidence.
func TestNoConfidenceInNoise(t *testing.T) {
	flows := example()
	r := rand.New(rand.NewPCG(3, 3))
	for i := range flows {
		flows[i].Class = []string{"a", "b", "c"}[r.IntN(3)]
	}
	m, err := Train(flows, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if e := m.Model.Report; e.Unknowns < e.Flows*9/10 {
		t.Errorf("%d of %d are unknown", e.Unknowns, e.Flows)
	}
}

func TestTooLittle(t *testing.T) {
	if _, err := Train(example()[:10], DefaultConfig()); err == nil || !strings.Contains(err.Error(), "classes") {
		t.Errorf("one class: %v", err)
	}
	if _, err := Train(nil, DefaultConfig()); err == nil {
		t.Error("no flows make a model")
	}
}

func TestReadLabels(t *testing.T) {
	l, err := ReadLabels(strings.NewReader("# key,class\n1:AbC=,bad\n10.0.0.1,worse\nEvil.example,worst\n"))
	if err != nil || len(l) != 3 {
		t.Fatal(l, err)
	}
	f := Flow{Server: "10.0.0.1", SNI: "evil.example"}
	if l.of("1:abC=", &f) != "bad" || l.of("", &f) != "worse" || l.of("", &Flow{SNI: "EVIL.example"}) != "worst" || l.of("", &Flow{}) != "" {
		t.Error(l)
	}
	for _, bad := range []string{"a\n", "a,\n", ",b\n", "a,unknown\n", "a,b,c\n"} {
		if _, err := ReadLabels(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestReadLines(t *testing.T) {
	text := `{"interface":"a.pcap","src_ip":"10.0.0.1","segment":0,"flow_id":1,"app":"tls","app_source":"dpi","first_sizes":[5,-6,7],"first_gaps_us":[0,1,2],"risks":["x"]}
{"interface":"a.pcap","src_ip":"10.0.0.1","segment":1,"flow_id":1,"app":"tls","app_source":"dpi","first_sizes":[5,-6,7]}
{"interface":"b.pcap","src_ip":"10.0.0.1","segment":0,"flow_id":1,"app":"tls","app_source":"port","first_sizes":[5,-6,7],"first_gaps_us":[0,1,2]}
`
	list, err := Source{Label: LabelApp}.ReadLines(strings.NewReader(text))
	if err != nil || len(list) != 2 || list[0].Class != "tls" || list[1].Class != "" || list[0].Host == list[1].Host || list[0].ID == list[1].ID {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := (Source{}).ReadLines(strings.NewReader("{")); err == nil {
		t.Error("half an object is read")
	}
}

// What is read after Check answers for every row.
func FuzzRead(f *testing.F) {
	c := DefaultConfig()
	c.Trees = 2
	m, err := Train(example(), c)
	if err != nil {
		f.Fatal(err)
	}
	m.Format = file.Format
	text, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.Replace(text, []byte(`"l":1`), []byte(`"l":0`), 1))
	f.Add([]byte(`{"format":1,"kind":"flow_classes","version":1,"model":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := file.Read(bytes.NewReader(text), Kind, Version, (*Model).Check)
		if err != nil {
			return
		}
		for _, v := range []float64{0, -1e9, 1e9} {
			row := make([]float64, len(m.Model.Features))
			for i := range row {
				row[i] = v
			}
			if a := m.Model.Classify(row); a.Class == "" || !(a.Confidence >= 0 && a.Confidence <= 1) {
				t.Errorf("%+v", a)
			}
		}
	})
}

func FuzzFeatures(f *testing.F) {
	f.Add("t13d1516h2_8daaf6152771_e5627efa2ab1", "h2,http/1.1", "www.example", int32(517), uint32(9), uint64(1))
	f.Fuzz(func(t *testing.T, ja4, alpn, sni string, size int32, gap uint32, n uint64) {
		row := FeaturesOf(&Flow{JA4: ja4, ALPN: alpn, SNI: sni, FirstSizes: []int32{size, -size, size}, FirstGaps: []uint32{gap}, SrcPayload: n, DstPackets: n})
		if len(row) != len(FeatureNames()) {
			t.Errorf("%d values for %d names", len(row), len(FeatureNames()))
		}
		for i, v := range row {
			if v != v || v > 1e20 || v < -1e20 {
				t.Errorf("%s is %v", FeatureNames()[i], v)
			}
		}
	})
}
