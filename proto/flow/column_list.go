package flow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
)

// listWire is the two wire columns of a list: elements per record, and the
// elements of all records one after another.
type listWire func(*pb) (n, elements *[]uint32)

// checkList validates the counts and leaves where each record's elements begin
// in offsets (one more than records).
func (w listWire) check(b *Batch, n int) ([]uint32, error) {
	counts, elements := w(b.pb)
	if err := checkLen(len(*counts), n); err != nil {
		return nil, err
	}
	var sum uint64
	offsets := make([]uint32, 1, n+1)
	for i := range n {
		sum += uint64(at(*counts, i))
		if sum > uint64(len(*elements)) {
			return nil, fmt.Errorf("lists hold more than the %d elements given", len(*elements))
		}
		offsets = append(offsets, uint32(sum))
	}
	if sum != uint64(len(*elements)) {
		return nil, fmt.Errorf("%d elements given for lists of %d", len(*elements), sum)
	}
	return offsets, nil
}

func (w listWire) elements(b *Batch, name string, i int) []uint32 {
	_, elements := w(b.pb)
	o := b.offsets[name]
	return (*elements)[o[i]:o[i+1]]
}

// listKind is a list of T; its functions say what an element is on the wire.
type listKind[T any] struct {
	name  string
	field func(*rec) *[]T
	listWire
	octets    int // of an element, at most
	put       func(*Encoder, *packed, []T)
	get       func(*Batch, uint32) T
	checkAll  func(*Batch, []uint32) error
	appendOne func([]byte, T) []byte // JSON
}

func strList(name string, field func(*rec) *[]string, wire listWire) column {
	return column{name, "Array(String)", listKind[string]{name, field, wire,
		maxIndex + textOctets + MaxString,
		func(e *Encoder, elements *packed, list []string) {
			for _, s := range list {
				e.size += elements.element(uint64(e.string(s)))
			}
		},
		(*Batch).string,
		func(b *Batch, elements []uint32) error { return checkIndexes(elements, len(b.pb.Strings), "string") },
		appendString}}
}

// numList is a list of numbers.
func numList[T ~uint16 | ~uint32](name string, field func(*rec) *[]T, wire listWire) column {
	return column{name, fmt.Sprintf("Array(UInt%d)", bits.Len64(uint64(^T(0)))), listKind[T]{name, field, wire,
		binary.MaxVarintLen32,
		func(e *Encoder, elements *packed, list []T) {
			for _, v := range list {
				e.size += elements.element(uint64(v))
			}
		},
		func(_ *Batch, e uint32) T { return T(e) },
		func(_ *Batch, elements []uint32) error { return checkRange[T](elements) },
		func(dst []byte, v T) []byte { return strconv.AppendUint(dst, uint64(v), 10) }}}
}

// signedList is a list of numbers that may be negative: zigzag on the wire.
func signedList(name string, field func(*rec) *[]int32, wire listWire) column {
	return column{name, "Array(Int32)", listKind[int32]{name, field, wire,
		binary.MaxVarintLen32,
		func(e *Encoder, elements *packed, list []int32) {
			for _, v := range list {
				e.size += elements.element(uint64(uint32(v)<<1 ^ uint32(v>>31)))
			}
		},
		func(_ *Batch, e uint32) int32 { return int32(e>>1) ^ -int32(e&1) },
		func(_ *Batch, elements []uint32) error { return nil },
		func(dst []byte, v int32) []byte { return strconv.AppendInt(dst, int64(v), 10) }}}
}

func (k listKind[T]) lay(l *layout, name string) {
	elements := l.column(name, MaxList*k.octets)
	elements.zero = 0
	l.lists = append(l.lists, &listEncoder[T]{placeOf(l, k.field, name+"_n", 1), elements, k.put})
}

// listEncoder takes a list from records.
type listEncoder[T any] struct {
	place    // of its length
	elements *packed
	put      func(e *Encoder, elements *packed, list []T)
}

func (k *listEncoder[T]) add(e *Encoder, r *Record) {
	if list := *valueAt[[]T](r, k.place); len(list) > 0 {
		e.put(k.column, uint64(len(list)))
		k.put(e, k.elements, list)
	}
}

func (k listKind[T]) check(b *Batch, n int) (err error) {
	if b.offsets[k.name], err = k.listWire.check(b, n); err != nil {
		return err
	}
	_, elements := k.listWire(b.pb)
	return k.checkAll(b, *elements)
}

func (k listKind[T]) decode(b *Batch, i int, r *Record) {
	list := k.field(r)
	*list = (*list)[:0]
	for _, e := range k.elements(b, k.name, i) {
		*list = append(*list, k.get(b, e))
	}
}

func (k listKind[T]) block() blockColumn {
	return &valueColumn[[]T]{get: func(b *Batch, i int) []T {
		elements := k.elements(b, k.name, i)
		if len(elements) == 0 {
			return nil
		}
		list := make([]T, len(elements))
		for j, e := range elements {
			list[j] = k.get(b, e)
		}
		return list
	}}
}

func (k listKind[T]) json(dst []byte, r *Record) []byte {
	dst = append(dst, '[')
	for i, v := range *k.field(r) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = k.appendOne(dst, v)
	}
	return append(dst, ']')
}
