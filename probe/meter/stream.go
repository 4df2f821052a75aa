package meter

// stream tells new data from data sent again and from data that comes late, by
// sequence numbers alone. It remembers a few gaps; one that is forgotten makes
// a late segment count as sent again.
type stream struct {
	next  uint32 // one past what was seen, or acknowledged and given up
	n     uint8
	holes [maxHoles]hole // ascending
}

const maxHoles = 4

type hole struct{ from, to uint32 }

type dataKind uint8

const (
	newData    dataKind = iota // continues the stream, or leaves a gap before it
	lateData                   // fills a gap
	resentData                 // has been seen whole
	keepAlive                  // one octet before the end (RFC 9293 section 3.8.4)
)

func (s *stream) reset(next uint32) { s.next, s.n = next, 0 }

// control takes the octet that a SYN or FIN occupies.
func (s *stream) control(seq, end uint32) {
	if int32(end-s.next) > 0 {
		s.jump(seq)
		s.next = end
	}
}

// jump notes that what comes next is at seq.
func (s *stream) jump(seq uint32) {
	switch ahead := int32(seq - s.next); {
	case ahead >= largeJump: // another stream, or nonsense
		s.n = 0
	case ahead > 0:
		s.leave(s.next, seq)
	}
}

// data takes n octets at seq.
func (s *stream) data(seq, n uint32) dataKind {
	end := seq + n
	ahead := int32(seq - s.next)
	switch {
	case ahead == 0:
		s.next = end
		return newData
	case ahead > 0:
		s.jump(seq)
		s.next = end
		return newData
	}
	if s.n > 0 && s.fill(seq, end) {
		if int32(end-s.next) > 0 {
			s.next = end
		}
		return lateData
	}
	if int32(end-s.next) > 0 {
		s.next = end
		return newData
	}
	if n == 1 && end == s.next {
		return keepAlive
	}
	return resentData
}

// leave remembers a gap; with no room the oldest is forgotten.
func (s *stream) leave(from, to uint32) {
	if s.n == maxHoles {
		copy(s.holes[:], s.holes[1:])
		s.n--
	}
	s.holes[s.n] = hole{from, to}
	s.n++
}

// fill takes [seq, end) out of the gaps and reports whether it was in one.
func (s *stream) fill(seq, end uint32) bool {
	hit := false
	for i := 0; i < int(s.n); i++ {
		h := &s.holes[i]
		if int32(end-h.from) <= 0 || int32(h.to-seq) <= 0 {
			continue
		}
		hit = true
		left, right := int32(seq-h.from) > 0, int32(h.to-end) > 0
		switch {
		case left && right: // splits it; the earlier part stays if there is no room
			rest := hole{end, h.to}
			h.to = seq
			if s.n < maxHoles {
				copy(s.holes[i+2:], s.holes[i+1:s.n])
				s.holes[i+1] = rest
				s.n++
			}
			return true
		case left:
			h.to = seq
		case right:
			h.from = end
		default:
			copy(s.holes[i:], s.holes[i+1:s.n])
			s.n--
			i--
		}
	}
	return hit
}

// missing returns how many gaps lie before ack, which the receiver says it
// has: they were lost before the tap. They are given up.
func (s *stream) missing(ack uint32) (gaps int) {
	for s.n > 0 && int32(ack-s.holes[0].from) > 0 {
		gaps++
		if int32(s.holes[0].to-ack) > 0 {
			s.holes[0].from = ack
			break
		}
		copy(s.holes[:], s.holes[1:s.n])
		s.n--
	}
	if int32(ack-s.next) > 0 {
		gaps++
		s.next = ack
	}
	return gaps
}
