// Package report tells people what was: by the day, week or month, and of one
// incident. In come rollups, raw flows, alerts and the ledger from ClickHouse; out
// go self-contained HTML that prints, CSV and JSON, to a directory and by mail,
// each once. A report is a pure function of what is stored: made again it is the
// same. Nothing from the wire is more than text in it.
package report

import "time"

// Report is a day, week or month. Numbers of traffic are IP octets unless the
// name says bits; a rate is that of a slot of SlotSeconds.
type Report struct {
	Name        string     `json:"name"` // daily-2026-11-01
	Kind        string     `json:"kind"`
	From        time.Time  `json:"from"`
	To          time.Time  `json:"to"` // not part of it
	Zone        string     `json:"zone"`
	SlotSeconds int        `json:"slot_seconds"`
	Links       []Link     `json:"links"`
	Apps        []App      `json:"applications"`
	Events      []Event    `json:"events"`
	Worst       []Worst    `json:"worst"`
	Capacity    []Capacity `json:"capacity"`
	Ledger      []Account  `json:"completeness"`
	Classes     []Class    `json:"classes"`
	Systems     []Pair     `json:"systems"`
	Prefixes    []Pair     `json:"prefixes"`
	Notes       []string   `json:"notes"` // what is missing, and why
	loc         *time.Location
}

// Link is what one probe saw. Rates are bits per second.
type Link struct {
	Site     string    `json:"site"`
	Name     string    `json:"name"` // of the probe
	Octets   uint64    `json:"octets"`
	Out      uint64    `json:"out_octets"` // from own networks to others
	Into     uint64    `json:"in_octets"`  // to own networks from others
	Mean     float64   `json:"mean_bps"`   // over the whole period
	P95      float64   `json:"p95_bps"`    // 5 % of all slots are busier
	P95Out   float64   `json:"p95_out_bps"`
	P95In    float64   `json:"p95_in_bps"`
	Peak     float64   `json:"peak_bps"`
	PeakAt   time.Time `json:"peak_at"`
	Capacity float64   `json:"capacity_bps"` // 0: not known
	points   []point
}

// point is a slot of a link.
type point struct {
	at     uint32 // Unix time
	octets float64
}

// App is an application, each flow counted once.
type App struct {
	Name     string  `json:"name"`
	Flows    uint64  `json:"flows"`
	Octets   uint64  `json:"octets"`
	Sent     uint64  `json:"sent_octets"`     // by the initiators
	Received uint64  `json:"received_octets"` // by them
	Share    float64 `json:"share"`           // of all octets
}

// Event is how often a detector raised alerts of one severity.
type Event struct {
	Family    string `json:"family"`
	Detector  string `json:"detector"`
	Severity  string `json:"severity"`
	Alerts    uint64 `json:"alerts"`
	Actors    uint64 `json:"actors"`
	Withdrawn uint64 `json:"withdrawn"`
	Hidden    uint64 `json:"hidden"` // by exclusions, or explained by others
}

// Worst is an alert of those that matter most.
type Worst struct {
	ID, Title, Detector, Severity, Actor, Victim string
	Start, End                                   time.Time
	Score                                        float64
}

// Capacity is where a link is going, by the busiest hour of each day. Rates are
// bits per second.
type Capacity struct {
	Site, Name string
	Days       int       // with traffic, of the last eight weeks
	Busiest    float64   // level of the trend today
	Slope      float64   // a day
	Next       float64   // busiest hour of the day ahead as forecast, 0: not known
	NextHigh   float64   // upper bound that holds 95 %
	Capacity   float64   // 0: not known
	Load       float64   // Busiest / Capacity
	Full       time.Time // when 80 % of the capacity are reached, zero: not within a year
}

// Account is what became of the packets that a probe saw.
type Account struct {
	Probe  string
	Seen   uint64
	Kept   uint64  // in flows
	Share  float64 // Kept / Seen
	Losses []Loss
}

// Loss is why packets are not in flows.
type Loss struct {
	Reason  string
	Packets uint64
	Records uint64
}

// Class is a class of service on a link.
type Class struct {
	Site, Link string
	DSCP       uint8
	Name       string // as RFC 4594 has it
	Octets     uint64
	Share      float64 // of the link
	P95, Peak  float64 // bits per second
}

// Pair is who sent how much to whom on a link.
type Pair struct {
	Site, Link, From, To string
	Octets               uint64
	P95, Peak            float64 // bits per second
}
