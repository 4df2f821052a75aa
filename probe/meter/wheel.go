package meter

// The timer wheel holds every open flow in the slot of the earliest moment at
// which it could time out. A packet does not move its flow: it only writes the
// time into the entry, and the sweep that meets a flow too early puts it into
// its true slot. So a packet costs nothing and a flow is looked at about once
// per timeout.
const (
	tickShift  = 28 // one slot is 2^28 ns, 0.27 s
	wheelSlots = 512
)

type wheel struct {
	heads [wheelSlots]ref
	tick  int64 // slots up to this one have been swept
}

// schedule puts r into the slot of deadline, or into the farthest one.
func (t *Table) schedule(r ref, e *entry) {
	tick := (e.touched+t.timeout(e))>>tickShift + 1
	tick = min(max(tick, t.wheel.tick+1), t.wheel.tick+wheelSlots-1)
	i := uint16(tick & (wheelSlots - 1))
	e.slot = i
	e.wheelPrev = 0
	e.wheelNext = t.wheel.heads[i]
	if e.wheelNext != 0 {
		t.entries.at(e.wheelNext).wheelPrev = r
	}
	t.wheel.heads[i] = r
}

func (t *Table) unschedule(e *entry) {
	if e.wheelPrev != 0 {
		t.entries.at(e.wheelPrev).wheelNext = e.wheelNext
	} else {
		t.wheel.heads[e.slot] = e.wheelNext
	}
	if e.wheelNext != 0 {
		t.entries.at(e.wheelNext).wheelPrev = e.wheelPrev
	}
}

// sweep ends what has timed out by t.now. Flows end in the order of their slots.
func (t *Table) sweep() {
	w := &t.wheel
	before, target := w.tick, t.now>>tickShift
	for n := 0; w.tick < target; n++ {
		if n >= wheelSlots || t.entries.used == 0 {
			w.tick = target
			break
		}
		w.tick++
		i := w.tick & (wheelSlots - 1)
		r := w.heads[i]
		w.heads[i] = 0
		for r != 0 {
			e := t.entries.at(r)
			next := e.wheelNext
			if next != 0 {
				t.entries.at(next).wheelPrev = 0
			}
			e.wheelNext, e.wheelPrev = 0, 0
			if t.expired(e) && t.canRest(e) {
				t.rest(e)
			}
			if t.expired(e) {
				t.finish(r, e, t.endReason(e))
			} else {
				t.schedule(r, e)
			}
			r = next
		}
	}
	if t.emergency {
		t.prune(int(t.entries.next)*int(min(target-before, pruneTicks))/pruneTicks + 1)
	}
	t.checkSums()
	t.calm()
}

func (t *Table) resetWheel() {
	t.wheel = wheel{tick: t.now >> tickShift}
}
