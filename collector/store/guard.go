package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/kit"
)

const (
	// reserveMost and reserveShare are the reserve where none is given: a share
	// of the disk, but not more than what a day's merges need.
	reserveMost  = 2 << 30
	reserveShare = 20
	// lookAtDisk is how long an answer about free space is good for: what all
	// collectors write in that time is far less than the reserve.
	lookAtDisk = time.Second
)

// errReserve: there is room on the disk, but not for us.
var errReserve = errors.New("the disk of flows is at its reserve")

// guard keeps inserts off a disk that is nearly full. One that really fills up
// damages parts that were good, and no fsync helps; so nothing is inserted once
// the reserve is reached, and what is left is for merges and mutations.
type guard struct {
	reserve int64 // octets; 0: 5 % of the disk, at most 2 GiB; negative: no guard

	silent sync.Once
	mu     sync.Mutex
	looked time.Time
	last   error
}

// disksSQL are the local disks that an insert into flows can go to: those of the
// first volume of its storage policy.
const disksSQL = `
	SELECT name, toInt64(least(free_space, unreserved_space, 4611686018427387904)), toInt64(least(total_space, 4611686018427387904))
	FROM system.disks
	WHERE type = 'Local' AND name IN (
		SELECT arrayJoin(disks) FROM system.storage_policies
		WHERE volume_priority = 1 AND policy_name = (SELECT storage_policy FROM system.tables WHERE database = currentDatabase() AND name = 'flows'))
	ORDER BY free_space DESC LIMIT 1`

// admit waits until the block may be inserted: its partition is still ours, and
// there is room.
func (s *Store) admit(ctx context.Context, b *consume.Block) error {
	wait := s.backoff()
	for {
		if b.Confirm != nil {
			if err := b.Confirm(ctx); err != nil {
				return err
			}
		}
		err := s.room(ctx)
		if err == nil {
			return nil
		}
		s.metrics.full.Inc()
		if err := s.pause(ctx, wait, "write block "+b.Token(), err); err != nil {
			return err
		}
	}
}

// room says whether the disk of flows has more than its reserve left. Where it
// cannot be known, the server has the last word.
func (s *Store) room(ctx context.Context) error {
	g := &s.guard
	if g.reserve < 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := s.now(); now.Sub(g.looked) < lookAtDisk && now.After(g.looked) {
		return g.last
	}
	var name string
	var free, total int64
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.conn.QueryRow(ctx, disksSQL).Scan(&name, &free, &total); err != nil {
		s.guard.silent.Do(func() {
			s.log.Warn("free space of ClickHouse's disk is not known: only the server guards it", "cause", err)
		})
		return nil
	}
	reserve := g.reserve
	if reserve == 0 {
		reserve = min(total/reserveShare, reserveMost)
	}
	s.metrics.diskFree.Set(float64(free))
	s.metrics.diskReserve.Set(float64(reserve))
	g.last, g.looked = nil, s.now()
	if free < reserve {
		g.last = kit.Hint(fmt.Errorf("disk %s of ClickHouse has %d MiB free, the reserve is %d MiB: %w", name, free>>20, reserve>>20, errReserve),
			"free some space or shorten retention; nothing is lost while Kafka keeps the messages")
	}
	return g.last
}
