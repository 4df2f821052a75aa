package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// ErrFull is returned by Append when neither MaxBytes nor the disk has room even after dropping all that may be dropped. The record is
// already counted and will be declared; the caller goes on.
var ErrFull = errors.New("spool is full")

// group is the records that one fdatasync confirms. Guarded by Spool.mu, except that err may be read after done.
type group struct {
	seg   *segment
	start int64 // offset of the first record
	items []item
	metas []Meta
	done  chan struct{}
	err   error
	over  bool
}

// Append stores rec and returns when it is on disk; several at a time share one sync. It makes room by dropping the oldest records, and
// never waits for Kafka. After an error other than ErrClosed the record is counted and will be declared by Dropped.
func (s *Spool) Append(rec Record) error {
	n := headerBytes + len(rec.Key) + len(rec.Value) + rangeBytes*len(rec.Declares)
	if s.key != nil {
		n += seal.Overhead
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if n-headerBytes > MaxRecordBytes+seal.Overhead || int64(n) > s.cfg.MaxBytes/2 {
		s.drop(rangeOf(rec.Meta, ReasonRejected))
		s.save() // counted and logged there
		s.mu.Unlock()
		return fmt.Errorf("append to spool: record of %d bytes: %w: make smaller batches or raise the spool's MaxBytes", n, ErrTooLarge)
	}
	g, leader, err := s.write(&rec, n)
	if err != nil {
		reason := ReasonIOError
		if errors.Is(err, ErrFull) {
			reason = ReasonSpoolFull
		}
		s.drop(rangeOf(rec.Meta, reason))
		s.save() // counted and logged there
		s.mu.Unlock()
		return fmt.Errorf("append to spool %s: %w", s.cfg.Dir, err)
	}
	s.mu.Unlock()
	if leader {
		s.commit(g)
	}
	<-g.done
	if g.err != nil {
		return fmt.Errorf("append to spool %s: sync: %w", s.cfg.Dir, g.err)
	}
	s.m.appended.Inc()
	s.m.appendedBytes.Add(float64(len(rec.Key) + len(rec.Value)))
	if len(rec.Declares) > 0 {
		s.Declared(rec.Declares)
	}
	return nil
}

// write puts the record at the end of the active segment, not yet synced. The caller holds mu.
func (s *Spool) write(rec *Record, n int) (g *group, leader bool, err error) {
	for {
		if s.total+int64(n) > s.cfg.MaxBytes {
			if s.dropOldest() {
				continue
			}
			return nil, false, fmt.Errorf("%w: limit of %d bytes, all of it being sent", ErrFull, s.cfg.MaxBytes)
		}
		if a := s.active; a != nil && a.size > 0 && (a.size+int64(n) > s.cfg.SegmentBytes || a.written >= maxSegmentRecords) {
			s.seal()
		}
		if s.active == nil {
			err = s.createSegment()
		}
		if err == nil {
			if g, leader, err = s.put(rec); err == nil {
				return g, leader, nil
			}
		}
		if !disk.Full(err) {
			s.m.ioErrors.WithLabelValues("write").Inc()
			s.seal() // go on in another file
			return nil, false, err
		}
		if !s.dropOldest() {
			return nil, false, fmt.Errorf("%w: free the disk or give the spool another directory: %w", ErrFull, err)
		}
		err = nil
	}
}

// put writes the record and joins it to the group being filled.
func (s *Spool) put(rec *Record) (g *group, leader bool, err error) {
	a := s.active
	p := producer{rec.Meta.Epoch, rec.Meta.Worker}
	sum := s.sums[p]
	sum.records++
	sum.rows += uint64(rec.Meta.Rows)
	sum.packets += rec.Meta.Packets
	sum.frameBytes += rec.Meta.FrameBytes
	h := header{
		segment: a.id, salt: a.salt, index: a.written, partition: rec.Partition,
		keyLen: uint32(len(rec.Key)), valueLen: uint32(len(rec.Value)), declLen: uint32(rangeBytes * len(rec.Declares)),
		meta: rec.Meta, sum: sum, previous: a.previous, appendedMs: time.Now().UnixMilli(),
	}
	b := s.encode(&h, rec)
	if _, err := a.f.WriteAt(b, a.size); err != nil {
		if err := a.f.Truncate(a.size); err != nil {
			s.log.Warn("take back half a spool record", "error", err)
		}
		return nil, false, fmt.Errorf("write spool segment: %w", err)
	}
	s.sums[p] = sum
	if s.group == nil {
		s.group, leader = &group{seg: a, start: a.size, done: make(chan struct{})}, true
	}
	g = s.group
	g.items = append(g.items, item{off: a.size, length: int32(len(b)), index: a.written, ms: h.appendedMs})
	g.metas = append(g.metas, rec.Meta)
	a.size += int64(len(b))
	a.written++
	s.total += int64(len(b))
	return g, leader, nil
}

// encode makes the bytes of a record, valid until the next call.
func (s *Spool) encode(h *header, rec *Record) []byte {
	b := append(s.buf[:0], make([]byte, headerBytes)...)
	if s.key == nil {
		b = appendPayload(b, rec)
	} else {
		plain := appendPayload(s.plain[:0], rec)
		h.encrypted, h.keyTag = true, keyTag(s.key)
		h.encode(b)
		b = s.key.Seal(b, plain, placeOf(b))
		s.plain = reusable(plain)
	}
	h.payloadCRC = crc32.Checksum(b[headerBytes:], castagnoli)
	h.encode(b[:headerBytes])
	s.buf = reusable(b)
	return b
}

// reusable is b, unless that would hold on to much memory.
func reusable(b []byte) []byte {
	if cap(b) > 2<<20 {
		return nil
	}
	return b
}

// commit syncs the group and whatever joins it until it is its turn.
func (s *Spool) commit(g *group) {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.over {
		return // a sealed segment was synced on the way
	}
	s.group, s.syncing = nil, g
	g.seg.syncing = true
	f := g.seg.f
	s.mu.Unlock()
	err := s.fdatasync(f)
	s.mu.Lock()
	g.seg.syncing, s.syncing = false, nil
	if !g.over {
		if err != nil {
			s.fail(err, g, s.group)
		} else {
			s.publish(g)
		}
	}
	s.release(g.seg)
	if g.seg.sealed && g.seg.open == 0 && s.holds(g.seg) {
		s.unlink(g.seg)
	}
}

func (s *Spool) holds(g *segment) bool {
	for _, o := range s.segments {
		if o == g {
			return true
		}
	}
	return false
}

// flush syncs what was written; the caller holds mu.
func (s *Spool) flush() error {
	first, second := s.syncing, s.group
	if first != nil && first.over {
		first = nil
	}
	if first == nil && second == nil {
		return nil
	}
	if err := s.fdatasync(s.active.f); err != nil {
		s.fail(err, first, second)
		return err
	}
	s.group = nil
	for _, g := range []*group{first, second} {
		if g != nil {
			s.publish(g)
		}
	}
	return nil
}

// publish makes the records of g readable and lets their Append return.
func (s *Spool) publish(g *group) {
	if g.over {
		return
	}
	if g.seg.open == 0 {
		g.seg.oldestMs = g.items[0].ms
	}
	g.seg.items = append(g.seg.items, g.items...)
	g.seg.open += len(g.items)
	g.over = true
	close(g.done)
	s.wake()
}

// fail drops the groups of the active segment: after a failed sync nobody knows what is on disk, and trying again would lie.
func (s *Spool) fail(err error, groups ...*group) {
	s.m.ioErrors.WithLabelValues("fsync").Inc()
	reason := ReasonIOError
	if disk.Full(err) {
		reason = ReasonSpoolFull
	}
	var seg *segment
	for _, g := range groups {
		if g == nil || g.over {
			continue
		}
		if seg == nil {
			seg = g.seg
			s.total -= seg.size - g.start
			seg.size = g.start
			seg.written = g.items[0].index
		}
		for _, m := range g.metas {
			s.drop(rangeOf(m, reason))
			p := producer{m.Epoch, m.Worker}
			sum := s.sums[p]
			sum.records--
			sum.rows -= uint64(m.Rows)
			sum.packets -= m.Packets
			sum.frameBytes -= m.FrameBytes
			s.sums[p] = sum
		}
		g.err, g.over = err, true
		close(g.done)
	}
	if seg == nil {
		return
	}
	s.group = nil
	if err := seg.f.Truncate(seg.size); err != nil {
		s.log.Warn("take back spool records that could not be synced", "error", err)
	}
	seg.sealed = true
	s.lastID, s.lastWritten = seg.id, seg.written
	if s.active == seg {
		s.active = nil
	}
	s.save() // counted and logged there
	if seg.open == 0 {
		s.unlink(seg)
	}
}

// seal ends the active segment; its records are synced before. The caller holds mu.
func (s *Spool) seal() {
	a := s.active
	if a == nil || s.flush() != nil || s.active == nil {
		return // fail has sealed it
	}
	a.sealed = true
	s.active = nil
	s.lastID, s.lastWritten = a.id, a.written
	if a.open == 0 {
		s.unlink(a)
		return
	}
	if s.reading != a && len(a.inflight) == 0 {
		a.loaded, a.items = false, nil // read again when its turn comes
	}
	s.release(a)
}

// fdatasync is timed, and skipped when the configuration does not ask for it.
func (s *Spool) fdatasync(f *os.File) error {
	if !s.cfg.Sync {
		return nil
	}
	start := time.Now()
	err := disk.Sync(f)
	s.m.fsync.Observe(time.Since(start).Seconds())
	return err
}
