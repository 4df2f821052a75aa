package collector_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// insist produces to a partition as often as it takes, so that a message may be
// there twice.
func insist(t testing.TB, client *kafkago.Client, topic string, partition int, value []byte) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; pause(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: partition, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(value), Time: time.Now()})})
		cancel()
		if err == nil {
			err = answer.Error
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("produce: %v", err)
		}
	}
}

// TestLeaderChanges: the leaders of the partitions move between three brokers all
// the time, also while a group coordinator and the readers are at work.
func TestLeaderChanges(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := newRigOn(t, 3, 3, cluster.ListenAddrs()...)
	cfg := r.cfg
	cfg.Block.MaxWait = 50 * time.Millisecond
	metric := r.serveMetrics(&cfg)
	rnd := rand.New(rand.NewPCG(11, 11))
	values := load(t, 90, 100)
	r.start(cfg)
	moves := 0
	for i, v := range values {
		insist(t, r.client, cfg.Topic, i%3, v)
		if i%3 == 0 {
			p := rnd.Int32N(3)
			if err := cluster.MoveTopicPartition(cfg.Topic, p, (cluster.LeaderFor(cfg.Topic, p)+1)%3); err != nil {
				t.Fatal(err)
			}
			moves++
		}
	}
	r.exactly(values...)
	if moves < 30 {
		t.Errorf("%d moves only", moves)
	}
	if n := metric("tapwatch_collector_consume_holes_total"); n != 0 {
		t.Errorf("%v holes: messages were skipped", n)
	}
}
