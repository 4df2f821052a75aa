package model

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Evaluation is how a model does on flows of hosts that it has not seen.
type Evaluation struct {
	Flows     int              `json:"flows"`
	Hosts     int              `json:"hosts"`
	Confusion []Cell           `json:"confusion"` // by class and answer, those that occur
	Unknowns  int              `json:"unknowns"`  // answers Unknown to flows of classes that it knows
	Right     int              `json:"right"`     // right answers among the others
	Foreign   int              `json:"foreign"`   // flows of classes that it does not know
	Refused   int              `json:"refused"`   // of them, answered Unknown, as is right
	Curve     []Operation      `json:"curve"`     // other limits of confidence
	Error     float64          `json:"error"`     // expected error of the confidence, 0 to 1, in ten bins
	Classes   map[string]Score `json:"classes"`
}

// Cell counts flows of a class with an answer.
type Cell struct {
	Class  string `json:"class"`
	Answer string `json:"answer"`
	Flows  int    `json:"flows"`
}

// Operation is how a model does at a limit of confidence.
type Operation struct {
	Reject   float64 `json:"reject"`
	Answered float64 `json:"answered"` // share of the flows with an answer, 0 to 1
	Accuracy float64 `json:"accuracy"` // share of right ones among them
	Recall   float64 `json:"recall"`   // mean over classes of the share of right answers, Unknown is wrong
}

// Score is how a model does with a class.
type Score struct {
	Flows     int     `json:"flows"`
	Hosts     int     `json:"hosts"`
	Recall    float64 `json:"recall"`    // right answers of all its flows
	Precision float64 `json:"precision"` // of answers that name it
}

// Evaluate measures the model on flows that it has not seen.
func (m *Model) Evaluate(flows []Labelled) Evaluation {
	e := Evaluation{Classes: map[string]Score{}}
	flows = tidy(flows)
	cells := map[[2]string]int{}
	hosts := map[string]map[string]bool{"": {}}
	answers := make([]Answer, len(flows))
	named := map[string]int{}
	for i, l := range flows {
		answers[i] = m.Classify(FeaturesOf(&l.Flow))
		a := answers[i]
		cells[[2]string{l.Class, a.Class}]++
		named[a.Class]++
		hosts[""][l.Host] = true
		if hosts[l.Class] == nil {
			hosts[l.Class] = map[string]bool{}
		}
		hosts[l.Class][l.Host] = true
		if _, knows := slices.BinarySearch(m.Classes, l.Class); !knows {
			e.Foreign++
			if a.Class == Unknown {
				e.Refused++
			}
			continue
		}
		e.Flows++
		if a.Class == Unknown {
			e.Unknowns++
		} else if a.Class == l.Class {
			e.Right++
		}
	}
	e.Hosts = len(hosts[""])
	for cell, n := range cells {
		e.Confusion = append(e.Confusion, Cell{cell[0], cell[1], n})
	}
	slices.SortFunc(e.Confusion, func(a, b Cell) int {
		switch {
		case a.Class != b.Class && a.Class < b.Class, a.Class == b.Class && a.Answer < b.Answer:
			return -1
		}
		return 1
	})
	for _, c := range m.Classes {
		s := Score{Hosts: len(hosts[c])}
		for cell, n := range cells {
			if cell[0] == c {
				s.Flows += n
			}
		}
		s.Recall = round(ratio(float64(cells[[2]string{c, c}]), float64(s.Flows)))
		s.Precision = round(ratio(float64(cells[[2]string{c, c}]), float64(named[c])))
		e.Classes[c] = s
	}
	for _, reject := range []float64{0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99} {
		e.Curve = append(e.Curve, m.operation(flows, answers, reject))
	}
	e.Error = m.miscalibration(flows, answers)
	return e
}

// operation tries another limit.
func (m *Model) operation(flows []Labelled, answers []Answer, reject float64) Operation {
	var all, answered, right float64
	count, good := map[string]float64{}, map[string]float64{}
	for i, l := range flows {
		if _, knows := slices.BinarySearch(m.Classes, l.Class); !knows {
			continue
		}
		all++
		count[l.Class]++
		if answers[i].Confidence < reject {
			continue
		}
		answered++
		if answers[i].Best == l.Class {
			right++
			good[l.Class]++
		}
	}
	recall := 0.0
	for _, c := range m.Classes { // in order: sums of floats depend on it
		recall += ratio(good[c], count[c])
	}
	return Operation{reject, round(ratio(answered, all)), round(ratio(right, answered)), round(ratio(recall, float64(len(count))))}
}

// miscalibration is the expected calibration error, in ten bins.
func (m *Model) miscalibration(flows []Labelled, answers []Answer) float64 {
	var n, sure, right [10]float64
	total := 0.0
	for i, l := range flows {
		if _, knows := slices.BinarySearch(m.Classes, l.Class); !knows {
			continue
		}
		b := min(9, int(answers[i].Confidence*10))
		n[b]++
		total++
		sure[b] += answers[i].Confidence
		if answers[i].Best == l.Class {
			right[b]++
		}
	}
	e := 0.0
	for b := range n {
		e += math.Abs(sure[b] - right[b])
	}
	return round(ratio(e, total))
}

// figures are the short form for the head of a file.
func (e Evaluation) figures() map[string]float64 {
	return map[string]float64{
		"flows": float64(e.Flows), "hosts": float64(e.Hosts), "unknown_share": round(ratio(float64(e.Unknowns), float64(e.Flows))),
		"accuracy": round(ratio(float64(e.Right), float64(e.Flows-e.Unknowns))), "calibration_error": e.Error,
		"foreign": float64(e.Foreign), "foreign_refused": round(ratio(float64(e.Refused), float64(e.Foreign))),
	}
}

// Print writes the evaluation for people.
func (e Evaluation) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	f := e.figures()
	fmt.Fprintf(w, "held back\t%d flows of %d hosts\n", e.Flows, e.Hosts)
	fmt.Fprintf(w, "answered\t%.1f %%, of them right %.1f %%\n", 100*(1-f["unknown_share"]), 100*f["accuracy"])
	fmt.Fprintf(w, "error of the confidence\t%.3f\n", e.Error)
	if e.Foreign > 0 {
		fmt.Fprintf(w, "of classes it does not know\t%d flows, %.1f %% answered unknown\n", e.Foreign, 100*f["foreign_refused"])
	}
	fmt.Fprintf(w, "\nclass\tflows\thosts\trecall\tprecision\n")
	var names []string
	for c := range e.Classes {
		names = append(names, c)
	}
	slices.Sort(names)
	for _, c := range names {
		s := e.Classes[c]
		fmt.Fprintf(w, "%s\t%d\t%d\t%.3f\t%.3f\n", c, s.Flows, s.Hosts, s.Recall, s.Precision)
	}
	fmt.Fprintf(w, "\nlimit\tanswered\taccuracy\trecall\n")
	for _, o := range e.Curve {
		fmt.Fprintf(w, "%.2f\t%.3f\t%.3f\t%.3f\n", o.Reject, o.Answered, o.Accuracy, o.Recall)
	}
	fmt.Fprintf(w, "\nclass\tanswer\tflows\n")
	for _, c := range e.Confusion {
		fmt.Fprintf(w, "%s\t%s\t%d\n", c.Class, c.Answer, c.Flows)
	}
	return w.Flush()
}

// Tally is what a model takes the flows to a server and port for.
type Tally struct {
	Server     string
	Port       uint16
	Name       string // the server's, as clients asked for it
	Class      string
	Flows      int
	Confidence float64 // mean
}

// Tally classifies flows and counts the answers, most first.
func (m *Model) Tally(flows []Labelled) []Tally {
	sums := map[Tally]Tally{}
	for _, l := range flows {
		if !l.Flow.Usable() {
			continue
		}
		a := m.Classify(FeaturesOf(&l.Flow))
		key := Tally{Server: l.Flow.Server, Port: l.Flow.Port, Name: l.Flow.SNI, Class: a.Class}
		t := sums[key]
		t.Flows++
		t.Confidence += a.Confidence
		sums[key] = t
	}
	var list []Tally
	for key, t := range sums {
		key.Flows, key.Confidence = t.Flows, t.Confidence/float64(t.Flows)
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b Tally) int {
		return cmp.Or(b.Flows-a.Flows, cmp.Compare(a.Server, b.Server), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Class, b.Class))
	})
	return list
}
