package meter

import "github.com/tapwatch/tapwatch/proto/flow"

const (
	// stepBack is how far packets may be behind the clock without doubt: more
	// than interfaces of one capture differ.
	stepBack = 60e9
	// stepPackets in a row further behind than that mean that the clock was
	// wrong, not they.
	stepPackets = 64
)

// Clock is traffic time: the greatest packet time so far. It never goes back
// for one packet; if all packets come from the past, one that came from the
// future had set it wrong, or another capture begins. The zero value has not
// begun.
type Clock struct {
	now     int64
	behind  int // packets in a row that were far before now
	running bool
}

// Now is the clock's time in ns since the Unix epoch, 0 before the first Tick.
func (c *Clock) Now() int64 { return c.now }

// Tick takes the time of a packet, in ns since the Unix epoch, and reports
// whether the clock went back to it for good.
func (c *Clock) Tick(at int64) (stepped bool) {
	if at >= c.now && c.running {
		c.now, c.behind = at, 0
		return false
	}
	return c.late(at)
}

// late is Tick for the first packet and those before the clock's time.
func (c *Clock) late(at int64) (stepped bool) {
	switch {
	case !c.running:
		c.running = true
		c.now = at
	case c.now-at < stepBack:
		c.behind = 0
	default:
		if c.behind++; c.behind >= stepPackets {
			c.now, c.behind = at, 0
			return true
		}
	}
	return false
}

// tick moves the table's clock to a packet's time. When the clock steps back,
// all flows are ended.
func (t *Table) tick(at int64) {
	t.clock = max(t.clock, at)
	if t.follows {
		if t.clocked < len(t.clocks) {
			now := t.clocks[t.clocked]
			t.clocked++
			if !t.running || now < t.now || now>>tickShift > t.wheel.tick {
				t.Follow(now)
				return
			}
			t.now, t.clock = now, max(t.clock, now)
		}
		return
	}
	if t.time.Tick(at) {
		time := t.time
		t.step()
		t.time = time
	}
	t.to(t.time.now)
}

// Follow makes the table take its time from outside: now, in ns since the Unix
// epoch, is that of a Clock that sees all packets of a capture, of which this
// table may get a part. Timeouts are then the same as in one table that gets
// all. A time before the last one is a step of that clock. After the first
// call the times of packets do not move the table's clock any more; Advance
// must not be used.
func (t *Table) Follow(now int64) {
	t.follows = true
	t.clock = max(t.clock, now)
	if t.running && now < t.now {
		t.step()
	}
	t.to(now)
}

// step ends all flows, because the clock that they were timed by was wrong.
func (t *Table) step() {
	t.stats.ClockSteps++
	t.Flush(flow.EndForced)
}

// to moves the time forward and ends what has timed out.
func (t *Table) to(now int64) {
	if !t.running {
		t.running = true
		t.now = now
		t.resetWheel()
		return
	}
	t.now = now
	if now>>tickShift > t.wheel.tick {
		t.sweep()
	}
}

// Advance moves the clock to now, in ns since the Unix epoch, and ends what
// has timed out. A live probe calls it when no packet comes, with the wall
// clock; a time before the last packet's does nothing.
func (t *Table) Advance(now int64) {
	if t.running && now > t.now {
		t.tick(now)
	}
	t.clock = max(t.clock, now)
}

// FollowAll is Follow for the packets to come: clocks[i] is the time at the
// i-th packet observed from now on. The slice is the table's until as many were.
func (t *Table) FollowAll(clocks []int64) {
	t.follows = true
	t.clocks, t.clocked = clocks, 0
}
