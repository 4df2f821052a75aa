package analyzer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Question is a question of the command line about stored flows.
type Question struct {
	Filter  string   // in the language of analyzer/query, empty: all flows
	Last    string   // 7d, or all: up to the end of the stored traffic; empty: what the filter says, else 24h
	Columns []string // of the answer; empty: the usual ones
	By      []string // columns to add up by, in place of listing flows
	Limit   int      // rows of the answer
	Format  string   // table, json (an object a line) or csv
	Sample  string   // as query.Need has it
	Explain bool     // say how it would be asked, and do not ask
}

// usualColumns are those of a list of flows.
var usualColumns = []string{"start", "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "app", "tls_sni", "packets", "bytes"}

// ErrQuestion: the question itself is wrong.
var ErrQuestion = errors.New("question")

// Ask answers a question onto out, and says on notes where the answer comes
// from. It reads only, within the limits of Config.Console. The error is an
// *query.Error for a wrong filter, a *query.Refusal for what is too large, or
// wraps ErrQuestion.
func Ask(ctx context.Context, cfg Config, q Question, out, notes io.Writer) error {
	conn, err := cfg.ClickHouse.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	limits := query.DefaultLimits(query.Analyst)
	if c := cfg.Console; c.MaxRows > 0 {
		limits.Rows = c.MaxRows
	}
	if c := cfg.Console; c.MaxSeconds > 0 {
		limits.Time = time.Duration(c.MaxSeconds) * time.Second
	}
	if c := cfg.Console; c.MaxMemory > 0 {
		limits.Memory = int64(c.MaxMemory)
	}
	asker := query.NewAsker(conn, map[query.Role]query.Limits{query.Analyst: limits})
	planner, lang := query.NewPlanner(asker), query.New()
	if err := query.CheckSample(q.Sample); err != nil {
		return fmt.Errorf("%w: %w", ErrQuestion, err)
	}
	if _, err := lang.Parse(q.Filter, time.Now()); err != nil { // before anything is opened
		return err
	}
	stored, err := planner.Stored(ctx)
	if err != nil {
		return cfg.ClickHouse.Classify(err)
	}
	filter, err := lang.Parse(q.Filter, stored.To)
	if err != nil {
		return err
	}
	span, err := spanOf(q, filter, stored)
	if err != nil {
		return err
	}
	columns, need, err := columnsOf(lang, q)
	if err != nil {
		return err
	}
	if span.Empty() {
		fmt.Fprintln(notes, "no flows are stored for this time")
		return write(out, q.Format, columns, func(func([]any) error) error { return nil })
	}
	plan, err := planner.Plan(ctx, filter, span, need)
	if err != nil {
		return cfg.ClickHouse.Classify(err)
	}
	statement := func(p *query.Plan) query.Statement { return q.statement(lang, columns, p) } // of q.Limit as it is then
	estimate, err := planner.Fit(ctx, query.Analyst, plan, statement)
	if err != nil {
		return err
	}
	tell(notes, plan, span, estimate)
	if q.Explain {
		return explain(out, statement(plan))
	}
	stages := []*query.Plan{plan}
	if len(q.By) == 0 {
		stages = plan.Stages(true)
	}
	return write(out, q.Format, columns, func(row func([]any) error) error {
		for _, stage := range stages {
			err := asker.Each(ctx, query.Analyst, statement(stage), func(rows driver.Rows) error {
				values, err := scan(rows, columns)
				if err != nil {
					return err
				}
				for i := len(q.By); len(q.By) > 0 && i < len(values); i++ {
					if n, ok := values[i].(uint64); ok {
						values[i] = plan.Scale(n)
					}
				}
				q.Limit--
				return row(values)
			})
			if err != nil || q.Limit <= 0 {
				return err
			}
		}
		return nil
	})
}

// scan reads a row of any columns.
func scan(rows driver.Rows, columns []string) ([]any, error) {
	types := rows.ColumnTypes()
	dest := make([]any, len(types))
	for i, t := range types {
		dest[i] = reflect.New(t.ScanType()).Interface()
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, err
	}
	for i := range dest {
		dest[i] = plainOf(columns[i], reflect.ValueOf(dest[i]).Elem().Interface())
	}
	return dest, nil
}

func spanOf(q Question, f *query.Filter, stored query.Span) (query.Span, error) {
	span := stored
	from, to := f.Range()
	switch q.Last {
	case "all":
	case "":
		if from.IsZero() && to.IsZero() && !stored.Empty() {
			span.From = stored.To.Add(-24 * time.Hour)
		}
	default:
		d, err := query.ParseLength(q.Last)
		if err != nil {
			return span, fmt.Errorf("%w: --last %w", ErrQuestion, err)
		}
		if !stored.Empty() {
			span.From = stored.To.Add(-d)
		}
	}
	return f.Clip(span), nil
}

// sums of an answer that is added up.
var sums = []string{"flows", "packets", "bytes"}

func columnsOf(lang *query.Language, q Question) ([]string, query.Need, error) {
	need := query.Need{Raw: len(q.By) == 0, Columns: q.By, Sample: q.Sample, Measure: true}
	names := q.Columns
	switch {
	case len(q.By) > 0 && len(names) > 0:
		return nil, need, fmt.Errorf("%w: --columns and --by do not go together: sums have flows, packets and bytes", ErrQuestion)
	case len(q.By) > 0:
		names = q.By
	case len(names) == 0:
		names = usualColumns
	}
	for _, name := range names {
		c := lang.Column(name)
		if c == nil || len(q.By) > 0 && (!c.Stored() || slices.Contains(sums, name)) {
			hint := ""
			if near := lang.Nearest(name); near != "" && near != name {
				hint = ": did you mean " + near + "?"
			}
			return nil, need, fmt.Errorf("%w: there is no column %q to show or add up by%s", ErrQuestion, name, hint)
		}
	}
	if len(q.By) > 0 {
		names = append(slices.Clone(q.By), sums...)
	}
	return names, need, nil
}

func (q Question) statement(lang *query.Language, columns []string, p *query.Plan) query.Statement {
	p.Params["limit"] = fmt.Sprint(max(q.Limit, 1))
	list := make([]string, len(columns))
	if len(q.By) == 0 {
		for i, name := range columns {
			list[i] = lang.Column(name).Select()
		}
		return query.Statement{SQL: p.List(list, columns, []string{"start DESC", "src_ip", "src_port"}), Params: p.Params}
	}
	by := make([]string, len(q.By))
	for i, name := range q.By {
		by[i] = "`" + name + "`"
	}
	return query.Statement{SQL: "SELECT " + strings.Join(by, ", ") + ", sum(flows), sum(packets), sum(bytes) AS b\nFROM " + p.Source + "\nGROUP BY " + strings.Join(by, ", ") +
		"\nORDER BY b DESC, " + strings.Join(by, ", ") + "\nLIMIT {limit:UInt32}", Params: p.Params}
}

// tell says where an answer comes from.
func tell(w io.Writer, p *query.Plan, span query.Span, e query.Estimate) {
	var tables []string
	for _, part := range p.Parts {
		if !slices.Contains(tables, part.Table) {
			tables = append(tables, part.Table)
		}
	}
	fmt.Fprintf(w, "%s to %s, from %s: %d rows in %d parts to read\n", span.From.Format(time.RFC3339), span.To.Format(time.RFC3339), strings.Join(tables, ", "), e.Rows, e.Parts)
	if !p.Provisional.IsZero() {
		fmt.Fprintf(w, "provisional from %s on: flows may still come in\n", p.Provisional.Format(time.RFC3339))
	}
	for _, g := range p.Gone {
		fmt.Fprintf(w, "from %s to %s not all flows are stored any more: the answer lacks them\n", g.From.Format(time.RFC3339), g.To.Format(time.RFC3339))
	}
	if p.Sample != nil {
		fmt.Fprintf(w, "a sample: %s\n", p.Sample.Note)
	}
}

func explain(w io.Writer, s query.Statement) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		SQL    string            `json:"sql"`
		Params map[string]string `json:"params"`
	}{s.SQL, s.Params})
}

// plainOf turns what the driver gives into what the formats can say.
func plainOf(column string, v any) any {
	switch x := v.(type) {
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case net.IP:
		if a, ok := netip.AddrFromSlice(x); ok {
			return a.Unmap().String()
		}
		return ""
	case netip.Addr:
		return x.Unmap().String()
	case uint64:
		if strings.HasSuffix(column, "_mac") {
			return flow.MAC(x).String()
		}
	}
	return v
}

// write gives the rows that each calls its function with a form.
func write(w io.Writer, format string, columns []string, each func(func([]any) error) error) error {
	switch format {
	case "json":
		return each(func(row []any) error { return writeJSON(w, columns, row) })
	case "csv":
		c := csv.NewWriter(w)
		if err := c.Write(columns); err != nil {
			return err
		}
		err := each(func(row []any) error { return c.Write(cells(row, query.Disarm)) })
		c.Flush()
		return errors.Join(err, c.Error())
	case "table":
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, strings.Join(columns, "\t"))
		err := each(func(row []any) error {
			_, err := fmt.Fprintln(t, strings.Join(cells(row, printable), "\t"))
			return err
		})
		return errors.Join(err, t.Flush())
	}
	return fmt.Errorf("%w: --format %q is none of table, json and csv", ErrQuestion, format)
}

func writeJSON(w io.Writer, columns []string, row []any) error {
	b := []byte{'{'}
	for i, v := range row {
		if i > 0 {
			b = append(b, ',')
		}
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write %s: %w", columns[i], err)
		}
		b = append(append(append(append(b, '"'), columns[i]...), '"', ':'), text...)
	}
	_, err := w.Write(append(b, '}', '\n'))
	return err
}

// printable keeps a terminal from taking a text for a command.
func printable(s string) string {
	return strings.ReplaceAll(string(ops.Printable([]byte(s))), "\t", " ")
}

func cells(row []any, safe func(string) string) []string {
	list := make([]string, len(row))
	for i, v := range row {
		s := ""
		switch x := reflect.ValueOf(v); x.Kind() {
		case reflect.Slice:
			for j := range x.Len() {
				if j > 0 {
					s += " "
				}
				s += fmt.Sprint(x.Index(j).Interface())
			}
		default:
			s = fmt.Sprint(v)
		}
		if list[i] = s; reflect.ValueOf(v).Kind() == reflect.String || reflect.ValueOf(v).Kind() == reflect.Slice {
			list[i] = safe(strings.ToValidUTF8(s, "\uFFFD"))
		}
	}
	return list
}
