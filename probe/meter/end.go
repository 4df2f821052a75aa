package meter

import (
	"math"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// cut ends the segment and begins the next one at time at.
func (t *Table) cut(r ref, e *entry, at int64) {
	reason := flow.EndActive
	if e.cutPending {
		reason = flow.EndListFull
	}
	t.close(e, reason)
	t.open(r, e, at)
}

// close hands the segment on and empties it.
func (t *Table) close(e *entry, reason flow.EndReason) {
	t.hand(t.recordOf(e), e, reason)
	if e.found != 0 {
		f := t.found.at(e.found)
		t.inspector.Segment(f.state, f.rec)
	}
	t.orderRemove(e)
	e.cutPending = false
	t.emptyTalk(e, reason != flow.EndIdle)
	if e.conn != 0 {
		c := t.conns.at(e.conn)
		c.end[0].segment, c.end[1].segment = counts{}, counts{}
	}
}

// open begins the next segment.
func (t *Table) open(r ref, e *entry, at int64) {
	e.segment++
	e.start, e.end = at, at
	t.orderInsert(r, e)
}

// canRest: an open TCP connection in which both sides have spoken; in an
// emergency not a half-open one.
func (t *Table) canRest(e *entry) bool {
	return t.resume > t.idle && e.protocol == flow.ProtoTCP && e.answered && !e.closed && !e.dormant && (e.complete || !t.emergency)
}

// rest hands on the record of a silent connection and keeps its state.
func (t *Table) rest(e *entry) {
	t.close(e, flow.EndIdle)
	e.dormant, e.steady = true, false
	t.dormant++
}

// wake goes on with a connection that has been at rest.
func (t *Table) wake(r ref, e *entry, at int64) {
	e.dormant = false
	t.dormant--
	t.open(r, e, at)
	e.touched = t.now
	t.unschedule(e) // its slot is that of the longer time
	t.schedule(r, e)
}

// hand completes rec and gives it to emit.
func (t *Table) hand(rec *flow.Record, e *entry, reason flow.EndReason) {
	t.fill(rec, e, reason)
	t.send(rec, e)
}

// send gives a record that is complete to emit.
func (t *Table) send(rec *flow.Record, e *entry) {
	if e.found == 0 && t.inspector != nil { // no payload: the port says what was meant
		t.inspector.Guess(rec)
	}
	t.stats.Records++
	t.emit(rec)
}

// finish ends a flow that is in no slot of the wheel any more.
func (t *Table) finish(r ref, e *entry, reason flow.EndReason) {
	if e.found != 0 {
		rec, state := t.found.at(e.found).rec, t.found.at(e.found).state
		if e.dormant {
			t.inspector.Close(state, rec)
		} else if e.cutPending && e.protocol == flow.ProtoTCP && !e.dpiDone {
			// What still waits for room in a list goes into a last segment,
			// which has no packets.
			t.cut(r, e, e.end)
			t.fill(rec, e, reason)
			t.inspector.Close(state, rec)
			t.hand(rec, e, reason)
		} else {
			t.observation(rec, e)
			rec.Start, rec.End = e.start, e.end
			t.inspector.Close(state, rec)
			t.complete(rec, e, reason)
			t.send(rec, e)
		}
		if len(t.records) < maxFreeRecords {
			rec.Reset()
			t.records = append(t.records, rec)
		}
	} else if !e.dormant {
		t.hand(t.recordOf(e), e, reason)
	}
	t.stats.FlowsEnded++
	if t.emergency && !e.complete && !e.dormant {
		t.lost(e)
	}
	t.index.remove(e.hash, r)
	if e.dormant {
		t.dormant--
	} else {
		t.orderRemove(e)
	}
	t.release(r, e)
}

// recordOf returns the flow's record, or the one that serves all flows that
// were not inspected.
func (t *Table) recordOf(e *entry) *flow.Record {
	if e.found != 0 {
		return t.found.at(e.found).rec
	}
	t.scratch.Cut, t.scratch.App, t.scratch.AppSource = 0, "", flow.AppNone
	return &t.scratch
}

// release gives back all that a flow holds.
func (t *Table) release(r ref, e *entry) {
	if e.talk != 0 {
		if f := t.talks.at(e.talk).firsts; f != 0 {
			t.firsts.give(f)
		}
		t.talks.give(e.talk)
	}
	if e.conn != 0 {
		t.conns.give(e.conn)
	}
	if e.found != 0 {
		t.found.give(e.found)
	}
	if e.carrier != 0 {
		t.carriers.give(e.carrier)
	}
	t.entries.give(r)
}

// maxFreeRecords are kept for reuse, about 25 MB.
const maxFreeRecords = 1 << 14

func (t *Table) takeRecord() *flow.Record {
	if n := len(t.records); n > 0 {
		rec := t.records[n-1]
		t.records = t.records[:n-1]
		return rec
	}
	return new(flow.Record)
}

// Flush ends every open flow, in order of start: with reason, or EndDetected
// where TCP had ended already. Call it at the end of a capture, so that the
// next may begin at any time, and when the probe stops.
func (t *Table) Flush(reason flow.EndReason) {
	for t.order.head != 0 {
		r := t.order.head
		e := t.entries.at(r)
		why := reason
		if e.closed {
			why = flow.EndDetected
		}
		t.unschedule(e)
		t.finish(r, e, why)
	}
	t.order = order{latest: math.MinInt64}
	t.endSums(reason)
	for i := range t.wheel.heads { // what is left is at rest
		for r := t.wheel.heads[i]; r != 0; r = t.wheel.heads[i] {
			e := t.entries.at(r)
			t.unschedule(e)
			t.finish(r, e, reason)
		}
	}
	t.running, t.time = false, Clock{}
	t.calm()
}
