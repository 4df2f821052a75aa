package spool

import (
	"bytes"
	"cmp"
	"hash/crc32"
	"slices"
)

// entry is one record found in a segment.
type entry struct {
	header
	off  int64 // of the header in the segment
	good bool  // payload matches its CRC
}

// scan finds the records of segment (id, salt) in data, the whole file, in the order of their index. After damage it looks for
// the next header that is vouched for by its CRC, id and salt; so one hit loses one record. A header whose
// payload is damaged is returned with good = false. tail is the number of bytes behind the last header that
// belong to no record: a write that a crash cut short.
func scan(data []byte, id, salt uint64) (found []entry, tail int) {
	at := map[uint32]int{}
	pos, end := 0, 0
	for pos+headerBytes <= len(data) {
		h, ok := decodeHeader(data[pos:])
		if !ok || h.segment != id || h.salt != salt {
			pos++
			next := bytes.Index(data[pos:], []byte(magic))
			if next < 0 {
				break
			}
			pos += next
			continue
		}
		e := entry{header: h, off: int64(pos)}
		old, seen := at[h.index]
		if seen && found[old].good {
			pos += headerBytes // a copy of what we have
			continue
		}
		stop := pos + h.len()
		e.good = stop <= len(data) && crc32.Checksum(data[pos+headerBytes:stop], castagnoli) == h.payloadCRC
		if seen {
			e.acked = e.acked || found[old].acked
			found[old] = e
		} else {
			at[h.index] = len(found)
			found = append(found, e)
		}
		if e.good {
			pos = stop
		} else {
			pos += headerBytes
		}
		end = max(end, pos)
		if !e.good {
			end = max(end, min(stop, len(data)))
		}
	}
	slices.SortStableFunc(found, func(a, b entry) int { return cmp.Compare(a.index, b.index) })
	return found, len(data) - end
}

// producer is whose sequence a record is in.
type producer struct {
	epoch  uint64
	worker uint32
}

// span is a run of record indexes of one segment, both inclusive.
type span struct {
	From, To uint32
}

func contains(spans []span, i uint32) bool {
	for _, s := range spans {
		if s.From <= i && i <= s.To {
			return true
		}
	}
	return false
}

// damage is what is missing in a segment.
type damage struct {
	ranges  []DropRange
	spans   []span // indexes that ranges account for
	records uint64
}

func (d *damage) note(r DropRange, from, to uint32) {
	if n := len(d.ranges); n > 0 && d.ranges[n-1].sameKind(&r) && d.ranges[n-1].To+1 == r.From {
		d.ranges[n-1].join(&r)
	} else {
		d.ranges = append(d.ranges, r)
	}
	if n := len(d.spans); n > 0 && d.spans[n-1].To+1 == from {
		d.spans[n-1].To = to
	} else {
		d.spans = append(d.spans, span{from, to})
	}
	d.records += r.Records
}

// missing finds what should be in the segment and is not: headers with a damaged payload, and holes in the index, which the
// running sums of the neighbours of the same producer put a name to. last has the newest header of each producer in the segments
// just before (nil: unknown) and is updated. known are indexes accounted for earlier. Records that had been acknowledged are not missing;
// a hole between two acknowledged neighbours is taken as acknowledged.
func missing(found []entry, last map[producer]header, known []span) damage {
	var d damage
	if last == nil {
		last = map[producer]header{}
	}
	var holes []uint32 // indexes without header since the last one that was named
	lo := uint32(0)
	named := 0 // how many of holes have a name by now
	flush := func(acked bool) {
		if !acked {
			for _, i := range holes[min(named, len(holes)):] {
				d.note(DropRange{Records: 1, Reason: ReasonCorrupt}, i, i)
			}
		}
		holes, named = holes[:0], 0
	}
	var beforeAcked = true
	for n := range found {
		e := &found[n]
		for i := lo; i < e.index; i++ {
			if !contains(known, i) {
				holes = append(holes, i)
			}
		}
		lo = e.index + 1
		p := producer{e.meta.Epoch, e.meta.Worker}
		if l, ok := last[p]; ok && named < len(holes) {
			if r, ok := between(&l, &e.header); ok {
				k := min(named+int(min(r.Records, uint64(len(holes)))), len(holes))
				if !(l.acked && e.acked) {
					d.note(r, holes[named], holes[k-1])
				}
				named = k
			}
		}
		last[p] = e.header
		if !e.good && !e.acked && !contains(known, e.index) {
			d.note(rangeOf(e.meta, ReasonCorrupt), e.index, e.index)
		}
		if named >= len(holes) {
			flush(true)
		}
		if len(holes) == 0 {
			beforeAcked = e.acked
		}
	}
	flush(beforeAcked && len(found) > 0 && found[len(found)-1].acked)
	return d
}

// between tells, from the running sums, what of a producer was appended after l and before h. ok is false when nothing was, or when the
// two are not of one run.
func between(l, h *header) (DropRange, bool) {
	b := sums{
		records: h.sum.records - 1 - l.sum.records, rows: h.sum.rows - uint64(h.meta.Rows) - l.sum.rows,
		packets: h.sum.packets - h.meta.Packets - l.sum.packets, frameBytes: h.sum.frameBytes - h.meta.FrameBytes - l.sum.frameBytes,
	}
	if h.sum.records <= l.sum.records+1 || h.meta.Seq <= l.meta.Seq+1 {
		return DropRange{}, false
	}
	return DropRange{Epoch: h.meta.Epoch, Worker: h.meta.Worker, From: l.meta.Seq + 1, To: h.meta.Seq - 1, Records: b.records,
		Rows: b.rows, Packets: b.packets, FrameBytes: b.frameBytes, Reason: ReasonCorrupt}, true
}
