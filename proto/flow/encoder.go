package flow

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// Encoder builds one batch after another. It belongs to one goroutine.
//
// The columns grow as the octets that they will be on the wire, and sealing
// joins them; only times wait until then, for their unit is that of all.
type Encoder struct {
	layout
	n           int
	size        int // octets of the batch, uncompressed and without the header, at most
	first, last int64
	lastFlowID  uint64
	starts      []int64  // ns
	durations   []uint64 // ns
	texts       dictionary[string]
	hosts       dictionary[Addr]
	header      flowpb.FlowBatch // all but the columns
	raw         []byte
	message     []byte
	zstd        *zstd.Encoder
}

// NewEncoder returns an empty Encoder.
func NewEncoder() *Encoder {
	// The next level takes 4 % off the messages of the mix, for half as much CPU again.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // constant options
	}
	return &Encoder{layout: newLayout(), zstd: z, texts: newDictionary(maphash.String),
		hosts: newDictionary(func(s maphash.Seed, a Addr) uint64 { return maphash.Bytes(s, a[:]) })}
}

func (e *Encoder) reset() {
	e.n, e.size, e.lastFlowID = 0, 0, 0
	e.starts, e.durations = e.starts[:0], e.durations[:0]
	e.texts.reset()
	e.hosts.reset()
	for i := range e.columns {
		e.columns[i].reset()
	}
}

// Len is the number of records in the batch under construction.
func (e *Encoder) Len() int { return e.n }

// Fits reports whether r can join the batch: by size, by number and by the
// span of start times. A batch without records takes any record.
func (e *Encoder) Fits(r *Record) bool {
	if e.n == 0 {
		return true
	}
	first, last := min(e.first, r.Start), max(e.last, r.Start)
	return e.n < MaxRecords && e.size+e.greatest < MaxMessageBytes-headerReserve && time.Duration(last-first) <= MaxBatchSpan
}

// headerReserve is kept free in a message for the header and the ledger.
const headerReserve = 64 << 10

// Add copies r, which is within the limits of a record, into the batch.
func (e *Encoder) Add(r *Record) {
	before := r.Start
	if e.n == 0 {
		e.first, e.last = r.Start, r.Start
	} else {
		before = e.starts[e.n-1]
	}
	e.first, e.last = min(e.first, r.Start), max(e.last, r.Start)
	duration := uint64(max(r.End-r.Start, 0))
	e.starts, e.durations = append(e.starts, r.Start), append(e.durations, duration)
	e.size += e.zeros + protowire.SizeVarint(protowire.EncodeZigZag(r.Start-before)) + protowire.SizeVarint(duration)

	if r.FlowID != e.lastFlowID {
		e.put(e.flowID, protowire.EncodeZigZag(int64(r.FlowID-e.lastFlowID)))
		e.lastFlowID = r.FlowID
	}
	addNumbers[uint8](e, r, e.bytes)
	addNumbers[uint16](e, r, e.shorts)
	addNumbers[uint32](e, r, e.words)
	addNumbers[uint64](e, r, e.longs)
	for _, p := range e.floats {
		if v := *valueAt[float32](r, p); v != 0 {
			p.column.pad(e.n)
			p.column.n++
			p.column.values = binary.LittleEndian.AppendUint32(p.column.values, math.Float32bits(v))
		}
	}
	for _, p := range e.addresses {
		if a := valueAt[Addr](r, p); *a != (Addr{}) {
			e.put(p.column, uint64(e.address(*a)))
		}
	}
	for _, p := range e.strings {
		if s := *valueAt[string](r, p); s != "" {
			e.put(p.column, uint64(e.string(s)))
		}
	}
	for _, l := range e.lists {
		l.add(e, r)
	}
	e.n++
}

// valueAt is the value of r at p.
func valueAt[T any](r *Record, p place) *T { return (*T)(unsafe.Add(unsafe.Pointer(r), p.offset)) }

func addNumbers[T uint8 | uint16 | uint32 | uint64](e *Encoder, r *Record, places []place) {
	for _, p := range places {
		if v := *valueAt[T](r, p); v != 0 {
			e.put(p.column, uint64(v))
		}
	}
}

// put appends v to c, as the value of the record that is being added.
func (e *Encoder) put(c *packed, v uint64) { e.size += c.put(e.n, v) }

// string returns the number of s in the dictionary.
func (e *Encoder) string(s string) uint32 {
	if s == "" {
		return 0
	}
	i, hash := e.texts.number(s)
	if i == 0 {
		i = e.texts.add(strings.Clone(s), hash) // s may be reused by its owner
		e.size += len(s) + textOctets
	}
	return i
}

// textOctets is the tag and the length of a string in the dictionary.
const textOctets = 4

// maxIndex is the octets of a number of a dictionary, of which a record adds few.
const maxIndex = 3

// address returns the number of a in the dictionary.
func (e *Encoder) address(a Addr) uint32 {
	i, hash := e.hosts.number(a)
	if i == 0 {
		i = e.hosts.add(a, hash)
		e.size += len(a)
	}
	return i
}

// Seal finishes the batch with the identity, times and ledger of header (whose
// columns are ignored), returns the message and starts the next batch. The
// message is the caller's.
func (e *Encoder) Seal(header *flowpb.FlowBatch) ([]byte, error) {
	defer e.reset()
	if err := e.marshal(header); err != nil {
		return nil, err
	}
	e.message = e.zstd.EncodeAll(e.raw, e.message[:0])
	return bytes.Clone(e.message), nil
}

// marshal sets raw to what proto.Marshal would make of the batch: the fields by
// their numbers, of which the columns have the greatest.
func (e *Encoder) marshal(header *flowpb.FlowBatch) (err error) {
	p := &e.header
	p.SchemaVersion, p.Probe, p.Site, p.Epoch, p.Worker, p.Seq = SchemaVersion, header.Probe, header.Site, header.Epoch, header.Worker, header.Seq
	p.ClockNs, p.WatermarkNs, p.SealedNs = header.ClockNs, header.WatermarkNs, header.SealedNs
	p.EndOfStream, p.Live, p.OpenFlows = header.EndOfStream, header.Live, header.OpenFlows
	p.Ledger, p.Dropped = header.Ledger, header.Dropped
	p.Count = uint32(e.n)
	p.BaseTimeNs, p.TimeUnitNs = e.times()
	p.Strings, p.Addresses = p.Strings[:0], p.Addresses[:0]
	for _, s := range e.texts.values {
		if !utf8.ValidString(s) { // a string in protobuf is
			s = strings.ToValidUTF8(s, "\uFFFD")
		}
		p.Strings = append(p.Strings, s)
	}
	for i := range e.hosts.values {
		p.Addresses = append(p.Addresses, e.hosts.values[i][:]...)
	}
	if e.raw, err = (proto.MarshalOptions{}).MarshalAppend(e.raw[:0], p); err != nil {
		return err
	}
	for i := range e.columns {
		e.raw = e.columns[i].appendTo(e.raw, e.n)
	}
	return nil
}

// times fills the columns of times and returns their base and unit, ns.
func (e *Encoder) times() (base int64, unit uint32) {
	unit = 1000
	for i, t := range e.starts {
		if t%1000 != 0 || e.durations[i]%1000 != 0 {
			unit = 1
			break
		}
	}
	if len(e.starts) > 0 {
		base = e.starts[0]
	}
	before := base
	for i, t := range e.starts {
		if t != before {
			e.start.put(i, protowire.EncodeZigZag((t-before)/int64(unit)))
			before = t
		}
		if d := e.durations[i]; d != 0 {
			e.duration.put(i, d/uint64(unit))
		}
	}
	return base, unit
}
