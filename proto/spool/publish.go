package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
)

// PublisherConfig says where records go. Zero fields take the default that is given.
type PublisherConfig struct {
	Brokers      []string         // host:port, at least one that answers
	Transport    *kafka.Transport // TLS, SASL; the caller closes it and should set MetadataTTL to 1 s; nil: plain text, our own
	Topic        string           // must exist; its partition count must not change
	Timeout      time.Duration    // of one request; 10 s
	MaxInFlight  int              // requests under way, each to another partition; 5
	BatchBytes   int              // records of a partition sent in one request, unless one alone is larger; 900 kB
	DrainTimeout time.Duration    // how long the end of ctx is answered by sending what is left; 5 s, negative: not at all
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 5
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = 900_000
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 5 * time.Second
	}
	return c
}

type publisherMetrics struct {
	produce                        prometheus.Histogram
	published, publishedBytes      prometheus.Counter
	resets, deduplicated, rejected prometheus.Counter
	retries                        *prometheus.CounterVec
}

func newPublisherMetrics() *publisherMetrics {
	return &publisherMetrics{
		produce:        histogram("produce_seconds", "Time from the first attempt to the acknowledgement of a produce request."),
		published:      counter("published_records_total", "Batches acknowledged by Kafka."),
		publishedBytes: counter("published_bytes_total", "Bytes of key and value of the batches acknowledged by Kafka."),
		resets:         counter("producer_resets_total", "Times a new producer id was taken; a double would be removed by batch identity."),
		deduplicated:   counter("deduplicated_requests_total", "Repeated requests that Kafka answered as a duplicate sequence."),
		rejected:       counter("rejected_records_total", "Batches that Kafka refuses for what they are; see rejected/."),
		retries:        counters("retries_total", "Attempts that were repeated, by error.", "error"),
	}
}

// register puts the metrics into reg, and takes those that an earlier Publish left there.
func (m *publisherMetrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	return errors.Join(share(reg, &m.produce), share(reg, &m.published), share(reg, &m.publishedBytes), share(reg, &m.resets),
		share(reg, &m.deduplicated), share(reg, &m.rejected), share(reg, &m.retries))
}

func share[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	err := reg.Register(*c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if old, ok := there.ExistingCollector.(C); ok {
			*c = old
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register publisher metrics: %w", err)
	}
	return nil
}

// parcel is a record on its way.
type parcel struct {
	rec Record
	pos Position
}

type publisher struct {
	s   *Spool
	cfg PublisherConfig
	log *slog.Logger
	p   *Producer
	m   *publisherMetrics
}

// Publish sends what is in the spool to Kafka until ctx ends, then what is left for at most DrainTimeout; it returns nil then, and what
// could not be sent stays in the spool. It repeats without end while Kafka is away. One Publish per Spool at a time. reg may be nil.
func Publish(ctx context.Context, s *Spool, cfg PublisherConfig, log *slog.Logger, reg prometheus.Registerer) error {
	if len(cfg.Brokers) == 0 || cfg.Topic == "" {
		return errors.New("publish: no Kafka address or no topic is configured")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg = cfg.withDefaults()
	m := newPublisherMetrics()
	if err := m.register(reg); err != nil {
		return err
	}
	pb := &publisher{s: s, cfg: cfg, log: log, m: m, p: newProducer(cfg, log, m)}
	defer pb.p.Close()
	s.Rewind()
	defer s.Rewind()

	// work outlives ctx by the time to drain.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if cfg.DrainTimeout < 0 {
			cancel()
			return
		}
		t := time.NewTimer(cfg.DrainTimeout)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-work.Done():
		}
	})
	defer stop()
	err := pb.run(ctx, work)
	if n := s.Stats().Records; n > 0 && ctx.Err() != nil {
		log.Warn("publisher stops: records stay in the spool for the next start", "records", n)
	}
	if err != nil && work.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (pb *publisher) run(ctx, work context.Context) error {
	n, err := pb.p.Partitions(work)
	if err != nil {
		return err
	}
	n = pb.s.partitions(pb.cfg.Topic, n)
	for {
		window, err := pb.collect(ctx)
		if err != nil {
			return err
		}
		if len(window) == 0 {
			return nil
		}
		if err := pb.deliver(work, window, n); err != nil {
			return err
		}
	}
}

// collect waits for one record and takes what else is there, up to what may be in flight. Nothing: ctx has ended and the queue is empty.
func (pb *publisher) collect(ctx context.Context) ([]parcel, error) {
	limit := min(int64(pb.cfg.MaxInFlight)*int64(pb.cfg.BatchBytes), pb.s.cfg.SegmentBytes)
	var out []parcel
	var size int64
	for size < limit && len(out) < 10_000 {
		rec, pos, ok, err := pb.s.tryNext()
		if err == nil && !ok && len(out) == 0 {
			rec, pos, err = pb.s.Next(ctx)
			if err != nil && ctx.Err() != nil {
				return nil, nil
			}
			ok = err == nil
		}
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		out = append(out, parcel{rec, pos})
		size += int64(len(rec.Key) + len(rec.Value))
	}
	return out, nil
}

// deliver sends a window: partitions beside each other, the records of each in order.
func (pb *publisher) deliver(ctx context.Context, window []parcel, partitions int) error {
	lanes := map[int32][]parcel{}
	for _, w := range window {
		p := w.rec.Partition
		if p < 0 {
			p = PartitionFor(w.rec.Key, partitions)
		}
		lanes[p] = append(lanes[p], w)
	}
	slots := make(chan struct{}, pb.cfg.MaxInFlight)
	errs := make(chan error, len(lanes))
	var wg sync.WaitGroup
	for p, all := range lanes {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs <- pb.deliverLane(ctx, p, all)
		})
	}
	wg.Wait()
	close(errs)
	var first error
	for err := range errs {
		if first == nil {
			first = err
		}
	}
	return first
}

func (pb *publisher) deliverLane(ctx context.Context, partition int32, all []parcel) error {
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) {
			size += len(all[n].rec.Key) + len(all[n].rec.Value) + 32 // framing, at most
			if n > 0 && size > pb.cfg.BatchBytes {
				break
			}
			n++
		}
		if err := pb.send(ctx, partition, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// send produces some records as one request, or, where Kafka rejects that, each alone.
func (pb *publisher) send(ctx context.Context, partition int32, some []parcel) error {
	records := make([]Record, len(some))
	for i := range some {
		records[i] = some[i].rec
	}
	err := pb.p.Produce(ctx, partition, records)
	switch {
	case errors.Is(err, ErrRejected) && len(some) > 1:
		for i := range some {
			if err := pb.send(ctx, partition, some[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case errors.Is(err, ErrRejected):
		pb.m.rejected.Inc()
		pb.s.reject(&some[0].rec, err)
	case err != nil:
		return err
	default:
		for i := range some {
			pb.m.published.Inc()
			pb.m.publishedBytes.Add(float64(len(records[i].Key) + len(records[i].Value)))
		}
	}
	for i := range some {
		if err := pb.s.Ack(some[i].pos); err != nil {
			return err
		}
	}
	return nil
}

// What rejected/ may hold.
const (
	maxRejectedFiles = 100
	maxRejectedBytes = 64 << 20
)

// reject declares a record that Kafka does not take, and keeps its value for whoever looks into it, as far as there is room.
func (s *Spool) reject(rec *Record, cause error) {
	s.mu.Lock()
	s.drop(rangeOf(rec.Meta, ReasonRejected))
	for _, r := range rec.Declares {
		s.drops.giveBack(r)
	}
	s.save() // counted and logged there
	s.mu.Unlock()
	dir := filepath.Join(s.cfg.Dir, "rejected")
	name := fmt.Sprintf("%016x-%d-%d.batch", rec.Meta.Epoch, rec.Meta.Worker, rec.Meta.Seq)
	value := rec.Value
	if s.key != nil {
		name += rejectedEncrypted
		value = s.key.Seal(nil, value, rejectedPlace(name))
	}
	kept, err := keep(dir, filepath.Join(dir, name), value)
	if err != nil {
		s.log.Warn("keep rejected batch", "error", err)
	}
	s.log.Error("Kafka rejects a batch: it is declared as lost", "error", cause, "bytes", len(rec.Value), "rows", rec.Meta.Rows, "kept", kept,
		"hint", "raise max.message.bytes of the topic, or make the batches smaller")
}

func keep(dir, name string, value []byte) (bool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	size := int64(len(value))
	for _, f := range files {
		if i, err := f.Info(); err == nil {
			size += i.Size()
		}
	}
	if len(files) >= maxRejectedFiles || size > maxRejectedBytes {
		return false, nil
	}
	if err := os.WriteFile(name, value, 0o600); err != nil {
		os.Remove(name)
		return false, err
	}
	return true, nil
}
