package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/exclusion"
)

// ExclusionBody is an exclusion as it is asked for: alerts that fit every
// criterion that is not empty are not told of.
type ExclusionBody struct {
	Detectors []string `json:"detectors,omitempty" maxItems:"100" doc:"globs of names, empty: all"`
	Networks  []string `json:"networks,omitempty" maxItems:"1000" doc:"addresses and networks"`
	Side      string   `json:"side,omitempty" enum:"actor,victim,both," doc:"whose address is meant, empty: any"`
	Names     []string `json:"names,omitempty" maxItems:"1000" doc:"globs of server, host and domain names"`
	Ports     []uint16 `json:"ports,omitempty" maxItems:"1000" doc:"of services"`
	JA4       []string `json:"ja4,omitempty" maxItems:"1000"`
	Direction string   `json:"direction,omitempty" enum:"outbound,inbound,internal,"`
	Owner     string   `json:"owner" maxLength:"256" doc:"who answers for it"`
	Comment   string   `json:"comment" maxLength:"4000" doc:"why"`
	Expires   string   `json:"expires,omitempty" maxLength:"64" doc:"wall clock, RFC 3339 or a date; empty: never"`
}

// Exclusion is one that is stored.
type Exclusion struct {
	ID       string `json:"id"`
	Revision uint32 `json:"revision"`
	At       string `json:"at" doc:"wall clock of this revision"`
	Who      string `json:"who" doc:"made this revision"`
	Action   string `json:"action" enum:"created,changed,removed"`
	Active   bool   `json:"active" doc:"in force now"`
	Text     string `json:"text" doc:"the criteria in one line"`
	ExclusionBody
}

// Exclusions is a list of them.
type Exclusions struct {
	Exclusions []Exclusion `json:"exclusions" doc:"in force first, newest first"`
}

func tellExclusion(e exclusion.Exclusion, now time.Time) Exclusion {
	out := Exclusion{ID: e.ID, Revision: e.Revision, At: rfc3339(e.At), Who: e.Who, Action: e.Action, Active: e.Active(now), Text: e.Text(),
		ExclusionBody: ExclusionBody{Detectors: e.Detectors, Side: e.Side, Names: e.Names, Ports: e.Ports, JA4: e.JA4, Direction: e.Direction, Owner: e.Owner, Comment: e.Comment, Expires: rfc3339(e.Expires)}}
	for _, n := range e.Networks {
		if n.IsSingleIP() {
			out.Networks = append(out.Networks, n.Addr().String())
		} else {
			out.Networks = append(out.Networks, n.String())
		}
	}
	return out
}

// read turns what a client asked for into an exclusion; an error is the client's.
func (b ExclusionBody) read() (exclusion.Exclusion, error) {
	e := exclusion.Exclusion{Detectors: b.Detectors, Side: b.Side, Names: b.Names, Ports: b.Ports, JA4: b.JA4, Direction: b.Direction, Owner: b.Owner, Comment: b.Comment}
	for _, text := range b.Networks {
		n, err := exclusion.ParseNetwork(text)
		if err != nil {
			return e, badRequest("networks: %s", err)
		}
		e.Networks = append(e.Networks, n)
	}
	if b.Expires != "" {
		t, err := parseTime("expires", b.Expires)
		if err != nil {
			return e, err
		}
		e.Expires = t
	}
	if err := e.Check(); err != nil {
		return e, badRequest("%s", err)
	}
	return e, nil
}

func (c *Console) exclusions(ctx context.Context, _ *struct{}) (*answer[Exclusions], error) {
	list, err := c.stores.exclusions.List(ctx)
	if err != nil {
		return nil, err
	}
	out := Exclusions{Exclusions: []Exclusion{}}
	for _, e := range list {
		out.Exclusions = append(out.Exclusions, tellExclusion(e, c.door.now()))
	}
	slices.SortStableFunc(out.Exclusions, func(a, b Exclusion) int {
		switch {
		case a.Active != b.Active && a.Active:
			return -1
		case a.Active != b.Active || a.At < b.At:
			return 1
		case a.At > b.At:
			return -1
		}
		return 0
	})
	return &answer[Exclusions]{out}, nil
}

type exclusionInput struct{ Body ExclusionBody }

func (c *Console) addExclusion(ctx context.Context, in *exclusionInput) (*answer[Exclusion], error) {
	e, err := in.Body.read()
	if err != nil {
		return nil, err
	}
	if err := c.done(ctx, "exclusion.create", e.Text(), in.Body); err != nil {
		return nil, err
	}
	if e, err = c.stores.exclusions.Put(ctx, whoIs(ctx).name, e); err != nil {
		return nil, err
	}
	return &answer[Exclusion]{tellExclusion(e, c.door.now())}, nil
}

type exclusionRemoval struct {
	ID  string `path:"id" maxLength:"64"`
	Why string `query:"why" maxLength:"4000" doc:"why it is removed"`
}

func (c *Console) removeExclusion(ctx context.Context, in *exclusionRemoval) (*answer[Exclusion], error) {
	if err := c.done(ctx, "exclusion.remove", in.ID, map[string]string{"why": in.Why}); err != nil {
		return nil, err
	}
	e, err := c.stores.exclusions.Remove(ctx, whoIs(ctx).name, in.ID, in.Why)
	if errors.Is(err, exclusion.ErrUnknown) {
		return nil, huma.Error404NotFound("no exclusion in force has the id " + layoutSafe(in.ID))
	}
	if err != nil {
		return nil, err
	}
	return &answer[Exclusion]{tellExclusion(e, c.door.now())}, nil
}

type previewInput struct {
	RangeInput
	Body ExclusionBody
}

// Preview is what an exclusion would hide of what is stored.
type Preview struct {
	Range      Range          `json:"range"`
	Text       string         `json:"text" doc:"the criteria in one line"`
	Looked     int            `json:"looked" doc:"alerts of the range that nothing hides yet"`
	Hidden     int            `json:"hidden" doc:"of them, those that it would hide"`
	BySeverity map[string]int `json:"by_severity" doc:"of the hidden ones"`
	PerDay     float64        `json:"per_day" doc:"hidden alerts a day"`
	Actors     int            `json:"actors"`
	Victims    int            `json:"victims"`
	Sample     []PreviewAlert `json:"sample" doc:"at most 50 of the hidden ones"`
	TookMS     int64          `json:"took_ms"`
}

// PreviewAlert is an alert that an exclusion would hide.
type PreviewAlert struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Detector string `json:"detector"`
	Title    string `json:"title"`
	Start    string `json:"start"`
}

func (c *Console) previewExclusion(ctx context.Context, in *previewInput) (*answer[Preview], error) {
	if in.Body.Owner == "" {
		in.Body.Owner = whoIs(ctx).name
	}
	if in.Body.Comment == "" {
		in.Body.Comment = "tried"
	}
	e, err := in.Body.read()
	if err != nil {
		return nil, err
	}
	r, err := c.db.resolve(ctx, in.RangeInput)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.cfg.MaxSeconds)*time.Second)
	defer cancel()
	p, err := c.stores.backtest.Exclusion(ctx, e, c.cfg.Inside, r.From, r.To)
	if err != nil {
		return nil, err
	}
	out := Preview{Range: r.tell(), Text: e.Text(), Looked: p.Candidates, Hidden: len(p.Incidents), BySeverity: map[string]int{}, PerDay: p.PerDay(), Actors: p.Actors, Victims: p.Victims,
		Sample: []PreviewAlert{}, TookMS: p.Took.Milliseconds()}
	for s, n := range p.BySeverity {
		out.BySeverity[string(s)] = n
	}
	for _, a := range p.Incidents[:min(50, len(p.Incidents))] {
		out.Sample = append(out.Sample, PreviewAlert{a.ID, string(a.Severity), a.Detector, a.Title, rfc3339(a.Start)})
	}
	return &answer[Preview]{out}, nil
}

func (c *Console) exclusionRoutes(api huma.API) {
	register(c, api, "list-exclusions", "/api/v1/exclusions", "Exclusions", "The newest revision of each, removed and expired ones, too.", c.exclusions)
	operate(c, api, Analyst, http.MethodPost, "add-exclusion", "/api/v1/exclusions", "Add an exclusion",
		"It is in force for past and present alerts within a minute. Owner and comment are needed.", c.addExclusion)
	operate(c, api, Analyst, http.MethodPost, "preview-exclusion", "/api/v1/exclusions/preview", "Try an exclusion", "Says which stored alerts of the range it would hide. Nothing is changed.", c.previewExclusion)
	operate(c, api, Analyst, http.MethodDelete, "remove-exclusion", "/api/v1/exclusions/{id}", "Remove an exclusion", "What it hid comes back within a minute.", c.removeExclusion)
}
