package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// item is where an unacknowledged record of a segment lies.
type item struct {
	off    int64
	length int32
	index  uint32
	ms     int64 // appended
}

// segment is one file of records. All fields are guarded by Spool.mu.
type segment struct {
	segmentID
	size     int64
	written  uint32 // records written, and index of the next one
	previous uint32 // records of the segment before, of this run
	open     int    // records neither acknowledged nor lost
	oldestMs int64  // when the oldest open record was appended; about
	sealed   bool   // no more appends
	syncing  bool   // a group commit uses f

	loaded   bool            // items is complete
	items    []item          // open records that were not handed out
	inflight map[uint32]item // handed out by Next, not acknowledged

	f *os.File // nil: closed
}

// segmentID is what makes a segment, its file name, and every header in it.
type segmentID struct {
	id, salt  uint64
	encrypted bool
}

// name is that of the file.
func (g segmentID) name() string {
	format := "tws"
	if g.encrypted {
		format = "twe"
	}
	return fmt.Sprintf("seg-%016x-%016x.%s", g.id, g.salt, format)
}

// parseName is the reverse of name.
func parseName(name string) (g segmentID, ok bool) {
	var format string
	if n, err := fmt.Sscanf(name, "seg-%016x-%016x.%s", &g.id, &g.salt, &format); n != 3 || err != nil {
		return g, false
	}
	g.encrypted = format == "twe"
	return g, g.name() == name
}

func (s *Spool) path(g *segment) string { return filepath.Join(s.cfg.Dir, g.name()) }

func random64() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails since Go 1.24
		if v := binary.LittleEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// createSegment makes the next segment the active one: file, then directory on disk.
func (s *Spool) createSegment() error {
	g := &segment{segmentID: segmentID{s.nextID, random64(), s.key != nil}, loaded: true}
	f, err := os.OpenFile(s.path(g), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create spool segment: %w", err)
	}
	if err := s.syncDir(); err != nil {
		f.Close()
		os.Remove(s.path(g))
		return fmt.Errorf("sync spool directory %s: %w", s.cfg.Dir, err)
	}
	g.f = f
	if s.lastID == g.id-1 {
		g.previous = s.lastWritten
	}
	s.nextID++
	s.segments = append(s.segments, g)
	s.active = g
	return nil
}

func (s *Spool) syncDir() error {
	if !s.cfg.Sync {
		return nil
	}
	return s.dir.Sync()
}

// file is the open file of g.
func (s *Spool) file(g *segment) (*os.File, error) {
	if g.f == nil {
		f, err := os.OpenFile(s.path(g), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open spool segment: %w", err)
		}
		g.f = f
	}
	return g.f, nil
}

// release closes the file of g when nobody needs it.
func (s *Spool) release(g *segment) {
	if g.f != nil && g.sealed && !g.syncing && len(g.inflight) == 0 && s.reading != g {
		g.f.Close()
		g.f = nil
	}
}

// unlink removes g from the queue and from the disk.
func (s *Spool) unlink(g *segment) {
	for i, o := range s.segments {
		if o == g {
			s.segments = append(s.segments[:i], s.segments[i+1:]...)
			break
		}
	}
	s.total -= g.size
	delete(s.saved.Accounted, g.id)
	if s.reading == g {
		s.reading = nil
	}
	if g.f != nil && !g.syncing {
		g.f.Close()
		g.f = nil
	}
	if err := os.Remove(s.path(g)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("remove spool segment", "error", err)
	}
}

// readAll reads a file as far as the disk lets it: pages that cannot be read are zero, and so the records on them damaged.
func readAll(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(st.Size(), maxSegmentBytes+MaxRecordBytes))
	n, err := f.ReadAt(b, 0)
	if err == nil || err == io.EOF {
		return b[:n], nil
	}
	const page = 4096
	for off := n / page * page; off < len(b); off += page {
		p := b[off:min(off+page, len(b))]
		if _, err := f.ReadAt(p, int64(off)); err != nil && err != io.EOF {
			clear(p)
		}
	}
	return b, nil
}
