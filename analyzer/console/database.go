package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// params are the values of {name:Type} in a statement, in the text form that
// ClickHouse reads. Strings go through text.
type params map[string]string

// text writes a string the way ClickHouse reads a String parameter: in its
// tab-separated form, where a backslash begins an escape.
func text(s string) string { return textEscapes.Replace(s) }

var textEscapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)

// stamp writes a time as a DateTime64(9, 'UTC') parameter.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }

// errTooLarge and errUnavailable are what a client is told about a question
// that ClickHouse gave up, or could not be asked.
var (
	errTooLarge    = errors.New("the answer needs more time, rows or memory than one question may have: choose a shorter range or a narrower filter")
	errUnavailable = errors.New("ClickHouse does not answer: see the analyzer's log and /readyz")
)

// database asks ClickHouse, with bounds, and reads only.
type database struct {
	conn     driver.Conn
	seconds  int
	settings clickhouse.Settings
	slots    chan struct{}
	metrics  *metrics
	cache    cache
}

func newDatabase(cfg Config, conn driver.Conn, m *metrics) *database {
	return &database{
		conn: conn, seconds: cfg.MaxSeconds, metrics: m, slots: make(chan struct{}, cfg.MaxQuestions),
		settings: clickhouse.Settings{
			"readonly":                  1, // no writes, no table functions that reach outside
			"max_execution_time":        cfg.MaxSeconds,
			"timeout_overflow_mode":     "throw",
			"max_rows_to_read":          cfg.MaxRows,
			"max_memory_usage":          int64(cfg.MaxMemory),
			"max_result_rows":           maxResultRows,
			"result_overflow_mode":      "throw",
			"max_threads":               4,
			"priority":                  1,
			"max_ast_elements":          50000,
			"max_expanded_ast_elements": 500000,
		},
	}
}

// maxResultRows bounds every answer of ClickHouse; the widest question is the
// timeseries, with maxBuckets for each of maxSplit applications.
const maxResultRows = 100_000

// each runs a statement and calls row for every row of its answer.
func (d *database) each(ctx context.Context, sql string, p params, row func(driver.Rows) error) (err error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d.seconds+2)*time.Second)
	defer cancel()
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
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(maps.Clone(d.settings)), clickhouse.WithParameters(clickhouse.Parameters(p)))
	rows, err := d.conn.Query(ctx, sql)
	if err != nil {
		return classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return classify(ctx, rows.Err())
}

// one scans the only row of an answer.
func (d *database) one(ctx context.Context, sql string, p params, dest ...any) error {
	return d.each(ctx, sql, p, func(r driver.Rows) error { return r.Scan(dest...) })
}

// Codes of ClickHouse that mean: too much asked.
const (
	codeTooManyRows        = 158
	codeTimeout            = 159
	codeMemory             = 241
	codeTooManyBytes       = 307
	codeTooManyRowsOrBytes = 396
	codeTooManyQueries     = 202
)

func classify(ctx context.Context, err error) error {
	var ex *clickhouse.Exception
	var netErr net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ex):
		switch ex.Code {
		case codeTooManyRows, codeTimeout, codeMemory, codeTooManyBytes, codeTooManyRowsOrBytes, codeTooManyQueries:
			return fmt.Errorf("%w: %w", errTooLarge, err)
		}
		return err
	case errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", errTooLarge, err)
	case errors.As(err, &netErr), errors.Is(err, clickhouse.ErrAcquireConnTimeout), errors.Is(err, clickhouse.ErrServerUnexpectedData):
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
	return err
}

// column is a name and a ClickHouse type of an answer.
type column struct {
	Name string `json:"name"`
	Type string `json:"type" doc:"of ClickHouse"`
}

// table reads at most limit rows of a statement whose columns are not known
// here, as values that JSON can say.
func (d *database) table(ctx context.Context, sql string, p params, limit int) (columns []column, list [][]any, more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
			return errEnough
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
	if errors.Is(err, errEnough) {
		err = nil
	}
	if columns == nil {
		columns = []column{}
	}
	return columns, list, more, err
}

var errEnough = errors.New("enough rows")

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
