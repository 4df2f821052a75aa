package dpi

// store copies data to place `at` after s.next and notes what is contiguous.
// What is known already stays as it was first seen.
func (in *Inspector) store(st *State, s *stream, at int, data []byte) bool {
	if at < s.n {
		k := min(s.n-at, len(data))
		at, data = at+k, data[k:]
	}
	if len(data) == 0 {
		return true
	}
	end := at + len(data)
	if at > s.n && !s.mayHold(at, end) || !in.room(st, s, end) {
		return false
	}
	if s.off+end > len(s.buf) {
		s.buf = s.buf[:s.off+end]
	}
	copy(s.buf[s.off+at:], data)
	if at > s.n {
		s.hold(span{uint16(at), uint16(end)})
		return true
	}
	s.n = end
	s.join()
	return true
}

// mayHold tells whether one more early span can be noted.
func (s *stream) mayHold(from, to int) bool {
	if int(s.nheld) < len(s.held) {
		return true
	}
	for _, h := range s.held[:s.nheld] {
		if int(h.from) <= to && from <= int(h.to) {
			return true
		}
	}
	return false
}

func (s *stream) hold(a span) {
	k := 0
	for _, h := range s.held[:s.nheld] {
		if h.from <= a.to && a.from <= h.to {
			a.from, a.to = min(a.from, h.from), max(a.to, h.to)
			continue
		}
		s.held[k] = h
		k++
	}
	s.held[k] = a
	s.nheld = uint8(k + 1)
}

// join takes spans that the contiguous part has reached into it.
func (s *stream) join() {
	for again := true; again; {
		again = false
		k := 0
		for _, h := range s.held[:s.nheld] {
			if int(h.from) <= s.n {
				again = again || int(h.to) > s.n
				s.n = max(s.n, int(h.to))
				continue
			}
			s.held[k] = h
			k++
		}
		s.nheld = uint8(k)
	}
}

// room makes buf large enough for `end` octets after next.
func (in *Inspector) room(st *State, s *stream, end int) bool {
	if s.off+end <= cap(s.buf) {
		return true
	}
	kept := s.buf[s.off:]
	if end <= cap(s.buf) {
		s.buf = s.buf[:copy(s.buf[:cap(s.buf)], kept)]
		s.off = 0
		return true
	}
	b := in.take(st, end, cap(s.buf))
	if b == nil {
		return false
	}
	b = append(b, kept...)
	in.pool.put(&s.buf)
	s.buf, s.off = b, 0
	return true
}

// take gets a buffer for the flow within the bounds of flow and worker; the
// caller gives `instead` octets back right after.
func (in *Inspector) take(st *State, size, instead int) []byte {
	if size > streamLimit {
		return nil
	}
	held := st.reserved - instead
	for i := range st.half {
		held += cap(st.half[i].buf) + cap(st.half[i].message)
	}
	want := smallestBuffer
	for want < size {
		want *= 2
	}
	if held+want > streamLimit {
		return nil
	}
	b := in.pool.get(size)
	if b == nil {
		in.stats.NoMemory++
	}
	return b
}

// reserve counts n octets that State.extra is about to hold as the flow's.
// False: they are too many.
func (in *Inspector) reserve(st *State, n int) bool {
	held := st.reserved + n
	for i := range st.half {
		held += cap(st.half[i].buf) + cap(st.half[i].message)
	}
	if held > streamLimit || in.pool.used+n > in.pool.limit {
		return false
	}
	st.reserved += n
	in.pool.used += n
	return true
}

func (in *Inspector) unreserve(st *State) {
	in.pool.used -= st.reserved
	st.reserved = 0
}

// forward moves past k octets, holes included.
func (in *Inspector) forward(s *stream, k int) {
	s.off += k
	s.n = max(s.n-k, 0)
	j := 0
	for _, h := range s.held[:s.nheld] {
		switch from, to := int(h.from)-k, int(h.to)-k; {
		case to <= 0:
		case from <= 0:
			s.n = max(s.n, to)
		default:
			s.held[j] = span{uint16(from), uint16(to)}
			j++
		}
	}
	s.nheld = uint8(j)
	s.join()
	if s.off >= len(s.buf) {
		in.pool.put(&s.buf)
		s.off, s.n, s.nheld = 0, 0, 0
	}
}

// prepend makes room for k octets before the ones that are held: the first
// segments of a connection changed places on the way.
func (in *Inspector) prepend(st *State, s *stream, k int) bool {
	size := len(s.buf) - s.off
	if s.nheld > 0 || size != s.n || !in.room(st, s, k+size) {
		return false
	}
	s.buf = s.buf[:s.off+k+size]
	copy(s.buf[s.off+k:], s.buf[s.off:s.off+size])
	s.n = 0
	s.hold(span{uint16(k), uint16(k + size)})
	return true
}

// idle tells that nothing is held.
func (s *stream) idle() bool { return len(s.buf)+len(s.message) == 0 }

// drop forgets what is held of a direction and where it stands in it.
func (in *Inspector) drop(s *stream) {
	in.pool.put(&s.buf)
	s.off, s.n, s.nheld = 0, 0, 0
}
