package meter

import "github.com/tapwatch/tapwatch/probe/decode"

const (
	flagFIN = decode.FIN
	flagSYN = decode.SYN
	flagRST = decode.RST
	flagACK = decode.ACK
)

// largeJump is the distance at which the sequence number of a SYN or RST is
// not believed (Zeek's TOO_LARGE_SEQ_DELTA).
const largeJump = 1 << 20

// reused reports whether a SYN begins another connection with the same key. A
// repeated SYN has the sequence number of the first.
func (t *Table) reused(e *entry, p *decode.Packet) bool {
	if p.Flags&flagSYN == 0 || p.Bare {
		return false
	}
	if e.conn == 0 {
		return p.Flags&flagACK == 0 && p.Seq != e.lone.payload
	}
	c := t.conns.at(e.conn)
	orig, resp := &c.end[e.initiator], &c.end[e.initiator^1]
	s := orig
	if p.Flags&flagACK != 0 {
		if orig.state != inactive {
			return false
		}
		s = resp
	}
	if !orig.first && !resp.first { // nothing of TCP seen yet: later fragments, cut headers
		return false
	}
	if orig.didClose || resp.didClose {
		return true
	}
	if p.Seq == s.start {
		return false
	}
	if p.Flags&flagACK == 0 && orig.state == synAckSent && resp.state == inactive && p.Seq == resp.start {
		return false // SYN and SYN-ACK were captured in the wrong order
	}
	return true
}

// tcp follows the connection. from is the side that sent p. It returns what
// p's payload is to the stream.
func (t *Table) tcp(e *entry, from int, p *decode.Packet) (kind dataKind) {
	c := t.conns.at(e.conn)
	s, r := &c.end[from], &c.end[from^1]
	if c.ordinary(s, r, p) {
		return newData
	}
	fromOrig := uint8(from) == e.initiator
	if !s.first {
		if fromOrig {
			e.partial = p.Flags&flagSYN == 0 || p.Flags&flagACK != 0
		} else if !e.partial {
			e.partial = p.Flags&flagSYN == 0
		}
	}
	length := p.PayloadLen
	occupies := length // of the sequence space
	if p.Flags&flagRST != 0 {
		occupies = 0 // what comes with a RST is no part of the stream
	}
	if p.Flags&flagSYN != 0 {
		occupies++
	}
	if p.Flags&flagFIN != 0 {
		occupies++
	}
	end := p.Seq + occupies
	s.enter(p, end)
	rel := p.Seq - s.start
	underflow := int32(rel) < 0

	t.segmentLetters(e, c, from, p.Flags, rel, length)
	fromOrig = uint8(from) == e.initiator // the letters may have turned the flow around
	if p.Window == 0 && p.Flags&flagRST == 0 {
		s.segment.zeroWindows++
		if r.state != closed && s.state != reset {
			c.scaled(e, from, &s.zeroWindows, 'W')
		}
	}
	if p.Flags&flagFIN != 0 {
		s.fin = true
		s.finEnd = rel + occupies
	}
	relAck := uint32(0)
	if p.Flags&flagACK != 0 {
		relAck = acknowledge(r, p)
	}
	c.advance(e, from, s, p, end, length)

	closing := t.transit(e, c, from, s, r, p, length)
	if p.Flags&flagACK != 0 && relAck != 0 {
		c.confirm(e, from^1, r, s, relAck)
	}
	if length > 0 && p.Flags&flagRST == 0 && !underflow {
		seq := p.Seq
		if p.Flags&flagSYN != 0 {
			seq++
		}
		switch kind = s.stream.data(seq, length); kind {
		case resentData:
			s.segment.retransmits++
		case lateData:
			s.segment.outOfOrder++
		}
	} else if p.Flags&(flagSYN|flagFIN) != 0 && !underflow {
		s.stream.control(end-1, end)
	}
	s.first = true
	if closing && !s.didClose {
		s.didClose = true
		if s.state == reset || r.didClose || r.state == inactive {
			e.closed = true
		}
	}
	if fromOrig {
		c.handshakeAck(r, p)
	}
	if p.Flags&flagSYN != 0 {
		c.handshake(e, from, p)
	}
	return kind
}

// ordinary does what tcp does for the next segment in order, or an
// acknowledgement, of a connection that is open: nearly all packets. It reports
// whether p was one; if not, nothing has changed.
func (c *conn) ordinary(s, r *endpoint, p *decode.Packet) bool {
	if p.Flags&(flagACK|flagSYN|flagFIN|flagRST) != flagACK || p.Window == 0 || c.historyLen < 2 || !s.open() || !r.open() || r.fin || r.stream.n != 0 {
		return false
	}
	if c.srcRTT == 0 && c.synAckTime != 0 {
		return false // the handshake's ACK may be this one
	}
	end := p.Seq + p.PayloadLen
	if p.PayloadLen > 0 {
		if s.seen&seenData == 0 || p.Seq != s.stream.next || int32(end-s.last) <= 0 || int32(p.Seq-s.start) < 0 {
			return false
		}
	} else if s.seen&seenACK == 0 || int32(end-s.last) > 0 {
		return false
	}
	if int32(p.Ack-r.stream.next) > 0 || int32(p.Ack-r.start) < 0 {
		return false
	}
	if d := int32(p.Ack - r.acked); d > 0 {
		if p.Ack == 0 && d > largeJump {
			return false
		}
		r.acked = p.Ack
	}
	if p.PayloadLen > 0 {
		s.last, s.stream.next = end, end
	}
	return true
}

// open: the side has spoken and not ended.
func (s *endpoint) open() bool { return s.state == established || s.state == partial }

// enter sets the sequence numbers of a side that is new or begins anew.
func (s *endpoint) enter(p *decode.Packet, end uint32) {
	syn := p.Flags&flagSYN != 0
	switch s.state {
	case inactive:
		if syn {
			s.begin(p.Seq, end)
		} else {
			// As if a SYN had come before, so that data begins at 1.
			s.begin(p.Seq-1, p.Seq)
		}
	case synSent, synAckSent:
		if syn && p.Seq != s.start {
			s.begin(p.Seq, end)
		}
	case partial, established:
		if syn {
			s.begin(p.Seq, end)
		}
	case reset:
		if syn && s.before == inactive { // the RST was not this side's own
			s.begin(p.Seq, end)
		}
	}
}

// acknowledge takes p's acknowledgement of what r sent and returns it relative
// to r's start; 0 is one that cannot be right.
func acknowledge(r *endpoint, p *decode.Packet) uint32 {
	if r.state == inactive {
		r.begin(p.Ack-1, p.Ack-1)
		r.stream.reset(p.Ack)
		return 1
	}
	rel := p.Ack - r.start
	if int32(rel) < 0 {
		return 0
	}
	if p.Flags&flagRST == 0 {
		if d := int32(p.Ack - r.acked); d > 0 && !(p.Ack == 0 && d > largeJump) {
			r.acked = p.Ack
		}
	}
	return rel
}

// advance moves the greatest sequence number sent; data that does not is told
// as a retransmission (T), as Zeek does, even if it fills a gap.
func (c *conn) advance(e *entry, from int, s *endpoint, p *decode.Packet, end, length uint32) {
	d := int32(end - s.last)
	switch {
	case p.Flags&(flagSYN|flagRST) != 0 && (d > largeJump || d < -largeJump):
	case p.Flags&flagFIN != 0 && s.last == s.start+1:
		s.last = end
	case s.state == reset:
	case d > 0:
		s.last = end
	case length > 0:
		c.scaled(e, from, &s.resent, 'T')
	}
}

// confirm looks whether what r's peer acknowledges has been seen.
func (c *conn) confirm(e *entry, side int, r, s *endpoint, ack uint32) {
	if r.fin && ack >= r.finEnd {
		ack = r.finEnd - 1
	}
	if ack <= 2 && e.partial {
		return // the sequence numbers were inferred
	}
	for range r.stream.missing(r.start + ack) {
		if r.clean() && s.clean() {
			c.scaled(e, side, &r.gaps, 'G')
		}
	}
}

// handshakeAck takes the second half of the round trip.
func (c *conn) handshakeAck(r *endpoint, p *decode.Packet) {
	if c.srcRTT != 0 || c.synAckTime == 0 || p.Flags&(flagACK|flagSYN|flagRST) != flagACK || p.Ack != r.start+1 {
		return
	}
	c.srcRTT = micros(p.Time - c.synAckTime)
}

// handshake notes the times of SYN and SYN-ACK: p is one.
func (c *conn) handshake(e *entry, from int, p *decode.Packet) {
	if p.Flags&(flagRST|flagFIN) != 0 {
		return
	}
	if p.Flags&flagACK == 0 {
		if uint8(from) == e.initiator && c.synAckTime == 0 {
			c.synTime = p.Time
		}
		return
	}
	if uint8(from) == e.initiator || c.srcRTT != 0 {
		return
	}
	c.synAckTime = p.Time // a repeated one is what the next ACK answers
	if c.dstRTT == 0 && c.synTime != 0 && p.Ack == c.end[e.initiator].start+1 {
		c.dstRTT = micros(p.Time - c.synTime)
	}
}

// micros turns ns into microseconds for a field in which 0 means unknown.
func micros(ns int64) uint32 {
	switch us := ns / 1000; {
	case us < 1:
		return 1
	case us > 1<<32-1:
		return 1<<32 - 1
	default:
		return uint32(us)
	}
}
