package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Formats of Flows.
const (
	FormatJSON  = "json"  // one object per line
	FormatCSV   = "csv"   // RFC 4180 with a header line
	FormatBatch = "batch" // the messages that Kafka would get, each after its length as 4 octets, big endian
	FormatNone  = "none"  // nothing: to measure
)

// Flows writes the flow records of captures, or of interfaces until ctx ends, to
// out, without Kafka, and returns the account of their packets. cfg.Capture,
// cfg.Name, cfg.Site, cfg.Meter, cfg.Privacy, services and patterns are used. With several workers the records of
// captures are the same as with one, in another order and with other flow ids.
func Flows(ctx context.Context, cfg Config, format string, out io.Writer, log *slog.Logger) (ledger.Totals, error) {
	if err := cfg.read(); err != nil {
		return ledger.Totals{}, err
	}
	in, err := open(cfg, log)
	if err != nil {
		return ledger.Totals{}, err
	}
	defer in.Close()
	o := newOutput(out)
	store := newBatchFile(o)
	set := newSettings(cfg.limits())
	live := len(in.rings) > 0
	number := cfg.Capture.Workers
	if live {
		number = len(in.rings)
	}
	workers := make([]*worker, number)
	finish := make([]func() error, len(workers))
	for i := range workers {
		w, err := newWorker(cfg, live, set, log)
		if err != nil {
			return ledger.Totals{}, err
		}
		text := &textSink{ledger: w.ledger, out: o}
		w.sink, finish[i] = text, func() error { return nil }
		switch format {
		case FormatJSON:
			text.append = (*flow.Record).AppendJSON
		case FormatCSV:
			text.append = (*flow.Record).AppendCSV
		case FormatNone:
		case FormatBatch:
			ex := export.New(export.Config{Probe: cfg.Name, Site: cfg.Site, Worker: uint32(i), Live: live}, w.ledger, store, log, w.state)
			w.sink, finish[i] = ex, ex.Close
		default:
			return ledger.Totals{}, fmt.Errorf("format %q: one of json, csv, batch, none is needed", format)
		}
		workers[i] = w
	}
	if format == FormatCSV {
		_ = o.write([]byte(flow.CSVHeader() + "\n")) // flush tells
	}
	failed := make([]error, len(workers)) // of what each handed over
	end := func(i int) {
		workers[i].finish()
		failed[i] = finish[i]()
		workers[i].ledger.Take()
	}
	var g sync.WaitGroup
	switch {
	case live:
		broken := make([]error, len(workers))
		for i, w := range workers {
			g.Go(func() {
				broken[i] = w.read(ctx, in.rings[i])
				end(i)
			})
		}
		g.Wait()
		err = errors.Join(broken...)
	case len(workers) == 1:
		err = workers[0].readFiles(ctx, in.files)
		end(0)
	default:
		s := newSpread(len(workers), set, log)
		for i, w := range workers {
			g.Go(func() {
				s.work(i, w)
				end(i)
			})
		}
		err = s.read(ctx, in.files)
		g.Wait()
	}
	totals := ledger.Totals{}
	for i, w := range workers {
		totals.Add(w.ledger.Totals())
		if err == nil {
			err = failed[i]
		}
	}
	if failed := o.flush(); err == nil {
		err = failed
	}
	return totals, err
}

// readFiles reads one capture after another as one stream of packets: flows go
// on from file to file.
func (w *worker) readFiles(ctx context.Context, files []string) error {
	return eachFile(ctx, files, w.settings, nil, func(src capture.Source) error { return w.read(ctx, src) })
}
