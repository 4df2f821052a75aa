package console

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Flow is one flow record as a JSON object: the fields of flow.proto behind
// where it comes from.
type Flow struct{ fields []field }

type field struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler; the fields keep their order.
func (f Flow) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, x := range f.fields {
		if i > 0 {
			b = append(b, ',')
		}
		value, err := json.Marshal(x.value)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", x.name, err)
		}
		b = append(append(append(append(b, '"'), x.name...), '"', ':'), value...)
	}
	return append(b, '}'), nil
}

// Schema implements huma.SchemaProvider.
func (Flow) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Description: "a flow record; names, units and the meaning of 0 as in flow.proto", Properties: map[string]*huma.Schema{}}
	for _, c := range flowColumns() {
		s.Properties[c.name] = schemaOf(c.sql)
	}
	return s
}

func schemaOf(sql string) *huma.Schema {
	if inner, ok := strings.CutPrefix(sql, "LowCardinality("); ok {
		return schemaOf(strings.TrimSuffix(inner, ")"))
	}
	if inner, ok := strings.CutPrefix(sql, "Array("); ok {
		return &huma.Schema{Type: huma.TypeArray, Items: schemaOf(strings.TrimSuffix(inner, ")"))}
	}
	switch {
	case strings.HasPrefix(sql, "UInt"):
		return &huma.Schema{Type: huma.TypeInteger}
	case sql == "Bool":
		return &huma.Schema{Type: huma.TypeBoolean}
	case strings.HasPrefix(sql, "DateTime64"):
		return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
	}
	return &huma.Schema{Type: huma.TypeString}
}

// flowColumn is a column of an answer about flows.
type flowColumn struct{ name, sql string }

// flowColumns are where a record comes from, then the record, then what it was
// enriched with.
func flowColumns() []flowColumn {
	list := []flowColumn{{"probe", "String"}, {"site", "String"}, {"epoch", "UInt64"}, {"worker", "UInt16"}}
	for i, name := range flow.ColumnNames() {
		switch name {
		case "community_hash":
			list = append(list, flowColumn{"community_id", "String"})
		case "src_mac", "dst_mac":
			list = append(list, flowColumn{name, "String"})
		default:
			list = append(list, flowColumn{name, flow.ColumnType(i)})
		}
	}
	for _, name := range []string{"asn", "country", "network", "role"} {
		sql := "String"
		if name == "asn" {
			sql = "UInt32"
		}
		list = append(list, flowColumn{"src_" + name, sql}, flowColumn{"dst_" + name, sql})
	}
	list = append(list, flowColumn{"threats", "Array(String)"})
	return list
}

// flowOrders are the orders of flows, by name, as expressions.
var flowOrders = map[string][]string{
	"newest":   {"start DESC", "src_ip", "dst_ip", "src_port"},
	"oldest":   {"start", "src_ip", "dst_ip", "src_port"},
	"bytes":    {"src_bytes + dst_bytes DESC", "start DESC"},
	"packets":  {"src_packets + dst_packets DESC", "start DESC"},
	"duration": {"end - start DESC", "start DESC"},
}

type flowsInput struct {
	RangeInput
	FilterInput
	SampleInput
	Order string `query:"order" enum:"newest,oldest,bytes,packets,duration" default:"newest"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// Flows is a list of flow records.
type Flows struct {
	Range        Range        `json:"range"`
	Completeness Completeness `json:"completeness"`
	Source       *Source      `json:"source,omitempty" doc:"not there where the range is empty"`
	More         bool         `json:"more" doc:"there are more than these"`
	Flows        []Flow       `json:"flows"`
}

func (c *Console) flows(ctx context.Context, in *flowsInput) (*answer[Flows], error) {
	q, err := c.ask(ctx, in.RangeInput, in.FilterInput, in.SampleInput)
	if err != nil {
		return nil, err
	}
	out := Flows{Range: q.span.tell(), Flows: []Flow{}}
	if out.Completeness, err = c.db.completeness(ctx, q.span, in.Probe); err != nil {
		return nil, err
	}
	if q.empty {
		return &answer[Flows]{out}, nil
	}
	columns := flowColumns()
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	list := func(p *query.Plan) string {
		p.Params["limit"] = fmt.Sprint(in.Limit + 1 - len(out.Flows))
		return p.List(names, names, flowOrders[in.Order])
	}
	p, source, err := c.plan(ctx, q, query.Need{Raw: true, Sample: in.Sample}, list)
	if err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	out.Source = source
	stages := []*query.Plan{p}
	if in.Order == "newest" || in.Order == "oldest" {
		stages = p.Stages(in.Order == "newest")
	}
	row := func(rows driver.Rows) error {
		if len(out.Flows) == in.Limit {
			out.More = true
			return nil
		}
		types := rows.ColumnTypes()
		dest := make([]any, len(types))
		for i, t := range types {
			dest[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		f := Flow{make([]field, len(dest))}
		for i, v := range dest {
			f.fields[i] = field{names[i], plain(reflect.ValueOf(v))}
			if at, ok := v.(*time.Time); ok {
				f.fields[i].value = at.UTC().Format("2006-01-02T15:04:05.000000000Z") // as `probe flows` writes it
			}
			if n, ok := f.fields[i].value.(uint64); ok && (names[i] == "src_mac" || names[i] == "dst_mac") {
				f.fields[i].value = flow.MAC(n).String()
			}
		}
		out.Flows = append(out.Flows, f)
		return nil
	}
	for _, p := range stages {
		if err := c.db.each(ctx, list(p), p.Params, row); err != nil {
			return nil, fmt.Errorf("read flows: %w", err)
		}
		if out.More {
			break
		}
	}
	return &answer[Flows]{out}, nil
}

type csvOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Range       string `header:"Tapwatch-Range" doc:"range of the answer, from/to"`
	Share       string `header:"Tapwatch-Completeness" doc:"share of the packets of the range that are in flows, 0 to 1; empty: unknown"`
	Body        []byte
}

// flowsCSV is flows as RFC 4180. Lists are joined by blanks.
func (c *Console) flowsCSV(ctx context.Context, in *flowsInput) (*csvOutput, error) {
	list, err := c.flows(ctx, in)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	var cells []string
	for _, c := range flowColumns() {
		cells = append(cells, c.name)
	}
	_ = w.Write(cells) // into memory
	for _, f := range list.Body.Flows {
		for i, x := range f.fields {
			cells[i] = disarm(cellOf(x.value))
		}
		_ = w.Write(cells)
	}
	w.Flush()
	out := &csvOutput{ContentType: "text/csv; charset=utf-8; header=present", Disposition: `attachment; filename="flows.csv"`,
		Range: list.Body.Range.From + "/" + list.Body.Range.To, Body: b.Bytes()}
	if s := list.Body.Completeness.Share; s != nil {
		out.Share = fmt.Sprintf("%.6f", *s)
	}
	return out, nil
}

func cellOf(v any) string {
	if list, ok := v.([]any); ok {
		words := make([]string, len(list))
		for i, x := range list {
			words[i] = cellOf(x)
		}
		return strings.Join(words, " ")
	}
	if v == nil {
		return ""
	}
	return strings.ToValidUTF8(fmt.Sprint(v), "\uFFFD")
}

// disarm keeps a spreadsheet from taking a cell for a formula.
func disarm(cell string) string { return query.Disarm(cell) }

func (c *Console) flowRoutes(api huma.API) {
	register(c, api, "list-flows", "/api/v1/flows", "Flow records", "Flow records that began in the range.", c.flows)
	register(c, api, "list-flows-csv", "/api/v1/flows.csv", "Flow records as CSV",
		"The same as a table for spreadsheets (RFC 4180). A cell that one would take for a formula begins with an apostrophe.", c.flowsCSV)
}
