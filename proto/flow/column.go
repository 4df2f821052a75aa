package flow

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// column is one field in all its forms. kind does the work for its type.
type column struct {
	name string
	sql  string // ClickHouse type
	kind
}

// kind is what a column can do.
type kind interface {
	// lay tells the encoder where in a Record the column called name is.
	lay(l *layout, name string)
	// check validates the column of a received batch against its n records.
	check(b *Batch, n int) error
	// decode sets r's field from record i of a checked batch.
	decode(b *Batch, i int, r *Record)
	// block returns an empty ClickHouse column of this kind.
	block() blockColumn
	// json appends r's value as JSON.
	json(dst []byte, r *Record) []byte
}

// lowCardinality marks a string column that has few distinct values.
func (c column) lowCardinality() column {
	c.sql = "LowCardinality(" + c.sql + ")"
	return c
}

type integer interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

// ---- numbers ---------------------------------------------------------------

type numKind[T integer, W uint32 | uint64] struct {
	field func(*rec) *T
	wire  func(*pb) *[]W
}

func num[T integer, W uint32 | uint64](name, sql string, field func(*rec) *T, wire func(*pb) *[]W) column {
	return column{name, sql, numKind[T, W]{field, wire}}
}

func (k numKind[T, W]) lay(l *layout, name string) {
	p := placeOf(l, k.field, name, (bits.Len64(uint64(^T(0)))+6)/7)
	switch unsafe.Sizeof(T(0)) {
	case 1:
		l.bytes = append(l.bytes, p)
	case 2:
		l.shorts = append(l.shorts, p)
	case 4:
		l.words = append(l.words, p)
	case 8:
		l.longs = append(l.longs, p)
	}
}

func (k numKind[T, W]) check(b *Batch, n int) error { return checkNums[T](*k.wire(b.pb), n) }

func (k numKind[T, W]) decode(b *Batch, i int, r *Record) { *k.field(r) = T(at(*k.wire(b.pb), i)) }

func (k numKind[T, W]) block() blockColumn {
	return &valueColumn[T]{get: func(b *Batch, i int) T { return T(at(*k.wire(b.pb), i)) }}
}

func (k numKind[T, W]) json(dst []byte, r *Record) []byte {
	return strconv.AppendUint(dst, uint64(*k.field(r)), 10)
}

// at is value i of a column that may be absent.
func at[W uint32 | uint64 | int64 | float32](col []W, i int) W {
	if i < len(col) {
		return col[i]
	}
	return 0
}

func checkLen(have, n int) error {
	if have != 0 && have != n {
		return fmt.Errorf("%d values for %d records", have, n)
	}
	return nil
}

func checkNums[T integer, W uint32 | uint64](col []W, n int) error {
	if err := checkLen(len(col), n); err != nil {
		return err
	}
	return checkRange[T](col)
}

func checkRange[T integer, W uint32 | uint64](col []W) error {
	greatest := uint64(^T(0))
	for i, v := range col {
		if uint64(v) > greatest {
			return fmt.Errorf("value %d of record %d exceeds %d", v, i, greatest)
		}
	}
	return nil
}

// ---- fractions ---------------------------------------------------------------

type floatKind struct {
	field func(*rec) *float32
	wire  func(*pb) *[]float32
}

func float(name string, field func(*rec) *float32, wire func(*pb) *[]float32) column {
	return column{name, "Float32", floatKind{field, wire}}
}

func (k floatKind) lay(l *layout, name string) {
	l.floats = append(l.floats, placeOf(l, k.field, name, 4))
}

// check refuses what is no number: an aggregate over it would be none either.
func (k floatKind) check(b *Batch, n int) error {
	col := *k.wire(b.pb)
	for i, v := range col {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			return fmt.Errorf("value of record %d is not finite", i)
		}
	}
	return checkLen(len(col), n)
}

func (k floatKind) decode(b *Batch, i int, r *Record) { *k.field(r) = at(*k.wire(b.pb), i) }
func (k floatKind) block() blockColumn {
	return &valueColumn[float32]{get: func(b *Batch, i int) float32 { return at(*k.wire(b.pb), i) }}
}
func (k floatKind) json(dst []byte, r *Record) []byte {
	return strconv.AppendFloat(dst, float64(*k.field(r)), 'g', -1, 32)
}

// ---- booleans, enumerations, sets, MACs ------------------------------------------

type boolKind struct {
	field func(*rec) *bool
	wire  func(*pb) *[]uint32
}

func boolean(name string, field func(*rec) *bool, wire func(*pb) *[]uint32) column {
	return column{name, "Bool", boolKind{field, wire}}
}

// lay relies on true being 1 in memory.
func (k boolKind) lay(l *layout, name string) {
	l.bytes = append(l.bytes, placeOf(l, k.field, name, 1))
}

func (k boolKind) check(b *Batch, n int) error       { return checkNums[uint8](*k.wire(b.pb), n) }
func (k boolKind) decode(b *Batch, i int, r *Record) { *k.field(r) = at(*k.wire(b.pb), i) != 0 }
func (k boolKind) block() blockColumn {
	return &valueColumn[bool]{get: func(b *Batch, i int) bool { return at(*k.wire(b.pb), i) != 0 }}
}
func (k boolKind) json(dst []byte, r *Record) []byte { return strconv.AppendBool(dst, *k.field(r)) }

// named is an enumeration with a name for each value it knows.
type named interface {
	~uint8
	fmt.Stringer
}

type enumKind[T named] struct{ numKind[T, uint32] }

// enum columns are numbers on the wire and names everywhere else, so that a
// value a reader does not know yet is kept as its number.
func enum[T named](name string, field func(*rec) *T, wire func(*pb) *[]uint32) column {
	return column{name, "LowCardinality(String)", enumKind[T]{numKind[T, uint32]{field, wire}}}
}

func enumName[T named](v T) string {
	if s := v.String(); s != "" || v == 0 {
		return s
	}
	return strconv.Itoa(int(v))
}

func (k enumKind[T]) block() blockColumn {
	return &valueColumn[string]{get: func(b *Batch, i int) string { return enumName(T(at(*k.wire(b.pb), i))) }}
}

func (k enumKind[T]) json(dst []byte, r *Record) []byte {
	return appendString(dst, enumName(*k.field(r)))
}

type riskKind struct{ numKind[Risk, uint64] }

// risks is a number on the wire and in the table, and a list of names in text.
func risks(name string, field func(*rec) *Risk, wire func(*pb) *[]uint64) column {
	return column{name, "UInt64", riskKind{numKind[Risk, uint64]{field, wire}}}
}

func (k riskKind) block() blockColumn {
	return &valueColumn[uint64]{get: func(b *Batch, i int) uint64 { return at(*k.wire(b.pb), i) }}
}

func (k riskKind) json(dst []byte, r *Record) []byte { return k.field(r).appendJSON(dst) }

type macKind struct{ numKind[MAC, uint64] }

func mac(name string, field func(*rec) *MAC, wire func(*pb) *[]uint64) column {
	return column{name, "UInt64", macKind{numKind[MAC, uint64]{field, wire}}}
}

func (k macKind) block() blockColumn {
	return &valueColumn[uint64]{get: func(b *Batch, i int) uint64 { return at(*k.wire(b.pb), i) }}
}

func (k macKind) json(dst []byte, r *Record) []byte {
	dst = append(dst, '"')
	dst = k.field(r).appendText(dst)
	return append(dst, '"')
}

// ---- addresses ---------------------------------------------------------------

type addrKind struct {
	field func(*rec) *Addr
	wire  func(*pb) *[]uint32
}

func addr(name string, field func(*rec) *Addr, wire func(*pb) *[]uint32) column {
	return column{name, "IPv6", addrKind{field, wire}}
}

func (k addrKind) lay(l *layout, name string) {
	l.addresses = append(l.addresses, placeOf(l, k.field, name, maxIndex+len(Addr{})))
}

func (k addrKind) check(b *Batch, n int) error {
	col := *k.wire(b.pb)
	if err := checkLen(len(col), n); err != nil {
		return err
	}
	return checkIndexes(col, len(b.pb.Addresses)/16, "address")
}

func checkIndexes(col []uint32, n int, what string) error {
	for i, v := range col {
		if int(v) >= n && v != 0 {
			return fmt.Errorf("record %d refers to %s %d of %d", i, what, v, n)
		}
	}
	return nil
}

func (k addrKind) get(b *Batch, i int) Addr          { return b.address(at(*k.wire(b.pb), i)) }
func (k addrKind) decode(b *Batch, i int, r *Record) { *k.field(r) = k.get(b, i) }
func (k addrKind) block() blockColumn                { return &addrColumn{get: k.get} }
func (k addrKind) json(dst []byte, r *Record) []byte {
	dst = append(dst, '"')
	dst = k.field(r).Netip().AppendTo(dst)
	return append(dst, '"')
}

// ---- strings -------------------------------------------------------------------

type strKind struct {
	field func(*rec) *string
	wire  func(*pb) *[]uint32
}

func str(name string, field func(*rec) *string, wire func(*pb) *[]uint32) column {
	return column{name, "String", strKind{field, wire}}
}

func (k strKind) lay(l *layout, name string) {
	l.strings = append(l.strings, placeOf(l, k.field, name, maxIndex+textOctets+MaxString))
}

func (k strKind) check(b *Batch, n int) error {
	col := *k.wire(b.pb)
	if err := checkLen(len(col), n); err != nil {
		return err
	}
	return checkIndexes(col, len(b.pb.Strings), "string")
}

func (k strKind) get(b *Batch, i int) string        { return b.string(at(*k.wire(b.pb), i)) }
func (k strKind) decode(b *Batch, i int, r *Record) { *k.field(r) = k.get(b, i) }
func (k strKind) block() blockColumn                { return &valueColumn[string]{get: k.get} }
func (k strKind) json(dst []byte, r *Record) []byte { return appendString(dst, *k.field(r)) }

// appendString appends s as a JSON string. Octets that are not UTF-8 become
// U+FFFD, as encoding/json does.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			q, _ := json.Marshal(s) // a string always marshals
			return append(dst, q...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
