package detect

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// Verdict is what a Judge says of a candidate.
type Verdict int

const (
	Quiet    Verdict = iota // nothing to raise
	Raise                   // the alert is raised
	Learning                // there is not enough history to say
)

// Spec is a detector by its parts. C is a row of its statement: a struct whose
// fields have ch tags, named after the statement's columns; the statement may
// have more columns than C.
type Spec[C any] struct {
	Info Info
	SQL  string // text of a .sql file as Compose returns it
	// Params are all parameters of SQL for a window; those that narrow it to one
	// candidate have the values that mean all.
	Params func(w Window) Params
	// Judge fills in a, which has detector, window and the evidence of all
	// candidates, from c: title, severity, scores, reasons, entities, times. It
	// writes to a.EvidenceParams what narrows the statement to c.
	Judge func(a *alert.Alert, c *C) Verdict

	// Find returns the starts of windows that are worth a look, as Windows wants
	// them; "": each is. FindParams are its parameters besides from, to, step and overlap.
	Find       string
	FindParams Params
	// Alone says that Detect costs no more than Find where the span is one window:
	// it is looked at then without being asked about.
	Alone bool
}

// New makes a detector of its parts; it is a Finder if Find is given.
func New[C any](s Spec[C]) Detector {
	d := spec[C]{s, "SELECT " + columnsOf[C]() + " FROM (" + s.SQL + ")"}
	if s.Find == "" {
		return d
	}
	return finder[C]{d}
}

type spec[C any] struct {
	Spec[C]
	statement string
}

func (d spec[C]) Info() Info { return d.Spec.Info }

func (d spec[C]) Detect(ctx context.Context, db DB, w Window) (Result, error) {
	p := d.Params(w)
	found, err := All[C](ctx, db, d.statement, p)
	if err != nil {
		return Result{}, fmt.Errorf("detect %s: %w", d.Spec.Info.Name, err)
	}
	r := Result{Judged: len(found)}
	for i := range found {
		a := Base(d.Spec.Info, w)
		a.EvidenceSQL, a.EvidenceParams = d.SQL, maps.Clone(p)
		switch d.Judge(&a, &found[i]) {
		case Raise:
			r.Alerts = append(r.Alerts, a)
		case Learning:
			r.Learning++
		}
	}
	return r, nil
}

type finder[C any] struct{ spec[C] }

func (d finder[C]) Windows(ctx context.Context, db DB, span Window) ([]time.Time, error) {
	if d.Alone && d.Spec.Info.Single(span) {
		return []time.Time{span.Start}, nil
	}
	return Windows(ctx, db, d.Spec.Info, d.Find, d.FindParams, span)
}

// columnsOf lists the ch tags of C.
func columnsOf[C any]() string {
	t := reflect.TypeFor[C]()
	var names []string
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("ch"))
	}
	return strings.Join(names, ", ")
}

// Base returns an alert with what every alert of a window has.
func Base(info Info, w Window) alert.Alert {
	return alert.Alert{Detector: info.Name, Version: info.Version, Techniques: info.Techniques, Gap: info.Gap,
		WindowStart: w.Start, WindowEnd: w.End}
}
