package keep

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/disk"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// Ring is the packets on disk.
type Ring struct {
	cfg          Config
	log          *slog.Logger
	key          *seal.Key // nil: plain
	run          uint64
	segmentBytes int64
	now          func() time.Time
	free         func(dir string) (int64, bool)

	queue chan *block
	stop  chan struct{} // closed by Close: no more blocks come
	done  chan struct{} // closed when the goroutine has ended
	once  sync.Once

	lock    *os.File
	pack    *packer
	file    *os.File // of the active segment
	failing failing
	damaged atomic.Uint64

	mu       sync.Mutex
	segments []*segment // by id; the last one is active when active is set
	active   *segment
	nextID   uint64
	total    int64 // octets of all segments
	writers  []*Writer
	gone     [4]uint64 // counts of Writers that were closed
	removed  map[string]uint64
	stats    Stats // of what the goroutine does
	failed   error // of closing
}

// maxQueue bounds the blocks under way; Writers together have fewer.
const maxQueue = 256 * 64

// Open opens the ring in cfg.Dir, and makes it where there is none. What a killed
// process left is recovered. reg gets the metrics; nil: none. Errors wrap
// ErrWrongKey or the system's error.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Ring, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open packet ring: no directory is given")
	}
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("open packet ring: %w", err)
	}
	r := &Ring{cfg: cfg, log: log, run: random64(), now: time.Now, free: disk.Free, queue: make(chan *block, maxQueue), stop: make(chan struct{}),
		done: make(chan struct{}), nextID: 1, removed: make(map[string]uint64),
		segmentBytes: min(int64(cfg.SegmentBytes), max(int64(cfg.MaxBytes)/8, minSegmentBytes))}
	if err := r.open(); err != nil {
		r.unlock()
		return nil, fmt.Errorf("open packet ring %s: %w", cfg.Dir, err)
	}
	if reg != nil {
		if err := reg.Register(collector{r}); err != nil {
			r.unlock()
			return nil, fmt.Errorf("open packet ring %s: %w", cfg.Dir, err)
		}
	}
	go r.work()
	return r, nil
}

func (r *Ring) open() (err error) {
	if r.cfg.KeyFile != "" {
		if r.key, err = seal.Open(r.cfg.KeyFile); err != nil {
			return err
		}
	}
	if r.pack, err = newPacker(r.cfg.Compression, r.key); err != nil {
		return err
	}
	if err := privateDir(r.cfg.Dir); err != nil {
		return err
	}
	if r.lock, err = os.OpenFile(filepath.Join(r.cfg.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := disk.Lock(r.lock); err != nil {
		return err
	}
	return r.recover()
}

// privateDir makes dir, or takes it from others.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return kit.Hint(fmt.Errorf("mode %#o lets others at the packets: %w", st.Mode().Perm(), err), "chmod 700 "+dir+" by its owner")
		}
	}
	return nil
}

// recover takes stock of the segments on disk.
func (r *Ring) recover() error {
	list, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		id, ok := parseName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		s, err := r.recoverSegment(id, filepath.Join(r.cfg.Dir, e.Name()))
		if err != nil {
			return err
		}
		r.nextID = max(r.nextID, id+1)
		if s != nil {
			r.segments = append(r.segments, s)
			r.total += s.size
		}
	}
	slices.SortFunc(r.segments, func(a, b *segment) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return r.checkKey()
}

// checkKey compares the key with that of the newest encrypted segment.
func (r *Ring) checkKey() error {
	for i := len(r.segments) - 1; i >= 0; i-- {
		id := r.segments[i].keyID
		if id == [8]byte{} {
			continue
		}
		if r.key == nil {
			return kit.Hint(fmt.Errorf("packets are encrypted and no key is given: %w", ErrWrongKey), "set key_file, or remove the packets")
		}
		mine := r.key.ID()
		if id != [8]byte(mine[:8]) {
			return kit.Hint(fmt.Errorf("packets were encrypted with key %x, key_file has %x: %w", id[:4], mine[:4], ErrWrongKey),
				"give the key that they were written with, or remove the packets")
		}
		return nil
	}
	return nil
}

// recoverSegment returns the segment in a file, or nil when nothing of it is whole;
// such a file is removed.
func (r *Ring) recoverSegment(id uint64, path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &segment{id: id, path: path}
	if _, _, _, err := s.summary(f, st.Size()); err == nil {
		return s, nil
	}
	found, err := scan(f, st.Size(), id)
	if err != nil {
		return nil, err
	}
	r.stats.DamagedBlocks += uint64(found.corrupted)
	r.stats.TornBytes += uint64(found.torn)
	if found.blocks == 0 {
		r.log.Warn("packets: nothing in a segment is whole, it is removed", "file", path, "bytes", found.size)
		return nil, os.Remove(path)
	}
	r.log.Info("packets: a segment was not complete, and is recovered", "file", path, "blocks", found.blocks, "packets", found.packets,
		"torn_bytes", found.torn, "damaged_blocks", found.corrupted)
	*s = found.segment
	s.path, s.size, s.dir = path, found.end, nil
	if err := finish(f, s, found.dir); err != nil {
		// It can be read all the same, only slower.
		r.log.Warn("packets: write the directory of a recovered segment", "file", path, "error", err)
	}
	return s, nil
}

// finish writes directory and trailer behind the blocks of a segment.
func finish(f *os.File, s *segment, dir []byte) error {
	if err := f.Truncate(s.size); err != nil {
		return err
	}
	tail := append(slices.Clip(dir), s.trailer(dir)...)
	if _, err := f.WriteAt(tail, s.size); err != nil {
		_ = f.Truncate(s.size) // the blocks count, a directory can be made again
		return err
	}
	s.size += int64(len(tail))
	return disk.Sync(f)
}

func (r *Ring) unlock() {
	if r.lock != nil {
		r.lock.Close()
	}
}

// Close takes what the Writers handed over, completes the segment and gives the
// directory free. Close the Writers first.
func (r *Ring) Close() error {
	r.once.Do(func() { close(r.stop) })
	<-r.done
	return r.failed
}

// hand takes a block from a Writer. It never waits.
func (r *Ring) hand(b *block) bool {
	select {
	case <-r.stop:
		return false
	default:
	}
	select {
	case r.queue <- b:
		return true
	default:
		return false
	}
}

func (r *Ring) add(w *Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writers = append(r.writers, w)
}

func (r *Ring) remove(w *Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.writers, w); i >= 0 {
		r.writers = slices.Delete(r.writers, i, i+1)
		for i, n := range w.counts() {
			r.gone[i] += n
		}
	}
}

func (w *Writer) counts() [4]uint64 {
	return [4]uint64{w.shared.cutPackets.Load(), w.shared.cutBytes.Load(), w.shared.droppedPackets.Load(), w.shared.droppedBytes.Load()}
}

// Stats returns the counts and the state.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, n := r.stats, r.gone
	for _, w := range r.writers {
		for i, v := range w.counts() {
			n[i] += v
		}
	}
	s.CutPackets, s.CutBytes = n[0], n[1]
	s.DroppedPackets += n[2]
	s.DroppedBytes += n[3]
	s.DamagedBlocks += r.damaged.Load()
	s.Segments, s.Bytes = len(r.segments), r.total
	first, last := int64(0), int64(0)
	for i, g := range r.segments {
		if g.blocks == 0 {
			continue
		}
		if i == 0 || first == 0 || g.first < first {
			first = g.first
		}
		last = max(last, g.last)
	}
	if first != 0 {
		s.First, s.Last = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
	}
	return s
}

// isGone says that a file was removed meanwhile.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
