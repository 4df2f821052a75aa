package backtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/catalogue"
	"github.com/tapwatch/tapwatch/analyzer/incident"
)

// Proposal is another value of one parameter of a detector, with what a back-test
// says it would do to the incidents that people have judged.
type Proposal struct {
	Parameter string // as the configuration has it: detect.recon.portscan_vertical.min_ports
	Now, New  string

	FalseGone, FalseLeft int // incidents judged false or benign
	TrueKept, TrueLost   int // incidents judged true
	Price                Price
}

// ErrNoVerdicts: nobody has judged an incident of the detector false or benign.
var ErrNoVerdicts = errors.New("no incident of the detector in the range has the verdict false or benign")

// factors by which a parameter is tried, each way, the mildest first.
var factors = []float64{1.25, 1.5, 2, 3, 5, 10}

// Propose looks for values of single parameters of a detector, numbers all, with
// which incidents judged false or benign would not have been raised, and every
// one judged true would. For each parameter it returns the mildest value that
// keeps all true ones and drops the most of the others; none if nothing helps.
// cfg is what is in effect now. It runs up to a dozen back-tests a parameter.
func (b *Backtester) Propose(ctx context.Context, cfg catalogue.Config, detector string, from, to time.Time) ([]Proposal, error) {
	judged, err := incident.NewStore(b.conn).Judgements(ctx, detector, from, to)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{} // true: to be kept
	bad := 0
	for _, j := range judged {
		ids[j.Alert] = j.Verdict == incident.True
		if j.Verdict != incident.True {
			bad++
		}
	}
	if bad == 0 {
		return nil, fmt.Errorf("propose for %s: %w", detector, ErrNoVerdicts)
	}
	var known []*alert.Alert
	err = b.alerts.Each(ctx, from, to, func(a *alert.Alert) error {
		if _, ok := ids[a.ID]; ok && a.Detector == detector {
			known = append(known, a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var list []Proposal
	for _, p := range parametersOf(&cfg, detector) {
		best, err := b.tryParameter(ctx, &cfg, p, detector, known, ids, from, to)
		if err != nil {
			return nil, err
		}
		if best != nil {
			list = append(list, *best)
		}
	}
	return list, nil
}

// parameter is a number of a configuration.
type parameter struct {
	path  string
	value reflect.Value
}

// parametersOf finds the numbers of the part of cfg that is called as the detector.
func parametersOf(cfg *catalogue.Config, detector string) (list []parameter) {
	all := reflect.ValueOf(cfg).Elem()
	for i := range all.NumField() {
		family := all.Field(i)
		if family.Kind() != reflect.Struct {
			continue
		}
		for j := range family.NumField() {
			if family.Type().Field(j).Tag.Get("conf") != detector || family.Field(j).Kind() != reflect.Struct {
				continue
			}
			own := family.Field(j)
			for k := range own.NumField() {
				if f := own.Field(k); f.CanInt() && f.Type() != reflect.TypeFor[time.Duration]() || f.CanFloat() || f.CanUint() {
					list = append(list, parameter{"detect." + all.Type().Field(i).Tag.Get("conf") + "." + detector + "." + own.Type().Field(k).Tag.Get("conf"), f})
				}
			}
		}
	}
	return list
}

// scaled is the parameter's value times a factor, as its kind has it.
func (p parameter) scaled(factor float64) reflect.Value {
	v := reflect.New(p.value.Type()).Elem()
	switch {
	case v.CanInt():
		v.SetInt(int64(float64(p.value.Int())*factor + .5))
	case v.CanUint():
		v.SetUint(uint64(float64(p.value.Uint())*factor + .5))
	default:
		v.SetFloat(p.value.Float() * factor)
	}
	return v
}

func (b *Backtester) tryParameter(ctx context.Context, cfg *catalogue.Config, p parameter, detector string, known []*alert.Alert, ids map[string]bool, from, to time.Time) (*Proposal, error) {
	now := reflect.New(p.value.Type()).Elem()
	now.Set(p.value)
	defer p.value.Set(now)
	try := func(value reflect.Value) (*Proposal, error) {
		p.value.Set(value)
		d := find(*cfg, detector)
		if d == nil {
			return nil, fmt.Errorf("propose: there is no detector %s", detector)
		}
		price, err := b.Detector(ctx, d, from, to)
		if err != nil {
			return nil, err
		}
		t := &Proposal{Parameter: p.path, Now: fmt.Sprint(now.Interface()), New: fmt.Sprint(value.Interface()), Price: price}
		t.count(known, ids)
		return t, nil
	}
	var best *Proposal
	for _, up := range []bool{true, false} {
		var values []reflect.Value
		for _, factor := range factors {
			if !up {
				factor = 1 / factor
			}
			p.value.Set(now)
			v := p.scaled(factor)
			p.value.Set(v)
			if cfg.Check() == nil && !v.Equal(now) && (len(values) == 0 || !v.Equal(values[len(values)-1])) {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			continue
		}
		last, err := try(values[len(values)-1]) // what does not help then, never helps
		if err != nil {
			return nil, err
		}
		if last.FalseGone == 0 {
			continue
		}
		for i, v := range values {
			t := last
			if i < len(values)-1 {
				if t, err = try(v); err != nil {
					return nil, err
				}
			}
			if t.TrueLost > 0 {
				break // further on it only gets worse
			}
			if t.FalseGone > 0 && (best == nil || t.FalseGone > best.FalseGone) {
				best = t
			}
			if t.FalseLeft == 0 {
				break
			}
		}
	}
	return best, nil
}

func find(cfg catalogue.Config, name string) detect.Detector {
	for _, d := range catalogue.All(cfg) {
		if d.Info().Name == name {
			return d
		}
	}
	return nil
}

// count tells which of the judged incidents a back-test has raised again.
func (p *Proposal) count(known []*alert.Alert, ids map[string]bool) {
	by := map[string][]*alert.Alert{}
	for i := range p.Price.Incidents {
		a := &p.Price.Incidents[i]
		by[a.Key()] = append(by[a.Key()], a)
	}
	for _, k := range known {
		raised := false
		for _, a := range by[k.Key()] {
			raised = raised || !a.Start.After(k.End) && !k.Start.After(a.End)
		}
		switch keep := ids[k.ID]; {
		case keep && raised:
			p.TrueKept++
		case keep:
			p.TrueLost++
		case raised:
			p.FalseLeft++
		default:
			p.FalseGone++
		}
	}
}
