package novelty

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed policy.sql
var policySQL string

// newPolicy looks for flows against the user's own rules; without rules it has
// nothing to say.
func newPolicy(own detect.Own, rules []Rule) detect.Detector {
	p := policy{own: own, sql: detect.Compose(policySQL)}
	for _, r := range rules {
		if m, err := r.match(); err == nil { // Check has said so
			p.rules = append(p.rules, m)
		}
	}
	return p
}

// policy runs one statement for each rule.
type policy struct {
	own   detect.Own
	sql   string
	rules []matcher
}

// Info describes it.
func (policy) Info() detect.Info {
	return detect.Info{
		Name: "policy", Version: 1, Title: "Against a rule of one's own", Length: 10 * time.Minute, Step: 10 * time.Minute, Techniques: []string{"T1199"},
		Doc: `Flows that the user's rules forbid (novelty.policy in the configuration). A rule has a name, two ends (from, to), and what it is about: ports, apps, hours,
weekdays. With action deny, flows that fit all of it are against the rule; with allow, flows between its ends that do not fit the rest. An end is a list of prefixes,
network:NAME, role:NAME, inside or outside; an end that is left out is anybody. One incident for an actor and a rule, of the rule's severity (default medium), one step lower
as long as nothing was answered. The magnitude is the number of connections.`,
		Controls: []string{"flows whose initiator is a guess, multicast and ARP", "attempts without an answer: a step lower"},
		Parameters: []detect.Parameter{
			{Name: "policy", Value: "none", Doc: "list of rules: {name, action: deny|allow, from, to, ports, apps, hours: \"07:00-19:00\", weekdays: [mon, …], zone: Europe/Berlin, severity}"},
		},
	}
}

// Detect judges a window by every rule.
func (p policy) Detect(ctx context.Context, db detect.DB, w detect.Window) (detect.Result, error) {
	var result detect.Result
	for _, r := range p.rules {
		params := all(p.own.Params().Span(w))
		maps.Copy(params, r.params)
		params["limit"] = most
		found, err := detect.All[finding](ctx, db, p.sql, params)
		if err != nil {
			return detect.Result{}, fmt.Errorf("detect policy %s: %w", r.rule.Name, err)
		}
		result.Judged += len(found)
		for i := range found {
			a := detect.Base(p.Info(), w)
			a.EvidenceSQL, a.EvidenceParams = p.sql, maps.Clone(params)
			p.judge(&a, &found[i], r)
			result.Alerts = append(result.Alerts, a)
		}
	}
	return result, nil
}

// judge scores what an actor did against a rule.
func (policy) judge(a *alert.Alert, c *finding, r matcher) {
	severity := r.severity
	if c.Learning && severity.Rank() > 0 {
		severity = []alert.Severity{alert.Info, alert.Info, alert.Low, alert.Medium, alert.High}[severity.Rank()]
	}
	a.Reasons = append([]string{"rule " + r.rule.Name + ": " + r.rule.String()}, c.Details...)
	a.Unless = []string{"other ends, ports, applications, hours or weekdays than the rule's"}
	c.raise(a, severity, 0.95, c.Actor+" acts against the rule "+r.rule.Name, "actor", c.Actor, "rule", r.rule.Name)
}

// String says a rule in a line.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(r.Action)
	for _, part := range []struct {
		name string
		list []string
	}{{"from", r.From}, {"to", r.To}, {"ports", r.Ports}, {"apps", r.Apps}, {"weekdays", r.Weekdays}} {
		if len(part.list) > 0 {
			fmt.Fprintf(&b, " %s %s", part.name, strings.Join(part.list, ","))
		}
	}
	if r.Hours != "" {
		fmt.Fprintf(&b, " hours %s", r.Hours)
		if r.Zone != "" {
			fmt.Fprintf(&b, " %s", r.Zone)
		}
	}
	return b.String()
}
