// Package detect is what all detectors are made of. A detector gets a window of
// traffic time and a database to ask, and gives alerts, without ids, for
// alert.Store. Each is one file of Go and SQL files of the same name, in the
// package of its family: the SQL finds candidates inside ClickHouse, with
// server-side parameters only, and a pure function judges each. The same SQL with
// the same parameters, narrowed to the candidate, stands in the alert as its
// evidence. Package catalogue has them all, detecttest runs their scenarios.
//
// Nothing here looks at the clock: live traffic, a backlog and last year are the
// same code. Nothing is owned; a Detector may be used from several goroutines.
package detect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

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

// Own is what all detectors know of the networks they look at.
type Own struct {
	Inside []netip.Prefix // own networks, at least one
	Exempt []netip.Prefix // sources that scan on purpose: scanners, monitors
}

// Params are those of statements that ask who is inside, and who is exempt.
func (o Own) Params() Params {
	return Params{}.Networks("inside", o.Inside).Networks("exempt", o.Exempt)
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
	Doc        string        // what it looks for, how it scores, and what the magnitude and severities are
	Controls   []string      // what keeps it quiet about harmless things, a sentence each
	Parameters []Parameter
	// Rollups are the tables besides flows that it reads (hosts_1h, …): a closed
	// window waits until its whole hours are built there. Length and Step are then
	// whole hours.
	Rollups []string
}

// Parameter is one setting of a detector as it is in effect; Doc has its unit and
// where the default is from.
type Parameter struct{ Name, Value, Doc string }

// Single says that a span is one window of the detector, not several.
func (i Info) Single(span Window) bool { return span.End.Sub(span.Start) <= i.Length }

// Text is Doc with controls and parameters, for people.
func (i Info) Text() string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(i.Doc, "\n", " "))
	b.WriteString("\n")
	for _, c := range i.Controls {
		fmt.Fprintf(&b, "\nQuiet about: %s", strings.ReplaceAll(c, "\n", " "))
	}
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
// and the configuration, may be repeated, and runs for several windows at once.
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
