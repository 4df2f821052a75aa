// Package model learns to tell applications, or kinds of malicious traffic, by the
// shape of flows: sizes and gaps of the first packets, sizes and times of all, and
// what a ClientHello says. In come flows whose class is known; out goes a model, which
// is a file (see baseline/model) with its training range, its seed and its own
// evaluation on hosts that it has not seen. A model answers with a class and how sure
// it is, or with "unknown". It also groups flows that nobody recognised (Clusters).
//
// Training is a function of the rows, without regard to their order, and the seed:
// it makes the same octets. A Model may be used from several goroutines. Files are
// data: reading one runs nothing, and is bounded.
package model

import (
	"fmt"
	"math"
	"slices"

	file "github.com/tapwatch/tapwatch/analyzer/baseline/model"
)

// Kind and Version of the files; the version grows when features change.
const (
	Kind    = "flow_classes"
	Version = 1
)

// Unknown is the answer of a model that is not sure enough.
const Unknown = "unknown"

// Model is a forest with its calibration.
type Model struct {
	Label    string   `json:"label"`    // what the classes are: app, service, malicious, …
	Classes  []string `json:"classes"`  // sorted
	Features []string `json:"features"` // their names, in order
	Reject   float64  `json:"reject"`   // confidence below which the answer is Unknown
	Trees    []Tree   `json:"trees"`
	// Calibration: confidence by the forest's share of votes, at multiples of
	// 1/(len-1), measured on hosts that a tree had not seen. Never falls.
	Calibration []float64 `json:"calibration"`
	// Ranges are, by class and feature, between which values the class lies; what is
	// outside of it in many features is Unknown.
	Ranges [][][2]float64 `json:"ranges"`
	Hosts  int            `json:"hosts"`  // trained on
	Report Evaluation     `json:"report"` // on hosts held back
}

// Answer is what a model says of a flow.
type Answer struct {
	Class      string  `json:"class"`      // or Unknown
	Best       string  `json:"best"`       // the nearest class, also where the answer is Unknown
	Confidence float64 `json:"confidence"` // that Best is right, 0 to 1
	Strange    float64 `json:"strange"`    // share of features outside the range of Best, 0 to 1
}

// maxStrange is the share of features outside the range of a class (1 % to 99 % of
// its flows, and a margin) from which a flow is none of it.
const maxStrange = 0.25

// Classify answers for the features of a flow, as FeaturesOf returns them.
func (m *Model) Classify(row []float64) Answer {
	votes := m.votes(row, nil)
	best := 0
	for i, v := range votes {
		if v > votes[best] {
			best = i
		}
	}
	a := Answer{Class: m.Classes[best], Best: m.Classes[best], Confidence: m.confidence(votes[best]), Strange: m.strange(best, row)}
	if a.Strange > maxStrange {
		a.Confidence *= maxStrange / a.Strange
	}
	if a.Confidence < m.Reject {
		a.Class = Unknown
	}
	return a
}

// votes are the mean shares of the trees; of those only that use says, if it is given.
func (m *Model) votes(row []float64, use []bool) []float64 {
	votes := make([]float64, len(m.Classes))
	n := 0.0
	for i := range m.Trees {
		if use != nil && !use[i] {
			continue
		}
		n++
		for _, s := range m.Trees[i].leaf(row) {
			votes[s.Class] += s.Share
		}
	}
	if n > 0 {
		for i := range votes {
			votes[i] /= n
		}
	}
	return votes
}

// confidence reads the calibration, straight between its points.
func (m *Model) confidence(vote float64) float64 {
	last := len(m.Calibration) - 1
	at := max(0, min(1, vote)) * float64(last)
	low := min(int(at), last-1)
	part := at - float64(low)
	return m.Calibration[low]*(1-part) + m.Calibration[low+1]*part
}

func (m *Model) strange(class int, row []float64) float64 {
	outside := 0
	for f, r := range m.Ranges[class] {
		if row[f] < r[0] || row[f] > r[1] {
			outside++
		}
	}
	return float64(outside) / float64(max(len(row), 1))
}

// Load reads a file of Train.
func Load(path string) (file.File[*Model], error) {
	return file.Load(path, Kind, Version, (*Model).Check)
}

const (
	maxClasses  = 1024
	maxTrees    = 4096
	maxNodes    = 1 << 20 // of a tree
	maxFeatures = 4096
)

// Check says what is wrong with a model that was read: after it, Classify neither
// panics nor runs for ever on rows of len(Features) numbers.
func (m *Model) Check() error {
	switch {
	case m == nil:
		return fmt.Errorf("no model in it")
	case len(m.Classes) == 0 || len(m.Classes) > maxClasses:
		return fmt.Errorf("%d classes, 1 to %d may be", len(m.Classes), maxClasses)
	case !slices.IsSorted(m.Classes) || slices.Contains(m.Classes, Unknown):
		return fmt.Errorf("classes %q: not sorted, or one is called %s", m.Classes, Unknown)
	case !slices.Equal(m.Features, FeatureNames()):
		return fmt.Errorf("its %d features are not those of this version", len(m.Features))
	case len(m.Trees) == 0 || len(m.Trees) > maxTrees:
		return fmt.Errorf("%d trees, 1 to %d may be", len(m.Trees), maxTrees)
	case len(m.Calibration) < 2 || len(m.Calibration) > 1001:
		return fmt.Errorf("%d points of calibration, 2 to 1001 may be", len(m.Calibration))
	case !(m.Reject >= 0 && m.Reject <= 1):
		return fmt.Errorf("reject %v: not within 0 to 1", m.Reject)
	case len(m.Ranges) != len(m.Classes):
		return fmt.Errorf("ranges of %d classes, there are %d", len(m.Ranges), len(m.Classes))
	}
	for i, c := range m.Calibration {
		if !(c >= 0 && c <= 1) || i > 0 && c < m.Calibration[i-1] {
			return fmt.Errorf("calibration %d: %v is not within 0 to 1, or falls", i, c)
		}
	}
	for _, r := range m.Ranges {
		if len(r) != len(m.Features) {
			return fmt.Errorf("ranges of %d features, there are %d", len(r), len(m.Features))
		}
	}
	for i, t := range m.Trees {
		if err := t.check(len(m.Features), len(m.Classes)); err != nil {
			return fmt.Errorf("tree %d: %w", i, err)
		}
	}
	return nil
}

// round shortens numbers of files to what they are worth.
func round(f float64) float64 { return math.Round(f*1e6) / 1e6 }
