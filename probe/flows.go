package probe

import (
	"context"
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

// Flows writes the flow records of the captures to out, without Kafka, and
// returns the account of their packets. cfg.Capture (but for interfaces),
// cfg.Name, cfg.Site and cfg.Meter are used. With several workers the records
// are the same as with one, in another order and with other flow ids.
func Flows(ctx context.Context, cfg Config, format string, out io.Writer, log *slog.Logger) (ledger.Totals, error) {
	files, err := expand(cfg.Capture.Files)
	if err != nil {
		return ledger.Totals{}, err
	}
	o := newOutput(out)
	store := newBatchFile(o)
	set := newSettings(cfg.limits())
	workers := make([]*worker, cfg.Capture.Workers)
	finish := make([]func() error, len(workers))
	for i := range workers {
		w := newWorker(cfg, false, set, log)
		text := &textSink{ledger: w.ledger, out: o}
		w.sink, finish[i] = text, func() error { return nil }
		switch format {
		case FormatJSON:
			text.append = (*flow.Record).AppendJSON
		case FormatCSV:
			text.append = (*flow.Record).AppendCSV
		case FormatNone:
		case FormatBatch:
			ex := export.New(export.Config{Probe: cfg.Name, Site: cfg.Site, Worker: uint32(i)}, w.ledger, store, log, w.state)
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
	if len(workers) == 1 {
		err = workers[0].readFiles(ctx, files)
		end(0)
	} else {
		s := newSpread(len(workers), set, log)
		var g sync.WaitGroup
		for i, w := range workers {
			g.Go(func() {
				s.work(i, w)
				end(i)
			})
		}
		err = s.read(ctx, files)
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
