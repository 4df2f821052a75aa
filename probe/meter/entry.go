package meter

import (
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// ref names an entry of a store; 0 is none.
type ref uint32

// entry is one open flow. What is said of the segment is emptied when the flow
// is cut; the rest is the connection's.
type entry struct {
	key  key
	hash uint32

	// Lists of the entry: its place in the timer wheel and in order of start.
	wheelNext, wheelPrev ref
	slot                 int32 // of the wheel
	startNext, startPrev ref
	misplaced            bool // in the order of start

	initiator  uint8 // side that began
	answered   bool  // both sides have sent
	guessed    bool  // the start was not seen
	closed     bool  // TCP: ended, kept for what trails
	partial    bool  // TCP: the handshake was not seen
	dormant    bool  // its record is out, nothing is in the segment
	cutPending bool  // a list is full: the next packet begins a segment
	dpiDone    bool
	turned     bool // initiator and responder are not as in rec
	protocol   uint8

	historyLen uint8
	historyCut bool
	history    [maxHistory]byte

	touched    int64 // table's clock at the last packet
	start, end int64 // segment: first and last packet, ns
	first      int64 // connection: first packet, ns
	synTime    int64 // last SYN of the initiator, 0 none
	synAckTime int64 // last SYN-ACK before its ACK, 0 none
	dstRTT     uint32
	srcRTT     uint32
	response   uint32

	id      uint64
	segment uint32

	srcPort, dstPort uint16 // as they go into the record; the initiator's first
	vlan, vlanInner  uint16
	tunnelID         uint32
	tunnel           flow.Tunnel
	srcMAC, dstMAC   flow.MAC
	iface            string

	side [2]side

	state *dpi.State   // nil before the first payload
	rec   *flow.Record // what inspection found; nil before the first payload
}

// side is one direction of a flow, by sender.
type side struct {
	// Segment.
	packets, bytes, frames, payload uint64
	retransmits, outOfOrder         uint32

	// Connection.
	flags, ttl uint8
	sent       bool // anything at all
	tcp        endpoint
}

func (s *side) emptySegment() {
	s.packets, s.bytes, s.frames, s.payload = 0, 0, 0, 0
	s.retransmits, s.outOfOrder = 0, 0
}

// address returns the address of a side from the key.
func (e *entry) address(side uint8) (a flow.Addr) {
	w := e.key[2*side : 2*side+2]
	for i := range 8 {
		a[i] = byte(w[0] >> (8 * i))
		a[8+i] = byte(w[1] >> (8 * i))
	}
	return a
}

// pageSize is the number of entries allocated at a time (about 250 kB).
const pageSize = 512

// store holds entries in pages that never move, with a list of free ones.
type store struct {
	pages []*[pageSize]entry
	free  []ref
	open  int
}

func (t *store) at(r ref) *entry { return &t.pages[(r-1)/pageSize][(r-1)%pageSize] }

// take returns an empty entry.
func (t *store) take() ref {
	if len(t.free) == 0 {
		base := ref(len(t.pages) * pageSize)
		t.pages = append(t.pages, new([pageSize]entry))
		for i := ref(pageSize); i > 0; i-- {
			t.free = append(t.free, base+i)
		}
	}
	r := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.open++
	return r
}

// give takes an entry back.
func (t *store) give(r ref) {
	*t.at(r) = entry{}
	t.free = append(t.free, r)
	t.open--
}
