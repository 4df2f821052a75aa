package consume

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

const (
	requestTimeout = 10 * time.Second // of one request to Kafka
	idleAfter      = time.Second      // without a message, before Kafka is told of the last block
	lookEvery      = 30 * time.Second // at the ends of a log that brings nothing
)

var (
	// errFenced: the partition is somebody else's.
	errFenced = errors.New("fenced")
	// errMoved: the log is not what it was; begin again from what Kafka says.
	errMoved = errors.New("the log of the partition has changed")
)

// haltError stops a partition until somebody has looked at it.
type haltError struct{ err error }

func (e *haltError) Error() string { return e.err.Error() }
func (e *haltError) Unwrap() error { return e.err }

// beat is when a partition last did something, in ns.
type beat struct{ at atomic.Int64 }

func (b *beat) tick()                           { b.at.Store(time.Now().UnixNano()) }
func (b *beat) age(now time.Time) time.Duration { return time.Duration(now.UnixNano() - b.at.Load()) }

// partition is one partition in one generation of the group; it belongs to one
// goroutine.
type partition struct {
	*group
	id     int
	gen    *kafka.Generation
	beat   *beat
	decode *flow.Reader

	machine *Machine
	reader  *kafka.Reader
	next    *kafka.Message // read, but of the next block
	looked  time.Time
	said    time.Time // when the commit was begun that Kafka last accepted
}

func newPartition(g *group, gen *kafka.Generation, id int) *partition {
	p := &partition{group: g, id: id, gen: gen, beat: new(beat), decode: flow.NewReader()}
	p.beat.tick()
	return p
}

// rest waits for the end of a stopped partition's ownership.
func (p *partition) rest(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		p.beat.tick()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// own carries out the protocol from where the group stands until ctx ends or an
// error. When ctx ends, the block at hand still has `grace` to be finished.
func (p *partition) own(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()

	if err := p.resume(ctx); err != nil {
		return err
	}
	p.reader = kafka.NewReader(kafka.ReaderConfig{
		Brokers: p.Kafka.Brokers, Topic: p.Topic, Partition: p.id, Dialer: p.dialer,
		QueueCapacity: 2, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 250 * time.Millisecond,
		ReadBackoffMin: 50 * time.Millisecond, ReadBackoffMax: time.Second, ReadLagInterval: -1,
	})
	p.next = nil
	defer p.reader.Close()
	if err := p.reader.SetOffset(p.machine.From()); err != nil {
		return fmt.Errorf("read partition %d from offset %d: %w", p.id, p.machine.From(), err)
	}
	for {
		if err := p.block(ctx, hard); err != nil {
			return err
		}
	}
}

// resume asks Kafka where the group stands.
func (p *partition) resume(ctx context.Context) error {
	done := p.ticking(ctx)
	known, err := p.Known(ctx, p.Topic, p.id)
	done()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 6*requestTimeout)
	defer cancel()
	position, err := p.fetchPosition(ctx)
	if err != nil {
		return err
	}
	var l Log
	// A new leader may not yet know how far readers were told they may read.
	wait := backoff.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second}
	for range 6 {
		if l, err = p.ends(ctx); err != nil {
			return err
		}
		if position.Offset <= l.Next {
			break
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
		p.beat.tick()
	}
	l.Known = known
	machine, hole := Resume(position, l)
	if hole != (Hole{}) {
		p.hole(hole)
	}
	p.machine = machine
	p.log.Debug("partition resumed", "partition", p.id, "from", machine.From(), "to", machine.To(), "suspect", machine.Suspect())
	return nil
}

func (p *partition) hole(h Hole) {
	p.metrics.holes.Inc()
	if h.To > h.From {
		p.metrics.missing.Add(float64(h.To - h.From))
		p.log.Error("messages are gone from Kafka before they were taken: is retention too short?",
			"topic", p.Topic, "partition", p.id, "from", h.From, "to", h.To, "messages", h.To-h.From)
		return
	}
	p.log.Error("Kafka has fewer messages than it had: was the topic made anew? reading it from its beginning",
		"topic", p.Topic, "partition", p.id, "read", h.From, "end", h.To)
}

// block takes one block through its steps. ctx ends the gathering, hard the rest.
func (p *partition) block(ctx, hard context.Context) error {
	m := p.machine
	h := &hold{budget: p.budget}
	defer h.release()
	defer p.metrics.wait(p.id, time.Time{})
	b, refused, err := p.gather(ctx, h)
	if err != nil || b == nil {
		if err == nil || ctx.Err() != nil {
			err = errors.Join(err, p.settle(hard))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if m.Suspect() {
		p.metrics.suspects.Inc()
	}
	if err := p.commit(hard, m.Commit()); err != nil {
		return err
	}
	m.Promised()
	for _, r := range refused {
		if err := p.quarantine(hard, r); err != nil {
			return err
		}
	}
	b.Confirm = p.confirm
	done := p.ticking(hard)
	err = p.Store(hard, b)
	done()
	switch {
	case err == nil:
	case hard.Err() != nil:
		return hard.Err()
	case errors.Is(err, errFenced):
		return err
	default:
		return &haltError{err}
	}
	m.Stored()
	p.metrics.blocks.Inc()
	if b.Repeated {
		p.metrics.repeats.Inc()
	}
	p.observe(b)
	return nil
}

// ticking tells the watchdog that Store is at work, until it is called or ctx
// ends: Store has deadlines of its own for all it does.
func (p *partition) ticking(ctx context.Context) (done func()) {
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			p.beat.tick()
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(stop) }
}

func (p *partition) observe(b *Block) {
	now := time.Now()
	for _, m := range b.Messages {
		p.stages(m, now)
	}
}

func (p *partition) stages(m Message, now time.Time) {
	p.Stages.Observe(ops.KafkaToRow, now.Sub(m.Time))
	if m.Batch != nil && m.Batch.Header().SealedNs > 0 {
		p.Stages.Observe(ops.FlowEndToKafka, m.Time.Sub(time.Unix(0, m.Batch.Header().SealedNs)))
	}
}

// refusal is a message for the dead-letter topic.
type refusal struct {
	kafka.Message
	why error
}

func (p *partition) quarantine(ctx context.Context, r refusal) error {
	wait := backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		p.beat.tick()
		try, cancel := context.WithTimeout(ctx, requestTimeout)
		err := deadLetter(try, p.dead, r.Message, r.why)
		cancel()
		if err == nil {
			p.metrics.quarantined.WithLabelValues(Reason(r.why)).Inc()
			p.log.Warn("message cannot be decoded: moved to the dead-letter topic", "topic", p.Topic, "partition", p.id,
				"offset", r.Offset, "reason", Reason(r.why), "cause", r.why)
			p.Ops.Ready("kafka", nil)
			return nil
		}
		p.Ops.Ready("kafka", err)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// lastTime is what ClickHouse's DateTime can hold: 2106-02-07.
const lastTime = int64(1<<32-1) * int64(time.Second)

// hugeMessage is larger than any that a probe makes.
const hugeMessage = 2 * flow.MaxMessageBytes

// message decodes what was read, and reports what it costs.
func (p *partition) message(k kafka.Message) (Message, int64) {
	m := Message{Offset: k.Offset, Time: k.Time, Sum: xxhash.Sum64(k.Value)}
	m.Batch, m.Refused = p.decode.Read(k.Value)
	if m.Refused == nil && p.Verify != nil {
		m.Refused = p.Verify(m.Batch.Header().Probe, k.Value)
	}
	if m.Refused == nil {
		m.Refused = storable(m.Batch)
	}
	if m.Refused != nil {
		m.Batch = nil
		m.Time = sane(m.Time, 0)
		if len(k.Value) >= hugeMessage || errors.Is(m.Refused, flow.ErrOversized) {
			runtime.GC() // such are rare, or an attack: what it took is not added to the next one's
		}
		return m, cost(nil) + int64(len(k.Value))
	}
	m.Time = sane(m.Time, m.Batch.Header().SealedNs)
	return m, cost(m.Batch)
}

// storable refuses a batch with times that the tables cannot hold.
func storable(b *flow.Batch) error {
	h := b.Header()
	last := max(h.ClockNs, h.WatermarkNs, h.SealedNs)
	for i := range b.Len() {
		last = max(last, b.Start(i))
	}
	for _, l := range h.Ledger {
		last = max(last, l.Second*int64(time.Second))
	}
	if last > lastTime {
		return fmt.Errorf("%w: %s is after 2106", flow.ErrTime, time.Unix(0, last).UTC().Format(time.RFC3339))
	}
	return nil
}

// sane is Kafka's time of a message, or, where the producer has given none that
// makes sense, the time when the batch was sealed.
func sane(t time.Time, sealed int64) time.Time {
	if s := t.Unix(); s > 0 && s < lastTime/int64(time.Second) {
		return t.UTC()
	}
	return time.Unix(0, sealed).UTC()
}
