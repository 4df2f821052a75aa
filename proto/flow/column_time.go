package flow

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

type deltaKind struct {
	field func(*rec) *uint64
	wire  func(*pb) *[]int64
}

func delta(name string, field func(*rec) *uint64, wire func(*pb) *[]int64) column {
	return column{name, "UInt64", &deltaKind{field, wire}}
}

// lay relies on flow_id being the only one.
func (k *deltaKind) lay(l *layout, name string) { l.flowID = l.column(name, binary.MaxVarintLen64) }

func (k *deltaKind) check(b *Batch, n int) error {
	if err := checkLen(len(*k.wire(b.pb)), n); err != nil {
		return err
	}
	b.flowIDs = sums(b.flowIDs[:0], 0, *k.wire(b.pb), n)
	return nil
}

func (k *deltaKind) decode(b *Batch, i int, r *Record) { *k.field(r) = uint64(b.flowIDs[i]) }
func (k *deltaKind) block() blockColumn {
	return &valueColumn[uint64]{get: func(b *Batch, i int) uint64 { return uint64(b.flowIDs[i]) }}
}
func (k *deltaKind) json(dst []byte, r *Record) []byte {
	return strconv.AppendUint(dst, *k.field(r), 10)
}

func sums(dst []int64, base int64, deltas []int64, n int) []int64 {
	for i := range n {
		base += at(deltas, i)
		dst = append(dst, base)
	}
	return dst
}

type startKind struct{}
type endKind struct{}

const timeSQL = "DateTime64(9, 'UTC')"

func startTime() column { return column{"start", timeSQL, startKind{}} }
func endTime() column   { return column{"end", timeSQL, endKind{}} }

func (startKind) lay(l *layout, name string) { l.start = l.column(name, binary.MaxVarintLen64) }

// Times of records lie between 1970 and the end of DateTime64(9), 2262; what is
// outside cannot be stored, so a batch that holds it is refused.
func (startKind) check(b *Batch, n int) error {
	if err := checkLen(len(b.pb.Start), n); err != nil {
		return err
	}
	unit := int64(1)
	switch b.pb.TimeUnitNs {
	case 0, 1:
	case 1000:
		unit = 1000
	default:
		return fmt.Errorf("time unit of %d ns", b.pb.TimeUnitNs)
	}
	b.starts = b.starts[:0]
	t := b.pb.BaseTimeNs
	for i := range n {
		d := at(b.pb.Start, i)
		if d > maxTime/unit || d < -maxTime/unit {
			return fmt.Errorf("time of record %d out of range", i)
		}
		t += d * unit
		if t < 0 || t > maxTime {
			return fmt.Errorf("time of record %d out of range", i)
		}
		b.starts = append(b.starts, t)
	}
	b.unit = unit
	return nil
}

// maxTime is 2200-01-01: sums of two times do not overflow.
const maxTime = int64(7258118400) * int64(time.Second)

func (startKind) decode(b *Batch, i int, r *Record) { r.Start = b.starts[i] }
func (startKind) block() blockColumn {
	return &valueColumn[int64]{get: func(b *Batch, i int) int64 { return b.starts[i] }}
}
func (startKind) json(dst []byte, r *Record) []byte { return appendTime(dst, r.Start) }

func (endKind) lay(l *layout, _ string) { l.duration = l.column("duration", binary.MaxVarintLen64) }

func (endKind) check(b *Batch, n int) error {
	if err := checkLen(len(b.pb.Duration), n); err != nil {
		return err
	}
	for i, d := range b.pb.Duration {
		if d > uint64(maxTime/b.unit) || b.starts[i]+int64(d)*b.unit > maxTime {
			return fmt.Errorf("end of record %d out of range", i)
		}
	}
	return nil
}

func endAt(b *Batch, i int) int64                 { return b.starts[i] + int64(at(b.pb.Duration, i))*b.unit }
func (endKind) decode(b *Batch, i int, r *Record) { r.End = endAt(b, i) }
func (endKind) block() blockColumn                { return &valueColumn[int64]{get: endAt} }
func (endKind) json(dst []byte, r *Record) []byte { return appendTime(dst, r.End) }

func appendTime(dst []byte, ns int64) []byte {
	dst = append(dst, '"')
	dst = time.Unix(0, ns).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z")
	return append(dst, '"')
}
