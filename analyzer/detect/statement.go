package detect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// A statement of a detector is bounded, in seconds and octets: a window that
// cannot be judged within is an error that is seen, not a server that is down.
const (
	querySeconds = 300
	queryMemory  = 4 << 30
)

// Params are the parameters of a statement, as text.
type Params map[string]string

// With returns a copy with more parameters, given as name, value, name, value.
func (p Params) With(pairs ...string) Params {
	out := make(Params, len(p)+len(pairs)/2)
	for k, v := range p {
		out[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// Span gives a window to a statement, as {from:DateTime('UTC')} and {to:…}.
func (p Params) Span(w Window) Params {
	return p.With("from", Second(w.Start), "to", Second(w.End))
}

// Unix gives a window to a statement as {from:UInt32} and {to:UInt32}, seconds
// since the Unix epoch.
func (p Params) Unix(w Window) Params {
	return p.With("from", Number(w.Start.Unix()), "to", Number(w.End.Unix()))
}

// Networks gives prefixes to a statement as two parallel Array(IPv6), NAME_first
// and NAME_last: first and last address of each.
func (p Params) Networks(name string, list []netip.Prefix) Params {
	first, last := make([]string, len(list)), make([]string, len(list))
	for i, n := range list {
		lo, hi := bounds(n)
		first[i], last[i] = "'"+lo.String()+"'", "'"+hi.String()+"'"
	}
	return p.With(name+"_first", "["+strings.Join(first, ",")+"]", name+"_last", "["+strings.Join(last, ",")+"]")
}

// bounds returns the first and last address of a network, IPv4 as ::ffff:a.b.c.d.
func bounds(n netip.Prefix) (first, last netip.Addr) {
	lo := n.Masked().Addr().As16()
	ones := n.Bits()
	if n.Addr().Is4() {
		ones += 96
	}
	hi := lo
	for i := ones; i < 128; i++ {
		hi[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(lo), netip.AddrFrom16(hi)
}

// Second, Number and Decimal write values as ClickHouse reads parameters.
func Second(t time.Time) string { return t.UTC().Format(time.DateTime) }

// Number: see Second.
func Number[N ~int | ~int64 | ~uint64 | ~uint32 | ~uint16 | ~uint8](n N) string {
	return strconv.FormatInt(int64(n), 10)
}

// Decimal: see Second.
func Decimal(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Each runs a statement and hands every row to f.
func Each(ctx context.Context, db DB, sql string, p Params, f func(driver.Rows) error) error {
	args := make([]any, 0, len(p))
	for name, value := range p {
		args = append(args, clickhouse.Named(name, value))
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_execution_time": querySeconds, "max_memory_usage": queryMemory, "readonly": 2,
	}))
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := f(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// All reads every row of a statement into a C, whose fields have ch tags.
func All[C any](ctx context.Context, db DB, sql string, p Params) ([]C, error) {
	var list []C
	err := Each(ctx, db, sql, p, func(rows driver.Rows) error {
		var c C
		if err := rows.ScanStruct(&c); err != nil {
			return err
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// Windows runs the statement of a Finder, which returns seconds since the epoch,
// with the parameters from, to, step (seconds) and overlap (windows that hold one
// moment) besides p.
func Windows(ctx context.Context, db DB, info Info, sql string, p Params, span Window) ([]time.Time, error) {
	var list []time.Time
	p = p.Span(span).With("step", Number(int64(info.Step/time.Second)), "overlap", Number(int64(info.Length/info.Step)))
	err := Each(ctx, db, sql, p, func(rows driver.Rows) error {
		var at int64
		if err := rows.Scan(&at); err != nil {
			return err
		}
		list = append(list, time.Unix(at, 0).UTC())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find windows of %s: %w", info.Name, err)
	}
	return list, nil
}
