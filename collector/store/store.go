// Package store writes blocks of flow records into ClickHouse and makes sure
// that they are there, once.
//
// In comes a consume.Block; out go one insert per day into `flows`, each of them
// one part of one partition and so all or nothing, and after that one row per
// message in `batches`. The Store keeps nothing of a block when Put has returned.
//
// An insert carries a token that is the same for the same block for ever, and
// ClickHouse drops what has a token it knows. That alone is not crash-safe: a
// server that dies between writing the token down and renaming the part has
// "poisoned" it, and the retry succeeds without any row. So after every error,
// time-out, restart or dropped insert the rows are counted by the identity that
// each of them carries; verify.go decides.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Errors of Put that no waiting heals.
var (
	// ErrPartial: some rows of an insert are there and others are not, or there are too many.
	ErrPartial = errors.New("stored in part")
	// ErrAltered: all rows are there, with other content.
	ErrAltered = errors.New("stored with other content")
)

// Config is what New needs; all fields but Enrich, Keep and Reserve are required.
type Config struct {
	Conn    driver.Conn
	Timeout time.Duration // of one insert or query
	Ops     *ops.Ops
	Enrich  Enricher // nil: rows are stored as they come
	// Keep is how long rows are kept after they were received: what is older on
	// arrival is expired, and not written at all. 0: for ever.
	Keep    time.Duration
	Reserve int64 // octets of the disk that inserts leave free; 0: 5 %, at most 2 GiB; negative: none
}

// Enricher adds what is known about flows besides what the probe saw. It is
// asked once for each insert, by several goroutines at once.
type Enricher interface {
	// Columns of `flows` that Values fills, always the same.
	Columns() []string
	// Values are those columns for the records of b, each as long as b, which
	// must not be kept; site is where each was seen. It cannot fail: what is
	// not known, or not in time, is left empty.
	Values(site []string, b *flow.Block) []any
}

// Store may be used by several goroutines at once.
type Store struct {
	conn        driver.Conn
	enrich      Enricher
	timeout     time.Duration
	keep        time.Duration
	ops         *ops.Ops
	log         *slog.Logger
	metrics     *metrics
	insertFlows string
	instance    string // tells the query ids of this process from others'
	blocks      sync.Pool
	guard       guard
	now         func() time.Time
}

// New returns a Store; the schema must be there already.
func New(cfg Config) *Store {
	return &Store{
		conn: cfg.Conn, timeout: cfg.Timeout, keep: cfg.Keep, ops: cfg.Ops, log: cfg.Ops.Log,
		metrics: newMetrics(cfg.Ops.Registry), instance: newInstance(),
		guard:  guard{reserve: cfg.Reserve},
		enrich: cfg.Enrich, insertFlows: insertFlows(cfg.Enrich),
		blocks: sync.Pool{New: func() any { return flow.NewBlock() }}, now: time.Now,
	}
}

// status of a message in `batches`.
type status string

const (
	stored      status = "stored"
	duplicate   status = "duplicate"
	quarantined status = "quarantined"
	expired     status = "expired"
	// settled is never written: the message has its row already.
	settled status = ""
)

// message is a message on its way.
type message struct {
	*consume.Message
	status status
	days   []dayRows // of all its records, in order of the day
}

// dayRows are the records of a message that start on one day.
type dayRows struct {
	day  int64 // days since 1970, UTC
	rows []int
	here bool // known to be stored, by an earlier block: not to be written again
}

// Put writes a block and returns nil when all of it is there. While ClickHouse
// cannot do it, it waits, says so in the readiness, and tries again, until ctx
// ends; then what was begun may or may not be there, and Put must be called with
// the same block again. ErrPartial and ErrAltered are for people; other errors
// are those of b.Confirm.
func (s *Store) Put(ctx context.Context, b *consume.Block) error {
	err := s.put(ctx, b)
	if errors.Is(err, ErrPartial) || errors.Is(err, ErrAltered) {
		// What was a message of ours when we looked may since be a duplicate of
		// another partition's, whose rows it has removed; or the partition has
		// another owner, who forms other blocks. Look again.
		if b.Confirm != nil {
			if err := b.Confirm(ctx); err != nil {
				return err
			}
		}
		again := *b
		again.Repeated = true
		err = s.put(ctx, &again)
	}
	return err
}

// put takes the steps of a block, of which each may be the last one.
func (s *Store) put(ctx context.Context, b *consume.Block) error {
	began := s.now()
	messages := s.sort(b)
	if err := s.mark(ctx, b, messages); err != nil {
		return err
	}
	if err := s.putDays(ctx, b, messages); err != nil {
		return err
	}
	if err := s.tell(ctx, b, messages); err != nil {
		return err
	}
	if err := s.settleTwins(ctx, b, messages); err != nil {
		return err
	}
	s.metrics.done(b, messages, s.now().Sub(began))
	return nil
}

// sort says of each message what it is by itself.
func (s *Store) sort(b *consume.Block) []message {
	now := s.now()
	messages := make([]message, len(b.Messages))
	for i := range messages {
		messages[i] = message{Message: &b.Messages[i], status: stored}
		m := &messages[i]
		switch {
		case m.Batch == nil:
			m.status = quarantined
		case s.keep > 0 && m.Time.Add(s.keep).Before(now):
			m.status = expired
		default:
			m.days = splitDays(m.Batch)
		}
	}
	return messages
}

// mark says of each message what it is in the light of what is stored.
func (s *Store) mark(ctx context.Context, b *consume.Block, messages []message) error {
	err := s.retry(ctx, "look for duplicates", func(ctx context.Context) error { return s.markDuplicates(ctx, b, b.Token(), messages) })
	if err != nil || !b.Suspect {
		return err
	}
	return s.markPresent(ctx, b, messages)
}

// putDays writes the rows, day by day.
func (s *Store) putDays(ctx context.Context, b *consume.Block, messages []message) error {
	token := b.Token()
	for _, day := range days(messages) {
		if err := s.putDay(ctx, b, token, day, messages); err != nil {
			return err
		}
	}
	return nil
}

// tell writes to `batches`.
func (s *Store) tell(ctx context.Context, b *consume.Block, messages []message) error {
	return s.retry(ctx, "write batches", func(ctx context.Context) error { return s.writeBatches(ctx, b, b.Token(), messages) })
}

// Known returns the greatest offset of a partition that has its row in
// `batches`, -1 none. It waits like Put.
func (s *Store) Known(ctx context.Context, topic string, partition int) (int64, error) {
	var known int64
	err := s.retry(ctx, "look for the last batch", func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, "SELECT if(count() = 0, -1, max(kafka_offset)) FROM batches WHERE topic = ? AND kafka_partition = ?",
			topic, partition).Scan(&known)
	})
	return known, err
}

// splitDays sorts the records of a batch by the day of their start.
func splitDays(b *flow.Batch) []dayRows {
	var list []dayRows
	at := -1
	for i := range b.Len() {
		d := b.Start(i) / int64(24*time.Hour)
		if at < 0 || list[at].day != d {
			at = -1
			for j := range list {
				if list[j].day == d {
					at = j
				}
			}
			if at < 0 {
				at = len(list)
				list = append(list, dayRows{day: d, rows: make([]int, 0, b.Len()-i)})
			}
		}
		list[at].rows = append(list[at].rows, i)
	}
	slices.SortFunc(list, func(a, b dayRows) int { return cmp.Compare(a.day, b.day) })
	return list
}

// days that something has to be written for, in order.
func days(messages []message) []int64 {
	seen := map[int64]bool{}
	var list []int64
	for _, m := range messages {
		if m.status != stored {
			continue
		}
		for _, d := range m.days {
			if !seen[d.day] && !d.here {
				seen[d.day] = true
				list = append(list, d.day)
			}
		}
	}
	slices.Sort(list)
	return list
}

// dateOf is the day as toYYYYMMDD has it, the name of the partition.
func dateOf(day int64) int {
	t := time.Unix(day*86400, 0).UTC()
	return t.Year()*10000 + int(t.Month())*100 + t.Day()
}

// identity names a batch for ever.
type identity struct {
	probe  string
	epoch  uint64
	worker uint16
	seq    uint64
}

func (m *message) identity() identity {
	h := m.Batch.Header()
	return identity{h.Probe, h.Epoch, uint16(h.Worker), h.Seq}
}

func (i identity) String() string {
	return fmt.Sprintf("%s/%d/%d/%d", i.probe, i.epoch, i.worker, i.seq)
}
