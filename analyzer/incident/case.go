package incident

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed case.sql
var caseSQL string

// CaseDetector is the name of cases in alerts and job_runs.
const CaseDetector = "case"

// caseVersion grows when the same alerts may make other cases.
const caseVersion = 1

// CaseConfig is how alerts add up to cases.
type CaseConfig struct {
	Decay  float64 `conf:"decay" help:"share by which an alert counts less for each hour since its last traffic, as a rate"`
	Cap    float64 `conf:"cap" help:"the most that the alerts of one detector add up to; 1 is one high alert"`
	Weight float64 `conf:"weight" help:"sum from which on alerts of two tactics are a case; 1 is one high alert"`
}

// DefaultCaseConfig: an alert counts for about half after three hours, after the
// threat levels of Slips, which lose .25 an hour; two sure alerts of medium
// severity of different tactics in one hour are a case.
func DefaultCaseConfig() CaseConfig { return CaseConfig{Decay: .25, Cap: 1, Weight: .75} }

// Check says what is wrong with c.
func (c CaseConfig) Check() error {
	return detect.CheckPositive(map[string]float64{"decay": c.Decay, "cap": c.Cap, "weight": c.Weight})
}

// weights of severities. What is only information adds up to nothing: there is
// no end of it.
func weights() map[alert.Severity]float64 {
	return map[alert.Severity]float64{alert.Low: .25, alert.Medium: .5, alert.High: 1, alert.Critical: 2}
}

// day is the window of cases: a case is judged at the moments of a day, looking
// back as long.
const day = 24 * time.Hour

// item is an alert as it counts for one host.
type item struct {
	*alert.Alert
	tactic string
	actor  bool // the host did it; else it was done to it
}

// Cases returns the cases of the day that begins at start, of alerts whose
// traffic touches that day and the one before. An own host, or an outside
// address, has a case when what it did shows two tactics or more within 24 hours;
// what was done to an own host before, of medium severity and above, counts as
// well, for half. It is a pure function; the order of alerts does not matter.
func Cases(cfg CaseConfig, inside []netip.Prefix, start time.Time, alerts []*alert.Alert) []alert.Alert {
	by := map[string][]item{}
	table := tactics()
	for _, a := range alerts {
		tactic := tacticOf(table, a.Techniques)
		if a.Withdrawn || a.SuppressedBy != "" || a.Detector == CaseDetector || tactic == "" || weights()[a.Severity] == 0 {
			continue
		}
		if isAddress(a.Actor) {
			by[a.Actor] = append(by[a.Actor], item{a, tactic, true})
		}
		if a.Victim != a.Actor && isAddress(a.Victim) && a.Severity.Rank() >= alert.Medium.Rank() && isInside(a.Victim, inside) {
			by[a.Victim] = append(by[a.Victim], item{a, tactic, false})
		}
	}
	var list []alert.Alert
	for _, entity := range slices.Sorted(maps.Keys(by)) {
		items := by[entity]
		slices.SortFunc(items, func(a, b item) int {
			if c := a.Start.Compare(b.Start); c != 0 {
				return c
			}
			return strings.Compare(a.ID, b.ID)
		})
		best, at := math.Inf(-1), time.Time{}
		var of []item
		for _, i := range items { // it grows only when an alert begins
			if i.Start.Before(start) || !i.Start.Before(start.Add(day)) {
				continue
			}
			chosen := until(items, i.Start)
			if w := weigh(cfg, chosen, i.Start); suffices(cfg, chosen, w) && w > best {
				best, at, of = w, i.Start, chosen
			}
		}
		if of != nil {
			list = append(list, caseOf(cfg, entity, start, at, of, best))
		}
	}
	return list
}

// until are the items that count at a moment: begun, and not over for 24 hours.
// What was done to a host counts only if the host did something later.
func until(items []item, at time.Time) (list []item) {
	var last time.Time
	for _, i := range items {
		if i.actor && !i.Start.After(at) && i.Start.After(last) {
			last = i.Start
		}
	}
	for _, i := range items {
		if !i.Start.After(at) && at.Sub(i.End) < day && (i.actor || !i.Start.After(last)) {
			list = append(list, i)
		}
	}
	return list
}

// weigh is what case.sql does.
func weigh(cfg CaseConfig, items []item, at time.Time) float64 {
	by := map[string]float64{}
	for _, i := range items {
		w := weights()[i.Severity] * i.Confidence * math.Exp(-cfg.Decay*max(0, float64(at.UnixNano())/1e9-float64(i.End.UnixNano())/1e9)/3600)
		if !i.actor {
			w /= 2
		}
		by[i.Detector] += w
	}
	sum := 0.
	for _, d := range slices.Sorted(maps.Keys(by)) {
		sum += min(cfg.Cap, by[d])
	}
	return sum
}

// suffices says whether items of this weight are a case: two tactics, by two
// detectors, one of them medium or more, and something that the host did.
func suffices(cfg CaseConfig, items []item, weight float64) bool {
	detectors := map[string]bool{}
	did, medium := false, false
	for _, i := range items {
		detectors[i.Detector] = true
		did = did || i.actor
		medium = medium || i.Severity.Rank() >= alert.Medium.Rank()
	}
	return weight >= cfg.Weight && did && medium && len(detectors) >= 2 && len(tacticsOf(items)) >= 2
}

func tacticsOf(items []item) []string {
	set := map[string]bool{}
	for _, i := range items {
		set[i.tactic] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// step is a line of a case's timeline, in its baseline column.
type step struct {
	Alert    string         `json:"alert"`
	Start    time.Time      `json:"start"`
	End      time.Time      `json:"end"`
	Tactic   string         `json:"tactic"`
	Detector string         `json:"detector"`
	Severity alert.Severity `json:"severity"`
	Title    string         `json:"title"`
	Role     string         `json:"role"` // of the entity: actor or victim
}

func caseOf(cfg CaseConfig, entity string, start, at time.Time, items []item, weight float64) alert.Alert {
	steps := tacticsOf(items)
	a := alert.Alert{Detector: CaseDetector, Version: caseVersion, Gap: day, WindowStart: start, WindowEnd: start.Add(day),
		Title: fmt.Sprintf("%s: %d alerts of %d tactics: %s", entity, len(items), len(steps), strings.Join(steps, ", ")),
		Actor: entity, Entities: detect.Entities("entity", entity), Score: detect.Bounded(weight / 3), Magnitude: weight, Confidence: 1, Completeness: math.NaN(),
		SubScores: map[string]float64{"weight": weight, "tactics": float64(len(steps))},
		Unless: []string{"alerts of one tactic only within 24 hours", "alerts of one detector only", "no alert of medium severity or more",
			fmt.Sprintf("a sum below %.2f", cfg.Weight), "an exclusion of one of the alerts"},
		EvidenceSQL: detect.Compose(caseSQL)}
	var timeline []step
	flows := map[string]bool{}
	for _, i := range items {
		if a.Start.IsZero() || i.Start.Before(a.Start) {
			a.Start = i.Start
		}
		if i.End.After(a.End) {
			a.End = i.End
		}
		a.Confidence = min(a.Confidence, i.Confidence)
		a.Related = append(a.Related, i.ID)
		a.Provisional = a.Provisional || i.Provisional
		if i.Completeness < a.Completeness || math.IsNaN(a.Completeness) {
			a.Completeness = i.Completeness
		}
		for _, t := range i.Techniques[:1] {
			if !slices.Contains(a.Techniques, t) {
				a.Techniques = append(a.Techniques, t)
			}
		}
		if len(i.FlowIDs) > 0 && len(flows) < 5 && !flows[i.FlowIDs[0]] {
			flows[i.FlowIDs[0]] = true
			a.FlowIDs = append(a.FlowIDs, i.FlowIDs[0])
		}
		role := "victim"
		if i.actor {
			role = "actor"
		}
		timeline = append(timeline, step{i.ID, i.Start, i.End, i.tactic, i.Detector, i.Severity, i.Title, role})
	}
	switch {
	case weight >= 2.5 && len(steps) >= 3:
		a.Severity = alert.Critical
	case weight >= 1.5 || len(steps) >= 3:
		a.Severity = alert.High
	default:
		a.Severity = alert.Medium
	}
	a.Reasons = []string{
		fmt.Sprintf("%d tactics within 24 hours: %s; two are enough", len(steps), strings.Join(steps, ", ")),
		fmt.Sprintf("its alerts add up to %.2f at %s; %.2f is enough, 1.5 or three tactics are high, 2.5 with three critical", weight, at.UTC().Format(time.RFC3339), cfg.Weight),
	}
	if text, err := json.Marshal(map[string]any{"timeline": timeline}); err == nil {
		a.Baseline = string(text)
	}
	a.EvidenceParams = params(cfg, entity, at, a.Related)
	return a
}

// params are those of case.sql.
func params(cfg CaseConfig, entity string, at time.Time, ids []string) map[string]string {
	table, weights := tactics(), weights()
	var severities []string
	var w, t, of []string
	for _, s := range alert.Severities() {
		severities, w = append(severities, "'"+string(s)+"'"), append(w, detect.Decimal(weights[s]))
	}
	for _, technique := range slices.Sorted(maps.Keys(table)) {
		t, of = append(t, "'"+technique+"'"), append(of, "'"+table[technique]+"'")
	}
	quoted := make([]string, len(ids))
	for i, id := range ids {
		quoted[i] = "'" + id + "'" // hexadecimal, see alert.episodeID
	}
	array := func(list []string) string { return "[" + strings.Join(list, ",") + "]" }
	return map[string]string{"entity": entity, "at": fmt.Sprintf("%.9f", float64(at.UnixNano())/1e9), "cap": detect.Decimal(cfg.Cap), "decay": detect.Decimal(cfg.Decay), "ids": array(quoted),
		"severities": array(severities), "weights": array(w), "techniques": array(t), "tactics": array(of)}
}

func isAddress(text string) bool { _, err := netip.ParseAddr(text); return err == nil }

func isInside(text string, inside []netip.Prefix) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && slices.ContainsFunc(inside, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
