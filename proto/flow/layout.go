package flow

import (
	"cmp"
	"slices"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// packed is a column of the batch under construction as it will be on the wire:
// the values of a packed repeated field.
type packed struct {
	values []byte
	n      int // values in it; zeros that follow are written when another value is, or at the end
	zero   int // octets of a zero; none among the elements of lists, which n does not count
	field  protowire.Number
}

// pad writes zeros until there are n values.
func (c *packed) pad(n int) {
	c.values = append(c.values, make([]byte, (n-c.n)*c.zero)...)
	c.n = n
}

// appendTo appends the field, completed to n values; if all are zero, nothing.
func (c *packed) appendTo(dst []byte, n int) []byte {
	if len(c.values) == 0 {
		return dst
	}
	c.pad(n)
	dst = protowire.AppendTag(dst, c.field, protowire.BytesType)
	return protowire.AppendBytes(dst, c.values)
}

func (c *packed) reset() { c.values, c.n = c.values[:0], 0 }

// put appends v as value n and returns the octets it takes.
func (c *packed) put(n int, v uint64) (octets int) {
	if c.n < n {
		c.pad(n)
	}
	c.n = n + 1
	return c.element(v)
}

// element appends v, where all elements of a list are there.
func (c *packed) element(v uint64) (octets int) {
	b := c.values
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	octets = len(b) + 1 - len(c.values)
	c.values = append(b, byte(v))
	return octets
}

// layout is columns as the encoder reads it: where the values of a Record lie and
// which column they go to, by their type in memory. So there is one loop for each
// type, and no call for the zeros that most values are.
type layout struct {
	columns                     []packed // in the order of their fields' numbers
	bytes, shorts, words, longs []place  // uint8 and bool, uint16, uint32, uint64
	floats, addresses, strings  []place
	lists                       []listPlace
	start, duration, flowID     *packed
	zeros                       int // octets of a record that is zero
	greatest                    int // octets of a record as large as its limits allow

	record *Record // any, to find out where its fields lie
	fields protoreflect.FieldDescriptors
}

// place is where a value of a Record lies, and its column.
type place struct {
	offset uintptr
	column *packed
}

// listPlace is the same for a list.
type listPlace interface{ add(e *Encoder, r *Record) }

// newLayout returns the layout of columns, with empty columns.
func newLayout() (l layout) {
	l.record, l.fields = new(Record), (*flowpb.FlowBatch)(nil).ProtoReflect().Descriptor().Fields()
	for i := range l.fields.Len() {
		if f := l.fields.Get(i); f.IsPacked() {
			c := packed{zero: 1, field: f.Number()}
			if f.Kind() == protoreflect.FloatKind {
				c.zero = 4
			}
			l.columns = append(l.columns, c)
		}
	}
	slices.SortFunc(l.columns, func(a, b packed) int { return cmp.Compare(a.field, b.field) })
	for _, c := range columns {
		c.lay(&l, c.name)
	}
	for _, c := range l.columns {
		l.zeros += c.zero
	}
	l.greatest += l.zeros
	return l
}

// placeOf is the place of field, and of the column called name; its value takes at
// most so many octets.
func placeOf[T any](l *layout, field func(*rec) *T, name string, octets int) place {
	return place{uintptr(unsafe.Pointer(field(l.record))) - uintptr(unsafe.Pointer(l.record)), l.column(name, octets)}
}

// column is the column of a field of FlowBatch.
func (l *layout) column(name string, octets int) *packed {
	l.greatest += octets
	number := l.fields.ByName(protoreflect.Name(name)).Number()
	i := slices.IndexFunc(l.columns, func(c packed) bool { return c.field == number })
	return &l.columns[i]
}
