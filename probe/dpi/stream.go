package dpi

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// stream reassembles one direction of a TCP connection, as far as a parser
// needs it. Octets that arrive in order are parsed where they are; only what a
// parser could not use yet, or what came too early, is copied into a buffer.
type stream struct {
	next  uint32 // sequence number of the first octet not consumed
	begun bool   // next is valid
	told  bool   // not begun, but the other side has said that next comes next
	used  bool   // a parser has consumed something
	dead  bool   // nothing more is wanted from this direction
	lost  bool   // out of step: wait for a packet that begins a message
	nheld uint8
	early uint8 // segments since a hole opened

	off  int      // buf[off] is the octet at next
	n    int      // octets known from next on without a hole
	held [16]span // what came early, beyond n, relative to next
	skip uint64   // octets from next on that no parser wants: a body
	buf  []byte   // pooled, nil when nothing waits; may contain holes beyond n

	message []byte // pooled: a TLS handshake message gathered from several records
}

// span is a range of octets; streamLimit fits into 16 bits.
type span struct{ from, to uint16 }

const (
	// farAway is the distance in octets beyond which a segment is taken for a
	// stray: no receive window in use is larger (RFC 7323 allows 1 GiB).
	farAway = 1 << 26
	// reordered is how far from its beginning a direction may first be seen, in
	// octets: an initial window (RFC 6928).
	reordered = 10 * 1460
	// strangers is what an unrecognised direction may hold, in octets.
	strangers = 4 << 10
	// maxEarly is the number of segments after a hole when it is given up, if
	// what follows it can be read without it. TCP itself takes three for a sign
	// of loss (RFC 5681, section 3.2).
	maxEarly = 3
)

// segment takes one TCP segment with payload.
func (in *Inspector) segment(st *State, d side, p *decode.Packet, rec *flow.Record) {
	s := &st.half[d]
	if s.dead || st.finished {
		return
	}
	data, length, seq := p.Payload, int64(p.PayloadLen), p.Seq
	if p.Flags&decode.SYN != 0 {
		seq++ // RFC 9293, section 3.4: SYN occupies one number
	}
	if int64(len(data)) > length {
		data = data[:length]
	}
	whole := data
	if s.lost {
		if st.resumes(data) != yes {
			return
		}
		s.lost, s.begun, s.told = false, false, false // what was given up is not waited for again
	}
	if !s.begun {
		// What the other side waits for comes first, unless it was missed.
		if ahead := seq - s.next; !s.told || ahead >= reordered {
			s.next = seq
		}
		s.begun = true
	}
	if o := &st.half[d.other()]; !o.begun && !o.told && !o.lost && p.Flags&decode.ACK != 0 && p.Ack != 0 {
		o.next, o.told = p.Ack, true
	}
	gap := int64(int32(seq - s.next))
	if gap > farAway || gap < -farAway {
		return
	}
	if s.skip > 0 && gap+length > 0 && len(s.buf) == 0 {
		k := min(int64(min(s.skip, farAway*2)), gap+length)
		s.skip -= uint64(k)
		s.next += uint32(k)
		gap -= k
	}
	fresh := s.next == seq && s.n == 0
	if gap < 0 && st.kind == kindNone && !s.used && s.n > 0 && -gap <= strangers && in.prepend(st, s, int(-gap)) {
		s.next, gap = seq, 0
	}
	if gap < 0 {
		if -gap >= length {
			return // seen before
		}
		length += gap
		data = data[min(-gap, int64(len(data))):]
		gap = 0
	}
	missing := length - int64(len(data))
	switch {
	case gap == 0 && len(s.buf) == 0:
		used := in.drain(st, d, data, rec, p.Time)
		s.next += uint32(used)
		if rest := data[used:]; len(rest) > 0 && !s.dead && !s.lost && !in.keep(st, d, 0, rest, rec) {
			in.hole(st, d, rec, p.Time)
		}
	case in.keep(st, d, int(gap), data, rec):
		in.drainBuffer(st, d, rec, p.Time)
	default:
		// Every round gives up one hole, so this ends.
		if in.hole(st, d, rec, p.Time); !s.dead && !st.finished {
			in.segment(st, d, p, rec)
		}
		return
	}
	if s.nheld == 0 {
		s.early = 0
	} else if s.early++; s.early >= maxEarly && in.messageWaits(st, s) {
		in.hole(st, d, rec, p.Time)
	}
	if missing > 0 && !s.dead && !s.lost {
		in.short(st, d, rec, missing)
	}
	if st.kind == kindNone && !fresh && len(whole) > 0 && in.recognise(st, d, whole, rec) == yes {
		in.drop(s)
		*s = stream{begun: true, next: seq}
		in.segment(st, d, p, rec)
	}
}

// keep stores octets for later. False: they do not fit.
func (in *Inspector) keep(st *State, d side, at int, data []byte, rec *flow.Record) bool {
	s := &st.half[d]
	if st.kind == kindNone && (at+len(data) > strangers && !in.maybe(st, d, rec) || in.pool.used > in.pool.limit/2) {
		return false
	}
	return in.store(st, s, at, data)
}

// maybe tells whether an unrecognised stream begins like a protocol whose first
// message is not complete.
func (in *Inspector) maybe(st *State, d side, rec *flow.Record) bool {
	s := &st.half[d]
	if s.n == 0 {
		return false
	}
	_, v := in.streamProtocol(st, d, s.buf[s.off:s.off+s.n], rec)
	return v == undecided
}

// drain parses octets that follow each other and returns how many were used.
func (in *Inspector) drain(st *State, d side, data []byte, rec *flow.Record, now int64) int {
	s, used := &st.half[d], 0
	for used < len(data) && !s.dead && !s.lost && !st.blocked {
		if s.skip > 0 {
			k := min(s.skip, uint64(len(data)-used))
			s.skip -= k
			used += int(k)
			continue
		}
		n := in.parseStream(st, d, data[used:], rec, now)
		if n == 0 {
			break
		}
		s.used = true
		used += n
	}
	if s.dead || st.finished {
		return len(data)
	}
	return used
}

// parseStream gives the contiguous octets of one direction to the parser of
// the flow's protocol, which returns how many it has done with; 0 is "not yet".
func (in *Inspector) parseStream(st *State, d side, data []byte, rec *flow.Record, now int64) int {
	if st.kind == kindNone && in.recognise(st, d, data, rec) != yes {
		return 0
	}
	if st.parser.parse == nil {
		st.half[d].dead = true
		return 0
	}
	return st.parser.parse(in, st, d, data, rec, now)
}

// drainBuffer parses what was kept, once it follows on.
func (in *Inspector) drainBuffer(st *State, d side, rec *flow.Record, now int64) {
	s := &st.half[d]
	for s.n > 0 || s.skip > 0 && len(s.buf) > 0 {
		used := 0
		if s.n > 0 {
			used = in.drain(st, d, s.buf[s.off:s.off+s.n], rec, now)
		}
		if used == 0 && s.skip > 0 && !st.blocked { // over a hole, nobody wants what is in it
			used = int(min(s.skip, uint64(len(s.buf)-s.off)))
			s.skip -= uint64(used)
		}
		if s.dead || s.lost {
			in.drop(s)
			return
		}
		if used == 0 {
			return
		}
		in.pass(s, used)
	}
}

// drainHeld lets parsers go on that waited for room in a list.
func (in *Inspector) drainHeld(st *State, rec *flow.Record, now int64) {
	st.blocked = false
	in.drainBuffer(st, sideSrc, rec, now)
	in.drainBuffer(st, sideDst, rec, now)
}

// hole gives up what is missing in one direction: it did not come in time, or
// what came after it is more than may be held. Protocols with many messages go
// on with the next one that is held, or wait for a packet that begins one.
func (in *Inspector) hole(st *State, d side, rec *flow.Record, now int64) {
	s := &st.half[d]
	if st.kind == kindNone { // nothing was promised: begin anew with the next packet
		in.drop(s)
		*s = stream{}
		return
	}
	in.cutStream(rec)
	if st.parser.resume == nil {
		in.drop(s)
		s.dead = true
		in.checkDone(st)
		return
	}
	if st.kind == kindHTTP {
		in.httpCut(st, d, s.buf[s.off:s.off+s.n], rec)
	}
	s.skip, s.early = 0, 0
	in.pass(s, s.n)
	for s.nheld > 0 {
		in.pass(s, int(s.firstHeld().from))
		if st.resumes(s.buf[s.off:s.off+s.n]) == yes {
			in.drainBuffer(st, d, rec, now)
			return
		}
		in.pass(s, s.n)
	}
	in.drop(s)
	s.lost = true
}

// pass steps over k octets.
func (in *Inspector) pass(s *stream, k int) {
	s.next += uint32(k)
	in.forward(s, k)
}

// firstHeld is the earliest of the spans that came too early; there is one.
func (s *stream) firstHeld() span {
	first := s.held[0]
	for _, h := range s.held[1:s.nheld] {
		if h.from < first.from {
			first = h
		}
	}
	return first
}

// messageWaits tells whether what came early begins a message of its own, so
// that the hole before it need not be waited for.
func (in *Inspector) messageWaits(st *State, s *stream) bool {
	h := s.firstHeld()
	return st.resumes(s.buf[s.off+int(h.from):s.off+int(h.to)]) == yes
}

// short accounts for octets that were on the wire but not captured.
func (in *Inspector) short(st *State, d side, rec *flow.Record, missing int64) {
	s := &st.half[d]
	if s.n == 0 && s.skip >= uint64(missing) {
		s.skip -= uint64(missing)
		s.next += uint32(missing)
		return
	}
	in.hole(st, d, rec, rec.End)
}

// What a parser returns. b are the octets it was given: all of them are used up
// where it ends, and after endSide and astray.

// endSide ends a direction: nothing more is wanted from it.
func (in *Inspector) endSide(st *State, d side, b []byte) int {
	st.half[d].dead = true
	in.checkDone(st)
	return len(b)
}

// astray is for octets that are no message where one should begin: the parser
// goes on at the next packet that begins one.
func (in *Inspector) astray(st *State, d side, b []byte, rec *flow.Record) int {
	in.malformed(rec)
	st.half[d].lost = true
	return len(b)
}

// stepOver passes over size octets, of which b may hold a part.
func (st *State) stepOver(d side, size int, b []byte) int {
	st.half[d].skip = uint64(size)
	return skipped(&st.half[d], len(b))
}

// checkDone finishes flows of which both directions have told all they can.
func (in *Inspector) checkDone(st *State) {
	if st.half[0].dead && st.half[1].dead {
		st.finished = true
	}
}
