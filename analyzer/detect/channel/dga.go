package channel

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed dga.sql
var dgaSQL string

//go:embed dga_names.sql
var dgaNamesSQL string

//go:embed dga_windows.sql
var dgaWindowsSQL string

// dgaPairs are the 200 commonest pairs of letters in the registered names of 5937
// popular domains: 84 % of the pairs there, 30 % of all there can be.
//
//go:embed dga_pairs.txt
var dgaPairs string

// DGAConfig are the thresholds of dga.
type DGAConfig struct {
	MinDomains  int      `conf:"min_domains" help:"registered domains that do not exist, asked by one client in 10 minutes"`
	MinShare    float64  `conf:"min_share" help:"least share of them in all domains asked, 0 to 1"`
	MaxFamiliar float64  `conf:"max_familiar" help:"greatest share of common pairs of letters in their names, 0 to 1"`
	OwnZones    []string `conf:"own_zones" help:"zones that search lists append, besides those of dns_tunnel.internal_zones"`
}

// dga looks for names that a program makes up in search of its master.
type dga struct {
	own   detect.Own
	zones []string
	c     DGAConfig
}

func newDGA(own detect.Own, zones []string, c DGAConfig) detect.Detector {
	return dga{own, slices.Concat(zones, c.OwnZones), c}
}

func (d dga) Info() detect.Info {
	c := d.c
	return detect.Info{
		Name: "dga", Version: 1, Title: "Generated domain names", Techniques: []string{"T1568.002"},
		Length: time.Minute, Step: time.Minute,
		Doc: `One client asks for many registered domains that do not exist (NXDOMAIN), which are most of what it asks for and do not read like names. Every minute is judged with the nine
before it. How a name reads is told by its pairs of letters: the share of them that is among the 200 commonest of popular domains. The score: 0.5 breadth (1 at ten times min_domains), 0.5 strangeness
(the share of uncommon pairs). Medium, high from five times min_domains. The magnitude is the number of domains.`,
		Controls: []string{
			"Registered domains count, by the list of public suffixes: names below a zone that a search list appends are one.",
			"Hosts that answer DNS queries themselves, networks with the role resolver and exempt sources are left out, and reverse zones.",
			"Misspelt and dead but readable names are familiar.",
		},
		Parameters: []detect.Parameter{
			{Name: "min_domains", Value: fmt.Sprint(c.MinDomains), Doc: "as Slips: 10 NXDOMAIN"},
			{Name: "min_share", Value: detect.Decimal(c.MinShare), Doc: "more than half"},
			{Name: "max_familiar", Value: detect.Decimal(c.MaxFamiliar), Doc: "popular names held back from the count have 0.72 together, random letters 0.30"},
			{Name: "own_zones", Value: strings.Join(c.OwnZones, " "), Doc: "zones of the own network"},
		},
	}
}

func (d dga) finding() detect.Params {
	return d.own.Params().With("min_domains", detect.Number(d.c.MinDomains))
}

// Windows returns minutes before which many names did not exist.
func (d dga) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	return detect.Windows(ctx, db, d.Info(), detect.Compose(dgaWindowsSQL), detect.Params{"min_domains": detect.Number(d.c.MinDomains)}, span)
}

// missingNames is a row of the names statement.
type missingNames struct {
	Site     string   `ch:"site"`
	Src      string   `ch:"src"`
	Missing  []string `ch:"missing"`
	Existing []string `ch:"existing"`
}

// generated is a row of the evidence statement.
type generated struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Missing     uint64    `ch:"missing"`
	Existing    uint64    `ch:"existing"`
	Share       float64   `ch:"share"`
	Familiar    float64   `ch:"familiar"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	Samples     []string  `ch:"samples"`
	FlowIDs     []string  `ch:"flow_ids"`
	Breadth     float64   `ch:"breadth"`
	Strangeness float64   `ch:"strangeness"`
}

// Detect gathers names, finds their domains and judges each client.
func (d dga) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	asked, err := detect.All[missingNames](ctx, db, detect.Compose(dgaNamesSQL), d.finding().Span(w))
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect dga: %w", err)
	}
	r := detect.Result{Judged: len(asked)}
	for _, a := range asked {
		existing := d.registered(a.Existing)
		missing := slices.DeleteFunc(d.registered(a.Missing), func(n string) bool { _, known := slices.BinarySearch(existing, n); return known })
		missing = missing[:min(len(missing), 500)]
		if len(missing) < d.c.MinDomains {
			continue
		}
		p := d.finding().Span(w).With("src", a.Src, "site", a.Site, "domains", exactList(missing), "existing", detect.Number(len(existing)), "common", exactList(strings.Fields(dgaPairs)))
		rows, err := detect.All[generated](ctx, db, detect.Compose(dgaSQL), p)
		if err != nil {
			return detect.Result{}, fmt.Errorf("detect dga: %w", err)
		}
		for i := range rows {
			g := &rows[i]
			if g.Missing < uint64(d.c.MinDomains) || g.Share <= d.c.MinShare || g.Familiar > d.c.MaxFamiliar {
				continue
			}
			found := detect.Base(d.Info(), w)
			d.judge(&found, g)
			found.EvidenceSQL, found.EvidenceParams = detect.Compose(dgaSQL), p
			r.Alerts = append(r.Alerts, found)
		}
	}
	return r, nil
}

// registered are the registered domains of names, sorted, without own zones.
func (d dga) registered(names []string) []string {
	set := map[string]bool{}
	for _, n := range names {
		if domain, _ := splitName(n); domain != "" && strings.Contains(domain, ".") && !below(n, d.zones) {
			set[domain] = true
		}
	}
	list := make([]string, 0, len(set))
	for n := range set {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// judge writes what was found.
func (d dga) judge(a *alert.Alert, g *generated) {
	a.Actor, a.Entities = g.Src, detect.Entities("actor", g.Src, "site", g.Site)
	a.Title = fmt.Sprintf("%s asks for %d domains that do not exist and read like noise", g.Src, g.Missing)
	a.Start, a.End, a.FlowIDs, a.Magnitude = g.First, g.Last, g.FlowIDs, float64(g.Missing)
	a.SubScores = map[string]float64{"breadth": g.Breadth, "strangeness": g.Strangeness}
	a.Score, a.Confidence = detect.Bounded(0.5*g.Breadth+0.5*g.Strangeness), 0.8
	a.Severity = alert.Medium
	if g.Missing >= uint64(5*d.c.MinDomains) {
		a.Severity = alert.High
	}
	a.Reasons = []string{
		fmt.Sprintf("%d domains do not exist in 10 minutes, %d are enough; %.0f %% of the domains asked", g.Missing, d.c.MinDomains, 100*g.Share),
		fmt.Sprintf("%.0f %% of the pairs of letters are common ones, up to %.0f %% is strange", 100*g.Familiar, 100*d.c.MaxFamiliar),
		"for example " + strings.Join(g.Samples, ", "),
	}
	a.Unless = []string{fmt.Sprintf("fewer than %d domains, or half of those asked exist, or names that read like names", d.c.MinDomains), "a resolver or an exempt source"}
}
