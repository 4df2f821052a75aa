package importer

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/analyzer/importer/zeek"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Zeek converts Zeek logs: conn.log and whatever of the other logs is there,
// rotated and packed or not, in any order. A connection of one file may have its
// other lines in any other. Without any conn.log the connections of the other
// logs become records without counters. The error is that of the sink, of
// ctx, or of a file that cannot be opened; bad lines are counted.
func Zeek(ctx context.Context, files []string, sink Sink) (source.Tally, error) {
	im := zeek.New()
	im.Lost = teller(sink)
	logs, err := zeekLogs(files)
	if err != nil {
		return im.Tally, err
	}
	connections := 0
	for _, l := range logs {
		if l.kind == "conn" || l.mixed {
			connections++
		}
		if l.kind == "conn" && !l.mixed {
			continue
		}
		if err := read(l.path, func(f io.Reader) error { return im.Others(ctx, l.path, f) }); err != nil {
			return im.Tally, err
		}
	}
	emit := func(r *flow.Record) error { return sink.Add(r) }
	for _, l := range logs {
		if l.kind != "conn" && !l.mixed {
			continue
		}
		if err := stream(sink, "zeek", l.path); err != nil {
			return im.Tally, err
		}
		im.Again = l.mixed
		if err := read(l.path, func(f io.Reader) error { return im.Connections(ctx, l.path, f, emit) }); err != nil {
			return im.Tally, err
		}
	}
	if connections == 0 && len(logs) > 0 {
		// Named by the first log, which has most of what they are made of.
		if err := stream(sink, "zeek orphans", logs[0].path); err != nil {
			return im.Tally, err
		}
	}
	return im.Tally, im.Orphans(connections == 0, emit)
}

// zeekLog is a file and what is in it.
type zeekLog struct {
	path, kind string
	mixed      bool // JSON lines of several kinds
}

// zeekLogs looks into files, and sorts them: certificates and tunnels first, which others refer to, then by name, which is time.
func zeekLogs(files []string) ([]zeekLog, error) {
	var logs []zeekLog
	for _, path := range files {
		l := zeekLog{path: path}
		err := read(path, func(f io.Reader) error { l.kind, l.mixed = zeek.Look(path, f); return nil })
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
	rank := func(l zeekLog) int {
		if l.kind == "x509" || l.kind == "tunnel" {
			return 0
		}
		if l.kind == "http" { // before files.log, which tells types of bodies
			return 1
		}
		return 2
	}
	slices.SortStableFunc(logs, func(a, b zeekLog) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.path, b.path)
	})
	return logs, nil
}
