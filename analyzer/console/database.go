package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// params are the values of {name:Type} in a statement, in the text form that
// ClickHouse reads. Strings go through clickhouse.Text.
type params = query.Params

// stamp writes a time as a DateTime64(9, 'UTC') parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }

// database asks ClickHouse, with bounds, and reads only.
type database struct {
	asker   *query.Asker
	metrics *metrics
	cache   cache
}

func newDatabase(cfg Config, conn driver.Conn, m *metrics) *database {
	limits := query.DefaultLimits(query.Analyst)
	limits.Time, limits.Rows, limits.Bytes = time.Duration(cfg.MaxSeconds)*time.Second, cfg.MaxRows, uint64(cfg.MaxBytes)
	limits.Memory, limits.Concurrent = int64(cfg.MaxMemory), cfg.MaxQuestions
	return &database{metrics: m, asker: query.NewAsker(conn, map[query.Role]query.Limits{query.Analyst: limits})}
}

// each runs a statement and calls row for every row of its answer.
func (d *database) each(ctx context.Context, sql string, p params, row func(driver.Rows) error) (err error) {
	began := time.Now()
	defer func() {
		outcome := "good"
		switch {
		case errors.Is(err, context.Canceled):
			outcome = "cancelled"
		case err != nil:
			outcome = "failed"
		}
		d.metrics.questions.WithLabelValues(outcome).Observe(time.Since(began).Seconds())
	}()
	return d.asker.Each(ctx, query.Analyst, query.Statement{SQL: sql, Params: p}, row)
}

// one scans the only row of an answer.
func (d *database) one(ctx context.Context, sql string, p params, dest ...any) error {
	return d.each(ctx, sql, p, func(r driver.Rows) error { return r.Scan(dest...) })
}

// column is a name and a ClickHouse type of an answer.
type column struct {
	Name string `json:"name"`
	Type string `json:"type" doc:"of ClickHouse"`
}

// table reads at most limit rows of a statement whose columns are not known
// here, as values that JSON can say.
func (d *database) table(ctx context.Context, sql string, p params, limit int) (columns []column, list [][]any, more bool, err error) {
	list = [][]any{}
	err = d.each(ctx, sql, p, func(r driver.Rows) error {
		types := r.ColumnTypes()
		if columns == nil {
			for _, t := range types {
				columns = append(columns, column{t.Name(), t.DatabaseTypeName()})
			}
		}
		if len(list) == limit {
			more = true
			return query.ErrEnough
		}
		dest := make([]any, len(types))
		for i, t := range types {
			dest[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := r.Scan(dest...); err != nil {
			return err
		}
		row := make([]any, len(dest))
		for i, v := range dest {
			row[i] = plain(reflect.ValueOf(v))
		}
		list = append(list, row)
		return nil
	})
	if columns == nil {
		columns = []column{}
	}
	return columns, list, more, err
}

// plain turns what the driver gives into what JSON can say: times in RFC 3339,
// addresses without ::ffff:, null for what is not a number.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return rfc3339(x)
	case net.IP:
		if a, ok := netip.AddrFromSlice(x); ok {
			return a.Unmap().String()
		}
		return ""
	case netip.Addr:
		return x.Unmap().String()
	case fmt.Stringer:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		return nil
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case reflect.Map:
		object := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			object[fmt.Sprint(plain(it.Key()))] = plain(it.Value())
		}
		return object
	case reflect.Struct:
		return fmt.Sprint(v.Interface())
	}
	return v.Interface()
}

// rfc3339 writes a time with as many decimals as it has, "" for the zero time
// and for the epoch, which stands for "none" in the tables.
func rfc3339(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 && t.Nanosecond() == 0 {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
