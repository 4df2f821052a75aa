// Package forest is an isolation forest: it says how easily a row of numbers is
// told apart from those it was trained on, and by which of its features. In come
// rows of a fixed number of features; out go scores of 0 to 1 and how much each
// feature made of them. Training is seeded: the same rows in the same order and
// the same seed make the same forest. A trained Forest may be used from several
// goroutines. After Liu, Ting, Zhou: Isolation Forest (2008), with splits that reach
// beyond the rows. Rows should be logarithms of amounts.
package forest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Config is how a forest is grown.
type Config struct {
	Trees  int // 100 in the paper
	Sample int // rows a tree sees, 256 in the paper
	Seed   uint64
}

// DefaultConfig is that of the paper.
func DefaultConfig() Config { return Config{Trees: 100, Sample: 256, Seed: 1} }

// Forest is a trained model. Its fields are those of its file.
type Forest struct {
	Features []string `json:"features"`
	Sample   int      `json:"sample"` // rows a tree saw
	Trees    [][]Node `json:"trees"`
}

// Node is a split, or a leaf (Left 0). Children stand behind their parent.
type Node struct {
	Feature int     `json:"f,omitempty"`
	Split   float64 `json:"s,omitempty"` // rows below it go left
	Left    int     `json:"l,omitempty"`
	Right   int     `json:"r,omitempty"`
	Rows    int     `json:"n"` // training rows that came here
}

// Train grows a forest. It needs at least 8 rows.
func Train(rows [][]float64, features []string, c Config) (*Forest, error) {
	if len(rows) < 8 {
		return nil, fmt.Errorf("train forest: %d rows, at least 8 are needed", len(rows))
	}
	for i, r := range rows {
		if len(r) != len(features) {
			return nil, fmt.Errorf("train forest: row %d has %d values for %d features", i, len(r), len(features))
		}
	}
	f := &Forest{Features: features, Sample: min(c.Sample, len(rows))}
	deepest := int(math.Ceil(math.Log2(float64(f.Sample))))
	for t := range c.Trees {
		random := rand.New(rand.NewPCG(c.Seed, uint64(t)))
		order := random.Perm(len(rows))[:f.Sample]
		g := grower{rows: rows, random: random, deepest: deepest}
		g.grow(order, 0)
		f.Trees = append(f.Trees, g.nodes)
	}
	return f, nil
}

// grower makes one tree.
type grower struct {
	rows    [][]float64
	random  *rand.Rand
	deepest int
	nodes   []Node
}

// grow adds the tree of the rows at index and returns where it stands.
func (g *grower) grow(index []int, depth int) int {
	at := len(g.nodes)
	g.nodes = append(g.nodes, Node{Rows: len(index)})
	if depth >= g.deepest || len(index) < 2 {
		return at
	}
	feature, low, high := g.choose(index)
	// Beyond the rows, too: what no row has ever had would else be as ordinary as
	// the outermost of them, and a feature that is the same in all would never count.
	low, high = low-beyond*(1+high-low), high+beyond*(1+high-low)
	split := low + g.random.Float64()*(high-low)
	var left, right []int
	for _, i := range index {
		if g.rows[i][feature] < split {
			left = append(left, i)
		} else {
			right = append(right, i)
		}
	}
	g.nodes[at].Feature, g.nodes[at].Split = feature, split
	l := g.grow(left, depth+1)
	r := g.grow(right, depth+1)
	g.nodes[at].Left, g.nodes[at].Right = l, r
	return at
}

// beyond is the part of one and the range of the rows by which splits reach
// beyond them. Rows are logarithms, so one is a factor of e.
const beyond = 1.0

// choose picks a feature, with its range.
func (g *grower) choose(index []int) (feature int, low, high float64) {
	feature = g.random.IntN(len(g.rows[0]))
	low, high = math.Inf(1), math.Inf(-1)
	for _, i := range index {
		low, high = min(low, g.rows[i][feature]), max(high, g.rows[i][feature])
	}
	return feature, low, high
}

// expected is the mean length of a path in a tree of n rows: c(n) of the paper.
func expected(n int) float64 {
	switch {
	case n < 2:
		return 0
	case n == 2:
		return 1
	}
	m := float64(n)
	return 2*(math.Log(m-1)+0.5772156649015329) - 2*(m-1)/m
}

// Score says how odd a row is, 0 to 1: compare it with those of the training rows,
// of which the ordinary are well below 0.5. contributions has what each feature made of it, in steps of path:
// a split that leaves fewer rows than expected shortens the path by the
// difference. They add up to the mean path of an ordinary row minus that of this one.
func (f *Forest) Score(row []float64) (score float64, contributions []float64) {
	contributions = make([]float64, len(f.Features))
	var length float64
	for _, tree := range f.Trees {
		node, steps := tree[0], 0.0
		for node.Left != 0 {
			next := tree[node.Left]
			if row[node.Feature] >= node.Split {
				next = tree[node.Right]
			}
			contributions[node.Feature] += expected(node.Rows) - 1 - expected(next.Rows)
			node = next
			steps++
		}
		length += steps + expected(node.Rows)
	}
	trees := float64(len(f.Trees))
	for i := range contributions {
		contributions[i] /= trees
	}
	return math.Exp2(-length / trees / expected(f.Sample)), contributions
}

// Check says what is wrong with a forest that comes from a file.
func (f *Forest) Check() error {
	if len(f.Trees) == 0 || f.Sample < 2 || len(f.Features) == 0 {
		return errors.New("forest: no trees, sample or features")
	}
	for t, tree := range f.Trees {
		if len(tree) == 0 {
			return fmt.Errorf("forest: tree %d is empty", t)
		}
		for i, n := range tree {
			leaf := n.Left == 0 && n.Right == 0
			if !leaf && (n.Left <= i || n.Right <= i || n.Left >= len(tree) || n.Right >= len(tree)) ||
				n.Feature < 0 || n.Feature >= len(f.Features) || n.Rows < 0 || math.IsNaN(n.Split) {
				return fmt.Errorf("forest: tree %d has a bad node %d", t, i)
			}
		}
	}
	return nil
}
