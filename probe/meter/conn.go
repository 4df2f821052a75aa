package meter

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// endpointState is what one side of a TCP connection has shown of itself. The
// states and transitions are those behind Zeek's conn_state.
type endpointState uint8

const (
	inactive    endpointState = iota // nothing seen
	partial                          // traffic without a handshake
	synSent                          // SYN
	synAckSent                       // SYN-ACK where a SYN was expected
	established                      // handshake done
	closed                           // FIN
	reset                            // RST
)

// endpoint is the TCP state of one side.
type endpoint struct {
	state, before endpointState
	seen          uint8 // events told in the history
	didClose      bool
	first         bool // a packet of this side has been seen
	fin           bool
	deaf          bool   // the inspector wants nothing that ends at or before deafTo
	deafTo        uint32 // sequence number

	start   uint32 // initial sequence number, real or inferred
	last    uint32 // one past the greatest sequence number sent
	acked   uint32 // greatest acknowledgement of it
	lastSYN uint32 // relative sequence numbers of the history's letters
	lastFIN uint32
	lastRST uint32
	finEnd  uint32 // relative sequence number past the FIN

	resent, zeroWindows, gaps uint32 // for T, W and G of the history

	segment counts

	stream stream
}

// counts are packets of a segment of the flow.
type counts struct{ retransmits, outOfOrder, zeroWindows uint32 }

// conn is the TCP state of a connection.
type conn struct {
	end        [2]endpoint // by sender
	synTime    int64       // last SYN of the initiator, 0 none
	synAckTime int64       // last SYN-ACK before its ACK, 0 none
	dstRTT     uint32
	srcRTT     uint32

	history    [maxHistory]byte
	historyLen uint8
	historyCut bool
}

// pureSYN: such a packet begins a connection of which only its number need be
// kept until the next one comes.
func pureSYN(p *decode.Packet) bool {
	return p.Flags&(flagSYN|flagACK|flagFIN|flagRST) == flagSYN && p.Window != 0 && p.PayloadLen == 0 && !p.Bare
}

// begun is the state after a pure SYN of side with number seq at time at.
func (c *conn) begun(side uint8, seq uint32, at int64) {
	s := &c.end[side]
	s.begin(seq, seq+1)
	s.state, s.seen, s.first = synSent, seenSYN, true
	c.synTime = at
	c.history[0], c.historyLen = 'S', 1
}

// connect gives a flow that was only a SYN its TCP state.
func (t *Table) connect(e *entry) {
	e.conn = t.conns.take()
	t.conns.at(e.conn).begun(e.initiator, e.lone.payload, e.start)
	e.lone.payload = 0
}

func (s *endpoint) set(n endpointState) {
	if n != s.state {
		s.before, s.state = s.state, n
	}
}

func (s *endpoint) begin(seq, last uint32) {
	s.start, s.acked, s.last = seq, seq, last
	s.stream.reset(last)
}

// clean: established, or closed in order after that.
func (s *endpoint) clean() bool {
	return s.state == established || s.state == closed && s.before == established
}

// size is the payload sent as the sequence numbers tell it.
func (s *endpoint) size() uint32 {
	n := s.last - s.start
	if int32(s.acked-s.last) > 0 {
		n = s.acked - s.start
	}
	if n != 0 {
		n--
	}
	if s.fin && n != 0 {
		n--
	}
	return n
}

// connState derives Zeek's conn_state.
func (t *Table) connState(e *entry) flow.ConnState {
	switch e.protocol {
	case flow.ProtoUDP, flow.ProtoICMP, flow.ProtoICMPv6:
		switch {
		case e.answered:
			return flow.ConnSF
		case e.side[e.initiator].sent:
			return flow.ConnS0
		case e.protocol == flow.ProtoUDP:
			return flow.ConnSHR
		}
		return flow.ConnOTH
	case flow.ProtoTCP:
		return t.tcpState(e)
	}
	return flow.ConnNone
}

func (t *Table) tcpState(e *entry) flow.ConnState {
	if e.conn == 0 {
		return flow.ConnS0
	}
	c := t.conns.at(e.conn)
	o, r := &c.end[e.initiator], &c.end[e.initiator^1]
	oQuiet := o.state == inactive || o.state == partial
	rQuiet := r.state == inactive || r.state == partial
	switch {
	case r.state == reset:
		switch {
		case o.state == synSent || o.state == synAckSent || o.state == reset && o.size() == 0 && r.size() == 0:
			return flow.ConnREJ
		case oQuiet:
			return flow.ConnRSTRH
		}
		return flow.ConnRSTR
	case o.state == reset:
		switch {
		case !rQuiet:
			return flow.ConnRSTO
		case c.synThenReset():
			return flow.ConnRSTOS0
		}
		return flow.ConnOTH
	case r.state == closed && o.state == closed:
		return flow.ConnSF
	case o.state == closed:
		if rQuiet {
			return flow.ConnSH
		}
		return flow.ConnS2
	case r.state == closed:
		if oQuiet {
			return flow.ConnSHR
		}
		return flow.ConnS3
	case o.state == synSent && r.state == inactive:
		return flow.ConnS0
	case o.state == established && r.state == established:
		return flow.ConnS1
	}
	return flow.ConnOTH
}

// synThenReset: the history is S, then nothing of the initiator but retries,
// then R.
func (c *conn) synThenReset() bool {
	h := c.history[:c.historyLen]
	if len(h) > 0 && h[0] == '^' {
		h = h[1:]
	}
	if len(h) == 0 || h[0] != 'S' {
		return false
	}
	for _, c := range h[1:] {
		switch c {
		case 'R':
			return true
		case 'H', 'A', 'F', 'G', 'I', 'Q':
			return false
		}
	}
	return false
}
