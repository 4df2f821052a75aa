package meter

import "github.com/tapwatch/tapwatch/probe/decode"

// transit moves the state of s, the sender of p, and tells whether this packet
// closes its side. The transitions are Zeek's.
func (t *Table) transit(e *entry, c *conn, from int, s, r *endpoint, p *decode.Packet, length uint32) (closing bool) {
	switch s.state {
	case inactive:
		return t.fromInactive(e, c, from, s, r, p, length)
	case synSent, synAckSent:
		if p.Flags&flagFIN != 0 {
			s.set(closed)
			closing = true
		}
		if p.Flags&flagRST != 0 {
			s.set(reset)
			closing = true
		}
	case partial, established:
		if p.Flags&flagSYN != 0 && p.Flags&flagACK == 0 && s.state == partial && r.state == inactive {
			s.set(synSent)
		}
		if p.Flags&flagFIN != 0 && p.Flags&flagRST == 0 {
			s.set(closed)
			if r.state == reset && r.before == closed {
				r.set(closed) // a FIN and then a RST was an ordinary end
			}
			closing = true
		}
		if p.Flags&flagRST != 0 {
			s.set(reset)
			closing = true
		}
	case closed:
		if p.Flags&flagRST != 0 && r.state != closed {
			s.set(reset)
			closing = true
			e.closed = true
		}
	}
	return closing
}

// fromInactive is transit for the first packet of a side.
func (t *Table) fromInactive(e *entry, c *conn, from int, s, r *endpoint, p *decode.Packet, length uint32) (closing bool) {
	syn, ack := p.Flags&flagSYN != 0, p.Flags&flagACK != 0
	fromOrig := uint8(from) == e.initiator
	if syn {
		switch {
		case fromOrig && ack:
			s.set(synAckSent)
		case fromOrig && r.state == established:
			// The SYN-ACK came first and was known for one. (Zeek, which knows
			// it by the service's port only, leaves this connection in OTH.)
			s.set(established)
			e.partial, e.guessed = false, false
		case fromOrig:
			s.set(synSent)
		default:
			if !ack && r.state == synAckSent && p.Seq == s.start {
				// The SYN-ACK was captured before its SYN.
				e.partial = false
				t.flip(e)
				c.append('^')
				e.guessed = false
				r.set(established)
				r.first = true
			}
			if r.state == synSent {
				r.set(established)
			}
			s.set(established)
		}
	}
	if p.Flags&flagFIN != 0 {
		s.set(closed)
		closing = true
	}
	if p.Flags&flagRST != 0 {
		s.set(reset)
		closing = true
	}
	if s.state != inactive {
		return closing
	}
	switch {
	case !fromOrig && length == 0 && r.state == synSent:
		// Some stacks acknowledge a SYN before they answer it.
	case ack && r.state == established:
		// Only the SYN was missed.
		s.set(established)
		e.partial = false
	default:
		s.set(partial)
	}
	return closing
}
