package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/local"
)

// stack is the part of the chain behind the probe: both servers and the
// collector.
type stack struct {
	cfg        Config
	kafka      *local.Kafka
	clickhouse *local.ClickHouse
	collector  *running
	log        *slog.Logger
}

// running is a service that was started.
type running struct {
	stop context.CancelFunc
	done chan struct{}
	err  error // after done
}

// start runs a service in the background; it ends by stop alone, whatever
// becomes of ctx.
func start[C any](ctx context.Context, run func(context.Context, C) error, cfg C) *running {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := run(ctx, cfg); !errors.Is(err, context.Canceled) {
			r.err = err
		}
	}()
	return r
}

// end stops the service and waits for it.
func (r *running) end() error {
	if r == nil {
		return nil
	}
	r.stop()
	<-r.done
	return r.err
}

// startServers starts Kafka and ClickHouse with their state below cfg.State,
// and points cfg's services at them.
func startServers(ctx context.Context, cfg Config, log *slog.Logger) (_ *stack, err error) {
	s := &stack{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.kafka, err = local.StartKafka(ctx, local.KafkaConfig{
		Dir: filepath.Join(cfg.State, "kafka"), Port: cfg.Kafka.Port, Sync: true, RetentionBytes: int64(cfg.Kafka.MaxBytes),
		Topics: map[string]int32{cfg.Probe.Topic: int32(cfg.Kafka.Partitions), cfg.Collector.DeadLetterTopic: 1},
	}, log)
	if err != nil {
		return nil, err
	}
	s.clickhouse, err = local.StartClickHouse(ctx, local.ClickHouseConfig{
		Dir: filepath.Join(cfg.State, "clickhouse"), TCPPort: cfg.ClickHouse.Port, HTTPPort: cfg.ClickHouse.HTTPPort, MaxMemory: int64(cfg.ClickHouse.MaxMemory),
	}, log)
	if err != nil {
		return nil, err
	}
	s.cfg.connect(s.kafka.Addr(), s.clickhouse.Addr())
	return s, nil
}

// startCollector starts it as any installation would.
func (s *stack) startCollector(ctx context.Context) {
	s.collector = start(ctx, collector.Run, s.cfg.Collector)
}

// close ends what runs, in the order of the data.
func (s *stack) close() error {
	err := s.collector.end()
	if s.clickhouse != nil {
		err = errors.Join(err, s.clickhouse.Close())
	}
	if s.kafka != nil {
		err = errors.Join(err, s.kafka.Close())
	}
	return err
}

// ready waits until the service at listen says so on /readyz, or it has ended.
func (r *running) ready(ctx context.Context, name, listen string) error {
	if listen == "" {
		return nil
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.done:
			if r.err != nil {
				return fmt.Errorf("%s: %w", name, r.err)
			}
			return fmt.Errorf("%s ended before it was ready", name)
		case <-tick.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
}

// drained waits until every message in Kafka is accounted for in ClickHouse:
// the last offset of each partition stands in batches.
func (s *stack) drained(ctx context.Context, db driver.Conn) error {
	client := &kafkago.Client{Addr: kafkago.TCP(s.kafka.Addr()), Transport: &kafkago.Transport{MetadataTTL: time.Second}}
	defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
	for {
		waiting, err := s.waiting(ctx, client, db)
		if err == nil && waiting == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the collector: %d messages are left: %w", waiting, errors.Join(err, ctx.Err()))
		case <-s.collector.done:
			return fmt.Errorf("the collector ended with %d messages left: %w", waiting, s.collector.err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waiting is the number of messages that are in Kafka but not yet in batches.
func (s *stack) waiting(ctx context.Context, client *kafkago.Client, db driver.Conn) (int64, error) {
	topic := s.cfg.Probe.Topic
	request := make([]kafkago.OffsetRequest, 0, 2*s.cfg.Kafka.Partitions)
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range meta.Topics {
		for _, p := range t.Partitions {
			request = append(request, kafkago.FirstOffsetOf(p.ID), kafkago.LastOffsetOf(p.ID))
		}
	}
	offsets, err := client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{topic: request}})
	if err != nil {
		return 0, err
	}
	stored := make(map[int]int64)
	rows, err := db.Query(ctx, "SELECT kafka_partition, max(kafka_offset) FROM batches WHERE topic = {topic:String} GROUP BY kafka_partition", driver.NamedValue{Name: "topic", Value: topic})
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var partition int32
		var offset int64
		if err := rows.Scan(&partition, &offset); err != nil {
			return 0, err
		}
		stored[int(partition)] = offset + 1
	}
	var waiting int64
	for _, p := range offsets.Topics[topic] {
		waiting += max(0, p.LastOffset-max(p.FirstOffset, stored[p.Partition]))
	}
	return waiting, rows.Err()
}
