package query

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Samples are the kinds of samples. Each may be followed by /N: one in N is
// taken; without it, as much as the limits allow, and all where that fits (of
// hash 1 in 16).
var Samples = []string{"auto", "hours", "days", "hash"}

// Sample says which part of the traffic an answer was made of. Its sums are
// scaled to the whole; names that are rare in the traffic may be missing.
type Sample struct {
	Kind string  `json:"kind" enum:"hours,days,hash" doc:"hours, days: whole ones, chosen by a hash of their number; hash: whole connections, by a hash of their Community ID"`
	Rate float64 `json:"rate" doc:"share of the range (of the connections) that was read, 0 to 1; sums are divided by it"`
	Note string  `json:"note"`
}

// parseSample reads auto, hours/10, …; n 0: as the limits need it.
func parseSample(s string) (kind string, n uint64, err error) {
	kind, number, given := strings.Cut(s, "/")
	known := false
	for _, k := range Samples {
		known = known || k == kind
	}
	if given {
		if n, err = strconv.ParseUint(number, 10, 32); err != nil || n == 0 {
			known = false
		}
	}
	if !known {
		return "", 0, fmt.Errorf("sample %s: it is one of %s, and may have /N behind it for one in N", quote(s), strings.Join(Samples, ", "))
	}
	return kind, n, nil
}

// CheckSample says what is wrong with Need.Sample.
func CheckSample(s string) error {
	if s == "" {
		return nil
	}
	_, _, err := parseSample(s)
	return err
}

// smallQuestion is how many rows may be read without asking first how many they
// are: fewer than it takes ClickHouse as long to read as to estimate.
const smallQuestion = 500_000

// Fit makes a plan fit the limits of a role. statement writes the question over
// the plan; columns are those of flows that it reads, for the estimate. What is
// too large is a *Refusal, or, where a sample was asked for, becomes one.
func (p *Planner) Fit(ctx context.Context, r Role, plan *Plan, statement func(*Plan) Statement) (Estimate, error) {
	limit := p.ask.Limits(r)
	kind, n, given := "", uint64(0), false
	if plan.need.Sample != "" {
		var err error
		if kind, n, err = parseSample(plan.need.Sample); err != nil {
			return Estimate{}, err
		}
		if kind = plan.sampleKind(kind); kind == "hash" && n == 0 && strings.HasPrefix(plan.need.Sample, "hash") {
			n = 16
		}
		if given = n > 0; n > 1 {
			p.sample(plan, kind, n)
		}
	}
	if most := plan.catalog.most(plan.Parts); !plan.need.Measure && most <= smallQuestion && (limit.Rows == 0 || most <= limit.Rows) {
		e := Estimate{Rows: most, Bytes: most * uint64(plan.Width())}
		for _, part := range plan.Parts {
			if !slices.Contains(e.Tables, part.Table) {
				e.Tables = append(e.Tables, part.Table)
			}
		}
		return e, nil
	}
	var refusal *Refusal
	for range 5 {
		e, err := p.ask.Estimate(ctx, r, statement(plan), plan.Width())
		if err != nil {
			return e, err
		}
		if limit.Rows == 0 || e.Rows <= limit.Rows {
			return e, nil
		}
		raw := false
		for _, part := range plan.Parts {
			raw = raw || part.Table == "flows"
		}
		refusal = &Refusal{Limit: "rows", Value: limit.Rows, Would: e, Hints: narrow(plan.span, e.Rows, limit.Rows, raw)}
		if kind == "" || kind == "hash" || given {
			break
		}
		n = max(n, 1) * max(2, uint64(math.Ceil(float64(e.Rows)/float64(limit.Rows)*1.1)))
		p.sample(plan, kind, n)
		if plan.Sample == nil {
			break
		}
	}
	return refusal.Would, refusal
}

// sampleKind decides what auto means, and keeps to what a question can bear: a
// curve over time cannot leave out hours.
func (p *Plan) sampleKind(kind string) string {
	length := p.span.To.Sub(p.span.From)
	switch {
	case p.need.Step > 0:
		return "hash"
	case kind != "auto":
		return kind
	case length >= 3*24*time.Hour: // whole parts; within one, hours lie apart
		return "days"
	case length >= 6*time.Hour:
		return "hours"
	}
	return "hash"
}

// sample takes one in n. A plan whose range is too short for hours stays as it
// is.
func (p *Planner) sample(plan *Plan, kind string, n uint64) {
	if kind == "hash" {
		need := plan.need
		need.Sample = "hash"
		plan.Parts = divide(plan.span, &catalog{}, usable(plan.filter, need))
		plan.Gone = plan.catalog.gone(plan.Parts)
		plan.compile(plan.Parts, n)
		plan.Sample = &Sample{"hash", 1 / float64(n), fmt.Sprintf("one in %d connections was read; sums are multiplied by %d", n, n)}
		return
	}
	unit := time.Hour
	if kind == "days" {
		unit = 24 * time.Hour
	}
	length := plan.span.To.Sub(plan.span.From)
	if length < 2*unit {
		return
	}
	var units []time.Time
	for from := plan.span.From.Truncate(unit); from.Before(plan.span.To); from = from.Add(unit) {
		units = append(units, from)
	}
	number := func(t time.Time) uint64 { return mix(uint64(t.Unix() / int64(unit/time.Second))) }
	slices.SortFunc(units, func(a, b time.Time) int { return order(number(a), number(b)) })
	units = units[:min(max(uint64(len(units))/n, 1), maxParts)]
	slices.SortFunc(units, time.Time.Compare)
	var parts []Part
	var taken time.Duration
	for _, from := range units {
		s := Span{later(from, plan.span.From), earlier(from.Add(unit), plan.span.To)}
		taken += s.To.Sub(s.From)
		parts = append(parts, divide(s, plan.catalog, usable(plan.filter, plan.need))...)
	}
	plan.Parts = parts
	plan.Gone = plan.catalog.gone(parts)
	plan.compile(parts, 0)
	rate := float64(taken) / float64(length)
	plan.Sample = &Sample{kind, rate, fmt.Sprintf("%d of %d %s of the range were read; sums are multiplied by %.4g", len(units), int(math.Ceil(float64(length)/float64(unit))), kind, 1/rate)}
}

// Scale brings a sum of a sample to the whole.
func (p *Plan) Scale(n uint64) uint64 {
	if p.Sample == nil {
		return n
	}
	return uint64(math.Round(float64(n) / p.Sample.Rate))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// mix spreads a number over 64 bits (the finaliser of SplitMix64, Steele, Lea and
// Flood 2014), so that the hours of a sample follow no rhythm.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
