package spool

// damage is what is missing in a segment, and at the end of the one before.
type damage struct {
	ranges   []DropRange
	spans    []span // indexes of this segment that ranges account for
	tailSpan []span // the same of the segment before
	records  uint64
}

// account remembers that a hole is in ranges.
func (d *damage) account(h hole) {
	spans := &d.spans
	if h.tail {
		spans = &d.tailSpan
	}
	if n := len(*spans); n > 0 && (*spans)[n-1].To+1 == h.index {
		(*spans)[n-1].To = h.index
	} else {
		*spans = append(*spans, span{h.index, h.index})
	}
}

func (d *damage) declare(r DropRange) {
	d.ranges = append(d.ranges, r)
	d.records += r.Records
}

// neighbour is what a scan knows of the segments before; the zero value knows nothing.
type neighbour struct {
	last  map[producer]header // newest header of each producer
	next  uint32              // index behind the last record found in the segment before
	acked bool                // the last record found
	known []span              // accounted for in the segment before
}

// hole is a record of which not even the header is left.
type hole struct {
	index uint32
	tail  bool // of the segment before
}

// missing finds what should be in a segment and is not: headers whose payload is damaged, and holes in the index, which the
// running sums of the neighbours of the same producer put a name to. known are indexes accounted for earlier. What had been
// acknowledged is not missing; a hole between two acknowledged records is taken as acknowledged.
// Bytes cut off the end are seen by the segment that follows; off the end of the newest one they are a write that was never
// confirmed, as far as anyone can tell. before is updated for the next segment, its known is left to the caller.
func missing(found []entry, known []span, before *neighbour) damage {
	var d damage
	var holes []hole
	first := before.last == nil
	if first {
		before.last = map[producer]header{}
	}
	next := uint32(0)
	for n := range found {
		e := &found[n]
		acked := e.acked && (n == 0 && first || before.acked)
		if n == 0 && !first && !acked {
			for i := before.next; i < e.previous; i++ {
				if !contains(before.known, i) {
					holes = append(holes, hole{i, true})
				}
			}
		}
		if acked {
			next = e.index
		}
		for ; next < e.index; next++ {
			if !contains(known, next) {
				holes = append(holes, hole{next, false})
			}
		}
		next = e.index + 1
		before.acked = e.acked
		p := producer{e.meta.Epoch, e.meta.Worker}
		l, ok := before.last[p]
		before.last[p] = e.header
		if r, gap := between(&l, &e.header); ok && gap && len(holes) > 0 && !(l.acked && e.acked) {
			k := int(min(r.Records, uint64(len(holes))))
			for _, h := range holes[:k] {
				d.account(h)
			}
			d.declare(r)
			holes = holes[k:]
		}
		if !e.good && !e.acked && !contains(known, e.index) {
			d.account(hole{e.index, false})
			d.declare(rangeOf(e.meta, ReasonCorrupt))
		}
	}
	for _, h := range holes {
		d.account(h)
	}
	if n := uint64(len(holes)); n > 0 {
		d.declare(DropRange{Records: n, Reason: ReasonCorrupt})
	}
	before.next = next
	return d
}

// between tells from the running sums what a producer appended after l and before h. ok is false when that is nothing, or when
// the two are not of one run.
func between(l, h *header) (r DropRange, ok bool) {
	if h.sum.records <= l.sum.records+1 || h.meta.Seq <= l.meta.Seq+1 {
		return r, false
	}
	return DropRange{
		Epoch: h.meta.Epoch, Worker: h.meta.Worker, From: l.meta.Seq + 1, To: h.meta.Seq - 1,
		Records:    h.sum.records - 1 - l.sum.records,
		Rows:       h.sum.rows - uint64(h.meta.Rows) - l.sum.rows,
		Packets:    h.sum.packets - h.meta.Packets - l.sum.packets,
		FrameBytes: h.sum.frameBytes - h.meta.FrameBytes - l.sum.frameBytes,
		Reason:     ReasonCorrupt,
	}, true
}
