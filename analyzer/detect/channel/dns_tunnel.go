package channel

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed dns_tunnel.sql
var dnsTunnelSQL string

//go:embed dns_tunnel_names.sql
var dnsTunnelNamesSQL string

//go:embed dns_tunnel_windows.sql
var dnsTunnelWindowsSQL string

// DNSTunnelConfig are the thresholds of dns_tunnel.
type DNSTunnelConfig struct {
	MinInformation float64  `conf:"min_information" help:"letters of different names below one domain in 10 minutes"`
	MinNames       int      `conf:"min_names" help:"different names below one domain in 10 minutes"`
	MinLength      float64  `conf:"min_length" help:"their mean length without the domain"`
	MinEntropy     float64  `conf:"min_entropy" help:"bits in a letter of them"`
	FewNames       int      `conf:"few_names" help:"different names that are enough when half of the queries are of types that carry data and the names are few_length long"`
	FewLength      float64  `conf:"few_length" help:"mean length of those"`
	KnownDomains   []string `conf:"known_domains" help:"domains, with all below, that are asked long names in good order: reputation and block lists"`
	InternalZones  []string `conf:"internal_zones" help:"zones of the own network"`
}

// dnsTunnel looks for data in names. ClickHouse gathers names below pairs of labels,
// the list of public suffixes tells which domain was registered, and the evidence
// statement reckons with that.
type dnsTunnel struct {
	own detect.Own
	c   DNSTunnelConfig
}

func newDNSTunnel(own detect.Own, c DNSTunnelConfig) detect.Detector { return dnsTunnel{own, c} }

func (d dnsTunnel) Info() detect.Info {
	c := d.c
	return detect.Info{
		Name: "dns_tunnel", Version: 1, Title: "DNS tunnel", Techniques: []string{"T1071.004", "T1048.003"},
		Length: time.Minute, Step: time.Minute,
		Doc: `One client asks many different long names below one registered domain, as programs do that hide data in them. Every minute is judged with the nine before it.
Counted are the different names (U) without the domain, the sum of their lengths (I), the mean (L) and the entropy of their letters (H). Queries of types that carry data
(TXT, NULL, CNAME, MX, KEY …: not A, AAAA, PTR, NS, SOA, SRV, HTTPS or DNSSEC) raise it; where they are half of the queries, a few long names are enough. Names that end in no domain, sent straight
to a server, are taken together for client and server. The score: 0.35 volume (I up to five times the threshold), 0.2 length (40), 0.15 randomness (5 bits), 0.2 odd types, 0.1 answers (200 octets each).
Medium; high with I of 10 000 or odd types; low for short names of ordinary types, or when five clients ask the same domain. The magnitude is I.`,
		Controls: []string{
			"The registered domain is taken from the list of public suffixes, so that com.br or a content network's customers are not one domain.",
			"Reverse zones, block lists (names that begin with a reversed address), known_domains and internal_zones are left out, and sources in detect.exempt.",
			"A resolver that passes on what its clients ask is not named beside them.",
			"Names asked again count once: caches and retries add nothing.",
			"A few names of odd types are not enough where they are of services (labels that begin with _, as of DKIM, DMARC and SRV).",
		},
		Parameters: []detect.Parameter{
			{Name: "min_information", Value: detect.Decimal(c.MinInformation), Doc: "letters; with the next three 8 of 8 tunnels and no false window in a million scripted and 63 000 natural queries"},
			{Name: "min_names", Value: fmt.Sprint(c.MinNames), Doc: "different names"},
			{Name: "min_length", Value: detect.Decimal(c.MinLength), Doc: "mean length"},
			{Name: "min_entropy", Value: detect.Decimal(c.MinEntropy), Doc: "bits in a letter; hexadecimal has 4, base32 5"},
			{Name: "few_names", Value: fmt.Sprint(c.FewNames), Doc: "enough of few_length when half of the queries are of odd types"},
			{Name: "few_length", Value: detect.Decimal(c.FewLength), Doc: "the keep-alive of dnscat2 has 34"},
			{Name: "known_domains", Value: strings.Join(c.KnownDomains, " "), Doc: "reputation services"},
			{Name: "internal_zones", Value: strings.Join(c.InternalZones, " "), Doc: "names that are not in the public DNS"},
		},
	}
}

func (d dnsTunnel) finding() detect.Params {
	return d.own.Params().With("few", detect.Number(min(d.c.FewNames, d.c.MinNames)), "long", detect.Number(int(min(d.c.FewLength, d.c.MinLength))))
}

// Windows returns minutes before which long names were asked. What Detect asks first
// costs no more of a single one.
func (d dnsTunnel) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	if d.Info().Single(span) {
		return []time.Time{span.Start}, nil
	}
	return detect.Windows(ctx, db, d.Info(), detect.Compose(dnsTunnelWindowsSQL), d.finding(), span)
}

// askedNames is a row of the names statement.
type askedNames struct {
	Site    string   `ch:"site"`
	Src     string   `ch:"src"`
	Names   []string `ch:"names"`
	Servers []string `ch:"servers"`
}

// tunnel is a row of the evidence statement.
type tunnel struct {
	Site        string    `ch:"site"`
	Src         string    `ch:"src"`
	Domain      string    `ch:"domain"`
	Servers     []string  `ch:"servers"`
	Names       uint64    `ch:"names"`
	Information float64   `ch:"information"`
	MeanLength  float64   `ch:"mean_length"`
	Entropy     float64   `ch:"entropy"`
	OddShare    float64   `ch:"odd_share"`
	Services    float64   `ch:"service_share"` // share of names with a label that begins with _, as of SRV and DKIM
	Reply       float64   `ch:"reply"`
	Queries     uint64    `ch:"queries"`
	First       time.Time `ch:"first"`
	Last        time.Time `ch:"last"`
	Samples     []string  `ch:"samples"`
	FlowIDs     []string  `ch:"flow_ids"`
	Volume      float64   `ch:"volume"`
	Length      float64   `ch:"length"`
	Randomness  float64   `ch:"randomness"`
	Odd         float64   `ch:"odd"`
	Answers     float64   `ch:"answers"`
}

// Detect gathers names, finds their domains and judges each.
func (d dnsTunnel) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	asked, err := detect.All[askedNames](ctx, db, detect.Compose(dnsTunnelNamesSQL), d.finding().Span(w))
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect dns_tunnel: %w", err)
	}
	wanted := map[[3]string]bool{}
	for _, a := range asked {
		for domain := range d.domains(a.Names) {
			wanted[[3]string{a.Site, a.Src, domain}] = true
		}
	}
	if len(wanted) == 0 {
		return detect.Result{}, nil
	}
	keys := make([][3]string, 0, len(wanted))
	for k := range wanted {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y [3]string) int { return slices.Compare(x[:], y[:]) })
	evidence := d.params(w, keys)
	tunnels, err := detect.All[tunnel](ctx, db, detect.Compose(dnsTunnelSQL), evidence)
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect dns_tunnel: %w", err)
	}
	tunnels = slices.DeleteFunc(tunnels, func(t tunnel) bool { return !d.suspect(&t) })
	clients, forwarder := map[string]int{}, map[[3]string]bool{}
	for _, t := range tunnels {
		clients[t.Domain]++
		for _, s := range t.Servers {
			forwarder[[3]string{t.Site, s, t.Domain}] = true
		}
	}
	r := detect.Result{Judged: len(keys)}
	for i := range tunnels {
		t := &tunnels[i]
		key := [3]string{t.Site, t.Src, t.Domain}
		if forwarder[key] && t.Domain != "" {
			continue
		}
		a := detect.Base(d.Info(), w)
		d.judge(&a, t, clients[t.Domain])
		a.EvidenceSQL, a.EvidenceParams = detect.Compose(dnsTunnelSQL), d.params(w, [][3]string{key})
		r.Alerts = append(r.Alerts, a)
	}
	return r, nil
}

// params narrow the evidence to keys: site, client, domain.
func (d dnsTunnel) params(w detect.Window, keys [][3]string) detect.Params {
	var lists [3][]string
	for _, k := range keys {
		for i := range k {
			lists[i] = append(lists[i], k[i])
		}
	}
	return detect.Params{}.Span(w).With("sites", exactList(lists[0]), "clients", exactList(lists[1]), "domains", exactList(lists[2]), "min_information", detect.Decimal(d.c.MinInformation))
}

// domains sorts names by registered domain, "" for names without one, and leaves
// those that have too few or too little.
func (d dnsTunnel) domains(names []string) map[string]int {
	type sum struct{ names, letters int }
	found := map[string]*sum{}
	for _, n := range names {
		domain, sub := splitName(n)
		if domain != "" && (below(domain, d.c.InternalZones) || below(n, d.c.KnownDomains) || sub == "") {
			continue
		}
		s := found[domain]
		if s == nil {
			s = &sum{}
			found[domain] = s
		}
		s.names++
		s.letters += len(sub)
	}
	enough := map[string]int{}
	for domain, s := range found {
		if s.names >= min(d.c.FewNames, d.c.MinNames) && float64(s.letters) >= min(float64(d.c.FewNames)*d.c.FewLength, d.c.MinInformation) {
			enough[domain] = s.names
		}
	}
	return enough
}

// splitName parts a name into its registered domain and what stands before. The
// domain is empty if the last label is none of a domain: it has a digit, or is longer
// than any top level domain (24 letters).
func splitName(name string) (domain, sub string) {
	name = strings.TrimSuffix(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if (strings.ContainsAny(last, "0123456789") || len(last) > 24) && !strings.HasPrefix(last, "xn--") {
		return "", name
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil { // a public suffix itself, or an empty label
		return name, ""
	}
	return domain, strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
}

// below says whether name is one of the zones or in one.
func below(name string, zones []string) bool {
	return slices.ContainsFunc(zones, func(z string) bool { return name == z || strings.HasSuffix(name, "."+z) })
}

// suspect applies the thresholds.
func (d dnsTunnel) suspect(t *tunnel) bool {
	many := t.Information >= d.c.MinInformation && t.Names >= uint64(d.c.MinNames) && t.MeanLength >= d.c.MinLength
	few := t.Names >= uint64(d.c.FewNames) && t.MeanLength >= d.c.FewLength && t.OddShare >= 0.5 && t.Services < 0.5 && 2*t.Names >= t.Queries
	return t.Entropy >= d.c.MinEntropy && (many || few)
}

// judge writes what was found.
func (d dnsTunnel) judge(a *alert.Alert, t *tunnel, clients int) {
	target := cmp.Or(t.Domain, strings.Join(t.Servers, ", "))
	a.Actor, a.Victim, a.Entities = t.Src, target, detect.Entities("actor", t.Src, "victim", target, "site", t.Site)
	a.Title = fmt.Sprintf("%s hides data in DNS names below %s", t.Src, target)
	if t.Domain == "" {
		a.Title = fmt.Sprintf("%s hides data in DNS names sent to %s", t.Src, target)
	}
	a.Start, a.End, a.FlowIDs, a.Magnitude = t.First, t.Last, t.FlowIDs, t.Information
	a.SubScores = map[string]float64{"volume": t.Volume, "length": t.Length, "randomness": t.Randomness, "odd": t.Odd, "answers": t.Answers}
	a.Score = detect.Bounded(0.35*t.Volume + 0.2*t.Length + 0.15*t.Randomness + 0.2*t.Odd + 0.1*t.Answers)
	a.Confidence = detect.Bounded(0.6 + 0.2*t.Odd + 0.2*t.Length)
	a.Reasons = []string{
		fmt.Sprintf("%d different names of %.0f letters in 10 minutes; %d and %.0f are enough, or %d of %.0f with odd types", t.Names, t.Information, d.c.MinNames, d.c.MinInformation, d.c.FewNames, d.c.FewLength),
		fmt.Sprintf("mean length %.1f, %.2f bits in a letter; %v and %v are asked", t.MeanLength, t.Entropy, d.c.MinLength, d.c.MinEntropy),
		fmt.Sprintf("%.0f %% of %d queries are of types that carry data, answers have %.0f octets on average", 100*t.OddShare, t.Queries, t.Reply),
		"for example " + strings.Join(t.Samples, ", "),
	}
	a.Severity = alert.Medium
	switch {
	case clients >= 5:
		a.Severity = alert.Low
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d clients do so: more likely a service than a tunnel", clients))
	case t.OddShare >= 0.5 || t.Information >= 10000:
		a.Severity = alert.High
		a.Reasons = append(a.Reasons, "odd types are half of the queries, or the names have 10 000 letters")
	case t.MeanLength < 24 && t.OddShare < 0.1:
		a.Severity = alert.Low
		a.Reasons = append(a.Reasons, "short names of ordinary types")
	}
	a.Unless = []string{
		fmt.Sprintf("fewer than %d names or %.0f letters below one domain in 10 minutes, when few are of odd types", d.c.MinNames, d.c.MinInformation),
		"a domain in known_domains or internal_zones, or an exempt source",
	}
}

// exactList writes strings as an Array(String) parameter.
func exactList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	return "[" + strings.Join(quoted, ",") + "]"
}
