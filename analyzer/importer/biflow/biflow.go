// Package biflow joins what exporters tell of one direction into bidirectional
// flow records (RFC 5103). In come Halves in any order, out go flow records: two
// halves of opposite keys whose times overlap are one flow, a half that none
// joins within the window is a flow of its own, and a half that goes on
// where an earlier one of its key ended is its next segment. A Table belongs to one
// goroutine; records it hands out are valid until the callback returns.
package biflow

import (
	"container/list"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Limits of a Table.
const (
	// Window is how long a half waits for the other, in the exporters' time:
	// routers tell both directions at the same active timeout, of a minute or two by default.
	Window = 2 * time.Minute
	// Gap is the greatest silence within a flow: the idle timeout of the probe and of most routers is shorter.
	Gap = time.Minute
	// MaxWaiting bounds memory, below 200 MB: then the oldest goes unpaired.
	MaxWaiting = 262_144
)

// Key is a flow of one exporter and format, in the direction of a half.
type Key struct {
	Origin           string
	Exporter         flow.Addr
	Domain           uint32
	Src, Dst         flow.Addr
	SrcPort, DstPort uint16
	Protocol         uint8
}

// reverse is the key of the other direction. ICMP has no ports: type and code are no part of it.
func (k Key) reverse() Key {
	k.Src, k.Dst, k.SrcPort, k.DstPort = k.Dst, k.Src, k.DstPort, k.SrcPort
	return k
}

// Direction in which a half passed the exporter's interface (IPFIX 61).
type Direction uint8

// Directions of a half.
const (
	Unknown Direction = iota
	Ingress
	Egress
)

// Half is what an exporter told of one direction, or, where it tells both (RFC 5103), of a flow.
type Half struct {
	Key
	Interface        string // the exporter and its interface
	Start, End       int64  // ns since the epoch
	Packets, Bytes   uint64 // scaled by Sampling
	FrameBytes       uint64 // 0 unknown
	RevPackets       uint64 // of the other direction; with RevBytes 0: not told
	RevBytes         uint64
	Flags, RevFlags  uint8
	ICMPType         uint8
	ICMPCode         uint8
	DSCP             uint8
	TTL              uint8
	VLAN             uint16
	SrcMAC, DstMAC   flow.MAC
	EndReason        flow.EndReason
	Sampling         uint32 // 0 or 1: every packet
	Direction        Direction
	App              string
	BeginKnown       bool // the exporter says that src began the flow
	Reversed         bool // or that dst did, of a half that tells both directions
	MinSize, MaxSize uint16
}

// Emit takes a record; its error ends the import.
type Emit func(*flow.Record) error

// Table pairs halves.
type Table struct {
	Emit  Emit
	Extra func() // called for a half that joined another, or repeats one; may be nil

	clock   int64 // the latest end
	order   *list.List
	waiting map[Key]*list.Element
	recent  map[Key]recent
	past    *list.List // keys of recent, by time
	sides   map[flow.Addr]*sides
	flowID  uint64
	rec     flow.Record
}

// recent is what was last told of a key.
type recent struct {
	end       int64
	flowID    uint64
	segment   uint32
	reversed  bool // the record's src is the key's dst
	closed    bool // ended by FIN or RST
	ingress   bool
	at        *list.Element
	startFrom int64
}

// sides counts, of TCP flows that were answered for certain, those of which both directions were told.
type sides struct{ both, one uint64 }

// NewTable returns a Table that hands records to emit.
func NewTable(emit Emit) *Table {
	return &Table{Emit: emit, order: list.New(), past: list.New(), waiting: make(map[Key]*list.Element), recent: make(map[Key]recent), sides: make(map[flow.Addr]*sides)}
}

// Add takes a half. What is older than the window in the time of the newest half goes out.
func (t *Table) Add(h Half) error {
	t.clock = max(t.clock, h.End)
	if err := t.expire(t.clock - int64(Window)); err != nil {
		return err
	}
	if h.RevPackets > 0 || h.RevBytes > 0 {
		// Without a word of who began, the exporter may have taken either end.
		if h.Reversed || !h.BeginKnown && toClient(&h) && !onlySyn(h.Flags) {
			h.swap()
		}
		return t.emit(&h, nil)
	}
	if t.repeated(&h) {
		if t.Extra != nil {
			t.Extra()
		}
		return nil
	}
	rev := h.Key.reverse()
	if e := t.waiting[rev]; e != nil {
		o := e.Value.(*Half)
		if overlap(o, &h) {
			t.order.Remove(e)
			delete(t.waiting, rev)
			if t.Extra != nil {
				t.Extra()
			}
			return t.emit(o, &h)
		}
	}
	if e := t.waiting[h.Key]; e != nil { // the next piece of the same direction: the one before is alone
		if err := t.alone(e); err != nil {
			return err
		}
	}
	if t.order.Len() >= MaxWaiting {
		if err := t.alone(t.order.Front()); err != nil {
			return err
		}
	}
	t.waiting[h.Key] = t.order.PushBack(&h)
	return nil
}

// Flush hands out all that waits, at the end of a file.
func (t *Table) Flush() error {
	for t.order.Len() > 0 {
		if err := t.alone(t.order.Front()); err != nil {
			return err
		}
	}
	return nil
}

// Waiting is the number of halves that wait for the other.
func (t *Table) Waiting() int { return t.order.Len() }

// Expire hands out what ended before a time, ns: for a live exporter that falls silent.
func (t *Table) Expire(before int64) error { return t.expire(before) }

func (t *Table) expire(before int64) error {
	for e := t.order.Front(); e != nil && e.Value.(*Half).End < before; e = t.order.Front() {
		if err := t.alone(e); err != nil {
			return err
		}
	}
	for e := t.past.Front(); e != nil; e = t.past.Front() {
		k := e.Value.(Key)
		if t.recent[k].end >= before-int64(Gap) && len(t.recent) <= 2*MaxWaiting {
			break
		}
		delete(t.recent, k)
		t.past.Remove(e)
	}
	return nil
}

func (t *Table) alone(e *list.Element) error {
	h := e.Value.(*Half)
	t.order.Remove(e)
	delete(t.waiting, h.Key)
	return t.emit(h, nil)
}

// repeated says whether an exporter tells the same packets again, as they leave: what was told where they came in counts.
func (t *Table) repeated(h *Half) bool {
	if h.Direction != Egress {
		return false
	}
	if e := t.waiting[h.Key]; e != nil {
		o := e.Value.(*Half)
		return o.Direction == Ingress && overlap(o, h)
	}
	r, ok := t.recent[h.Key]
	return ok && r.ingress && h.Start < r.end && h.End > r.startFrom
}

// overlap says whether two halves can be one flow: the answer begins before the question has been silent for the gap.
func overlap(a, b *Half) bool {
	return a.Start <= b.End+int64(Gap) && b.Start <= a.End+int64(Gap)
}

// swap makes the other direction the first of a half that tells both.
func (h *Half) swap() {
	h.Key = h.Key.reverse()
	h.Packets, h.RevPackets, h.Bytes, h.RevBytes = h.RevPackets, h.Packets, h.RevBytes, h.Bytes
	h.Flags, h.RevFlags, h.SrcMAC, h.DstMAC = h.RevFlags, h.Flags, h.DstMAC, h.SrcMAC
	h.FrameBytes, h.DSCP, h.TTL, h.MinSize, h.MaxSize = 0, 0, 0, 0, 0 // were those of the other direction
}
