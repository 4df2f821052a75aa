package meter

import (
	"math/bits"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// maxHistory bounds the letters of a history. Zeek's has no bound, but only
// repeated SYN, FIN and RST with new sequence numbers make it grow.
const maxHistory = 48

// Events that a side's history tells once, as bits of endpoint.seen.
const (
	seenSYN = 1 << iota
	seenFIN
	seenRST
	seenData
	seenACK
	seenMulti  // Q: more than one of SYN, FIN, RST
	seenFINRST // I: FIN and RST together
)

// letter appends code to the history: upper case for the initiator.
func (c *conn) letter(e *entry, side int, code byte) {
	if uint8(side) != e.initiator {
		code |= 0x20
	}
	c.append(code)
}

func (c *conn) append(code byte) {
	if c.historyLen == maxHistory {
		c.historyCut = true
		return
	}
	c.history[c.historyLen] = code
	c.historyLen++
}

// once appends code the first time a side does what bit stands for, and
// reports whether it had been there already.
func (t *Table) once(e *entry, c *conn, side int, bit uint8, code byte) bool {
	if (code == 'A' || code == 'D') && c.historyLen == 1 && c.history[0] == 'H' {
		// The flow began with a SYN-ACK that was taken for a scan. Now there
		// is ordinary traffic, so its sender is the responder after all.
		t.flip(e)
		c.historyLen = 0
		c.append('^')
		c.append('h')
	}
	s := &c.end[side]
	if s.seen&bit != 0 {
		return true
	}
	s.seen |= bit
	c.letter(e, side, code)
	return false
}

// scaled counts in n what the history tells the 1st, 10th, 100th … time.
func (c *conn) scaled(e *entry, side int, n *uint32, code byte) {
	*n++
	switch *n {
	case 1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000:
		c.letter(e, side, code)
	}
}

// flip exchanges initiator and responder.
func (t *Table) flip(e *entry) {
	e.initiator ^= 1
	e.srcPort, e.dstPort = e.dstPort, e.srcPort
	e.srcMAC, e.dstMAC = e.dstMAC, e.srcMAC
	e.turned = true
	if e.carrier != 0 {
		c := t.carriers.at(e.carrier)
		c.src, c.dst = c.dst, c.src
	}
	if e.found != 0 {
		t.found.at(e.found).state.Flip()
	}
}

// segmentLetters writes what flags and payload tell into the history, in
// Zeek's order and with its rules for repetition: a SYN, FIN or RST is told
// again when its sequence number differs from the last one's.
func (t *Table) segmentLetters(e *entry, c *conn, side int, flags uint8, rel, payload uint32) {
	s := &c.end[side]
	control := flags & (flagSYN | flagFIN | flagRST)
	switch {
	case bits.OnesCount8(control) > 1:
		if flags&flagFIN != 0 && flags&flagRST != 0 {
			t.once(e, c, side, seenFINRST, 'I')
		} else {
			t.once(e, c, side, seenMulti, 'Q')
		}
	case control == flagSYN:
		code := byte('S')
		if flags&flagACK != 0 {
			code = 'H'
		}
		if t.once(e, c, side, seenSYN, code) && rel != s.lastSYN {
			c.letter(e, side, code)
		}
		s.lastSYN = rel
	case control == flagFIN:
		if t.once(e, c, side, seenFIN, 'F') && rel+payload != s.lastFIN {
			c.letter(e, side, 'F')
		}
		s.lastFIN = rel + payload
	case control == flagRST:
		if t.once(e, c, side, seenRST, 'R') && rel != s.lastRST {
			c.letter(e, side, 'R')
		}
		s.lastRST = rel
	case payload > 0:
		t.once(e, c, side, seenData, 'D')
	case flags&flagACK != 0:
		t.once(e, c, side, seenACK, 'A')
	}
}

// historyOf returns the history of a flow: conn keeps TCP's; UDP's is who sent,
// in their order.
func (t *Table) historyOf(e *entry) []byte {
	switch {
	case e.conn != 0:
		c := t.conns.at(e.conn)
		return c.history[:c.historyLen]
	case e.protocol == flow.ProtoTCP:
		return historySYN
	case e.protocol != flow.ProtoUDP:
		return nil
	}
	h := historyUDP
	if e.guessed { // the responder was heard first
		h = historyUDPTurned
	}
	if !e.answered {
		return h[:len(h)-1]
	}
	return h
}

var (
	historySYN       = []byte("S")
	historyUDP       = []byte("Dd")
	historyUDPTurned = []byte("^dD")
)
