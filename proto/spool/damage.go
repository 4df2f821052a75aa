package spool

// damage is what is missing in a segment, and at the end of the one before.
type damage struct {
	ranges   []DropRange
	spans    []span // indexes of this segment that ranges account for
	tailSpan []span // the same of the segment before
	records  uint64
}

func (d *damage) note(r DropRange, spans *[]span, from, to uint32) {
	if n := len(d.ranges); n > 0 && d.ranges[n-1].sameKind(&r) && d.ranges[n-1].To+1 == r.From {
		d.ranges[n-1].join(&r)
	} else {
		d.ranges = append(d.ranges, r)
	}
	if n := len(*spans); n > 0 && (*spans)[n-1].To+1 == from {
		(*spans)[n-1].To = to
	} else {
		*spans = append(*spans, span{from, to})
	}
	d.records += r.Records
}

// neighbour is what a scan knows of the segments before; the zero value knows nothing.
type neighbour struct {
	last  map[producer]header // newest header of each producer
	next  uint32              // index behind the last record found in the segment before
	known []span              // accounted for in the segment before
}

// missing finds what should be in a segment and is not: headers whose payload is damaged, and holes in the index, which the
// running sums of the neighbours of the same producer put a name to. known are indexes accounted for earlier. What had been
// acknowledged is not missing; a hole between two acknowledged records is taken as acknowledged.
// Bytes cut off the end are seen when the next segment goes on with the same producer; off the end of the newest one they are a
// write that was never confirmed, as far as anyone can tell. before is updated for the next segment, its known is left to the caller.
func missing(found []entry, known []span, before *neighbour) damage {
	var d damage
	if before.last == nil {
		before.last = map[producer]header{}
	}
	var holes []uint32 // indexes without a header and without a name
	next := uint32(0)
	for n := range found {
		e := &found[n]
		if n > 0 && found[n-1].acked && e.acked || n == 0 && e.acked {
			next = e.index
		}
		for ; next < e.index; next++ {
			if !contains(known, next) {
				holes = append(holes, next)
			}
		}
		next = e.index + 1
		p := producer{e.meta.Epoch, e.meta.Worker}
		l, ok := before.last[p]
		before.last[p] = e.header
		if r, gap := between(&l, &e.header); ok && gap && !(l.acked && e.acked) {
			switch k := int(min(r.Records, uint64(len(holes)))); {
			case k > 0:
				d.note(r, &d.spans, holes[0], holes[k-1])
				holes = holes[k:]
			case l.segment != e.segment && len(known) == 0:
				if !contains(before.known, before.next) {
					d.note(r, &d.tailSpan, before.next, before.next+uint32(r.Records)-1)
				}
				before.next += uint32(r.Records)
			}
		}
		if !e.good && !e.acked && !contains(known, e.index) {
			d.note(rangeOf(e.meta, ReasonCorrupt), &d.spans, e.index, e.index)
		}
	}
	for _, i := range holes {
		d.note(DropRange{Records: 1, Reason: ReasonCorrupt}, &d.spans, i, i)
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
