// Package detect finds incidents in stored flows. In comes a window of traffic
// time and a database to ask; out go alerts, without ids, for alert.Store. Each
// detector is one file of Go and SQL files of the same name: the SQL finds
// candidates inside ClickHouse, with server-side parameters only, and a pure
// function judges each. The same SQL with the same parameters, narrowed to the
// entities, stands in the alert as its evidence.
//
// Nothing here looks at the clock: live traffic, a backlog and last year are the
// same code. Nothing is owned; a Detector may be used from several goroutines.
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

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// Window is a range of traffic time: from Start up to, but without, End. Flows
// belong to the window in which they start.
type Window struct{ Start, End time.Time }

// DB is what a detector asks; driver.Conn is one.
type DB interface {
	Query(ctx context.Context, query string, args ...any) (driver.Rows, error)
}

// Info describes a detector. Length is a whole multiple of Step, and windows
// begin at whole multiples of Step since the Unix epoch.
type Info struct {
	Name       string // as in alerts and job_runs; never changes
	Version    uint16 // grows when the same window may be judged differently
	Title      string
	Techniques []string // ATT&CK ids
	Length     time.Duration
	Step       time.Duration
	Gap        time.Duration // see alert.Alert.Gap
	Doc        string        // what it looks for, what it leaves out, and why
	Parameters []Parameter
}

// Parameter is one setting of a detector as it is in effect.
type Parameter struct{ Name, Value, Doc string }

// Text is Doc with the parameters, for people.
func (i Info) Text() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(i.Doc, "\n", " "))
	b.WriteString("\n")
	for _, p := range i.Parameters {
		fmt.Fprintf(&b, "\n%s = %s: %s", p.Name, p.Value, p.Doc)
	}
	return b.String()
}

// Result is what became of a window.
type Result struct {
	Alerts   []alert.Alert
	Judged   int // candidates that were scored
	Learning int // of them, without enough history to be judged
}

// Detector judges windows. Detect is a function of the stored flows, the window
// and the configuration, and may be repeated.
type Detector interface {
	Info() Info
	Detect(ctx context.Context, db DB, w Window) (Result, error)
}

// Finder is a Detector that can tell cheaply which windows of a long span are
// worth a Detect: Windows returns the starts of all windows of span that may
// hold an alert, and possibly more, in order.
type Finder interface {
	Windows(ctx context.Context, db DB, span Window) ([]time.Time, error)
}

// All returns every detector, the quick ones first: in a backlog they are heard first.
func All(cfg Config) []Detector {
	return []Detector{newPortscanVertical(cfg), newPortscanHorizontal(cfg), newSynFlood(cfg), newVolumeAnomaly(cfg), newExfiltration(cfg), newBeacon(cfg)}
}

// queryLimit bounds one statement of a detector, in seconds and bytes: a window
// that cannot be judged within is an error that is seen, not a server that is
// down.
const (
	querySeconds = 300
	queryMemory  = 4 << 30
)

// params are the parameters of a statement, as text.
type params map[string]string

// with returns a copy with more parameters, given as name, value, name, value.
func (p params) with(pairs ...string) params {
	out := make(params, len(p)+len(pairs)/2)
	for k, v := range p {
		out[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// span gives a window to a statement.
func (p params) span(w Window) params {
	return p.with("from", second(w.Start), "to", second(w.End))
}

func second(t time.Time) string { return t.UTC().Format(time.DateTime) }

func number[N int | int64 | uint64](n N) string { return strconv.FormatInt(int64(n), 10) }

func decimal(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// networks gives prefixes to a statement as two parallel Array(IPv6): first and
// last address of each.
func (p params) networks(name string, list []netip.Prefix) params {
	first, last := make([]string, len(list)), make([]string, len(list))
	for i, n := range list {
		lo, hi := bounds(n)
		first[i], last[i] = "'"+lo.String()+"'", "'"+hi.String()+"'"
	}
	return p.with(name+"_first", "["+strings.Join(first, ",")+"]", name+"_last", "["+strings.Join(last, ",")+"]")
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

// each runs a statement and hands every row to f.
func each(ctx context.Context, db DB, sql string, p params, f func(driver.Rows) error) error {
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

// all reads every row of a statement into a C, whose fields have ch tags.
func all[C any](ctx context.Context, db DB, sql string, p params) ([]C, error) {
	var list []C
	err := each(ctx, db, sql, p, func(rows driver.Rows) error {
		var c C
		if err := rows.ScanStruct(&c); err != nil {
			return err
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// windows runs the statement of a Finder, which returns seconds since the epoch.
func windows(ctx context.Context, db DB, info Info, sql string, p params, span Window) ([]time.Time, error) {
	var list []time.Time
	p = p.span(span).with("step", number(int64(info.Step/time.Second)), "overlap", number(int64(info.Length/info.Step)))
	err := each(ctx, db, sql, p, func(rows driver.Rows) error {
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

// base returns an alert with what every alert of a window has.
func base(info Info, w Window) alert.Alert {
	return alert.Alert{Detector: info.Name, Version: info.Version, Techniques: info.Techniques, Gap: info.Gap,
		WindowStart: w.Start, WindowEnd: w.End}
}

// entities drops those without a value.
func entities(pairs ...string) []string {
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, pairs[i]+"="+pairs[i+1])
		}
	}
	return list
}

// service names a port: 443/tcp.
func service(protocol uint8, port uint16) string {
	name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[protocol]
	if name == "" {
		name = "ip" + strconv.Itoa(int(protocol))
	}
	return strconv.Itoa(int(port)) + "/" + name
}

// bounded fits a score into 0 to 1.
func bounded(f float64) float64 { return max(0, min(1, f)) }
