package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

const day = int64(24 * time.Hour)

// maxWaste bounds the octets of a block's refused messages, of more than one.
const maxWaste = 4 << 20

// gather reads the next block and tells the machine where it ends. A nil block
// without an error says that there has been nothing for a while. The messages to
// quarantine are in the block too, without a batch. A block that may end anywhere
// ends early when ctx does; one that was promised is given up then.
func (p *partition) gather(ctx context.Context, h *hold) (*Block, []refusal, error) {
	m := p.machine
	b := &Block{Topic: p.Topic, Partition: p.id, From: m.From(), Repeated: m.Repeated()}
	if m.Repeated() {
		if err := h.admit(ctx); err != nil {
			return nil, nil, err
		}
	}
	var (
		refused []refusal
		rows    int
		days    = map[int64]bool{}
		next    = m.From() // offset that comes next
		waste   int        // octets of refused messages
		gap     bool
		until   = time.Now().Add(idleAfter)
	)
	for m.To() < 0 && len(b.Messages) < MaxMessages && rows < p.MaxRows || m.To() >= 0 && next < m.To() {
		p.beat.tick()
		k, err := p.fetch(ctx, until, m.Repeated())
		if err != nil {
			if len(b.Messages) > 0 && !m.Repeated() && (errors.Is(err, errNothing) || ctx.Err() != nil) {
				break
			}
			if errors.Is(err, errNothing) {
				if err = p.look(ctx); err == nil && len(b.Messages) > 0 {
					continue // of a promised block, more must come
				}
			}
			return nil, nil, err
		}
		if k.Offset < next {
			return nil, nil, fmt.Errorf("partition %d: offset %d after %d: %w", p.id, k.Offset, next-1, errMoved)
		}
		if m.To() >= 0 && k.Offset >= m.To() {
			p.next, gap, next = &k, true, m.To()
			break
		}
		msg, bytes := p.message(k)
		over := len(b.Messages) > 0 && !m.Repeated() && (rows+msg.rows() > p.MaxRows || msg.addDays(days) > maxDays)
		// Refused messages are as large as their makers like, and are held until
		// the block is promised.
		over = over || msg.Refused != nil && len(b.Messages) > 0 && !m.Repeated() && waste+len(k.Value) > maxWaste
		if !over {
			ok, err := h.take(ctx, bytes)
			if err != nil {
				p.next = &k
				return nil, nil, err
			}
			over = !ok
		}
		if over {
			p.next = &k
			break
		}
		if k.Offset > next {
			gap = true
			p.hole(Hole{next, k.Offset})
		}
		if len(b.Messages) == 0 {
			until = time.Now().Add(p.MaxWait)
			p.metrics.wait(p.id, k.Time)
		}
		msg.addDays(days)
		rows += msg.rows()
		next = k.Offset + 1
		b.Messages = append(b.Messages, msg)
		if msg.Refused != nil {
			refused = append(refused, refusal{k, msg.Refused})
			waste += len(k.Value)
		}
		p.metrics.messages.Inc()
		p.metrics.bytes.Add(float64(len(k.Value)))
		p.metrics.setLag(p.id, k.HighWaterMark-next)
	}
	if m.To() >= 0 && next < m.To() {
		gap = true
	}
	m.Gathered(max(next, m.To()), gap)
	b.To, b.Suspect = m.To(), m.Suspect()
	return b, refused, nil
}

// rows of the message; 0 where it is refused.
func (m *Message) rows() int {
	if m.Batch == nil {
		return 0
	}
	return m.Batch.Len()
}

// addDays adds the days of the message's records, and returns how many there are
// now. Days of a message that is put off may stay in the set: it ends the block.
func (m *Message) addDays(days map[int64]bool) int {
	last := int64(-1)
	for i := range m.rows() {
		if d := m.Batch.Start(i) / day; d != last {
			days[d], last = true, d
		}
	}
	return len(days)
}

// errNothing: no message has come in time.
var errNothing = errors.New("nothing to read")

// fetch returns the next message; errNothing after until, or, for a block that
// must be completed, after a while without any.
func (p *partition) fetch(ctx context.Context, until time.Time, complete bool) (kafka.Message, error) {
	if k := p.next; k != nil {
		p.next = nil
		return *k, ctx.Err()
	}
	if complete {
		until = time.Now().Add(requestTimeout)
	}
	try, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	k, err := p.reader.FetchMessage(try)
	switch {
	case err == nil:
		p.Ops.Ready("kafka", nil)
		return k, nil
	case ctx.Err() != nil:
		return k, ctx.Err()
	case try.Err() != nil:
		return k, errNothing
	}
	return k, fmt.Errorf("read partition %d of %s: %w", p.id, p.Topic, err)
}

// look makes sure, from time to time, that a partition that brings nothing has
// nothing to bring.
func (p *partition) look(ctx context.Context) error {
	if p.machine.To() < 0 && time.Since(p.looked) < lookEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	l, err := p.ends(ctx)
	if err != nil {
		return err
	}
	p.looked = time.Now()
	from := p.machine.From()
	p.metrics.setLag(p.id, l.Next-from)
	if l.Next < from || l.First > from || p.machine.To() > l.Next {
		return fmt.Errorf("partition %d: at offset %d of [%d, %d): %w", p.id, from, l.First, l.Next, errMoved)
	}
	return nil
}

// settle tells Kafka of the last block's end where no promise will do it soon.
func (p *partition) settle(ctx context.Context) error {
	if !p.machine.Unsaid() {
		return nil
	}
	if err := p.commit(ctx, p.machine.Commit()); err != nil {
		return err
	}
	p.machine.Said()
	return nil
}

// commit commits a position, fenced by generation and member: it fails with
// errFenced when the partition has been given to somebody else.
func (p *partition) commit(ctx context.Context, at Position) error {
	wait := backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}
	for {
		p.beat.tick()
		began := time.Now()
		err := p.commitOnce(ctx, at)
		switch {
		case err == nil:
			p.said = began
			p.metrics.commits.Inc()
			return nil
		case errors.Is(err, errFenced):
			p.metrics.fenced.Inc()
			return err
		}
		p.Ops.Ready("kafka", err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// confirm makes sure that the partition is still ours before something is
// written: an owner that was stopped for longer than a session does not know
// that its promise is not worth anything any more. What is written with the
// token of a promise that somebody has kept since does no harm; without this, it
// would after the promise was lost.
func (p *partition) confirm(ctx context.Context) error {
	// The wall clock goes on while a machine sleeps, the other one never jumps.
	now := time.Now()
	if since := now.Sub(p.said); since < confirmEvery && now.Round(0).Sub(p.said.Round(0)).Abs() < confirmEvery {
		return nil
	}
	return p.commit(ctx, p.machine.Commit())
}

func (p *partition) commitOnce(ctx context.Context, at Position) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := p.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: p.Group, GenerationID: int(p.gen.ID), MemberID: p.gen.MemberID,
		Topics: map[string][]kafka.OffsetCommit{p.Topic: {{Partition: p.id, Offset: at.Offset, Metadata: at.Metadata}}},
	})
	if err == nil {
		err = fmt.Errorf("no answer for partition %d", p.id)
		for _, a := range answer.Topics[p.Topic] {
			if a.Partition == p.id {
				err = a.Error
			}
		}
	}
	for _, gone := range []error{kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.FencedInstanceID} {
		if errors.Is(err, gone) {
			return fmt.Errorf("commit offset %d of partition %d: %w: %w", at.Offset, p.id, errFenced, err)
		}
	}
	if err != nil {
		return fmt.Errorf("commit offset %d of partition %d: %w", at.Offset, p.id, err)
	}
	return nil
}

// fetchPosition is where the group stands in this partition.
func (p *partition) fetchPosition(ctx context.Context) (Position, error) {
	answer, err := p.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: p.Group, Topics: map[string][]int{p.Topic: {p.id}}})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return Position{}, fmt.Errorf("fetch offset of group %s: %w", p.Group, err)
	}
	for _, a := range answer.Topics[p.Topic] {
		if a.Partition == p.id {
			if a.Error != nil {
				return Position{}, fmt.Errorf("fetch offset of group %s: %w", p.Group, a.Error)
			}
			return Position{a.CommittedOffset, a.Metadata}, nil
		}
	}
	return Position{}, fmt.Errorf("fetch offset of group %s: no answer for partition %d", p.Group, p.id)
}

// ends asks for the first offset and the next of the partition.
func (p *partition) ends(ctx context.Context) (Log, error) {
	answer, err := p.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		p.Topic: {kafka.FirstOffsetOf(p.id), kafka.LastOffsetOf(p.id)}}})
	if err != nil {
		return Log{}, fmt.Errorf("list offsets of %s: %w", p.Topic, err)
	}
	for _, a := range answer.Topics[p.Topic] {
		if a.Partition == p.id {
			if a.Error != nil {
				return Log{}, fmt.Errorf("list offsets of %s: %w", p.Topic, a.Error)
			}
			return Log{First: a.FirstOffset, Next: a.LastOffset}, nil
		}
	}
	return Log{}, fmt.Errorf("list offsets of %s: no answer for partition %d", p.Topic, p.id)
}
