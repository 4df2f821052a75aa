// Package importer brings flows that no probe saw into Tapwatch: logs of Zeek,
// Suricata and Argus, files of NetFlow, IPFIX, sFlow and nfdump, and what routers send
// over UDP. In come files or datagrams; out go FlowBatches in Kafka, whose
// records have their origin beside them, and a ledger in which every record read
// is either a flow record or lost for a named reason.
//
// The sub-packages read one format each and know nothing of Kafka; the
// functions of this package (Zeek, EVE, Argus, Packets, Nfcapd) join a format and a
// Sink; Run and Live are the whole way. A Sink belongs to one goroutine, and records
// given to it are the caller's again when the call returns.
//
// A batch made of a file is named by the file's content, so that a file that
// is imported again, under any name, is stored once.
package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Sink takes flow records. Its error ends the import.
type Sink interface {
	Add(*flow.Record) error
}

// Teller is a Sink that also wants to know of what was left out: a reason of
// package source, and the time it belongs to (ns since the epoch, 0 unknown).
type Teller interface {
	Lost(reason string, at int64)
}

// Streamer is a Sink that stores records under an identity: Stream is called
// before the records of each file that has flows.
type Streamer interface {
	Stream(identity uint64) error
}

// stream begins the stream of a file: its identity is that of its content.
func stream(sink Sink, kind, path string) error {
	s, ok := sink.(Streamer)
	if !ok {
		return nil
	}
	id, err := source.Identity(kind, path)
	if err != nil {
		return err
	}
	return s.Stream(id)
}

func teller(sink Sink) func(reason string, at int64) {
	if t, ok := sink.(Teller); ok {
		return t.Lost
	}
	return func(string, int64) {}
}

// Importer of a kind of file, by its name on the command line.
type formatFunc func(ctx context.Context, files []string, sink Sink) (source.Tally, error)

func formats() map[string]formatFunc {
	return map[string]formatFunc{"zeek": Zeek, "eve": EVE, "argus": Argus, "netflow": Packets, "ipfix": Packets, "sflow": Packets, "nfdump": Nfcapd}
}

// Formats are the kinds of file that Run imports.
func Formats() []string {
	var names []string
	for name := range formats() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func formatOf(name string) (formatFunc, error) {
	f, ok := formats()[name]
	if !ok {
		return nil, fmt.Errorf("import format %q: none of %s", name, strings.Join(Formats(), ", "))
	}
	return f, nil
}
