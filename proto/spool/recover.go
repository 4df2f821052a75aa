package spool

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
)

// recover finds the segments, names what is damaged, and writes the new epoch.
func (s *Spool) recover() error {
	s.drops = ledger{ranges: s.saved.Dropped, frozen: len(s.saved.Dropped)}
	found, err := s.list()
	if err != nil {
		return err
	}
	var before neighbour
	kept := map[uint64][]span{}
	cut := map[*segment]int64{}
	for i, g := range found {
		if i == 0 || found[i-1].id+1 != g.id {
			before = neighbour{}
		} else {
			before.known = kept[found[i-1].id]
		}
		kept[g.id] = s.saved.Accounted[g.id]
		data, err := s.read(g)
		if err != nil {
			s.m.ioErrors.WithLabelValues("read").Inc()
			s.log.Error("recover spool segment: its records are left where they are", "error", err)
			before = neighbour{}
			continue
		}
		entries, tail := scan(data, g.segmentID, s.key)
		if err := s.readable(g, entries); err != nil {
			return err
		}
		d := missing(entries, kept[g.id], &before)
		rest := data[len(data)-tail:]
		if i == len(found)-1 && tail >= headerBytes && d.records == 0 && len(bytes.Trim(rest, "\x00")) > 0 {
			// Not the beginning of a record, nor the rest of one, nor space that was never written: a record whose header is gone.
			d.ranges = append(d.ranges, DropRange{Records: 1, Reason: ReasonCorrupt})
			d.records++
		}
		if tail > 0 {
			s.m.torn.Add(float64(tail))
			cut[g] = int64(len(data) - tail)
		}
		s.damaged(&d)
		kept[g.id] = append(kept[g.id], d.spans...)
		if i > 0 && len(d.tailSpan) > 0 {
			kept[found[i-1].id] = append(kept[found[i-1].id], d.tailSpan...)
		}
		g.sealed, g.size = true, int64(len(data))
		for _, e := range entries {
			g.written = e.index + 1
			if e.good && !e.acked {
				if g.open == 0 {
					g.oldestMs = e.appendedMs
				}
				g.open++
			}
		}
		s.total += g.size
		s.segments = append(s.segments, g)
	}
	for id, spans := range kept {
		if len(spans) == 0 {
			delete(kept, id)
		}
	}
	s.epoch = random64()
	s.saved.Epoch, s.saved.Accounted, s.saved.Dead = s.epoch, kept, nil
	if s.saved.Partitions == nil {
		s.saved.Partitions = map[string]int{}
	}
	if err := s.syncDir(); err != nil { // the dead are gone before they are forgotten
		return fmt.Errorf("sync spool directory %s: %w", s.cfg.Dir, err)
	}
	if err := s.save(); err != nil {
		return err
	}
	for g, size := range cut {
		if os.Truncate(s.path(g), size) == nil {
			s.total -= g.size - size
			g.size = size
		}
	}
	for _, g := range slices.Clone(s.segments) {
		if g.open == 0 {
			s.unlink(g)
		}
	}
	if free, known := disk.Free(s.cfg.Dir); known && free > 0 {
		s.cfg.SegmentBytes = min(s.cfg.SegmentBytes, (s.total+free)/8)
	}
	s.cfg.SegmentBytes = max(s.cfg.SegmentBytes, minSegmentBytes)
	if n := s.waiting(); n > 0 {
		s.log.Info("spool recovered", "records", n, "bytes", s.total, "segments", len(s.segments))
		s.wake()
	}
	return nil
}

// list returns the segments of the directory by id: without those that were dropped, and without copies of others.
func (s *Spool) list() ([]*segment, error) {
	names, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list spool directory: %w", err)
	}
	var out []*segment
	have := map[string]bool{}
	for _, n := range names {
		have[n.Name()] = true
	}
	for _, n := range names {
		id, ok := parseName(n.Name())
		if !ok && strings.HasPrefix(n.Name(), "seg-") {
			s.nextID = max(s.nextID, id.id+1) // its number stays its own
			s.log.Warn("spool has a segment this version does not know: it is left alone; the version that wrote it can send it", "segment", n.Name())
		}
		if !ok || !n.Type().IsRegular() {
			continue
		}
		g := &segment{segmentID: id, sealed: true}
		if slices.Contains(s.saved.Dead, g.id) {
			if err := os.Remove(s.path(g)); err != nil {
				return nil, fmt.Errorf("remove dropped spool segment: %w", err)
			}
			continue
		}
		if h, foreign := s.foreign(g); foreign {
			name := h.segmentID().name()
			if have[name] || slices.Contains(s.saved.Dead, h.segment) {
				s.log.Warn("spool segment is a copy of another: removed", "segment", n.Name(), "of", name)
				s.m.duplicates.Inc()
				os.Remove(s.path(g))
				continue
			}
			s.log.Warn("spool segment has the name of another: renamed", "segment", n.Name(), "to", name)
			if err := os.Rename(s.path(g), filepath.Join(s.cfg.Dir, name)); err != nil {
				return nil, fmt.Errorf("rename spool segment: %w", err)
			}
			have[name] = true
			g.segmentID = h.segmentID()
		}
		out = append(out, g)
		s.nextID = max(s.nextID, g.id+1)
	}
	slices.SortFunc(out, func(a, b *segment) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// foreign says whether the file of g has records of another segment only.
func (s *Spool) foreign(g *segment) (h header, ok bool) {
	// A header in place at the start settles it for nearly every file.
	f, err := os.Open(s.path(g))
	if err != nil {
		return h, false
	}
	defer f.Close()
	var first [headerBytes]byte
	f.ReadAt(first[:], 0) // too short or unreadable: no header
	if h, ok = decodeHeader(first[:]); ok && h.segmentID() == g.segmentID {
		return h, false
	}
	data, err := readAll(f)
	if err != nil {
		return h, false
	}
	if own, _ := scan(data, g.segmentID, s.key); len(own) > 0 {
		return h, false
	}
	for pos := 0; ; pos++ {
		i := bytes.Index(data[pos:], []byte(magic))
		if i < 0 {
			return h, false
		}
		pos += i
		if h, ok = decodeHeader(data[pos:]); ok {
			return h, true
		}
	}
}

// read returns the bytes of a segment.
func (s *Spool) read(g *segment) ([]byte, error) {
	f := g.f
	if f == nil {
		var err error
		if f, err = os.Open(s.path(g)); err != nil {
			return nil, fmt.Errorf("read spool segment: %w", err)
		}
		defer f.Close()
	}
	data, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("read spool segment: %w", err)
	}
	return data, nil
}

// damaged counts and remembers what a scan found missing.
func (s *Spool) damaged(d *damage) {
	if d.records == 0 {
		return
	}
	s.m.corrupt.Add(float64(d.records))
	for _, r := range d.ranges {
		s.drop(r)
	}
	s.log.Warn("spool records were damaged on disk: declared as lost", "records", d.records)
}

// drop counts and remembers one range.
func (s *Spool) drop(r DropRange) {
	s.m.dropped(&r)
	s.drops.add(r)
}
