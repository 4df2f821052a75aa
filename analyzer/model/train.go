package model

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	file "github.com/tapwatch/tapwatch/analyzer/baseline/model"
)

// Labelled is a flow whose class is known.
type Labelled struct {
	Flow  Flow
	Class string
	Host  string // who is held back as a whole: site and client
	ID    string // of the flow, which gives the order; equal ones count once
}

// Config is how a model is trained.
type Config struct {
	Label    string
	Trees    int     // 100
	Held     float64 // share of the hosts that are held back for the evaluation, 0.25
	Reject   float64 // confidence below which the answer is Unknown, 0.8
	MinFlows int     // of a class, else it is left out: 8
	MinHosts int     // of a class, else it is left out: 3
	MaxClass int     // flows of a class that are trained on, chosen by seed: 5000
	Seed     uint64
}

// DefaultConfig is what the figures of README.md were made with.
func DefaultConfig() Config {
	return Config{Label: "app", Trees: 100, Held: 0.25, Reject: 0.8, MinFlows: 8, MinHosts: 3, MaxClass: 5000, Seed: 1}
}

// Train makes a model of flows. A share of the hosts is held back: the model is
// trained without them and evaluated on them. The file's range and rows are left to
// the caller and set here respectively.
func Train(flows []Labelled, c Config) (file.File[*Model], error) {
	out := file.File[*Model]{Kind: Kind, Version: Version, Seed: c.Seed}
	flows = tidy(flows)
	isHeld := func(l Labelled) bool { return share(c.Seed, "held", l.Host) < c.Held }
	// Held back are also classes that are not learnt: the answer to them is Unknown.
	held := slices.DeleteFunc(enough(flows, Config{MaxClass: c.MaxClass, Seed: c.Seed}), func(l Labelled) bool { return !isHeld(l) })
	kept := slices.DeleteFunc(enough(flows, c), isHeld)
	classes := classesOf(kept)
	if len(classes) < 2 {
		return out, fmt.Errorf("train model: %d classes have %d flows of %d hosts or more, at least 2 are needed", len(classes), c.MinFlows, c.MinHosts)
	}
	m := &Model{Label: c.Label, Classes: classes, Features: FeatureNames(), Reject: c.Reject}
	m.train(kept, c)
	m.Report = m.Evaluate(held)
	out.Rows, out.Model = len(kept), m
	out.Evaluation = m.Report.figures()
	return out, nil
}

// tidy orders flows by ID, leaves out what has no shape, and counts equals once.
func tidy(flows []Labelled) []Labelled {
	list := slices.Clone(flows)
	slices.SortStableFunc(list, func(a, b Labelled) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Class, b.Class)) })
	list = slices.CompactFunc(list, func(a, b Labelled) bool { return a.ID != "" && a.ID == b.ID })
	return slices.DeleteFunc(list, func(l Labelled) bool { return l.Class == "" || l.Class == Unknown || !l.Flow.Usable() })
}

// enough leaves out classes with too few flows or hosts, and flows of the large ones.
func enough(flows []Labelled, c Config) []Labelled {
	count, hosts := map[string]int{}, map[string]map[string]bool{}
	for _, l := range flows {
		count[l.Class]++
		if hosts[l.Class] == nil {
			hosts[l.Class] = map[string]bool{}
		}
		hosts[l.Class][l.Host] = true
	}
	var list []Labelled
	for _, l := range flows {
		if count[l.Class] >= c.MinFlows && len(hosts[l.Class]) >= c.MinHosts && share(c.Seed, "keep", l.ID) < float64(c.MaxClass)/float64(count[l.Class]) {
			list = append(list, l)
		}
	}
	return list
}

func classesOf(flows []Labelled) []string {
	var list []string
	for _, l := range flows {
		list = append(list, l.Class)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// share is a number of 0 to 1 for a text, the same for ever.
func share(seed uint64, what, text string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\x00%s\x00%s", seed, what, text)
	v := h.Sum64()
	v ^= v >> 31 // FNV alone is poor in its high bits
	v *= 0x9e3779b97f4a7c15
	v ^= v >> 29
	return float64(v>>11) / (1 << 53)
}

// train grows the trees. Each sees all flows of some of the hosts (drawn with
// replacement), so that what it says of the others shows how it does with hosts it has not
// seen: that is the calibration. Classes weigh alike, and so do hosts within one.
func (m *Model) train(flows []Labelled, c Config) {
	rows, class := make([][]float64, len(flows)), make([]int, len(flows))
	byHost := map[string][]int{}
	perHost := map[[2]string]float64{}
	perClass := map[string]float64{}
	for i, l := range flows {
		rows[i] = FeaturesOf(&l.Flow)
		class[i], _ = slices.BinarySearch(m.Classes, l.Class)
		byHost[l.Host] = append(byHost[l.Host], i)
		perHost[[2]string{l.Class, l.Host}]++
	}
	weight := make([]float64, len(flows))
	for i, l := range flows { // n flows of a host count as sqrt(n)
		weight[i] = 1 / math.Sqrt(perHost[[2]string{l.Class, l.Host}])
		perClass[l.Class] += weight[i]
	}
	for i, l := range flows {
		weight[i] /= perClass[l.Class]
	}
	var hosts []string
	for h := range byHost {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	m.Hosts = len(hosts)
	m.Trees = make([]Tree, c.Trees)
	seen := make([]map[string]bool, c.Trees)
	var wg sync.WaitGroup
	lanes := make(chan struct{}, 2)
	for t := range m.Trees {
		lanes <- struct{}{}
		wg.Go(func() {
			defer func() { <-lanes }()
			random := rand.New(rand.NewPCG(c.Seed, uint64(t)))
			drawn, w := map[string]bool{}, make([]float64, len(flows))
			var index []int
			for range hosts {
				h := hosts[random.IntN(len(hosts))]
				for _, i := range byHost[h] {
					w[i] += weight[i]
				}
				if !drawn[h] {
					drawn[h] = true
					index = append(index, byHost[h]...)
				}
			}
			slices.Sort(index)
			g := grower{rows: rows, class: class, weight: w, classes: len(m.Classes), random: random}
			g.grow(index, 0)
			m.Trees[t], seen[t] = Tree{g.nodes}, drawn
		})
	}
	wg.Wait()
	m.Ranges = ranges(rows, class, len(m.Classes))
	m.calibrate(flows, rows, class, weight, seen)
}

// points of the calibration.
const points = 21

// calibrate measures how often the class with most votes is right, by its votes,
// with trees that have not seen the host; by the pool of adjacent violators.
func (m *Model) calibrate(flows []Labelled, rows [][]float64, class []int, weight []float64, seen []map[string]bool) {
	right, all := make([]float64, points), make([]float64, points)
	for i, l := range flows {
		use := make([]bool, len(m.Trees))
		any := false
		for t := range use {
			use[t] = !seen[t][l.Host]
			any = any || use[t]
		}
		if !any {
			continue
		}
		votes := m.votes(rows[i], use)
		best := 0
		for k, v := range votes {
			if v > votes[best] {
				best = k
			}
		}
		p := int(math.Round(votes[best] * (points - 1)))
		all[p] += weight[i]
		if best == class[i] {
			right[p] += weight[i]
		}
	}
	total := 0.0
	for _, a := range all {
		total += a
	}
	// A prior worth a fiftieth of a point of the average: votes are a fair guess.
	prior := max(total/points/50, 1e-9)
	type pool struct{ right, all, n float64 }
	var pools []pool
	for p := range points {
		pools = append(pools, pool{right[p] + prior*float64(p)/(points-1), all[p] + prior, 1})
		for k := len(pools) - 1; k > 0 && pools[k-1].right*pools[k].all >= pools[k].right*pools[k-1].all; k-- {
			pools[k-1] = pool{pools[k-1].right + pools[k].right, pools[k-1].all + pools[k].all, pools[k-1].n + pools[k].n}
			pools = pools[:k]
		}
	}
	m.Calibration = nil
	for _, p := range pools {
		for range int(p.n) {
			m.Calibration = append(m.Calibration, min(1, round(p.right/p.all)))
		}
	}
}

// ranges are between which values each class lies, with a margin of half of that.
func ranges(rows [][]float64, class []int, classes int) [][][2]float64 {
	out := make([][][2]float64, classes)
	for c := range out {
		for f := range FeatureNames() {
			var v []float64
			for i := range rows {
				if class[i] == c {
					v = append(v, rows[i][f])
				}
			}
			slices.Sort(v)
			low, high := v[int(0.01*float64(len(v)-1))], v[int(math.Ceil(0.99*float64(len(v)-1)))]
			margin := (high - low) / 2
			out[c] = append(out[c], [2]float64{round(low - margin), round(high + margin)})
		}
	}
	return out
}
