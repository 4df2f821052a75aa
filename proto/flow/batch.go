package flow

import (
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// SchemaVersion is the version of flow.proto that this build speaks.
const SchemaVersion = 1

// Limits of one batch.
const (
	MaxMessageBytes = 900_000 // of one Kafka message
	MaxRawBytes     = 8 << 20 // of a message after decompression
	MaxRecords      = 100_000
	MaxBatchSpan    = 8 * 24 * time.Hour // between the first and the last start
)

// Reasons for which a message is refused; the dead-letter topic names them.
var (
	ErrNewerVersion = errors.New("newer_version") // a later build can read it
	ErrOversized    = errors.New("oversized")     // larger than the limits, compressed or not
	ErrCompression  = errors.New("compression")   // not zstd, or damaged
	ErrProtobuf     = errors.New("protobuf")      // not a FlowBatch
	ErrInvalid      = errors.New("invalid")       // columns contradict each other
	ErrTime         = errors.New("time")          // spans more than MaxBatchSpan
)

// Batch is a received and validated FlowBatch. It owns its memory.
type Batch struct {
	pb      *flowpb.FlowBatch
	unit    int64
	starts  []int64
	flowIDs []int64
	offsets map[string][]uint32 // of each list column
	text    int64               // octets of all strings of all records
}

// Reader turns messages into batches. It belongs to one goroutine.
type Reader struct {
	zstd   *zstd.Decoder
	bounds bounds
	raw    []byte // of the message before; batches do not refer to it
}

// keepRaw is how much of the memory for decompression a Reader keeps.
const keepRaw = 2 << 20

// NewReader returns a Reader. Whatever a message says, Read allocates less than
// 64 MiB for it.
func NewReader() *Reader {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxRawBytes), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // constant options
	}
	return &Reader{zstd: d, bounds: newBounds()}
}

// Read decompresses, parses and validates one message. Its error is one of the
// Err… reasons, wrapped with what is wrong.
func (r *Reader) Read(message []byte) (*Batch, error) {
	if len(message) > MaxMessageBytes+MaxMessageBytes/8 {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrOversized, len(message))
	}
	raw, err := r.zstd.DecodeAll(message, r.raw[:0])
	if r.raw = nil; cap(raw) <= keepRaw {
		r.raw = raw
	}
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, fmt.Errorf("%w: more than %d bytes when decompressed", ErrOversized, MaxRawBytes)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCompression, err)
	}
	if err := r.bounds.weigh(raw); err != nil {
		return nil, err
	}
	b := &Batch{pb: new(flowpb.FlowBatch), offsets: make(map[string][]uint32)}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, b.pb); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtobuf, err)
	}
	if err := b.validate(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Batch) validate() error {
	p := b.pb
	switch {
	case p.SchemaVersion > SchemaVersion:
		return fmt.Errorf("%w: schema version %d, this build reads up to %d", ErrNewerVersion, p.SchemaVersion, SchemaVersion)
	case p.SchemaVersion == 0 || p.Probe == "" || p.Epoch == 0 || p.Seq == 0:
		return fmt.Errorf("%w: no identity (version %d, probe %q, epoch %d, seq %d)", ErrInvalid, p.SchemaVersion, p.Probe, p.Epoch, p.Seq)
	case len(p.Probe) > MaxString || len(p.Site) > MaxString:
		return fmt.Errorf("%w: name of probe or site longer than %d", ErrInvalid, MaxString)
	case p.Worker > 1<<16-1:
		return fmt.Errorf("%w: worker %d", ErrInvalid, p.Worker)
	case p.Count > MaxRecords:
		return fmt.Errorf("%w: %d records", ErrOversized, p.Count)
	case len(p.Addresses)%16 != 0:
		return fmt.Errorf("%w: %d octets of addresses", ErrInvalid, len(p.Addresses))
	}
	for _, t := range []int64{p.BaseTimeNs, p.ClockNs, p.WatermarkNs, p.SealedNs} {
		if t < 0 || t > maxTime {
			return fmt.Errorf("%w: header time %d out of range", ErrInvalid, t)
		}
	}
	for _, s := range p.Ledger {
		if s == nil || s.Second < 0 || s.Second > maxTime/int64(time.Second) {
			return fmt.Errorf("%w: ledger second out of range", ErrInvalid)
		}
	}
	for _, d := range p.Dropped {
		if d == nil || d.Worker > 1<<16-1 {
			return fmt.Errorf("%w: dropped batches of a worker that cannot be", ErrInvalid)
		}
	}
	for _, c := range columns {
		if err := c.check(b, int(p.Count)); err != nil {
			return fmt.Errorf("%w: column %s: %w", ErrInvalid, c.name, err)
		}
	}
	if err := b.weighText(); err != nil {
		return err
	}
	if p.Count > 0 {
		first, last := b.starts[0], b.starts[0]
		for _, t := range b.starts {
			first, last = min(first, t), max(last, t)
		}
		if time.Duration(last-first) > MaxBatchSpan {
			return fmt.Errorf("%w: records span %s", ErrTime, time.Duration(last-first))
		}
	}
	return nil
}

// Header is the batch with its identity, times and ledger; its columns are for
// this package alone.
func (b *Batch) Header() *flowpb.FlowBatch { return b.pb }

// Len is the number of records.
func (b *Batch) Len() int { return int(b.pb.Count) }

// TextBytes is what the strings of all records take once they are written out,
// octets: a string of the dictionary counts for each record that has it.
func (b *Batch) TextBytes() int64 { return b.text }

// Start is the start of record i, ns since the epoch.
func (b *Batch) Start(i int) int64 { return b.starts[i] }

// Record sets r to record i. The strings stay valid as long as the batch.
func (b *Batch) Record(i int, r *Record) {
	for _, c := range columns {
		c.decode(b, i, r)
	}
}

func (b *Batch) string(i uint32) string {
	if int(i) < len(b.pb.Strings) {
		return b.pb.Strings[i]
	}
	return ""
}

func (b *Batch) address(i uint32) (a Addr) {
	if o := int(i) * 16; o+16 <= len(b.pb.Addresses) {
		copy(a[:], b.pb.Addresses[o:])
	}
	return a
}
