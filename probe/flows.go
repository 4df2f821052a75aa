package probe

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"

	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// Formats of Flows.
const (
	FormatJSON  = "json"  // one object per line
	FormatCSV   = "csv"   // RFC 4180 with a header line
	FormatBatch = "batch" // the messages that Kafka would get, each after its length as 4 octets, big endian
	FormatNone  = "none"  // nothing: to measure
)

// Flows writes the flow records of the captures to out, without Kafka, and
// returns the account of their packets. cfg.Capture.Files, cfg.Name, cfg.Site
// and cfg.Meter are used.
func Flows(ctx context.Context, cfg Config, format string, out io.Writer, log *slog.Logger) (ledger.Totals, error) {
	files, err := expand(cfg.Capture.Files)
	if err != nil {
		return ledger.Totals{}, err
	}
	w := newWorker(cfg, false, log)
	buffered := bufio.NewWriterSize(out, 1<<20)
	text := &textSink{ledger: w.ledger, out: buffered}
	w.sink = text
	finish := func() error { return text.err }
	switch format {
	case FormatJSON:
		text.append = (*flow.Record).AppendJSON
	case FormatCSV:
		text.append = (*flow.Record).AppendCSV
		fmt.Fprintln(buffered, flow.CSVHeader())
	case FormatNone:
	case FormatBatch:
		ex := export.New(export.Config{Probe: cfg.Name, Site: cfg.Site}, w.ledger, newBatchFile(buffered), log, w.state)
		w.sink = ex
		finish = ex.Close
	default:
		return ledger.Totals{}, fmt.Errorf("format %q: one of json, csv, batch, none is needed", format)
	}
	err = w.readFiles(ctx, files, cfg.Capture.Filter)
	w.finish()
	if failed := finish(); err == nil {
		err = failed
	}
	if failed := buffered.Flush(); err == nil {
		err = failed
	}
	w.ledger.Take()
	return w.ledger.Totals(), err
}

// textSink writes one record per line.
type textSink struct {
	ledger *ledger.Ledger
	out    *bufio.Writer
	append func(*flow.Record, []byte) []byte // nil: nothing is written
	line   []byte
	err    error
}

func (s *textSink) Add(r *flow.Record) {
	if s.append == nil || s.err != nil {
		return
	}
	s.line = append(s.append(r, s.line[:0]), '\n')
	_, s.err = s.out.Write(s.line)
}

func (s *textSink) Cut() { s.ledger.Take() }

// batchFile is an export.Store that writes messages to a file.
type batchFile struct {
	out   io.Writer
	epoch uint64
}

func newBatchFile(out io.Writer) *batchFile {
	var b [8]byte
	rand.Read(b[:])
	return &batchFile{out, binary.BigEndian.Uint64(b[:]) | 1}
}

func (f *batchFile) Epoch() uint64              { return f.epoch }
func (f *batchFile) Dropped() []spool.DropRange { return nil }

func (f *batchFile) Append(r spool.Record) error {
	if _, err := f.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(r.Value)))); err != nil {
		return err
	}
	_, err := f.out.Write(r.Value)
	return err
}
