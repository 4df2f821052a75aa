package spool

// Dropped returns the drops nobody has declared yet, and freezes them: the same ranges come again, unchanged, until Declared has them.
// Put them into Record.Declares of the batch that carries them, or call Declared when that batch is appended.
func (s *Spool) Dropped() []DropRange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drops.handOut()
}

// Declared forgets ranges that Dropped returned, on disk before it returns.
func (s *Spool) Declared(ranges []DropRange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(ranges) == 0 {
		return
	}
	s.drops.settle(ranges)
	s.save() // counted and logged there
}

// dropOldest gives up the oldest segment of which nothing is being sent; false: there is none. The caller holds mu.
func (s *Spool) dropOldest() bool {
	for _, g := range s.segments {
		if g.sealed && len(g.inflight) == 0 {
			s.dropSegment(g)
			return true
		}
	}
	if a := s.active; a != nil && a.size > 0 && len(a.inflight) == 0 {
		s.seal()
		if s.active == nil {
			if s.holds(a) && len(a.inflight) == 0 {
				s.dropSegment(a)
			}
			return true
		}
	}
	return false
}

// dropSegment declares what is unacknowledged in g and removes it: first the declaration on disk, then the file.
func (s *Spool) dropSegment(g *segment) {
	data, err := s.read(g)
	if err != nil {
		s.m.ioErrors.WithLabelValues("read").Inc()
		s.log.Error("read spool segment to be dropped", "error", err)
		s.drop(DropRange{Records: uint64(g.open), Reason: ReasonSpoolFull})
	} else {
		s.declareAll(data, g)
	}
	s.saved.Dead = append(s.saved.Dead, g.id)
	s.save() // counted and logged there
	s.unlink(g)
	if s.syncDir() == nil {
		s.saved.Dead = nil
	}
}

func (s *Spool) declareAll(data []byte, g *segment) {
	entries, _ := scan(data, g.segmentID, s.key)
	d := missing(entries, s.saved.Accounted[g.id], &neighbour{})
	s.damaged(&d)
	runs := map[producer]*DropRange{}
	for i := range entries {
		e := &entries[i]
		if !e.good || e.acked {
			continue
		}
		for _, r := range decodeRanges(e.declares) {
			s.drops.giveBack(r)
		}
		p, r := producer{e.meta.Epoch, e.meta.Worker}, rangeOf(e.meta, ReasonSpoolFull)
		if run := runs[p]; run != nil && run.To+1 == r.From {
			run.join(&r)
		} else {
			if run != nil {
				s.drop(*run)
			}
			runs[p] = &r
		}
	}
	for _, run := range runs {
		s.drop(*run)
	}
}
