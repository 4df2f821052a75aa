package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

const (
	maxBuckets  = 2000
	goodBuckets = 240 // what step auto aims below: a bar is then 3 px wide on a small screen

)

// steps are the lengths that step auto chooses from.
var steps = []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

type timeseriesInput struct {
	RangeInput
	FilterInput
	SampleInput
	Metric string `query:"metric" enum:"bytes,frame_bytes,packets,flows" default:"bytes"`
	Step   string `query:"step" maxLength:"8" default:"auto" doc:"length of a step, as 30s, 5m, 1h or 1d; auto: at most 240 steps"`
	Split  string `query:"split" enum:"none,app" default:"none"`
	N      int    `query:"n" minimum:"1" maximum:"12" default:"8" doc:"with split: applications told apart, the largest; the rest is other"`
}

// Timeseries is traffic over time.
type Timeseries struct {
	Range        Range        `json:"range" doc:"in whole steps"`
	Completeness Completeness `json:"completeness"`
	Source       *Source      `json:"source,omitempty" doc:"not there where the range is empty"`
	Metric       string       `json:"metric"`
	StepS        int64        `json:"step_s" doc:"length of a step in seconds"`
	Times        []int64      `json:"times" doc:"begin of each step, Unix seconds"`
	Series       []Series     `json:"series" doc:"largest first, other last"`
}

// Series is one line, with a value for each of the times.
type Series struct {
	Name   string   `json:"name" doc:"all without split; else the application, empty: not determined, other: the rest"`
	Other  bool     `json:"other" doc:"the rest of the applications"`
	Total  uint64   `json:"total"`
	Values []uint64 `json:"values"`
}

func stepOf(s string, length time.Duration) (time.Duration, error) {
	if s == "auto" {
		for _, step := range steps {
			if length/step < goodBuckets {
				return step, nil
			}
		}
		week := steps[len(steps)-1]
		return (length/week/maxBuckets + 1) * week, nil
	}
	step, err := parseLength(s)
	if err != nil || step < time.Second {
		return 0, badRequest("step: %s is not a length of time; write 30s, 5m, 1h, 1d or auto", layoutSafe(s))
	}
	if length/step >= maxBuckets {
		return 0, badRequest("step: %s makes more than %d steps of this range; choose a longer one, or auto", layoutSafe(s), maxBuckets)
	}
	return step, nil
}

func (c *Console) timeseries(ctx context.Context, in *timeseriesInput) (*answer[Timeseries], error) {
	q, err := c.ask(ctx, in.RangeInput, in.FilterInput, in.SampleInput)
	if err != nil {
		return nil, err
	}
	r := q.span
	step, err := stepOf(in.Step, r.To.Sub(r.From))
	if err != nil {
		return nil, err
	}
	if !r.empty() {
		r = align(r, step)
		q.clip = q.filter.Clip(query.Span{From: r.From, To: r.To})
	}
	out := Timeseries{Range: r.tell(), Metric: in.Metric, StepS: int64(step / time.Second), Times: []int64{}, Series: []Series{}}
	if out.Completeness, err = c.db.completeness(ctx, r, in.Probe); err != nil || q.empty {
		return &answer[Timeseries]{out}, err
	}
	metric := metricColumns[in.Metric]
	for t := r.From.Unix(); t < r.To.Unix(); t += out.StepS {
		out.Times = append(out.Times, t)
	}
	need := query.Need{Step: step, Sample: in.Sample}
	if in.Split == "app" {
		need.Columns = []string{"app"}
	}
	names := func(p *query.Plan) string {
		p.Params["n"] = fmt.Sprint(in.N)
		return "SELECT toString(app) AS name FROM " + p.Source + " GROUP BY name ORDER BY sum(" + metric + ") DESC, name LIMIT {n:UInt32}"
	}
	name, other := "''", "toUInt8(0)"
	sql := func(p *query.Plan) string {
		p.Params["step"] = fmt.Sprint(out.StepS)
		return "SELECT " + other + " AS other, " + name + " AS name, intDiv(toInt64(toUnixTimestamp(t)), {step:Int64}) * {step:Int64} AS bucket, sum(" + metric + ") FROM " + p.Source +
			" GROUP BY other, name, bucket"
	}
	p, source, err := c.plan(ctx, q, need, sql)
	if err != nil {
		return nil, fmt.Errorf("read timeseries: %w", err)
	}
	out.Source = source
	if in.Split == "app" {
		// What is not told apart is a column of its own: any name can come off
		// the wire, "other" too.
		var apps []string
		err := c.db.each(ctx, names(p), p.Params, func(rows driver.Rows) error {
			var app string
			err := rows.Scan(&app)
			apps = append(apps, app)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the largest applications: %w", err)
		}
		for i := range apps {
			p.Params["app"+fmt.Sprint(i)] = clickhouse.Text(apps[i])
			apps[i] = "{app" + fmt.Sprint(i) + ":String}"
		}
		if len(apps) > 0 {
			known := "has([" + strings.Join(apps, ", ") + "], toString(app))"
			other, name = "toUInt8(NOT "+known+")", "if("+known+", toString(app), '')"
		}
	}
	index := map[string]int{}
	err = c.db.each(ctx, sql(p), p.Params, func(rows driver.Rows) error {
		var rest uint8
		var name string
		var at int64
		var v uint64
		if err := rows.Scan(&rest, &name, &at, &v); err != nil {
			return err
		}
		v = p.Scale(v)
		key := fmt.Sprint(rest, name)
		i, known := index[key]
		if !known {
			i = len(out.Series)
			index[key] = i
			out.Series = append(out.Series, Series{Name: name, Other: rest == 1, Values: make([]uint64, len(out.Times))})
		}
		if n := (at - out.Times[0]) / out.StepS; n >= 0 && n < int64(len(out.Times)) {
			out.Series[i].Values[n] += v
			out.Series[i].Total += v
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read timeseries: %w", err)
	}
	slices.SortFunc(out.Series, func(a, b Series) int {
		switch {
		case a.Other != b.Other && a.Other, a.Other == b.Other && a.Total < b.Total:
			return 1
		case a.Other != b.Other, a.Total > b.Total:
			return -1
		case a.Name < b.Name:
			return -1
		}
		return 1
	})
	for i := range out.Series {
		if in.Split == "none" {
			out.Series[i].Name = "all"
		} else if out.Series[i].Other {
			out.Series[i].Name = "other"
		}
	}
	if len(out.Series) == 0 && in.Split == "none" {
		out.Series = []Series{{Name: "all", Values: make([]uint64, len(out.Times))}}
	}
	return &answer[Timeseries]{out}, nil
}
