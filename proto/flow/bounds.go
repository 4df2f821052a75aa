package flow

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// A message may say little and mean much: two octets are an empty string of
// sixteen, one octet a number of eight, and one text may stand in every cell of
// every column. So what it will take is added up on its octets, before anything
// is made of them. Batches of Encoder, of at most MaxMessageBytes before
// compression, are far below these bounds.
const (
	maxParsed = 32 << 20  // octets of a parsed batch
	maxText   = 256 << 20 // octets of all strings of all records, written out
	// maxEntry is of a string of the dictionary: of MaxString octets, as UTF-8.
	maxEntry = 3 * MaxString

	// What one of them takes besides its text: the struct, its place in a slice
	// that grew as they came, and what an allocation is rounded up to.
	entryOctets  = 96
	secondOctets = 192
	lossOctets   = 160
	dropOctets   = 192
)

// bounds are what Reader knows of the columns: the octets of a parsed value, by
// the number of the field.
type bounds struct {
	width  map[protowire.Number]int
	floats map[protowire.Number]bool
	seen   map[protowire.Number]bool
}

func newBounds() bounds {
	l := bounds{map[protowire.Number]int{}, map[protowire.Number]bool{}, map[protowire.Number]bool{}}
	fields := (*flowpb.FlowBatch)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !f.IsPacked() {
			continue
		}
		switch f.Kind() {
		case protoreflect.FloatKind:
			l.width[f.Number()], l.floats[f.Number()] = 4, true
		case protoreflect.Uint64Kind, protoreflect.Sint64Kind:
			l.width[f.Number()] = 8
		default:
			l.width[f.Number()] = 4
		}
	}
	return l
}

// Numbers of FlowBatch's and LedgerSecond's fields.
const (
	fieldVersion = 1
	fieldLedger  = 15
	fieldDropped = 16
	fieldStrings = 18
	fieldLosses  = 9
)

// weigh refuses what is of a later version, or would take more than maxParsed,
// or is written as no writer does: a column in pieces, each of which would make
// the parser copy what is there.
func (l *bounds) weigh(raw []byte) error {
	// Few octets cannot become many, whatever they are: so numbers are only
	// counted where it matters.
	exact := len(raw) > maxParsed/16
	clear(l.seen)
	weight := 0
	for rest := raw; len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrProtobuf, protowire.ParseError(n))
		}
		rest = rest[n:]
		n = protowire.ConsumeFieldValue(field, kind, rest)
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrProtobuf, field, protowire.ParseError(n))
		}
		value := rest[:n]
		rest = rest[n:]
		width, column := l.width[field]
		switch {
		case column && (kind != protowire.BytesType || l.seen[field]):
			return fmt.Errorf("%w: field %d is not packed, or there twice", ErrInvalid, field)
		case column:
			l.seen[field] = true
			if exact {
				weight += width * l.values(field, value)
			} else {
				weight += width * len(value)
			}
		case field == fieldVersion && kind == protowire.VarintType:
			if v, _ := protowire.ConsumeVarint(value); v > SchemaVersion {
				return fmt.Errorf("%w: schema version %d, this build reads up to %d", ErrNewerVersion, uint32(v), SchemaVersion)
			}
		case kind == protowire.BytesType:
			text, _ := protowire.ConsumeBytes(value)
			weight += len(text)
			switch field {
			case fieldStrings:
				if len(text) > maxEntry {
					return fmt.Errorf("%w: string of %d octets", ErrInvalid, len(text))
				}
				weight += entryOctets
			case fieldLedger:
				weight += secondOctets + lossOctets*losses(text)
			case fieldDropped:
				weight += dropOctets
			}
		}
		if weight > maxParsed {
			return fmt.Errorf("%w: more than %d octets when parsed", ErrOversized, maxParsed)
		}
	}
	return nil
}

// values is how many a packed column has.
func (l *bounds) values(field protowire.Number, value []byte) (n int) {
	packed, _ := protowire.ConsumeBytes(value)
	if l.floats[field] {
		return len(packed) / 4
	}
	for _, c := range packed {
		if c < 0x80 {
			n++
		}
	}
	return n
}

// losses is how many a second of the ledger has; what is wrong in it the parser says.
func losses(second []byte) (n int) {
	for len(second) > 0 {
		field, kind, size := protowire.ConsumeTag(second)
		if size < 0 {
			return n
		}
		second = second[size:]
		if size = protowire.ConsumeFieldValue(field, kind, second); size < 0 {
			return n
		}
		second = second[size:]
		if field == fieldLosses {
			n++
		}
	}
	return n
}

// weighText adds up the strings of all records of a batch whose indexes have been
// checked.
func (b *Batch) weighText() error {
	add := func(indexes []uint32) {
		for _, i := range indexes {
			b.text += int64(len(b.string(i)))
		}
	}
	for _, c := range columns {
		switch k := c.kind.(type) {
		case strKind:
			add(*k.wire(b.pb))
		case listKind[string]:
			_, elements := k.listWire(b.pb)
			add(*elements)
		}
	}
	if b.text > maxText {
		return fmt.Errorf("%w: strings of %d octets in all records", ErrOversized, b.text)
	}
	return nil
}
