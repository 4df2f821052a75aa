package console

import (
	"context"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// Source says where an answer comes from.
type Source struct {
	Tables      []string       `json:"tables" doc:"the tables that answered; the sums are those of the raw flows, whichever they are"`
	Provisional string         `json:"provisional" doc:"from here on flows may still come in; empty: the range is settled"`
	Gone        []Range        `json:"gone" doc:"stretches whose raw flows are no longer all stored, though the question needs them"`
	Sample      *query.Sample  `json:"sample" doc:"what part was read, null: all"`
	Read        query.Estimate `json:"read" doc:"estimate of what was read, made before"`
}

func sourceOf(p *query.Plan, e query.Estimate) *Source {
	s := &Source{Tables: []string{}, Provisional: rfc3339(p.Provisional), Gone: []Range{}, Sample: p.Sample, Read: e}
	for _, part := range p.Parts {
		if !slices.Contains(s.Tables, part.Table) {
			s.Tables = append(s.Tables, part.Table)
		}
	}
	for _, g := range p.Gone {
		s.Gone = append(s.Gone, timeRange{g.From, g.To}.tell())
	}
	if s.Read.Tables == nil {
		s.Read.Tables = []string{}
	}
	return s
}

// plan chooses the tables for a question and sees to it that it fits. write is
// the statement over the plan, which may add parameters of its own.
func (c *Console) plan(ctx context.Context, q *question, need query.Need, write func(*query.Plan) string) (*query.Plan, *Source, error) {
	p, err := c.planner.Plan(ctx, q.filter, q.clip, need)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.planner.Fit(ctx, query.Analyst, p, func(p *query.Plan) query.Statement {
		sql := write(p)
		return query.Statement{SQL: sql, Params: p.Params}
	})
	if err != nil {
		return nil, nil, err
	}
	return p, sourceOf(p, e), nil
}

// metricColumns are the metrics, by name; all count both directions.
var metricColumns = map[string]string{"bytes": "bytes", "frame_bytes": "frame_bytes", "packets": "packets", "flows": "flows"}

type completeInput struct {
	Q      string `query:"q" maxLength:"16384" doc:"filter, as far as it is written"`
	Cursor int    `query:"cursor" minimum:"-1" maximum:"16384" default:"-1" doc:"place of the cursor, octets from the start; -1: the end"`
}

func (c *Console) complete(_ context.Context, in *completeInput) (*answer[query.Completion], error) {
	if in.Cursor < 0 {
		in.Cursor = len(in.Q)
	}
	return &answer[query.Completion]{c.lang.Complete(in.Q, in.Cursor)}, nil
}

type explainInput struct {
	RangeInput
	FilterInput
	SampleInput
}

// Explained is a question as ClickHouse would get it.
type Explained struct {
	Range  Range             `json:"range"`
	SQL    string            `json:"sql" doc:"parameters as {name:Type}"`
	Params map[string]string `json:"params"`
	Source *Source           `json:"source"`
}

// explain shows what the sums of a filter would be asked of.
func (c *Console) explain(ctx context.Context, in *explainInput) (*answer[Explained], error) {
	q, err := c.ask(ctx, in.RangeInput, in.FilterInput, in.SampleInput)
	if err != nil {
		return nil, err
	}
	out := Explained{Range: timeRange{q.clip.From, q.clip.To}.tell(), Params: map[string]string{}, Source: &Source{Tables: []string{}, Gone: []Range{}, Read: query.Estimate{Tables: []string{}}}}
	if q.empty {
		return &answer[Explained]{out}, nil
	}
	write := func(p *query.Plan) string {
		return "SELECT sum(flows), sum(packets), sum(bytes), sum(frame_bytes) FROM " + p.Source
	}
	p, source, err := c.plan(ctx, q, query.Need{Sample: in.Sample, Measure: true}, write)
	if err != nil {
		return nil, err
	}
	out.SQL, out.Params, out.Source = write(p), p.Params, source
	return &answer[Explained]{out}, nil
}

func (c *Console) filterRoutes(api huma.API) {
	register(c, api, "complete", "/api/v1/complete", "What could be written next", "Columns, words, operators and values that fit at the cursor of a filter.", c.complete)
	register(c, api, "explain", "/api/v1/explain", "How a question is asked", "The statement for the sums of a filter, the tables it reads, and how much of them.", c.explain)
}
