// Package plugin is what a user's own code has to satisfy to become part of a probe without a fork of it: an Exporter
// gets every flow record, a Recogniser names applications that the probe does not know.
//
// Both are compiled in: a main of one's own hands a Set to probe.Run. What needs no compiler is here as well: Patterns
// reads recognisers from a YAML file, and Stream is an Exporter that feeds a process of any language over a socket with
// the messages that Kafka gets. README.md shows all four and says why there is no more.
//
// Records come in by pointer, and belong to the probe: an Exporter copies what it needs before it returns. Nothing here
// is called per packet, except that a Recogniser sees the first payloads of flows that nothing else has recognised.
package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Set is all that a main adds to a probe. The zero value adds nothing.
type Set struct {
	Exporters   []Exporter
	Recognisers []Recogniser
}

// Check says what is wrong with s: a name missing or given twice, a recogniser that can recognise nothing.
func (s Set) Check() error {
	names := make(map[string]bool)
	for i, e := range s.Exporters {
		switch {
		case e == nil:
			return fmt.Errorf("exporter %d: it is nil", i)
		case e.Name() == "":
			return fmt.Errorf("exporter %d: it has no name", i)
		case names[e.Name()]:
			return fmt.Errorf("exporter %s: the name is given twice", e.Name())
		}
		names[e.Name()] = true
	}
	for i, r := range s.Recognisers {
		if err := r.check(); err != nil {
			return fmt.Errorf("recogniser %d (%s): %w", i, r.App, err)
		}
	}
	return nil
}

// Worker tells an Exporter whose records a Sink gets.
type Worker struct {
	Probe, Site string // as configured
	Number      uint32 // of the capture worker within the probe, from 0
	Live        bool   // an interface: a Sink loses records rather than wait. A file may wait
}

// Exporter is a way out for flow records, beside Kafka and on its own: what it loses it counts itself; the probe's ledger
// tells what Kafka gets.
//
// The order of calls is: Run on a goroutine of its own; Open once per worker, before that worker's first packet; the
// Sinks; when all Sinks are closed, the end of Run's context. If Run returns early, the probe stops.
type Exporter interface {
	// Name is what log lines and errors call it.
	Name() string
	// Open returns the Sink of a worker. Workers open in parallel.
	Open(Worker) (Sink, error)
	// Run moves what the Sinks have taken until ctx ends, then for a bounded time what is left, and returns nil.
	Run(ctx context.Context) error
}

// Sink takes the records of one worker, all on that worker's goroutine, which is the one that captures: a call that takes
// long loses packets.
type Sink interface {
	// Add copies what it needs of r; neither r nor a slice or string in it may be kept.
	Add(r *flow.Record)
	// Cut comes about once a second, with or without records: what was added should move on.
	Cut()
	// Close comes after the last Add.
	Close() error
}

// Match is what a Recogniser makes of octets.
type Match uint8

const (
	No    Match = iota // it is something else, as far as this side goes
	Maybe              // too few octets to tell: ask again with more
	Yes
)

// Flow is what a Recogniser may know beside the payload.
type Flow struct {
	Protocol         uint8  // 6 TCP, 17 UDP
	SrcPort, DstPort uint16 // of the initiator and the responder
	FromSrc          bool   // the octets were sent by the initiator
}

// Recogniser names the application of flows that the probe itself does not recognise; it cannot take a flow from the
// probe's own recognisers, and is not asked once one of them has the flow. It is asked with the first payloads of a flow only.
// The functions are called by all workers at once, must not keep or change b, and must take any octets.
type Recogniser struct {
	// App goes into Record.App, with source dpi: lower case, and none that the probe uses already.
	App string
	// Ports restricts it to flows with one of these ports on either side; empty: all flows.
	Ports []uint16
	// Stream is asked with what one side of a TCP connection sent first: at least 1 octet, in order, more with each
	// call that follows a Maybe. nil: not for TCP.
	Stream func(b []byte, f Flow) Match
	// Datagram is asked with the payload of each of the first UDP packets until it says Yes; Maybe is No. nil: not for UDP.
	Datagram func(b []byte, f Flow) Match
}

// Asks reports whether the ports of f are among those of r.
func (r *Recogniser) Asks(f Flow) bool {
	if len(r.Ports) == 0 {
		return true
	}
	for _, p := range r.Ports {
		if p == f.SrcPort || p == f.DstPort {
			return true
		}
	}
	return false
}

func (r *Recogniser) check() error {
	switch {
	case r.App == "" || len(r.App) > flow.MaxString:
		return fmt.Errorf("app: 1 to %d octets are needed", flow.MaxString)
	case r.Stream == nil && r.Datagram == nil:
		return errors.New("neither Stream nor Datagram is given")
	}
	return nil
}

const (
	protoTCP = 6
	protoUDP = 17
)
