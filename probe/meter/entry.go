package meter

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// entry is one open flow: what every flow needs, in three cache lines. What
// only some need is in pools of its own: talk from a segment's second packet,
// conn for TCP that is more than a SYN, found for flows with payload, carrier
// for tunnels. What is said of the segment is emptied when the flow is cut; the
// rest is the connection's.
//
// The fields stand in the order of their heat: a packet of a steady flow reads
// and writes the first two lines.
type entry struct {
	key     key
	hash    uint32
	talk    ref   // 0: at most one packet, which is in lone
	touched int64 // table's clock at the last packet

	start, end int64 // segment: first and last packet, ns
	conn       ref   // 0: not TCP, or a SYN and nothing else
	found      ref   // 0: no payload yet
	side       [2]side

	protocol   uint8
	initiator  uint8 // side that began
	answered   bool  // both sides have sent
	complete   bool  // and the initiator has sent after the answer, or it is not TCP
	guessed    bool  // the start was not seen
	closed     bool  // TCP: ended, kept for what trails
	partial    bool  // TCP: the handshake was not seen
	dormant    bool  // its record is out, nothing is in the segment
	cutPending bool  // a list is full: the next packet begins a segment
	dpiDone    bool
	turned     bool // initiator and responder are not as in the record
	misplaced  bool // in the order of start
	steady     bool // an ordinary packet changes nothing above but end and side: see ordinary
	loneSide   int8 // who sent lone; -1: nobody has
	loneTold   bool // its payload is new to the conversation

	// reply is the time of the connection's first packet in ns until the other
	// side is heard, then response_us.
	reply int64
	lone  lone

	// Lists of the entry: its place in the timer wheel and in order of start.
	wheelNext, wheelPrev ref
	startNext, startPrev ref
	slot                 uint16 // of the wheel
	iface                uint16

	segment          uint32
	carrier          ref // 0: no tunnel
	id               uint64
	srcPort, dstPort uint16 // as they go into the record; the initiator's first
	srcMAC, dstMAC   [6]byte
}

// side is what is kept of one direction of a connection, by sender.
type side struct {
	flags, ttl, dscp, ecn uint8 // ecn: bits as of src_ecn
	mss                   uint16
	sent                  bool // anything at all
}

// lone is the only packet of a segment: of the many flows of one packet no more
// is kept.
type lone struct {
	bytes, frame uint32
	// payload is the payload's length, or, of a SYN without a conn, the sequence
	// number: then there is no payload.
	payload uint32
}

// carrier is what a flow travelled in.
type carrier struct {
	id              uint32
	vlan, vlanInner uint16
	src, dst        flow.Addr // outer addresses, as the initiator's packets have them
}

// found is what inspection holds of a flow.
type found struct {
	state *dpi.State
	rec   *flow.Record
}

// address returns the address of a side from the key.
func (e *entry) address(side uint8) (a flow.Addr) {
	w := (*[2]uint64)(e.key[2*side:])
	binary.LittleEndian.PutUint64(a[:8], w[0])
	binary.LittleEndian.PutUint64(a[8:], w[1])
	return a
}

// onlySYN: TCP, and nothing but one SYN has been seen, which is in lone.
func (e *entry) onlySYN() bool { return e.conn == 0 && e.protocol == flow.ProtoTCP }

// lonePayload is the payload of lone.
func (e *entry) lonePayload() uint32 {
	if e.onlySYN() {
		return 0
	}
	return e.lone.payload
}

// response is response_us.
func (e *entry) response() uint32 {
	if e.answered {
		return uint32(e.reply)
	}
	return 0
}

func packMAC(m flow.MAC) [6]byte {
	return [6]byte{byte(m >> 40), byte(m >> 32), byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}
}

// ecnBit is the bit of src_ecn for the field's value (RFC 3168, section 5).
func ecnBit(tos uint8) uint8 { return [4]uint8{0, 1, 2, 4}[tos&3] }
