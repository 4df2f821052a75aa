package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// ErrRejected wraps what Kafka says about a message that it will never take.
var ErrRejected = errors.New("message rejected")

// backoff between attempts, doubled up to the maximum, with jitter.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Producer sends records to the partitions of one topic: acks=all, in order within a partition, and each at most once as long as the
// producer lives, through lost acknowledgements and restarts of brokers (idempotent producer, KIP-98). Each partition has its own
// producer id. Safe for concurrent use with different partitions.
type Producer struct {
	client    *kafka.Client
	transport *kafka.Transport // to be closed by us; nil: the caller's
	topic     string
	log       *slog.Logger
	m         *publisherMetrics

	mu        sync.Mutex
	lanes     map[int32]*lane
	refreshed time.Time
}

// lane is the state of one partition; one request at a time.
type lane struct {
	mu    sync.Mutex
	who   identity
	valid bool // who.id is assigned
	buf   []byte
}

// NewProducer makes no connection. Close it.
func NewProducer(cfg PublisherConfig, log *slog.Logger) *Producer {
	return newProducer(cfg.withDefaults(), log, newPublisherMetrics())
}

func newProducer(cfg PublisherConfig, log *slog.Logger, m *publisherMetrics) *Producer {
	p := &Producer{topic: cfg.Topic, log: log, m: m, lanes: map[int32]*lane{}}
	t := cfg.Transport
	if t == nil {
		// The default of 6 s is how long a moved leader would stall us.
		t = &kafka.Transport{ClientID: "tapwatch", MetadataTTL: time.Second, MetadataTopics: []string{cfg.Topic}, DialTimeout: 5 * time.Second}
		p.transport = t
	}
	p.client = &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Timeout: cfg.Timeout, Transport: t}
	return p
}

// Close closes the connections, unless the Transport is the caller's.
func (p *Producer) Close() {
	if p.transport != nil {
		p.transport.CloseIdleConnections()
	}
}

// Partitions asks Kafka for the number of partitions of the topic, until it answers.
func (p *Producer) Partitions(ctx context.Context) (int, error) {
	var n int
	err := p.retry(ctx, "read partitions of topic "+p.topic, func() error {
		r, err := p.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{p.topic}})
		if err != nil {
			return err
		}
		for _, t := range r.Topics {
			if t.Name == p.topic {
				if t.Error != nil {
					return t.Error
				}
				n = len(t.Partitions)
			}
		}
		if n == 0 {
			return kafka.UnknownTopicOrPartition
		}
		return nil
	})
	return n, err
}

// Produce sends records to a partition as one batch and waits until all in-sync replicas have it. It repeats without end what may
// succeed later; it returns ErrRejected for what never will, or the error of ctx, after which it is unknown whether Kafka has it.
func (p *Producer) Produce(ctx context.Context, partition int32, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	p.mu.Lock()
	l := p.lanes[partition]
	if l == nil {
		l = &lane{}
		p.lanes[partition] = l
	}
	p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	ms := start.UnixMilli()
	var rejected error
	encoded := false
	err := p.retry(ctx, fmt.Sprintf("produce to topic %s partition %d", p.topic, partition), func() error {
		if !l.valid {
			if err := p.initialise(ctx, l); err != nil {
				return err
			}
			encoded = false
		}
		if !encoded {
			l.buf = appendRecordSet(l.buf[:0], l.who, ms, records)
			encoded = true
		}
		err := p.send(ctx, partition, l.buf)
		var ke kafka.Error
		if !errors.As(err, &ke) {
			return err
		}
		switch ke {
		case kafka.DuplicateSequenceNumber:
			p.m.deduplicated.Inc()
			return nil
		case kafka.OutOfOrderSequenceNumber, kafka.UnknownProducerId, kafka.InvalidProducerEpoch, kafka.InvalidProducerIDMapping, kafka.ProducerFenced:
			// Kafka has lost our sequence, or part of its log. A new id starts at 0; should the batch have been stored before after
			// all, the identity in the batch tells.
			l.valid = false
			p.m.resets.Inc()
			return err
		case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord, kafka.InvalidTimestamp:
			rejected = fmt.Errorf("%w: topic %s partition %d: %w", ErrRejected, p.topic, partition, ke)
			return nil
		}
		return err
	})
	if cap(l.buf) > 4<<20 {
		l.buf = nil
	}
	if err != nil {
		l.valid = false // the fate of the sequence number is unknown
		return err
	}
	if rejected != nil {
		return rejected
	}
	l.who.seq = nextSequence(l.who.seq, len(records))
	p.m.produce.Observe(time.Since(start).Seconds())
	return nil
}

func (p *Producer) send(ctx context.Context, partition int32, set []byte) error {
	req := &kafka.RawProduceRequest{Topic: p.topic, Partition: int(partition), RequiredAcks: kafka.RequireAll}
	req.RawRecords.Reader = bytes.NewReader(set)
	r, err := p.client.RawProduce(ctx, req)
	if err != nil {
		return err
	}
	return r.Error
}

func (p *Producer) initialise(ctx context.Context, l *lane) error {
	r, err := p.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return err
	}
	if r.Error != nil {
		return r.Error
	}
	l.who = identity{id: int64(r.Producer.ProducerID), epoch: int16(r.Producer.ProducerEpoch)}
	l.valid = true
	return nil
}

// retry repeats try until it returns nil or ctx ends. It logs the first error, each new one, and one a minute.
func (p *Producer) retry(ctx context.Context, what string, try func() error) error {
	wait := minBackoff
	var said string
	var when time.Time
	for {
		err := try()
		if err == nil {
			if said != "" {
				p.log.Info(what + ": works again")
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		label := errorLabel(err)
		p.m.retries.WithLabelValues(label).Inc()
		if label != said || time.Since(when) > time.Minute {
			said, when = label, time.Now()
			p.log.Warn(what+": will be repeated", "error", err, "hint", hint(err))
		}
		p.refresh(err)
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-timer.C:
		}
		wait = min(2*wait, maxBackoff)
	}
}

// refresh makes the next request ask for the leaders anew, at most twice a second. With a Transport of the caller's its MetadataTTL decides.
func (p *Producer) refresh(err error) {
	var ke kafka.Error
	if errors.As(err, &ke) && !ke.Temporary() || p.transport == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.refreshed) < maxBackoff/4 {
		return
	}
	p.refreshed = time.Now()
	p.transport.CloseIdleConnections()
}

// errorLabel is the name of an error in metrics: few, and always the same.
func errorLabel(err error) string {
	var ke kafka.Error
	switch {
	case errors.As(err, &ke):
		return ke.Title()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition), errors.Is(err, protocol.ErrNoLeader):
		return "no such partition"
	}
	return "connection"
}

// hint is what an operator can do about err; empty: wait.
func hint(err error) string {
	var ke kafka.Error
	if errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition) {
		return "create the topic, with as many partitions as it had before"
	}
	if !errors.As(err, &ke) {
		return "is Kafka running, and reachable at the configured addresses?"
	}
	switch ke {
	case kafka.UnknownTopicOrPartition:
		return "create the topic"
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed:
		return "allow this user to write to the topic, and IDEMPOTENT_WRITE"
	case kafka.SASLAuthenticationFailed:
		return "check user and password"
	case kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
		return "bring the replicas of the topic back"
	}
	return ""
}
