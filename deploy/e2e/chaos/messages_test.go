package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	kafkaconf "github.com/tapwatch/tapwatch/proto/kit/kafka"
)

// Probes of the messages that the rig itself puts into Kafka.
const (
	twinProbe    = "twin"
	expiredProbe = "expired"
)

// longAgo is before any retention.
const longAgo = 400 * 24 * time.Hour

// produce puts a message into a partition, as often as it takes; it may be there
// twice then.
func (r *rig) produce(partition int, value []byte, at time.Time) error {
	client, err := kafkaconf.Config{Brokers: []string{r.kafka.Addr()}}.Client()
	if err != nil {
		return err
	}
	defer kafkaconf.CloseIdle(client)
	for deadline := time.Now().Add(time.Minute); ; wait(context.Background(), 200*time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: killTopic, Partition: partition, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(value), Time: at})})
		cancel()
		if err == nil {
			err = answer.Error
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("produce: %w", err)
		}
	}
}

// junk is a message that nobody can decode.
func (r *rig) junk() error {
	value := make([]byte, 1+r.random.IntN(5000))
	for i := range value {
		value[i] = byte(r.random.Uint32())
	}
	switch r.random.IntN(4) {
	case 0:
		value = nil
	case 1: // a good batch, cut
		good, err := r.batch(expiredProbe, 1<<40, 20)
		if err != nil {
			return err
		}
		value = good[:len(good)/2]
	case 2: // the magic number of zstd, and then nothing that follows it
		copy(value, []byte{0x28, 0xb5, 0x2f, 0xfd})
	}
	return r.produce(r.random.IntN(partitions), value, time.Now())
}

// batch makes a batch of a probe of the rig's own.
func (r *rig) batch(probe string, seq uint64, flows int) ([]byte, error) {
	e := flow.NewEncoder()
	var rec flow.Record
	for i := range flows {
		makeFlow(r.seed, 1_000_000*len(probe)+int(seq%1_000_000)*1000+i, &rec)
		e.Add(&rec)
	}
	return e.Seal(&flowpb.FlowBatch{Probe: probe, Site: "site", Epoch: 1, Seq: seq, SealedNs: time.Now().UnixNano()})
}

// twins is a batch that comes by two partitions at the same time.
func (r *rig) twins() error {
	value, err := r.batch(twinProbe, uint64(len(r.twinned)+1), 50+r.random.IntN(200))
	if err != nil {
		return err
	}
	r.twinned = append(r.twinned, value)
	at := r.random.Perm(partitions)
	errs := make(chan error, 2)
	for _, p := range at[:2] {
		go func() { errs <- r.produce(p, value, time.Now()) }()
	}
	return errors.Join(<-errs, <-errs)
}

// crosspost is one of these batches again, somewhere.
func (r *rig) crosspost() error {
	if len(r.twinned) == 0 {
		if err := r.twins(); err != nil {
			return err
		}
	}
	return r.produce(r.random.IntN(partitions), r.twinned[r.random.IntN(len(r.twinned))], time.Now())
}

// expired is a message that waited for too long.
func (r *rig) expired() error {
	r.aged++
	value, err := r.batch(expiredProbe, uint64(r.aged), 30)
	if err != nil {
		return err
	}
	return r.produce(r.random.IntN(partitions), value, time.Now().Add(-longAgo))
}

// skewClock makes the generator's clock jump, by up to a year either way.
func (r *rig) skewClock() error {
	jumps := []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour, time.Second, 0}
	r.mu.Lock()
	g := r.generator
	r.mu.Unlock()
	if g.gone() {
		return errMissed
	}
	if _, err := fmt.Fprintf(g.stdin, "%s%d\n", skewWord, jumps[r.random.IntN(len(jumps))]); err != nil {
		return errMissed
	}
	return nil
}
