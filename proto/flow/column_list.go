package flow

import (
	"fmt"
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

func (w listWire) encode(e *Encoder, n int, element func(i int) uint32) {
	counts, elements := w(e.pb)
	put(counts, e.n, uint32(n))
	for i := range n {
		*elements = append(*elements, element(i))
	}
}

func (w listWire) elements(b *Batch, name string, i int) []uint32 {
	_, elements := w(b.pb)
	o := b.offsets[name]
	return (*elements)[o[i]:o[i+1]]
}

type strListKind struct {
	name  string
	field func(*rec) *[]string
	listWire
}

func strList(name string, field func(*rec) *[]string, wire listWire) column {
	return column{name, "Array(String)", strListKind{name, field, wire}}
}

func (k strListKind) encode(e *Encoder, r *Record) {
	list := *k.field(r)
	k.listWire.encode(e, len(list), func(i int) uint32 { return e.string(list[i]) })
}

func (k strListKind) check(b *Batch, n int) (err error) {
	if b.offsets[k.name], err = k.listWire.check(b, n); err != nil {
		return err
	}
	_, elements := k.listWire(b.pb)
	return checkIndexes(*elements, len(b.pb.Strings), "string")
}

func (k strListKind) decode(b *Batch, i int, r *Record) {
	list := k.field(r)
	*list = (*list)[:0]
	for _, e := range k.elements(b, k.name, i) {
		*list = append(*list, b.string(e))
	}
}

func (k strListKind) block() blockColumn {
	return &valueColumn[[]string]{get: func(b *Batch, i int) []string {
		elements := k.elements(b, k.name, i)
		if len(elements) == 0 {
			return nil
		}
		list := make([]string, len(elements))
		for j, e := range elements {
			list[j] = b.string(e)
		}
		return list
	}}
}

func (k strListKind) json(dst []byte, r *Record) []byte {
	dst = append(dst, '[')
	for i, s := range *k.field(r) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

type numListKind struct {
	name  string
	field func(*rec) *[]uint16
	listWire
}

func numList(name string, field func(*rec) *[]uint16, wire listWire) column {
	return column{name, "Array(UInt16)", numListKind{name, field, wire}}
}

func (k numListKind) encode(e *Encoder, r *Record) {
	list := *k.field(r)
	k.listWire.encode(e, len(list), func(i int) uint32 { return uint32(list[i]) })
}

func (k numListKind) check(b *Batch, n int) (err error) {
	if b.offsets[k.name], err = k.listWire.check(b, n); err != nil {
		return err
	}
	_, elements := k.listWire(b.pb)
	return checkRange[uint16](*elements)
}

func (k numListKind) decode(b *Batch, i int, r *Record) {
	list := k.field(r)
	*list = (*list)[:0]
	for _, e := range k.elements(b, k.name, i) {
		*list = append(*list, uint16(e))
	}
}

func (k numListKind) block() blockColumn {
	return &valueColumn[[]uint16]{get: func(b *Batch, i int) []uint16 {
		elements := k.elements(b, k.name, i)
		if len(elements) == 0 {
			return nil
		}
		list := make([]uint16, len(elements))
		for j, e := range elements {
			list[j] = uint16(e)
		}
		return list
	}}
}

func (k numListKind) json(dst []byte, r *Record) []byte {
	dst = append(dst, '[')
	for i, v := range *k.field(r) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(v), 10)
	}
	return append(dst, ']')
}
