package probe

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"

	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// output is where the workers of Flows write, whole lines or messages at a
// time. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	out *bufio.Writer
	err error // the first
}

func newOutput(w io.Writer) *output { return &output{out: bufio.NewWriterSize(w, 1<<20)} }

func (o *output) write(parts ...[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range parts {
		if o.err == nil {
			_, o.err = o.out.Write(b)
		}
	}
	return o.err
}

// flush returns the first error of all writing.
func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = o.out.Flush()
	}
	return o.err
}

// textSink writes one record per line.
type textSink struct {
	ledger *ledger.Ledger
	out    *output
	append func(*flow.Record, []byte) []byte // nil: nothing is written
	lines  []byte
}

// textBytes is how many octets of lines a worker gathers.
const textBytes = 64 << 10

func (s *textSink) Add(r *flow.Record) {
	if s.append == nil {
		return
	}
	s.lines = append(s.append(r, s.lines), '\n')
	if len(s.lines) >= textBytes {
		s.flush()
	}
}

func (s *textSink) Cut() {
	s.ledger.Take()
	s.flush()
}

func (s *textSink) flush() {
	if len(s.lines) > 0 {
		_ = s.out.write(s.lines) // output.flush tells
		s.lines = s.lines[:0]
	}
}

// batchFile is an export.Store that writes messages to a file.
type batchFile struct {
	out   *output
	epoch uint64
}

func newBatchFile(out *output) *batchFile {
	var b [8]byte
	rand.Read(b[:])
	return &batchFile{out, binary.BigEndian.Uint64(b[:]) | 1}
}

func (f *batchFile) Epoch() uint64              { return f.epoch }
func (f *batchFile) Dropped() []spool.DropRange { return nil }

func (f *batchFile) Append(r spool.Record) error {
	return f.out.write(binary.BigEndian.AppendUint32(nil, uint32(len(r.Value))), r.Value)
}
