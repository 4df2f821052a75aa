package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Tree is a decision tree: nodes of which the first is the root, children stand
// behind their parent.
type Tree struct {
	Nodes []Node `json:"nodes"`
}

// Node is a split, or a leaf (Left 0).
type Node struct {
	Feature int     `json:"f,omitempty"`
	Split   float64 `json:"s,omitempty"` // values up to it go left
	Left    int     `json:"l,omitempty"`
	Right   int     `json:"r,omitempty"`
	Shares  []Share `json:"c,omitempty"` // of a leaf
}

// Share is the share of a class in a leaf, 0 to 1, by the weights of training.
type Share struct {
	Class int     `json:"i"`
	Share float64 `json:"p"`
}

// leaf is where a row ends.
func (t *Tree) leaf(row []float64) []Share {
	at := 0
	for t.Nodes[at].Left > 0 {
		if row[t.Nodes[at].Feature] <= t.Nodes[at].Split {
			at = t.Nodes[at].Left
		} else {
			at = t.Nodes[at].Right
		}
	}
	return t.Nodes[at].Shares
}

// check makes sure that leaf ends, and finds what it asks for.
func (t *Tree) check(features, classes int) error {
	if len(t.Nodes) == 0 || len(t.Nodes) > maxNodes {
		return fmt.Errorf("%d nodes, 1 to %d may be", len(t.Nodes), maxNodes)
	}
	for i, n := range t.Nodes {
		if n.Left == 0 {
			for _, s := range n.Shares {
				if s.Class < 0 || s.Class >= classes || !(s.Share >= 0 && s.Share <= 1) {
					return fmt.Errorf("node %d: share %v of class %d", i, s.Share, s.Class)
				}
			}
			continue
		}
		if n.Left <= i || n.Right <= i || n.Left >= len(t.Nodes) || n.Right >= len(t.Nodes) || n.Feature < 0 || n.Feature >= features || math.IsNaN(n.Split) {
			return fmt.Errorf("node %d: children %d and %d, feature %d", i, n.Left, n.Right, n.Feature)
		}
	}
	return nil
}

const (
	maxDepth = 24
	minLeaf  = 2
)

// grower makes one tree of rows with weights.
type grower struct {
	rows    [][]float64
	class   []int
	weight  []float64
	classes int
	random  *rand.Rand
	nodes   []Node
}

// grow adds the node of the rows at index and what is below, and returns its number.
func (g *grower) grow(index []int, depth int) int {
	total := make([]float64, g.classes)
	for _, i := range index {
		total[g.class[i]] += g.weight[i]
	}
	at := len(g.nodes)
	g.nodes = append(g.nodes, Node{})
	pure := true
	for _, i := range index {
		pure = pure && g.class[i] == g.class[index[0]]
	}
	feature, split, ok := 0, 0.0, false
	if !pure && depth < maxDepth && len(index) >= 2*minLeaf {
		feature, split, ok = g.choose(index, total)
	}
	if !ok {
		g.nodes[at].Shares = shares(total)
		return at
	}
	n := 0
	for k, i := range index { // in place: left first
		if g.rows[i][feature] <= split {
			index[n], index[k] = index[k], index[n]
			n++
		}
	}
	left := g.grow(index[:n], depth+1)
	right := g.grow(index[n:], depth+1)
	g.nodes[at] = Node{Feature: feature, Split: split, Left: left, Right: right}
	return at
}

func shares(total []float64) (list []Share) {
	sum := 0.0
	for _, w := range total {
		sum += w
	}
	for c, w := range total {
		if w > 0 {
			list = append(list, Share{c, round(w / sum)})
		}
	}
	return list
}

// choose looks for the split of least Gini impurity among some of the features.
func (g *grower) choose(index []int, total []float64) (feature int, split float64, ok bool) {
	features := len(g.rows[0])
	tries := max(1, int(math.Sqrt(float64(features))*1.5))
	best := math.Inf(1)
	order := slices.Clone(index)
	left := make([]float64, g.classes)
	for _, f := range g.random.Perm(features)[:min(tries, features)] {
		slices.SortFunc(order, func(a, b int) int {
			switch x, y := g.rows[a][f], g.rows[b][f]; {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return a - b
		})
		if g.rows[order[0]][f] == g.rows[order[len(order)-1]][f] {
			continue
		}
		clear(left)
		var sumLeft, squaresLeft, sumRight, squaresRight float64
		for _, w := range total {
			sumRight += w
			squaresRight += w * w
		}
		right := slices.Clone(total)
		for k := 0; k+1 < len(order); k++ {
			i := order[k]
			c, w := g.class[i], g.weight[i]
			squaresLeft += 2*left[c]*w + w*w
			squaresRight += w*w - 2*right[c]*w
			left[c] += w
			right[c] -= w
			sumLeft, sumRight = sumLeft+w, sumRight-w
			a, b := g.rows[i][f], g.rows[order[k+1]][f]
			if a == b || k+1 < minLeaf || len(order)-k-1 < minLeaf || sumLeft <= 0 || sumRight <= 0 {
				continue
			}
			if impurity := sumLeft - squaresLeft/sumLeft + sumRight - squaresRight/sumRight; impurity < best-1e-12 {
				middle := a + (b-a)/2
				if middle >= b { // neighbours among the floats
					middle = a
				}
				best, feature, split, ok = impurity, f, middle, true
			}
		}
	}
	return feature, split, ok
}
