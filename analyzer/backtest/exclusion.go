package backtest

import (
	"context"
	"net/netip"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/exclusion"
)

// Exclusion tells which stored alerts of [from, to) an exclusion would suppress,
// besides those that are suppressed already. Known and what follows do not apply;
// Candidates are the alerts that were looked at. inside are own networks.
func (b *Backtester) Exclusion(ctx context.Context, e exclusion.Exclusion, inside []netip.Prefix, from, to time.Time) (Price, error) {
	p := Price{Subject: e.Text(), From: from, To: to, BySeverity: map[alert.Severity]int{}, Days: max(to.Sub(from).Hours(), 1) / 24}
	began := b.now()
	var all []*alert.Alert
	err := b.alerts.Each(ctx, from, to, func(a *alert.Alert) error {
		if !a.Withdrawn && a.SuppressedBy == "" {
			all = append(all, a)
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	p.Candidates = len(all)
	fits, err := exclusion.Fitting(ctx, b.conn, e, inside, all)
	if err != nil {
		return p, err
	}
	actors, victims := map[string]bool{}, map[string]bool{}
	for _, a := range fits {
		p.Incidents = append(p.Incidents, *a)
		p.BySeverity[a.Severity]++
		actors[a.Actor], victims[a.Victim] = true, true
	}
	delete(actors, "")
	delete(victims, "")
	p.Actors, p.Victims, p.Took = len(actors), len(victims), b.now().Sub(began)
	return p, nil
}
