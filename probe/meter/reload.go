package meter

import (
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Limits are the part of Config that may change while flows are open.
type Limits struct {
	ActiveTimeout, IdleTimeout, UnansweredTimeout time.Duration
	MaxFlows, MaxBytes                            int
}

// SetLimits changes timeouts and bounds; no flow is lost or ended by it. A zero
// field means its default. A flow that is silent ends by the new timeout, but
// where that is the shorter one no sooner than its next visit by the sweep,
// which the old timeout had set. With more flows open than is now allowed,
// each new flow ends two others until they fit.
func (t *Table) SetLimits(l Limits) {
	def := DefaultConfig()
	pick := func(d, def time.Duration) int64 {
		if d <= 0 {
			d = def
		}
		return int64(d)
	}
	t.active = pick(l.ActiveTimeout, def.ActiveTimeout)
	t.idle = pick(l.IdleTimeout, def.IdleTimeout)
	t.unanswered = pick(l.UnansweredTimeout, def.UnansweredTimeout)
	t.maxFlows = l.MaxFlows
	if t.maxFlows <= 0 {
		t.maxFlows = def.MaxFlows
	}
	t.maxBytes = l.MaxBytes
	if t.maxBytes <= 0 {
		t.maxBytes = def.MaxBytes
	}
}

// Rest hands on the records of all open flows as they are, in order of start,
// with flow.EndActive. Each flow goes on as its next segment with its next
// packet, if one comes within Config.ResumeTime. It is for changes after which
// counters mean something else.
func (t *Table) Rest() {
	t.endSums(flow.EndActive)
	for t.order.head != 0 {
		e := t.entries.at(t.order.head)
		t.close(e, flow.EndActive)
		e.dormant, e.steady = true, false
		t.dormant++
	}
}
