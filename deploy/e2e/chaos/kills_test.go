package chaos

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/tapwatch/tapwatch/proto/spool"
)

func (r *rig) killGenerator() error {
	if err := r.strike(r.generator, flowProbe); err != nil {
		return err
	}
	return r.startGenerator()
}

func (r *rig) killEdge() error {
	if err := r.strike(r.edge, edgeProbe); err != nil {
		return err
	}
	return r.startEdge()
}

func (r *rig) killCollector() error {
	i := r.random.IntN(len(r.collectors))
	if r.collectors[i] == nil {
		return errMissed
	}
	r.scrape(i)
	if err := r.strike(r.collectors[i], ""); err != nil {
		return err
	}
	wait(context.Background(), time.Duration(r.random.Int64N(int64(200*time.Millisecond))))
	return r.startCollector(i)
}

func (r *rig) killClickHouse() error {
	restarts := r.house.Restarts()
	if err := r.until("clickhouse process", time.Minute, func() bool { return r.house.PID() != 0 }); err != nil {
		return err
	}
	if err := syscall.Kill(r.house.PID(), syscall.SIGKILL); err != nil {
		return errMissed
	}
	return r.until("restart of clickhouse", time.Minute, func() bool { return r.house.Restarts() > restarts && r.house.PID() != 0 })
}

func (r *rig) killKafka() error {
	if err := r.kafka.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return r.kafka.Restart(ctx)
}

// strike kills a child, which must be at work, and remembers what its spool holds.
func (r *rig) strike(c *child, probe string) error {
	if c.gone() {
		return fmt.Errorf("%s had ended by itself: %w", c.role, c.err)
	}
	c.kill()
	if probe == "" {
		return nil
	}
	return r.inspect(probe)
}

// inspect notes the batches that wait in a dead probe's spool: they were
// accepted, so they have to arrive, byte for byte.
func (r *rig) inspect(probe string) error {
	cfg := spool.DefaultConfig()
	cfg.Dir, cfg.MaxBytes = r.spoolDir(probe), spoolBytes
	s, err := spool.Open(cfg, nil, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range s.Stats().Records {
		rec, _, err := s.Next(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("read spool of %s: %w", probe, err), s.Close())
		}
		r.spooled[batchID{probe, rec.Meta.Epoch, rec.Meta.Worker, rec.Meta.Seq}] = sha256.Sum256(rec.Value)
	}
	if d := s.Dropped(); len(d) > 0 {
		return errors.Join(fmt.Errorf("the spool of %s has dropped %v", probe, d), s.Close())
	}
	return s.Close()
}

// cutInserts is how many inserts were applied whose reply was swallowed: the
// server's last word was the end of the stream (5 in the native protocol), or,
// rarely, something else that ends with that octet.
func (r *rig) cutInserts() int {
	n := 0
	for _, reply := range r.toRows.LostReplies() {
		if len(reply) > 0 && reply[len(reply)-1] == 5 {
			n++
		}
	}
	return n
}

// poison forces the state in which a server that died at the wrong moment
// leaves an insert: its token is known, its rows are not there.
func (r *rig) poison() error {
	// A part that is removed takes its token along. ClickHouse removes empty ones
	// at a time of its own; where that is before the collectors come back, nothing
	// is poisoned.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.until("empty parts kept", time.Minute, func() bool { return r.db.Exec(ctx, "ALTER TABLE flows MODIFY SETTING remove_empty_parts = 0") == nil }); err != nil {
		return err
	}
	for range 5 {
		before := r.cutInserts()
		r.toRows.SwallowReplies(insertStart, insertRest, 2)
		r.more()
		if err := r.until("an insert to poison", time.Minute, func() bool {
			n, err := r.countUnfinished()
			return err == nil && n > 0 && r.cutInserts() > before
		}); err != nil {
			return err
		}
		r.toRows.SwallowReplies("", 0, 0)
		// Nobody may find the rows before they are gone.
		for i, c := range r.collectors {
			if c == nil {
				continue
			}
			r.scrape(i)
			if err := r.strike(c, ""); err != nil {
				return err
			}
		}
		rows, err := r.removeUnfinished()
		if err != nil {
			return err
		}
		r.say("poison: all collectors killed, %d rows of unfinished blocks removed", rows)
		// A new broker has forgotten the dead members of the group.
		if err := r.killKafka(); err != nil {
			return err
		}
		healed := r.metric("store_poisoned_tokens_total")
		for i, c := range r.collectors {
			if c == nil {
				continue
			}
			if err := r.startCollector(i); err != nil {
				return err
			}
		}
		if rows == 0 {
			continue
		}
		if r.naive {
			return nil
		}
		if err := r.until("healing of a poisoned token", time.Minute, func() bool { return r.metric("store_poisoned_tokens_total") > healed }); err != nil {
			return err
		}
		r.poisoned += int(r.metric("store_poisoned_tokens_total") - healed)
		r.say("poison: healed")
		return nil
	}
	return errors.New("no insert was caught")
}

// unfinished are rows of blocks that nobody has confirmed.
const unfinished = "(probe, epoch, worker, seq) NOT IN (SELECT probe, epoch, worker, seq FROM batches)"

// countUnfinished is how many there are.
func (r *rig) countUnfinished() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var n uint64
	err := r.db.QueryRow(ctx, "SELECT count() FROM flows WHERE "+unfinished).Scan(&n)
	return int(n), err
}

// removeUnfinished deletes the rows of blocks whose collector was killed on the
// way, and returns how many there were.
func (r *rig) removeUnfinished() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running uint64
	if err := r.until("end of inserts", time.Minute, func() bool {
		err := r.db.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'").Scan(&running)
		return err == nil && running == 0
	}); err != nil {
		return 0, err
	}
	rows, err := r.countUnfinished()
	if err != nil || rows == 0 {
		return 0, err
	}
	if err := r.db.Exec(ctx, "ALTER TABLE flows DELETE WHERE "+unfinished+" SETTINGS mutations_sync = 2"); err != nil {
		return 0, err
	}
	left, err := r.countUnfinished()
	if err != nil {
		return 0, err
	}
	if left > 0 {
		return 0, fmt.Errorf("%d of %d rows are still there", left, rows)
	}
	return rows, nil
}
