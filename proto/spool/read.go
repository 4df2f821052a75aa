package spool

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

// Position names a record of the queue while it is handed out.
type Position struct {
	Segment uint64
	Index   uint32
}

// Next waits for the next record that was not handed out yet, oldest first. The record stays in the queue, and is not dropped for
// want of space, until Ack or Rewind. The bytes are the caller's.
func (s *Spool) Next(ctx context.Context) (Record, Position, error) {
	for {
		rec, pos, ok, err := s.tryNext()
		if ok || err != nil {
			return rec, pos, err
		}
		select {
		case <-ctx.Done():
			return Record{}, Position{}, ctx.Err()
		case <-s.notify:
		}
	}
}

// tryNext is Next without waiting; ok is false when nothing is there.
func (s *Spool) tryNext() (rec Record, pos Position, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.wake() // for the next caller too
		return rec, pos, false, ErrClosed
	}
	for i := 0; i < len(s.segments); i++ {
		g := s.segments[i]
		if g.open == len(g.inflight) {
			continue
		}
		if last := s.reading; last != g {
			s.reading = g
			if last != nil {
				s.release(last)
			}
		}
		if !g.loaded {
			if err := s.load(g); err != nil {
				return rec, pos, false, err
			}
		}
		for len(g.items) > 0 {
			it := g.items[0]
			rec, good, err := s.fetch(g, it)
			if err != nil {
				return rec, pos, false, err
			}
			if !good {
				// Damaged since it was written: look at the whole file again, and declare.
				if err := s.load(g); err != nil {
					return rec, pos, false, err
				}
				continue
			}
			g.items = g.items[1:]
			if g.inflight == nil {
				g.inflight = map[uint32]item{}
			}
			g.inflight[it.index] = it
			return rec, Position{g.id, it.index}, true, nil
		}
		if g.open == 0 && g.sealed { // nothing whole was in it
			s.unlink(g)
			i--
		}
	}
	return rec, pos, false, nil
}

// load finds the open records of a segment in its file.
func (s *Spool) load(g *segment) error {
	data, err := s.read(g)
	if err != nil {
		s.m.ioErrors.WithLabelValues("read").Inc()
		return err
	}
	entries, _ := scan(data, g.segmentID, s.key)
	unsynced := g.written
	for _, p := range []*group{s.syncing, s.group} {
		if p != nil && p.seg == g {
			unsynced = min(unsynced, p.items[0].index)
		}
	}
	g.items = nil
	for _, e := range entries {
		if _, out := g.inflight[e.index]; e.good && !e.acked && !out && e.index < unsynced {
			g.items = append(g.items, item{off: e.off, length: int32(e.len()), index: e.index, ms: e.appendedMs})
		}
	}
	d := missing(entries, s.saved.Accounted[g.id], &neighbour{})
	if d.records > 0 {
		s.damaged(&d)
		if s.saved.Accounted == nil {
			s.saved.Accounted = map[uint64][]span{}
		}
		s.saved.Accounted[g.id] = append(s.saved.Accounted[g.id], d.spans...)
		s.save() // counted and logged there
	}
	g.loaded = true
	g.open = len(g.items) + len(g.inflight)
	return nil
}

// fetch reads one record; good is false when it is not what was written.
func (s *Spool) fetch(g *segment, it item) (rec Record, good bool, err error) {
	f, err := s.file(g)
	if err != nil {
		return rec, false, err
	}
	b := make([]byte, it.length)
	if _, err := f.ReadAt(b, it.off); err != nil {
		return rec, false, nil
	}
	h, ok := decodeHeader(b)
	if !ok || h.segmentID() != g.segmentID || h.index != it.index || h.len() != len(b) {
		return rec, false, nil
	}
	payload, ok := h.open(nil, b, s.key)
	if !ok {
		return rec, false, nil
	}
	return h.record(payload), true, nil
}

// Ack takes a record out of the queue that Next returned. It is written in place and not synced: after a loss of power the record
// may come again. A file goes when all its records are acknowledged.
func (s *Spool) Ack(pos Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	for _, g := range s.segments {
		if g.id != pos.Segment {
			continue
		}
		it, ok := g.inflight[pos.Index]
		if !ok {
			break
		}
		if err := s.mark(g, it); err != nil {
			// Not fatal: it would be sent again after a restart, and recognised.
			s.m.ioErrors.WithLabelValues("ack").Inc()
			s.log.Warn("mark spool record as acknowledged", "error", err)
		}
		delete(g.inflight, pos.Index)
		g.open--
		s.m.acked.Inc()
		if g.open == 0 && g.sealed {
			s.unlink(g)
			return nil
		}
		if len(g.items) > 0 && len(g.inflight) == 0 {
			g.oldestMs = g.items[0].ms
		}
		s.release(g)
		return nil
	}
	return fmt.Errorf("acknowledge spool record %d of segment %d: not handed out", pos.Index, pos.Segment)
}

func (s *Spool) mark(g *segment, it item) error {
	f, err := s.file(g)
	if err != nil {
		return err
	}
	var w [4]byte
	if _, err := f.ReadAt(w[:], it.off+crcOffset); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(w[:], ackWord(binary.LittleEndian.Uint32(w[:])))
	_, err = f.WriteAt(w[:], it.off+ackOffset)
	return err
}

// Rewind takes back what Next handed out and Ack did not confirm: Next returns it again, first.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if len(g.inflight) == 0 {
			continue
		}
		for _, it := range g.inflight {
			g.items = append(g.items, it)
		}
		clear(g.inflight)
		slices.SortFunc(g.items, func(a, b item) int { return cmp.Compare(a.index, b.index) })
		s.wake()
	}
}
