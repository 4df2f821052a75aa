package meter

import (
	"unsafe"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// An emergency begins when the table is nearly full, and goes in three steps,
// mildest first: timeouts shorten, above all for flows that nobody answered;
// flows give way in the order of rank, so that established ones stay; and
// connections that come too fast and unanswered at one service, at one address
// or from one source are added up (see flood.go). It ends when the table has
// emptied and the flood is over.
const (
	highPercent = 80 // of Config.MaxFlows or Config.MaxBytes: it begins
	lowPercent  = 60 // it may end

	pruneLook   = 4  // entries looked at for each new flow in an emergency
	pruneTicks  = 32 // ticks of the wheel in which all entries are looked at
	victimLook  = 16 // entries looked at in one place for one to give way
	victimJumps = 8  // places: flows that begin together lie together
)

// foundBytes is about what inspection holds for a flow: a record, its lists and
// strings, and the inspector's state.
const foundBytes = int(unsafe.Sizeof(found{})+unsafe.Sizeof(flow.Record{})) + 1100

// Bytes returns the memory of the open flows, in octets: exact but for what
// inspection holds, of which it counts about 2.3 kB a flow.
func (t *Table) Bytes() int {
	return t.entries.used*int(unsafe.Sizeof(entry{})) + t.talks.used*int(unsafe.Sizeof(talk{})) + t.conns.used*int(unsafe.Sizeof(conn{})) +
		t.firsts.used*int(unsafe.Sizeof(firsts{})) + t.carriers.used*int(unsafe.Sizeof(carrier{})) + t.found.used*foundBytes +
		len(t.index.slots)*int(unsafe.Sizeof(slot{}))
}

func (t *Table) fuller(percent int) bool {
	return t.entries.used*100 >= t.maxFlows*percent || t.Bytes()*100 >= t.maxBytes*percent
}

// makeRoom sees to it that there is a place for another flow.
func (t *Table) makeRoom() {
	if !t.pressed() {
		return
	}
	t.prune(pruneLook)
	for n := 0; n < 2 && t.entries.used >= t.maxFlows && t.evict(); n++ { // a second one where SetLimits has lowered the bound
	}
	t.shrink()
}

// pressed reports whether there is an emergency, and begins it.
func (t *Table) pressed() bool {
	if !t.emergency && t.fuller(highPercent) {
		t.emergency = true
		t.stats.EmergenciesEntered++
	}
	return t.emergency
}

// shrink ends flows for the memory that open ones have come to take, a few at a
// time: one packet cannot make more than what it frees.
func (t *Table) shrink() {
	for n := 0; n < 16 && t.Bytes() >= t.maxBytes && t.evict(); n++ {
	}
}

// evict ends one flow early.
func (t *Table) evict() bool {
	v := t.victim()
	if v == 0 {
		return false
	}
	e := t.entries.at(v)
	reason := flow.EndLack
	if e.closed {
		reason = flow.EndDetected
	}
	if !e.dormant {
		t.stats.Evicted++
	}
	t.unschedule(e)
	t.finish(v, e, reason)
	return true
}

// calm ends the emergency if it is over.
func (t *Table) calm() {
	if t.emergency && len(t.flood.sums) == 0 && !t.fuller(lowPercent) {
		t.emergency = false
		t.flood.forget()
		t.stats.EmergenciesLeft++
	}
}

// shortened is what is left of a timeout in an emergency. That of established
// TCP stays.
func (t *Table) shortened(e *entry, timeout int64) int64 {
	switch {
	case e.dormant:
		return timeout / 5
	case e.closed, !e.complete:
		return timeout / 5
	case e.protocol != flow.ProtoTCP:
		return timeout / 3
	}
	return timeout
}

// next moves the cursor to the next entry in use, over at most so many that are
// not; 0 if none was found. Since places that become free are taken again at
// once, the cursor meets what lies longest first.
func (t *Table) next() ref {
	for range 16 {
		if t.cursor++; t.cursor > t.entries.next {
			t.cursor = 1
		}
		if t.entries.at(t.cursor).id != 0 {
			return t.cursor
		}
	}
	return 0
}

// prune looks at some entries and ends those that have timed out by the shortened timeouts, which
// the wheel does not know.
func (t *Table) prune(look int) {
	for range look {
		if r := t.next(); r != 0 {
			if e := t.entries.at(r); t.expired(e) {
				t.unschedule(e)
				t.finish(r, e, t.endReason(e))
			}
		}
	}
}

// rank orders what gives way: what nobody answered, half-open connections, what
// has ended, what is at rest, answered UDP and the like, established TCP.
func (e *entry) rank() int {
	switch {
	case e.closed:
		return 2
	case e.dormant:
		return 3
	case !e.answered:
		return 0
	case !e.complete:
		return 1
	case e.protocol != flow.ProtoTCP:
		return 4
	}
	return 5
}

// victim returns the flow that should give way: the first unanswered one the
// cursor meets, or of those it looks at the one of least rank, silent for longest.
func (t *Table) victim() ref {
	var best ref
	bestRank, bestAt := 0, int64(0)
	for i := range victimLook * victimJumps {
		if i > 0 && i%victimLook == 0 {
			t.cursor = (t.cursor + t.entries.next/victimJumps + 1) % (t.entries.next + 1)
		}
		r := t.next()
		if r == 0 {
			continue
		}
		e := t.entries.at(r)
		rank := e.rank()
		if rank == 0 {
			return r
		}
		if best == 0 || rank < bestRank || rank == bestRank && e.touched < bestAt {
			best, bestRank, bestAt = r, rank, e.touched
		}
	}
	if best == 0 { // a table that is nearly empty
		best = t.order.head
	}
	return best
}
