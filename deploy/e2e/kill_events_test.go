package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/tapwatch/tapwatch/proto/spool"
)

// harass lets all happen that is planned, in random order at random times, while
// flows flow.
func (r *rig) harass() error {
	var events []string
	for _, v := range victims {
		events = append(events, slices.Repeat([]string{v}, r.kills)...)
	}
	events = append(events, slices.Repeat([]string{"cut"}, r.cuts)...)
	events = append(events, slices.Repeat([]string{"half an insert"}, r.halves)...)
	events = append(events, slices.Repeat([]string{"lost ack"}, r.lostAcks)...)
	events = append(events, slices.Repeat([]string{"poison"}, r.poisons)...)
	r.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	share := 0.9 * float64(r.flows) / float64(len(events)+1)
	last := -1
	for k, event := range events {
		r.mu.Lock()
		r.allowed = max(r.allowed, share*float64(k))
		r.limit, r.rate = share*float64(k+1), share/r.pace.Seconds()
		r.mu.Unlock()
		if r.random.IntN(4) > 0 { // else hit it while it is down
			from := last
			if err := r.until("progress before "+event, 3*time.Minute, func() bool { last = r.stored(); return last > from }); err != nil {
				return fmt.Errorf("%w: %d rows before and %d now, %d restarts of clickhouse", err, from, last, r.house.Restarts())
			}
		}
		wait(context.Background(), time.Duration(r.random.Int64N(int64(r.pace))))
		if err := r.do(event); err != nil {
			return fmt.Errorf("%s: %w", event, err)
		}
	}
	if err := r.topUp(); err != nil || full() || r.naive {
		return err
	}
	// A broker that starts has forgotten the dead members of the group: without
	// this, a short run ends with half a minute of waiting for them.
	return r.do("kafka")
}

func (r *rig) do(event string) error {
	switch event {
	case "cut":
		r.say("the next insert will be applied without a word (%d so far)", r.cutInserts())
		r.toRows.SwallowReplies(insertStart, insertRest, 1)
		return nil
	case "half an insert":
		r.say("the next insert will be cut before its end (%d so far)", r.toRows.RequestsCut())
		r.toRows.CutRequests(insertStart, insertRest, 1)
		return nil
	case "lost ack":
		r.say("the next acknowledgement of Kafka gets lost (%d so far)", r.lostProduces())
		r.toKafka.SwallowReplies(generatorKey, 0, 1)
		return nil
	case "poison":
		return r.poison()
	}
	r.killed[event]++
	r.pauses.note(event)
	r.say("kill -9 %s (%d)", event, r.killed[event])
	switch event {
	case "generator":
		if err := r.strike(r.generator, flowProbe); err != nil {
			return err
		}
		return r.startGenerator()
	case "probe":
		if err := r.strike(r.edge, edgeProbe); err != nil {
			return err
		}
		return r.startEdge()
	case "collector":
		i := r.random.IntN(2)
		r.scrape(i)
		if err := r.strike(r.collectors[i], ""); err != nil {
			return err
		}
		wait(context.Background(), time.Duration(r.random.Int64N(int64(200*time.Millisecond))))
		return r.startCollector(i)
	case "kafka":
		return r.killKafka()
	case "clickhouse":
		restarts := r.house.Restarts()
		if err := r.until("clickhouse process", time.Minute, func() bool { return r.house.PID() != 0 }); err != nil {
			return err
		}
		if err := syscall.Kill(r.house.PID(), syscall.SIGKILL); err != nil {
			return err
		}
		return r.until("restart of clickhouse", time.Minute, func() bool { return r.house.Restarts() > restarts && r.house.PID() != 0 })
	}
	return errors.New("no such event")
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
// server's last word was the end of the stream (5 in the native protocol).
func (r *rig) cutInserts() int {
	n := 0
	for _, reply := range r.toRows.LostReplies() {
		if len(reply) > 0 && reply[len(reply)-1] == 5 {
			n++
		}
	}
	return n
}

// cutsLeft is how many cuts have not come off yet, those apart that served to
// poison a token.
func (r *rig) cutsLeft() int { return r.cuts - (r.cutInserts() - r.used) }

// lostProduces is how many produce requests succeeded whose answer was
// swallowed: after the topic stand a count, the partition and the error, 0.
func (r *rig) lostProduces() int {
	n := 0
	for _, reply := range r.toKafka.LostReplies() {
		if _, rest, ok := bytes.Cut(reply, []byte(killTopic)); ok && len(rest) >= 10 && binary.BigEndian.Uint16(rest[8:]) == 0 {
			n++
		}
	}
	return n
}

// topUp repeats what did not come off, because something else was just dead.
func (r *rig) topUp() error {
	r.mu.Lock()
	r.limit, r.rate = 0.98*float64(r.flows), float64(r.flows)/200
	r.mu.Unlock()
	for _, again := range []struct {
		event string
		left  func() int
	}{{"half an insert", func() int { return r.halves - r.toRows.RequestsCut() }}, {"cut", r.cutsLeft}, {"lost ack", func() int { return r.lostAcks - r.lostProduces() }}} {
		for tries := 0; again.left() > 0; tries++ {
			if tries == 20 {
				return fmt.Errorf("%s: %d have not come off", again.event, again.left())
			}
			before := again.left()
			if err := r.do(again.event); err != nil {
				return err
			}
			// Where this one does not come off either, it is tried again.
			_ = r.until(again.event, 15*time.Second, func() bool { return again.left() < before })
		}
	}
	return nil
}

// poison forces the state in which a server that died at the wrong moment
// leaves an insert: its token is known, its rows are not there.
func (r *rig) poison() error {
	for range 5 {
		before := r.cutInserts()
		r.toRows.SwallowReplies(insertStart, insertRest, 2)
		if err := r.until("an insert to poison", time.Minute, func() bool { return r.cutInserts() > before }); err != nil {
			return err
		}
		r.toRows.SwallowReplies("", 0, 0)
		// Nobody may find the rows before they are gone.
		for i, c := range r.collectors {
			r.scrape(i)
			if err := r.strike(c, ""); err != nil {
				return err
			}
			r.killed["collector"]++
		}
		r.used += r.cutInserts() - before
		rows, err := r.removeUnfinished()
		if err != nil {
			return err
		}
		r.say("poison: both collectors killed, %d rows of unfinished blocks removed", rows)
		// A new broker has forgotten the dead members of the group.
		r.killed["kafka"]++
		if err := r.killKafka(); err != nil {
			return err
		}
		healed := r.metric("poisoned_tokens_total")
		for i := range r.collectors {
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
		if err := r.until("healing of a poisoned token", time.Minute, func() bool { return r.metric("poisoned_tokens_total") > healed }); err != nil {
			return err
		}
		r.poisoned += int(r.metric("poisoned_tokens_total") - healed)
		r.say("poison: healed")
		return nil
	}
	return errors.New("no insert was caught")
}

// unfinished are rows of blocks that nobody has confirmed.
const unfinished = "(probe, epoch, worker, seq) NOT IN (SELECT probe, epoch, worker, seq FROM batches)"

// removeUnfinished deletes the rows of blocks whose collector was killed on the
// way, and returns how many there were.
func (r *rig) removeUnfinished() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running, rows, left uint64
	if err := r.until("end of inserts", time.Minute, func() bool {
		err := r.db.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'").Scan(&running)
		return err == nil && running == 0
	}); err != nil {
		return 0, err
	}
	if err := r.db.QueryRow(ctx, "SELECT count() FROM flows WHERE "+unfinished).Scan(&rows); err != nil {
		return 0, err
	}
	if rows == 0 {
		return 0, nil
	}
	if err := r.db.Exec(ctx, "ALTER TABLE flows DELETE WHERE "+unfinished+" SETTINGS mutations_sync = 2"); err != nil {
		return 0, err
	}
	if err := r.db.QueryRow(ctx, "SELECT count() FROM flows WHERE "+unfinished).Scan(&left); err != nil {
		return 0, err
	}
	if left > 0 {
		return 0, fmt.Errorf("%d of %d rows are still there", left, rows)
	}
	return int(rows), nil
}
