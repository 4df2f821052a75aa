package meter

import "math"

// order links the open segments by their first packet, oldest first: its head
// is the watermark. Packets come nearly in order, so the place of a new one is
// at the end or a few steps before it.
type order struct {
	head, tail ref
	// A segment whose place was not found within maxWalk steps counts here;
	// until the last of them is gone, early is not after any of their starts.
	misplaced int
	early     int64
	latest    int64 // greatest start ever inserted
}

const maxWalk = 32

func (t *Table) orderInsert(r ref, e *entry) {
	o := &t.order
	// Beside a misplaced segment only the end of the list is a sure place.
	lost := o.misplaced > 0 && e.start < o.latest
	o.latest = max(o.latest, e.start)
	after := o.tail
	for i := 0; after != 0 && t.entries.at(after).start > e.start; i++ {
		if i == maxWalk {
			lost = true
			break
		}
		after = t.entries.at(after).startPrev
	}
	if lost {
		if o.misplaced == 0 {
			o.early = math.MaxInt64
		}
		o.misplaced++
		o.early = min(o.early, e.start)
		e.misplaced = true
	}
	e.startPrev = after
	if after == 0 {
		e.startNext = o.head
		o.head = r
	} else {
		a := t.entries.at(after)
		e.startNext = a.startNext
		a.startNext = r
	}
	if e.startNext != 0 {
		t.entries.at(e.startNext).startPrev = r
	} else {
		o.tail = r
	}
}

func (t *Table) orderRemove(e *entry) {
	o := &t.order
	if e.startPrev != 0 {
		t.entries.at(e.startPrev).startNext = e.startNext
	} else {
		o.head = e.startNext
	}
	if e.startNext != 0 {
		t.entries.at(e.startNext).startPrev = e.startPrev
	} else {
		o.tail = e.startPrev
	}
	if e.misplaced {
		e.misplaced = false
		o.misplaced--
	}
	e.startNext, e.startPrev = 0, 0
}

// oldest returns a time that no open segment's start is before; ok is false
// when nothing is open.
func (t *Table) oldest() (start int64, ok bool) {
	if t.order.head == 0 {
		return 0, false
	}
	start = t.entries.at(t.order.head).start
	if t.order.misplaced > 0 {
		start = min(start, t.order.early)
	}
	return start, true
}
