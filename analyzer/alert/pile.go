package alert

import "slices"

// Pile joins findings to episodes as Settle does, in memory: for what is not to
// be stored. The zero Pile is empty.
type Pile struct{ e episodes }

// Add takes in what was found in a window; earlier windows first. It is changed
// to the form that is stored.
func (p *Pile) Add(found Alert) {
	if p.e.byKey == nil {
		p.e = episodes{byKey: map[string][]*Alert{}, byID: map[string]*Alert{}, before: map[string]Alert{}}
	}
	f := normal(found)
	p.e.place(&f)
}

// Alerts returns the episodes, by start, with the ids that Settle would give them
// if nothing were stored.
func (p *Pile) Alerts() []Alert {
	var list []Alert
	for _, a := range p.e.touched {
		list = append(list, *a)
	}
	slices.SortStableFunc(list, func(a, b Alert) int { return a.Start.Compare(b.Start) })
	return list
}
