package meter

import "math/bits"

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
func (e *entry) letter(side int, code byte) {
	if uint8(side) != e.initiator {
		code |= 0x20
	}
	e.append(code)
}

func (e *entry) append(code byte) {
	if e.historyLen == maxHistory {
		e.historyCut = true
		return
	}
	e.history[e.historyLen] = code
	e.historyLen++
}

// once appends code the first time a side does what bit stands for, and
// reports whether it had been there already.
func (e *entry) once(side int, bit uint8, code byte) bool {
	if (code == 'A' || code == 'D') && e.historyLen == 1 && e.history[0] == 'H' {
		// The flow began with a SYN-ACK that was taken for a scan. Now there
		// is ordinary traffic, so its sender is the responder after all.
		e.initiator ^= 1
		e.swapPorts()
		e.historyLen = 0
		e.append('^')
		e.append('h')
	}
	s := &e.side[side].tcp
	if s.seen&bit != 0 {
		return true
	}
	s.seen |= bit
	e.letter(side, code)
	return false
}

// scaled counts in n what the history tells the 1st, 10th, 100th … time.
func (e *entry) scaled(side int, n *uint32, code byte) {
	*n++
	switch *n {
	case 1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000:
		e.letter(side, code)
	}
}

// flip exchanges initiator and responder.
func (e *entry) flip() {
	e.initiator ^= 1
	e.swapPorts()
	e.append('^')
}

func (e *entry) swapPorts() {
	e.srcPort, e.dstPort = e.dstPort, e.srcPort
	e.srcMAC, e.dstMAC = e.dstMAC, e.srcMAC
	e.turned = true
	e.state.Flip()
}

// segmentLetters writes what flags and payload tell into the history, in
// Zeek's order and with its rules for repetition: a SYN, FIN or RST is told
// again when its sequence number differs from the last one's.
func (e *entry) segmentLetters(side int, flags uint8, rel, payload uint32) {
	s := &e.side[side].tcp
	control := flags & (flagSYN | flagFIN | flagRST)
	switch {
	case bits.OnesCount8(control) > 1:
		if flags&flagFIN != 0 && flags&flagRST != 0 {
			e.once(side, seenFINRST, 'I')
		} else {
			e.once(side, seenMulti, 'Q')
		}
	case control == flagSYN:
		code := byte('S')
		if flags&flagACK != 0 {
			code = 'H'
		}
		if e.once(side, seenSYN, code) && rel != s.lastSYN {
			e.letter(side, code)
		}
		s.lastSYN = rel
	case control == flagFIN:
		if e.once(side, seenFIN, 'F') && rel+payload != s.lastFIN {
			e.letter(side, 'F')
		}
		s.lastFIN = rel + payload
	case control == flagRST:
		if e.once(side, seenRST, 'R') && rel != s.lastRST {
			e.letter(side, 'R')
		}
		s.lastRST = rel
	case payload > 0:
		e.once(side, seenData, 'D')
	case flags&flagACK != 0:
		e.once(side, seenACK, 'A')
	}
}
