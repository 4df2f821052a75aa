package collector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
)

// Replayed is what Replay did, in messages of the dead-letter topic.
type Replayed struct {
	Replayed   int // produced to the topic again
	Other      int // of another reason
	Unreadable int // that this version cannot read either
	Repeated   int // that are in the dead-letter topic more than once
}

// Replay produces the messages of the dead-letter topic that have the given
// reason ("all": any) to their topic and partition again, if this version can
// read them. It stops at what was the end of the dead-letter topic when it
// began, and removes nothing there: what it has replayed is a duplicate the next
// time, and counted as such.
func Replay(ctx context.Context, cfg Config, reason string) (Replayed, error) {
	var sum Replayed
	if err := Check(cfg); err != nil {
		return sum, err
	}
	if err := cfg.Kafka.Check(ctx); err != nil {
		return sum, err
	}
	n, err := cfg.Kafka.Partitions(ctx, cfg.DeadLetterTopic)
	if err != nil {
		return sum, err
	}
	client, err := cfg.Kafka.Client()
	if err != nil {
		return sum, err
	}
	defer kafka.CloseIdle(client)
	r := replayer{cfg: cfg, client: client, reason: reason, reader: flow.NewReader(), seen: map[string]bool{}, sum: &sum}
	for p := range n {
		if err := r.partition(ctx, p); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

type replayer struct {
	cfg    Config
	client *kafkago.Client
	reason string
	reader *flow.Reader
	seen   map[string]bool // topic/partition/offset
	sum    *Replayed
}

func (r *replayer) partition(ctx context.Context, id int) error {
	topic := r.cfg.DeadLetterTopic
	ends, err := r.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{
		topic: {kafkago.FirstOffsetOf(id), kafkago.LastOffsetOf(id)}}})
	if err != nil {
		return fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	if len(ends.Topics[topic]) != 1 {
		return fmt.Errorf("list offsets of %s: no answer for partition %d", topic, id)
	}
	at := ends.Topics[topic][0]
	if at.Error != nil {
		return fmt.Errorf("list offsets of %s: %w", topic, at.Error)
	}
	if at.FirstOffset >= at.LastOffset {
		return nil
	}
	dialer, err := r.cfg.Kafka.Dialer()
	if err != nil {
		return err
	}
	reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: r.cfg.Kafka.Brokers, Topic: topic, Partition: id, Dialer: dialer,
		QueueCapacity: 8, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 250 * time.Millisecond, ReadLagInterval: -1})
	defer reader.Close()
	if err := reader.SetOffset(at.FirstOffset); err != nil {
		return err
	}
	for next := at.FirstOffset; next < at.LastOffset; {
		m, err := reader.FetchMessage(ctx)
		if err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		next = m.Offset + 1
		if next > at.LastOffset {
			return nil
		}
		if err := r.message(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *replayer) message(ctx context.Context, m kafkago.Message) error {
	header := map[string]string{}
	for _, h := range m.Headers {
		header[h.Key] = string(h.Value)
	}
	place := header[consume.HeaderTopic] + "/" + header[consume.HeaderPartition] + "/" + header[consume.HeaderOffset]
	partition, err := strconv.ParseUint(header[consume.HeaderPartition], 10, 31)
	switch {
	case r.reason != "all" && header[consume.HeaderReason] != r.reason, header[consume.HeaderTopic] != r.cfg.Topic, err != nil:
		r.sum.Other++
		return nil
	case r.seen[place]:
		r.sum.Repeated++
		return nil
	}
	r.seen[place] = true
	if _, err := r.reader.Read(m.Value); err != nil {
		r.sum.Unreadable++
		return nil
	}
	// To the very partition it was in: only there can a double be told.
	answer, err := r.client.Produce(ctx, &kafkago.ProduceRequest{
		Topic: r.cfg.Topic, Partition: int(partition), RequiredAcks: kafkago.RequireAll,
		Records: kafkago.NewRecordReader(kafkago.Record{Key: kafkago.NewBytes(m.Key), Value: kafkago.NewBytes(m.Value), Time: time.Now()}),
	})
	if err == nil {
		err = errors.Join(answer.Error)
	}
	if err != nil {
		return fmt.Errorf("produce to %s: %w", r.cfg.Topic, err)
	}
	r.sum.Replayed++
	return nil
}
