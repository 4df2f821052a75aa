package importer

import (
	"context"
	"io"

	"github.com/tapwatch/tapwatch/analyzer/importer/argus"
	"github.com/tapwatch/tapwatch/analyzer/importer/eve"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// EVE converts Suricata's eve.json, in the order of the files: the events of a
// flow may stand in one file and its end in the next. The error is that of the sink, of ctx, or of a file
// that cannot be opened; bad lines are counted.
func EVE(ctx context.Context, files []string, sink Sink) (source.Tally, error) {
	im := eve.New()
	im.Lost = teller(sink)
	emit := func(r *flow.Record) error { return sink.Add(r) }
	for _, path := range files {
		if err := stream(sink, "eve", path); err != nil {
			return im.Tally, err
		}
		if err := read(path, func(r io.Reader) error { return im.File(ctx, path, r, emit) }); err != nil {
			return im.Tally, err
		}
	}
	return im.Tally, im.Flush(emit)
}

// Argus converts Argus flows as CSV (binetflow). The errors are as of EVE.
func Argus(ctx context.Context, files []string, sink Sink) (source.Tally, error) {
	im := argus.Importer{Lost: teller(sink)}
	emit := func(r *flow.Record) error { return sink.Add(r) }
	for _, path := range files {
		if err := stream(sink, "argus", path); err != nil {
			return im.Tally, err
		}
		if err := read(path, func(r io.Reader) error { return im.File(ctx, path, r, emit) }); err != nil {
			return im.Tally, err
		}
	}
	return im.Tally, nil
}
