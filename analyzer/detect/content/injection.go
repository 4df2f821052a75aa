package content

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/content/payload"
)

//go:embed injection.sql
var injectionSQL string

//go:embed injection_texts.sql
var injectionTextsSQL string

//go:embed injection_windows.sql
var injectionWindowsSQL string

// InjectionConfig are the thresholds of injection.
type InjectionConfig struct {
	MinSuspect int `conf:"min_suspect" help:"requests of a source in 5 minutes that may be attacks, where none is one for sure"`
}

const (
	maxInjectionTexts = 50000 // texts of a window that are looked at
	maxInjectionKeys  = 256   // texts, and sources, that the evidence of an alert names
)

// injection looks for attacks in requests of HTTP.
type injection struct {
	own    detect.Own
	config InjectionConfig
}

func newInjection(own detect.Own, c InjectionConfig) detect.Detector { return injection{own, c} }

func (d injection) Info() detect.Info {
	return detect.Info{
		Name: "injection", Version: 1, Title: "Attacks in requests", Techniques: []string{"T1190"},
		Length: 5 * time.Minute, Step: 5 * time.Minute,
		Doc: `A client writes into requests what only attacks have: SQL that leaves its literal, script that runs, paths up to system files, commands of a shell, lookups of Log4j, the names of
attack tools. Each request and User-Agent is decoded up to three times (percent, double, overlong and %u escapes, entities of HTML, nested lookups) and judged by the grammar of its values, not by words. One that has no other
meaning is enough, of others it takes min_suspect in 5 minutes. From inside, one incident of the source: high if sure, else medium. From outside, where such requests are background: medium, one incident of the source, if a server
answered a sure one with success or an error of its own (2xx, 5xx), high if that was a command, a lookup or a system file; the others are one low incident of the server. The magnitude is the number of requests. Bodies are not seen.`,
		Controls: []string{
			"prose about attacks, such as encoded search text",
			"filters, formulas and code that honest pages put into queries: OData, JQL, PromQL, JSON, HTML",
			"relative paths of careless pages",
			"sources in detect.exempt, and networks with the role scanner or monitor",
		},
		Parameters: []detect.Parameter{
			{Name: "min_suspect", Value: fmt.Sprint(d.config.MinSuspect), Doc: "requests in 5 minutes that may be attacks; one lone quote or script element is also a typing error"},
		},
	}
}

// injectionSQLs fills in what the statements share. A flow has a list of requests
// or, from importers, the first only; its User-Agent counts once, with the first status.
func injectionText(file string) string {
	return strings.NewReplacer(
		"/*items*/", `arrayConcat(
            arrayMap((t, s) -> (t, s, false), if(empty(http_requests), [concat(http_method, ' ', http_host, http_uri)], http_requests), arrayResize(if(empty(http_statuses), [http_status], http_statuses), if(empty(http_requests), 1, length(http_requests)))),
            [(toString(http_user_agent), http_status, true)])`,
		"/*suspect*/", `if(header, multiSearchAnyCaseInsensitive(concat(text, ' ', decodeURLComponent(text)), arrayMap(x -> unhex(x), splitByChar(',', {header_needles:String}))),
            multiSearchAnyCaseInsensitive(concat(text, ' ', decodeURLComponent(text), ' ', decodeURLComponent(decodeURLComponent(text)), ' ', decodeURLComponent(decodeURLComponent(decodeURLComponent(text)))), arrayMap(x -> unhex(x), splitByChar(',', {needles:String}))))`,
	).Replace(detect.Compose(file))
}

// needles are parameters of the statements that look for texts.
func (d injection) needles() detect.Params {
	return detect.Params{"needles": coded(payload.Needles()), "header_needles": coded(payload.HeaderNeedles())}
}

// coded writes texts for a statement that reads them with arrayMap(unhex): quotes and
// backslashes do not get through a parameter of Array(String) unharmed.
func coded(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = hex.EncodeToString([]byte(s))
	}
	return strings.Join(out, ",")
}

// addresses writes addresses as ClickHouse reads a parameter of Array(String).
func addresses(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return "['" + strings.Join(list, "','") + "']"
}

// Windows returns those with a text that is worth a look.
func (d injection) Windows(ctx context.Context, db detect.DB, span detect.Window) ([]time.Time, error) {
	return detect.Windows(ctx, db, d.Info(), injectionText(injectionWindowsSQL), d.needles(), span)
}

// request is a text that a source sent to a server.
type request struct {
	Site         string    `ch:"site"`
	Src          string    `ch:"src"`
	Dst          string    `ch:"dst"`
	Inside       bool      `ch:"inside"`
	Port         uint16    `ch:"port"`
	Text         string    `ch:"text"`
	Header       bool      `ch:"header"`
	Key          uint64    `ch:"key"`
	Requests     uint64    `ch:"requests"`
	AnsweredWell uint64    `ch:"answered_well"`
	First        time.Time `ch:"first"`
	Last         time.Time `ch:"last"`
	FlowIDs      []string  `ch:"flow_ids"`
	signs        []payload.Sign
}

// attack is what becomes one alert: the requests of a source, or those of many to
// a server.
type attack struct {
	site, src, dst string
	inside         bool
	list           []request
}

func (d injection) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	p := maps.Clone(d.needles())
	maps.Copy(p, d.own.Params().Span(w).With("limit", detect.Number(maxInjectionTexts)))
	found, err := detect.All[request](ctx, db, injectionText(injectionTextsSQL), p)
	if err != nil {
		return detect.Result{}, fmt.Errorf("detect injection: %w", err)
	}
	result := detect.Result{Judged: len(found)}
	for _, a := range d.attacks(found) {
		result.Alerts = append(result.Alerts, d.alert(a, w))
	}
	return result, nil
}

// attacks groups what is one.
func (d injection) attacks(found []request) (list []attack) {
	bySource, byServer := map[[2]string]*attack{}, map[[2]string]*attack{}
	for _, r := range found {
		if r.Header {
			r.signs = payload.Header(r.Text)
		} else {
			r.signs = payload.Request(r.Text)
		}
		if len(r.signs) == 0 {
			continue
		}
		key := [2]string{r.Site, r.Src}
		if bySource[key] == nil {
			bySource[key] = &attack{site: r.Site, src: r.Src, inside: r.Inside}
		}
		bySource[key].list = append(bySource[key].list, r)
	}
	for _, key := range slices.SortedFunc(maps.Keys(bySource), compare) {
		a := bySource[key]
		if n := a.requests(); !a.sure() && n < uint64(d.config.MinSuspect) {
			continue
		}
		if a.inside || a.worked() {
			list = append(list, *a)
			continue
		}
		for _, r := range a.list {
			at := [2]string{r.Site, r.Dst}
			if byServer[at] == nil {
				byServer[at] = &attack{site: r.Site, dst: r.Dst}
			}
			byServer[at].list = append(byServer[at].list, r)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(byServer), compare) {
		list = append(list, *byServer[key])
	}
	return list
}

func compare(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }

func (a attack) sure() bool {
	return slices.ContainsFunc(a.list, func(r request) bool { return payload.Sure(r.signs) })
}

// worked says whether a server took an attack that is sure, or fell over it.
func (a attack) worked() bool {
	return slices.ContainsFunc(a.list, func(r request) bool { return payload.Sure(r.signs) && r.AnsweredWell > 0 && !r.Header })
}

// grave says whether what worked runs commands or reads files.
func (a attack) grave() bool {
	return slices.ContainsFunc(a.list, func(r request) bool {
		return r.AnsweredWell > 0 && !r.Header && slices.ContainsFunc(r.signs, func(s payload.Sign) bool {
			return s.Sure && (s.Kind == payload.Command || s.Kind == payload.Lookup || s.Kind == payload.Traversal)
		})
	})
}

func (a attack) requests() (n uint64) {
	for _, r := range a.list {
		n += r.Requests
	}
	return n
}

// alert writes what is said of an attack.
func (d injection) alert(at attack, w detect.Window) alert.Alert {
	a := detect.Base(d.Info(), w)
	slices.SortStableFunc(at.list, func(x, y request) int { // the sure ones first
		return cmp.Or(cmp.Compare(b2i(payload.Sure(y.signs)), b2i(payload.Sure(x.signs))), cmp.Compare(y.Requests, x.Requests))
	})
	var kinds []payload.Kind
	var keys []uint64
	var servers, sources, ids []string
	var shown, well uint64
	a.Start, a.End = at.list[0].First, at.list[0].Last
	for _, r := range at.list {
		sources = append(sources, r.Src)
	}
	sources = distinct(sources)
	named := sources[:min(len(sources), maxInjectionKeys)]
	for _, r := range at.list {
		kinds, servers = append(kinds, payload.Kinds(r.signs)...), append(servers, r.Dst)
		if r.First.Before(a.Start) {
			a.Start = r.First
		}
		if r.Last.After(a.End) {
			a.End = r.Last
		}
		if _, is := slices.BinarySearch(named, r.Src); !is {
			continue
		}
		if !slices.Contains(keys, r.Key) {
			if len(keys) == maxInjectionKeys {
				continue
			}
			keys = append(keys, r.Key)
		}
		shown, well, ids = shown+r.Requests, well+r.AnsweredWell, append(ids, r.FlowIDs...)
	}
	kinds, servers = distinct(kinds), distinct(servers)
	slices.Sort(keys)
	ids = distinct(ids)
	a.FlowIDs, a.Magnitude = ids[:min(len(ids), 5)], float64(at.requests())
	volume := min(1, 0.3+0.35*math.Log10(1+float64(shown)))
	answered := float64(well) / float64(max(shown, 1))
	a.SubScores = map[string]float64{"volume": volume, "answered": answered}
	a.Score = detect.Bounded(0.7*volume + 0.3*answered)
	a.Confidence = 0.7
	if at.sure() {
		a.Confidence = 0.95
	}
	what := string(kinds[0])
	if len(kinds) > 1 {
		what = "attacks of several kinds"
	}
	var texts []string
	for _, k := range kinds {
		texts = append(texts, string(k))
	}
	a.Reasons = []string{fmt.Sprintf("%d requests: %s", at.requests(), strings.Join(texts, ", ")),
		fmt.Sprintf("such as %q (%s)", at.list[0].signs[0].Text, at.list[0].signs[0].Rule)}
	if at.sure() {
		a.Reasons = append(a.Reasons, "what was sent has no other meaning")
	} else {
		a.Reasons = append(a.Reasons, fmt.Sprintf("none has no other meaning, but %d in 5 minutes are enough", d.config.MinSuspect))
	}
	a.Actor, a.Victim = at.src, at.dst
	switch {
	case at.dst != "":
		a.Severity = alert.Low
		a.Entities = detect.Entities("victim", at.dst, "site", at.site)
		a.Title = fmt.Sprintf("%s gets %s from %d sources outside", at.dst, what, len(sources))
		a.Reasons = append(a.Reasons, "the sources are outside, where this is background, and the server took none of it")
	default:
		a.Entities = detect.Entities("actor", at.src, "site", at.site)
		a.Title = fmt.Sprintf("%s sends %s to %s", at.src, what, servers[0])
		a.Victim = servers[0]
		if len(servers) > 1 {
			a.Title, a.Victim = fmt.Sprintf("%s sends %s to %d servers", at.src, what, len(servers)), ""
		}
		switch {
		case at.inside && at.sure(), at.grave():
			a.Severity = alert.High
		default:
			a.Severity = alert.Medium
		}
		if at.inside {
			a.Reasons = append(a.Reasons, "the source is inside")
		}
		if at.worked() {
			a.Reasons = append(a.Reasons, "a server answered with success, or with an error of its own")
		}
	}
	a.Unless = []string{"source in detect.exempt, or in a network with the role scanner or monitor",
		fmt.Sprintf("only texts that may mean something else, fewer than %d in 5 minutes", d.config.MinSuspect)}
	a.EvidenceSQL = injectionText(injectionSQL)
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = strconv.FormatUint(k, 10)
	}
	a.EvidenceParams = detect.Params{}.Span(w).With("sources", addresses(named), "dst", at.dst, "site", at.site, "keys", "["+strings.Join(list, ",")+"]")
	return a
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// distinct returns a sorted copy without repetitions.
func distinct[T cmp.Ordered](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }
