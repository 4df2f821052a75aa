package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// Config of a Spool. DefaultConfig has the values that zero fields of sizes take.
type Config struct {
	Dir          string // created when missing; one process at a time, held by a lock
	MaxBytes     int64  // all segments together, acknowledged records in them included; 0: 1 GiB
	SegmentBytes int64  // one file, which is also what is dropped at once; 0: 16 MiB; at most an eighth of MaxBytes and of the disk
	Sync         bool   // Append waits for the device. Without, a loss of power (not a crash) may lose accepted records

	// Key encrypts what is appended; nil: the key in KeyFile (see seal.ReadFile), and with that empty too nothing is encrypted.
	// Records that were there before are read either way; but encrypted ones that still wait need the key they were written with.
	Key     *seal.Key
	KeyFile string
}

// DefaultConfig is durable and takes at most 1 GiB. Dir has to be set.
func DefaultConfig() Config {
	return Config{MaxBytes: 1 << 30, SegmentBytes: 16 << 20, Sync: true}
}

// minSegmentBytes keeps tiny limits from making a file per record.
const minSegmentBytes = 32 << 10

// ErrClosed is returned after Close.
var ErrClosed = errors.New("spool is closed")

// Spool is the queue. Append, Dropped, Declared and Ack may be called from any goroutine, Next from one at a time.
type Spool struct {
	cfg Config
	log *slog.Logger
	m   *metrics
	key *seal.Key // nil: what is appended is not encrypted

	dir, lock *os.File
	state     *stateFile
	epoch     uint64
	notify    chan struct{} // a record became readable, or Close

	syncMu sync.Mutex // held over a group commit; before mu

	mu          sync.Mutex
	closed      bool
	segments    []*segment // by id
	active      *segment   // the last of segments, or nil: to be created
	reading     *segment   // where Next is, or nil
	nextID      uint64
	lastID      uint64 // the segment sealed last in this run, and how many records it got
	lastWritten uint32
	total       int64 // bytes of all segments
	sums        map[producer]sums
	drops       ledger
	saved       saved
	group       *group // being filled
	syncing     *group // being synced by its leader
	buf, plain  []byte // of encode
}

// Open recovers the queue in cfg.Dir. Damaged data never makes it fail: only the records that were hit are lost, counted and left to
// Dropped. It fails when the directory cannot be used, or is used by another process, and with ErrWrongKey when records wait in
// it that the key of cfg does not open; they stay where they are then. reg may be nil.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Spool, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open spool: no directory is configured")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultConfig().MaxBytes
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = DefaultConfig().SegmentBytes
	}
	cfg.SegmentBytes = min(cfg.SegmentBytes, cfg.MaxBytes/8, maxSegmentBytes)
	key, err := cfg.key()
	if err != nil {
		return nil, err
	}
	s := &Spool{cfg: cfg, log: log, key: key, notify: make(chan struct{}, 1), sums: map[producer]sums{}, nextID: 1}
	if err := s.open(); err != nil {
		s.closeFiles()
		return nil, err
	}
	m, err := newMetrics(s, reg)
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("register spool metrics: %w", err)
	}
	s.m = m
	if err := s.recover(); err != nil {
		s.closeFiles()
		return nil, err
	}
	return s, nil
}

func (s *Spool) open() error {
	d := s.cfg.Dir
	if err := os.MkdirAll(d, 0o700); err != nil {
		return fmt.Errorf("create spool directory: %w", err)
	}
	var err error
	if s.dir, err = os.Open(d); err != nil {
		return fmt.Errorf("open spool directory: %w", err)
	}
	if s.lock, err = os.OpenFile(filepath.Join(d, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("open spool lock: %w", err)
	}
	if err := disk.Lock(s.lock); err != nil {
		return fmt.Errorf("lock spool %s: %w", d, err)
	}
	var damaged bool
	if s.state, s.saved, damaged, err = openState(d, s.cfg.Sync); err != nil {
		return err
	}
	if damaged {
		s.log.Warn("spool state was damaged: drops that were not yet declared are forgotten", "dir", d)
	}
	return nil
}

// Epoch is random for each Open and on disk before Open returns. Records of earlier epochs may still be in the queue; they go first.
func (s *Spool) Epoch() uint64 { return s.epoch }

// Close writes what is pending and gives the directory free. Records not acknowledged stay for the next Open.
func (s *Spool) Close() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.flush()
	s.closed = true
	s.wake()
	err = errors.Join(err, s.save())
	s.closeFiles()
	return err
}

func (s *Spool) closeFiles() {
	for _, g := range s.segments {
		if g.f != nil {
			g.f.Close()
			g.f = nil
		}
	}
	if s.state != nil {
		s.state.f.Close()
	}
	for _, f := range []*os.File{s.dir, s.lock} {
		if f != nil {
			f.Close()
		}
	}
}

func (s *Spool) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// save writes the state; the caller holds mu.
func (s *Spool) save() error {
	s.saved.Dropped = s.drops.ranges
	err := s.state.write(&s.saved)
	if err != nil {
		s.m.ioErrors.WithLabelValues("state").Inc()
		s.log.Error("keep spool drops over a restart", "error", err)
	}
	return err
}

// waiting is the number of records not acknowledged; the caller holds mu.
func (s *Spool) waiting() (n int) {
	for _, g := range s.segments {
		n += g.open
	}
	return n
}

// oldest is when the oldest record not acknowledged was appended, Unix milliseconds; 0: there is none.
func (s *Spool) oldest() int64 {
	for _, g := range s.segments {
		if g.open > 0 {
			return g.oldestMs
		}
	}
	return 0
}

// Stats is a moment's view of the queue.
type Stats struct {
	Records int   // not acknowledged
	Bytes   int64 // of all segments on disk
}

// Stats returns what the queue holds.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Records: s.waiting(), Bytes: s.total}
}

// partitions returns the partition count of topic as it was first seen, and remembers n when it was not: a record must
// keep its partition over restarts.
func (s *Spool) partitions(topic string, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.saved.Partitions[topic]; old > 0 {
		return old
	}
	if s.saved.Partitions == nil {
		s.saved.Partitions = map[string]int{}
	}
	s.saved.Partitions[topic] = n
	s.save() // counted and logged there
	return n
}
