package keep

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
)

// work is the Ring's goroutine: it writes blocks and removes what is too old.
func (r *Ring) work() {
	defer close(r.done)
	runtime.LockOSThread() // and never unlock: the thread's priority dies with it
	background()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	r.expire()
	for {
		select {
		case b := <-r.queue:
			r.take(b)
			continue
		case <-tick.C:
			r.expire()
			continue
		case <-r.stop:
		}
		break
	}
	for {
		select {
		case b := <-r.queue:
			r.take(b)
			continue
		default:
		}
		break
	}
	r.failed = r.complete()
	r.unlock()
}

// take writes a block and gives it back to its Writer.
func (r *Ring) take(b *block) {
	if err := r.store(b); err != nil {
		r.failing.report(r, err)
		r.mu.Lock()
		r.stats.DroppedPackets += uint64(b.packets)
		r.stats.DroppedBytes += uint64(b.octets)
		r.mu.Unlock()
	} else {
		r.failing.over(r)
	}
	b.home <- b // has room for all blocks of the Writer
}

// hurry says whether blocks come faster than they are compressed: half of those that
// there may be are waiting. To write one as it is takes a fraction of the time.
func (r *Ring) hurry() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) > 0 && 2*len(r.queue) >= len(r.writers)*r.cfg.Blocks
}

// store packs a block and writes it at the end of the active segment. When the disk
// is full the oldest segments go.
func (r *Ring) store(b *block) error {
	if err := r.begin(); err != nil {
		return err
	}
	h := header{run: r.run, segment: r.active.id, written: r.now().UnixNano()}
	index, body := r.pack.pack(b, h, r.hurry())
	size := int64(len(index) + len(body))
	if err := r.makeRoom(size + int64(len(index)+entryHead+trailerBytes+len(r.active.dir))); err != nil {
		return err
	}
	off := r.active.size
	for try := 0; ; try++ {
		_, err := r.file.WriteAt(index, off)
		if err == nil {
			_, err = r.file.WriteAt(body, off+int64(len(index)))
		}
		if err == nil {
			break
		}
		r.countError()
		if disk.Full(err) && try < 4 && r.removeOldest("space") {
			continue
		}
		// What is there of the block is torn: a scan passes over it.
		if cut := r.file.Truncate(off); cut != nil {
			r.countError()
		}
		r.abandon()
		return err
	}
	written, err := readHeader(index)
	if err != nil {
		return err
	}
	r.mu.Lock()
	s := r.active
	s.dir = appendEntry(s.dir, off, index)
	s.size += size
	r.total += size
	s.count(&written)
	r.stats.KeptPackets += uint64(b.packets)
	r.stats.KeptBytes += uint64(b.octets)
	r.stats.WrittenBlocks++
	r.stats.WrittenBytes += uint64(size)
	full := s.size >= r.segmentBytes || len(s.dir) >= maxDirectory
	r.mu.Unlock()
	if full {
		return r.complete()
	}
	return nil
}

// begin makes sure that there is an active segment.
func (r *Ring) begin() error {
	if r.active != nil {
		return nil
	}
	path := filepath.Join(r.cfg.Dir, segmentName(r.nextID))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	for try := 0; disk.Full(err) && try < 4 && r.removeOldest("space"); try++ {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		r.countError()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = f
	r.active = &segment{id: r.nextID, path: path}
	r.nextID++
	r.segments = append(r.segments, r.active)
	return nil
}

// complete ends the active segment.
func (r *Ring) complete() error {
	if r.active == nil {
		return nil
	}
	f := r.file
	if r.active.blocks == 0 {
		r.abandon()
		return nil
	}
	done := *r.active // Find may be reading the active one
	before := done.size
	err := finish(f, &done, done.dir)
	if err != nil {
		r.countError()
	}
	f.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	done.dir = nil
	r.total += done.size - before
	r.segments[len(r.segments)-1] = &done
	r.active, r.file = nil, nil
	return nil // the packets are there; their directory is made when they are read
}

// abandon gives the active segment up as it is: the next block begins a new one.
func (r *Ring) abandon() {
	r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.active
	if s.blocks == 0 {
		if err := os.Remove(s.path); err != nil && !isGone(err) {
			r.stats.IOErrors++
		}
		r.segments = r.segments[:len(r.segments)-1]
	} else {
		closed := *s
		closed.dir = nil
		r.segments[len(r.segments)-1] = &closed
	}
	r.active, r.file = nil, nil
}

func (r *Ring) countError() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.IOErrors++
}

// failing makes one line of many equal errors.
type failing struct {
	since time.Time // zero: all is well
	last  time.Time
	count int
}

func (f *failing) report(r *Ring, err error) {
	now := r.now()
	if f.since.IsZero() {
		f.since = now
	}
	f.count++
	if now.Sub(f.last) >= time.Minute {
		f.last = now
		r.log.Error("packets are not kept, capture goes on", "dir", r.cfg.Dir, "error", err, "blocks", f.count)
	}
}

func (f *failing) over(r *Ring) {
	if !f.since.IsZero() {
		r.log.Info("packets are kept again", "dir", r.cfg.Dir, "blocks_lost", f.count, "after", r.now().Sub(f.since).Round(time.Second))
		*f = failing{}
	}
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return binary.LittleEndian.Uint64(b[:])
}
