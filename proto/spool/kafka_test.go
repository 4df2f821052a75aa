package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	s := mustOpen(t, Config{Dir: t.TempDir()})
	defer s.Close()
	fill(t, s, 200)
	r := start(t, s, PublisherConfig{Brokers: c.ListenAddrs(), BatchBytes: 4000})
	r.finish(t)
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 200)
	if n := metric(t, r.reg, "tapwatch_spool_published_records_total"); n != 600 {
		t.Errorf("published_records_total is %d, want 600", n)
	}
}

func lostAcks(t *testing.T, broker string, n int) *run {
	rnd := rand.New(rand.NewPCG(3, 4))
	addr, lost := proxy(t, broker, func() bool { return rnd.IntN(3) == 0 })
	tr := lossy(addr)
	defer tr.CloseIdleConnections()
	s := mustOpen(t, Config{Dir: t.TempDir()})
	t.Cleanup(func() { s.Close() })
	fill(t, s, n)
	r := start(t, s, PublisherConfig{Brokers: []string{addr}, Transport: tr, BatchBytes: 4000, MaxInFlight: 1})
	r.finish(t)
	if lost.Load() < 10 {
		t.Errorf("only %d acknowledgements were lost", lost.Load())
	}
	if m := metric(t, r.reg, "tapwatch_spool_producer_resets_total"); m != 0 {
		t.Errorf("%d producer ids were given up", m)
	}
	t.Logf("%d acknowledgements lost", lost.Load())
	return r
}

func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	r := lostAcks(t, c.ListenAddrs()[0], 100)
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), r.s.Epoch(), 100)
}

// The same rig with a producer that is not idempotent must double: else TestLostAcknowledgements proves nothing.
func TestLostAcknowledgementsWithoutIdempotence(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	n := 0
	addr, lost := proxy(t, c.ListenAddrs()[0], func() bool { n++; return n%3 == 0 })
	tr := lossy(addr)
	defer tr.CloseIdleConnections()
	p := newProducer(PublisherConfig{Brokers: []string{addr}, Transport: tr, Topic: topic, Timeout: 5 * time.Second}, slog.New(slog.DiscardHandler), newPublisherMetrics())
	for seq := range uint64(15) {
		p.lanes[0] = &lane{valid: true, who: identity{-1, -1, -1}}
		if err := p.Produce(context.Background(), 0, []Record{testRecord(1, 0, seq)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(stored(t, c.ListenAddrs(), topic, 3)[0]); lost.Load() == 0 || got != 15+int(lost.Load()) {
		t.Errorf("%d messages stored of 15, with %d acknowledgements lost", got, lost.Load())
	}
}

func TestErrorsOfTheBroker(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault kfake.Fault
		reset bool
	}{
		{"not leader", kfake.Fault{Err: kerr.NotLeaderForPartition, Count: 3}, false},
		{"not enough replicas after append", kfake.Fault{Err: kerr.NotEnoughReplicasAfterAppend, Count: 5}, false},
		{"timed out after append", kfake.Fault{Err: kerr.RequestTimedOut, Count: 5}, false},
		{"out of order sequence", kfake.Fault{Err: kerr.OutOfOrderSequenceNumber, Count: 2}, true},
		{"unknown producer id", kfake.Fault{Err: kerr.UnknownProducerID, Count: 2}, true},
		{"not authorised", kfake.Fault{Err: kerr.TopicAuthorizationFailed, Count: 2}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t)
			tc.fault.Keys = []kmsg.Key{kmsg.Produce}
			h := c.Fault(tc.fault)
			s := mustOpen(t, Config{Dir: t.TempDir()})
			defer s.Close()
			fill(t, s, 50)
			r := start(t, s, PublisherConfig{Brokers: c.ListenAddrs(), BatchBytes: 4000})
			r.finish(t)
			checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 50)
			if h.Hits() != tc.fault.Count {
				t.Errorf("the broker gave the error %d times, want %d", h.Hits(), tc.fault.Count)
			}
			if n := metric(t, r.reg, "tapwatch_spool_producer_resets_total"); n > 0 != tc.reset {
				t.Errorf("%d new producer ids", n)
			}
			if n := metric(t, r.reg, "tapwatch_spool_retries_total"); n == 0 {
				t.Error("no retry was counted")
			}
		})
	}
}

func TestProducerIDNotReadyYet(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress, Count: 3})
	s := mustOpen(t, Config{Dir: t.TempDir()})
	defer s.Close()
	fill(t, s, 5)
	start(t, s, PublisherConfig{Brokers: c.ListenAddrs()}).finish(t)
	if h.Hits() != 3 {
		t.Errorf("%d hits", h.Hits())
	}
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 5)
}

func TestMovedLeader(t *testing.T) {
	t.Parallel()
	c := cluster(t, kfake.NumBrokers(3))
	s := mustOpen(t, Config{Dir: t.TempDir()})
	defer s.Close()
	r := start(t, s, PublisherConfig{Brokers: c.ListenAddrs(), BatchBytes: 2000})
	for i := range 10 {
		for seq := range uint64(10) {
			for w := range uint32(3) {
				mustAppend(t, s, testRecord(s.Epoch(), w, uint64(10*i)+seq))
			}
		}
		for p := range int32(3) {
			c.MoveTopicPartition(topic, p, int32(rand.IntN(3)))
		}
	}
	r.finish(t)
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 100)
}

func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, topic), kfake.DataDir(dir), kfake.SyncWrites(), kfake.Ports(port)}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Config{Dir: t.TempDir()})
	defer s.Close()
	brokers := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	r := start(t, s, PublisherConfig{Brokers: brokers, BatchBytes: 2000, Timeout: 2 * time.Second})
	const n = 60
	for seq := range uint64(n) {
		for w := range uint32(3) {
			mustAppend(t, s, testRecord(s.Epoch(), w, seq))
		}
		if seq%20 == 10 {
			c.Close()
			if c, err = kfake.NewCluster(opts...); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer func() { c.Close() }()
	r.finish(t)
	checkStored(t, stored(t, brokers, topic, 3), s.Epoch(), n)
}

func TestTooLargeForKafkaIsMovedAside(t *testing.T) {
	t.Parallel()
	c := cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	defer s.Close()
	mustAppend(t, s, testRecord(s.Epoch(), 0, 0))
	mustAppend(t, s, Record{Value: make([]byte, 30000), Meta: Meta{Epoch: s.Epoch(), Worker: 9, Seq: 1, Rows: 4, Packets: 5, FrameBytes: 6}})
	for seq := range uint64(99) {
		mustAppend(t, s, testRecord(s.Epoch(), 0, seq+1))
	}
	for w := range uint32(2) {
		for seq := range uint64(100) {
			mustAppend(t, s, testRecord(s.Epoch(), w+1, seq))
		}
	}
	r := start(t, s, PublisherConfig{Brokers: c.ListenAddrs()}) // requests of up to 900 kB: they have to be split
	r.finish(t)
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 100)
	d := s.Dropped()
	want := DropRange{s.Epoch(), 9, 1, 1, 1, 4, 5, 6, ReasonRejected}
	if len(d) != 1 || d[0] != want {
		t.Errorf("declared %+v, want %+v", d, want)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "rejected", "*.batch"))
	if len(files) != 1 {
		t.Fatalf("rejected/ has %v", files)
	}
	if b, _ := os.ReadFile(files[0]); len(b) != 30000 {
		t.Errorf("rejected file has %d bytes", len(b))
	}
}

func TestEndOfContext(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	s := mustOpen(t, Config{Dir: t.TempDir()})
	defer s.Close()
	fill(t, s, 100)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is there is still sent
	if err := Publish(ctx, s, PublisherConfig{Brokers: c.ListenAddrs(), Topic: topic}, nil, nil); err != nil {
		t.Fatal(err)
	}
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), s.Epoch(), 100)
	fill(t, s, 10)
	// Nobody there: it ends in time, and everything stays.
	begin := time.Now()
	if err := Publish(ctx, s, PublisherConfig{Brokers: []string{"127.0.0.1:1"}, Topic: topic, DrainTimeout: 100 * time.Millisecond}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if n := s.Stats().Records; n != 30 {
		t.Errorf("%d records, want 30", n)
	}
	if err := Publish(ctx, s, PublisherConfig{}, nil, nil); err == nil {
		t.Error("published to nowhere")
	}
}

func TestProduceUnknownFate(t *testing.T) {
	t.Parallel()
	p := NewProducer(PublisherConfig{Brokers: []string{"127.0.0.1:1"}, Topic: topic, Timeout: 50 * time.Millisecond}, slog.New(slog.DiscardHandler))
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := p.Produce(ctx, 0, []Record{testRecord(1, 0, 0)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestRealKafka runs against the broker at TAPWATCH_KAFKA (host:port).
func TestRealKafka(t *testing.T) {
	addr := os.Getenv("TAPWATCH_KAFKA")
	if addr == "" {
		t.Skip("TAPWATCH_KAFKA is not set: not tested against a real Kafka")
	}
	recreate(t, addr, topic, []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "20000"}})
	r := lostAcks(t, addr, 200)
	large := Record{Value: make([]byte, 30000), Meta: Meta{Epoch: r.s.Epoch(), Worker: 9, Seq: 1}}
	mustAppend(t, r.s, large)
	start(t, r.s, PublisherConfig{Brokers: []string{addr}}).finish(t)
	checkStored(t, stored(t, []string{addr}, topic, 3), r.s.Epoch(), 200)
	if d := r.s.Dropped(); len(d) != 1 || d[0].Reason != ReasonRejected {
		t.Errorf("declared %+v", d)
	}
}

// TestRealKafkaRestarts publishes for TAPWATCH_KAFKA_SECONDS while somebody kills and restarts the broker at TAPWATCH_KAFKA.
func TestRealKafkaRestarts(t *testing.T) {
	addr := os.Getenv("TAPWATCH_KAFKA")
	seconds, _ := strconv.Atoi(os.Getenv("TAPWATCH_KAFKA_SECONDS"))
	if addr == "" || seconds == 0 {
		t.Skip("TAPWATCH_KAFKA and TAPWATCH_KAFKA_SECONDS are not set: no restarts of a real Kafka")
	}
	name := topic + ".restarts"
	recreate(t, addr, name, nil)
	s := mustOpen(t, Config{Dir: t.TempDir(), Sync: true})
	defer s.Close()
	r := startTopic(t, s, name, PublisherConfig{Brokers: []string{addr}, BatchBytes: 10_000, Timeout: 5 * time.Second})
	n := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); n++ {
		for w := range uint32(3) {
			mustAppend(t, s, testRecord(s.Epoch(), w, uint64(n)))
		}
	}
	r.finish(t)
	checkStored(t, stored(t, []string{addr}, name, 3), s.Epoch(), n)
	t.Logf("%d records, %d retries, %d new producer ids", 3*n, metric(t, r.reg, "tapwatch_spool_retries_total"), metric(t, r.reg, "tapwatch_spool_producer_resets_total"))
}

func TestPartitionFor(t *testing.T) {
	// Hashes published with Kafka's own tests (UtilsTest.testMurmur2).
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
	for n := range 20 {
		if p := PartitionFor(fmt.Appendf(nil, "probe/%d", n), 3); p < 0 || p > 2 {
			t.Errorf("partition %d of 3", p)
		}
	}
}

func TestSequenceWraps(t *testing.T) {
	for _, tc := range []struct {
		seq  int32
		n    int
		want int32
	}{{0, 1, 1}, {1<<31 - 1, 1, 0}, {1<<31 - 2, 3, 1}} {
		if got := nextSequence(tc.seq, tc.n); got != tc.want {
			t.Errorf("%d after %d is %d, want %d", tc.n, tc.seq, got, tc.want)
		}
	}
}
