// Package alert holds what a detector says, gives it a stable identity, and
// keeps it in ClickHouse (table alerts). Detectors hand in alerts for a window;
// notify and the console read them back.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Severity is how much an alert matters.
type Severity string

const (
	Info     Severity = "info"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

var severities = []Severity{Info, Low, Medium, High, Critical}

// Withdrawn stands in place of the severity of an alert that is withdrawn, where
// it is about who is to be told: its Rank is below all others.
const Withdrawn Severity = "withdrawn"

// Standing is the severity as those who were told of a know it: Withdrawn if it is.
func (a *Alert) Standing() Severity {
	if a.Withdrawn {
		return Withdrawn
	}
	return a.Severity
}

// Severities lists all, Info first.
func Severities() []Severity { return slices.Clone(severities) }

// Rank orders severities, 0 for Info to 4 for Critical; -1 for none of them.
func (s Severity) Rank() int { return slices.Index(severities, s) }

// Alert is one incident: an actor, a victim, what was noticed and its proof.
// The fields are the columns of the table alerts.
type Alert struct {
	ID       string // stable, see Store.Raise; empty in what a detector returns
	Revision uint32 // from 1; grows when the alert changes

	Detector string // name, e.g. "portscan_vertical"
	Version  uint16 // of the detector
	Title    string // one line for people

	Severity   Severity
	Score      float64  // 0 to 1
	Confidence float64  // 0 to 1
	Magnitude  float64  // how much of it, in the unit of the detector: ports, hosts, SYNs, connections, bytes
	Techniques []string // ATT&CK ids

	Actor    string   // who did it: an address or name, empty if many
	Victim   string   // to whom: an address, name or network, empty if many
	Entities []string // all concerned, as role=value ("actor=10.0.0.1", "port=443"), sorted

	Start, End             time.Time // first and last traffic concerned, UTC
	WindowStart, WindowEnd time.Time // the window it was found in

	SubScores map[string]float64 // what Score was made of
	Reasons   []string           // why this severity, for people
	Unless    []string           // what would have kept it from being raised, for people

	// EvidenceSQL and EvidenceParams reproduce the sub-scores: a query with
	// parameters as {name:Type}.
	EvidenceSQL    string
	EvidenceParams map[string]string
	Baseline       string   // JSON: what it was compared with, empty if nothing
	FlowIDs        []string // a sample, as probe/epoch/worker/flow_id

	Completeness float64  // share of seen packets of the window that are in flows; NaN unknown
	Provisional  bool     // the window was not closed yet
	Missing      []string // probes that had not passed the window

	// Withdrawn: it was found by windows that were judged early, or by an older
	// version, and those that were judged again do not say so any more.
	Withdrawn bool
	// SuppressedBy is "exclusion:ID" or "alert:ID", of what explains it; empty:
	// nothing. Nobody is told of it then, and it is no part of cases.
	SuppressedBy string
	Related      []string // of a case: ids of its alerts, in the order of time

	Raised, Updated time.Time // wall clock

	// Gap is how far in traffic time two findings of the same key may be apart
	// and still be one episode; 0 means DefaultGap. Not stored.
	Gap time.Duration
}

// DefaultGap joins findings of the same thing within a day.
const DefaultGap = 24 * time.Hour

// Key is what makes two alerts the same thing: detector and entities.
func (a *Alert) Key() string { return join(a.Detector, a.Entities) }

// episodeID names the episode of key that begins with the window at start.
func episodeID(key string, start time.Time) string {
	sum := sha256.Sum256([]byte(key + "\x00" + start.UTC().Format(time.RFC3339)))
	return hex.EncodeToString(sum[:10])
}
