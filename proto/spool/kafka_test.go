package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const topic = "flows.test"

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stored reads every partition to its end.
func stored(t *testing.T, brokers []string, topic string, partitions int) (out [][]kafka.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for p := range partitions {
		l, err := kafka.DialLeader(ctx, "tcp", brokers[0], topic, p)
		if err != nil {
			t.Fatal(err)
		}
		first, last, err := l.ReadOffsets()
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, Partition: p, MaxWait: 100 * time.Millisecond, MaxBytes: 8 << 20})
		r.SetOffset(first)
		var msgs []kafka.Message
		for first < last {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			first = m.Offset + 1
			msgs = append(msgs, m)
		}
		r.Close()
		out = append(out, msgs)
	}
	return out
}

// checkStored: every record of (epoch, worker 0..2) up to n is there once, unaltered, in order and in its partition.
func checkStored(t *testing.T, got [][]kafka.Message, epoch uint64, n int) {
	t.Helper()
	for p, msgs := range got {
		doubles, altered, disorder := 0, 0, 0
		next := uint64(0)
		seen := map[uint64]bool{}
		for _, m := range msgs {
			seq := binary.BigEndian.Uint64(m.Value)
			want := testRecord(epoch, uint32(p), seq)
			if string(m.Value) != string(want.Value) || string(m.Key) != string(want.Key) {
				altered++
			}
			if seen[seq] {
				doubles++
			} else if seq != next {
				disorder++
			}
			seen[seq] = true
			next = max(next, seq+1)
		}
		if doubles+altered+disorder > 0 || len(seen) != n {
			t.Errorf("partition %d: %d of %d records, %d doubles, %d altered, %d out of order", p, len(seen), n, doubles, altered, disorder)
		}
	}
}

type run struct {
	s    *Spool
	reg  *prometheus.Registry
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, s *Spool, cfg PublisherConfig) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{s: s, reg: prometheus.NewRegistry(), stop: cancel, done: make(chan error, 1)}
	cfg.Topic = topic
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	go func() { r.done <- Publish(ctx, s, cfg, log, r.reg) }()
	return r
}

// finish waits until everything is sent, then ends the publisher.
func (r *run) finish(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(60 * time.Second)
	for r.s.Stats().Records > 0 {
		select {
		case <-tick.C:
		case err := <-r.done:
			t.Fatalf("publisher ended: %v", err)
		case <-late:
			t.Fatalf("%d records are still waiting", r.s.Stats().Records)
		}
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, s *Spool, n int) {
	for seq := range uint64(n) {
		for w := range uint32(3) {
			mustAppend(t, s, testRecord(s.Epoch(), w, seq))
		}
	}
}

func TestPublish(t *testing.T) {
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

// proxy passes bytes to a broker and, when told, cuts the connection where the answer would come back: the request is applied, its
// acknowledgement lost.
func proxy(t *testing.T, to string, lose func() bool) (addr string, lost *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lost = &atomic.Int64{}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			var produces atomic.Int64
			go func() { // requests: size, api key, ...
				defer out.Close()
				b := make([]byte, 8<<20)
				for {
					n, ok := frame(in, b)
					if !ok {
						return
					}
					if binary.BigEndian.Uint16(b[4:]) == 0 {
						produces.Add(1)
					}
					if _, err := out.Write(b[:n]); err != nil {
						return
					}
				}
			}()
			go func() {
				defer in.Close()
				b := make([]byte, 8<<20)
				for {
					n, ok := frame(out, b)
					if !ok {
						return
					}
					if produces.Swap(0) > 0 && lose() {
						lost.Add(1)
						out.Close()
						return
					}
					if _, err := in.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), lost
}

// frame reads one message of the Kafka protocol: its size in 4 bytes, then as many.
func frame(c net.Conn, b []byte) (int, bool) {
	for n, want := 0, 4; ; {
		m, err := c.Read(b[n:want])
		if n += m; err != nil && n < want {
			return 0, false
		}
		if n == 4 && want == 4 {
			want += int(binary.BigEndian.Uint32(b))
			if want > len(b) {
				return 0, false
			}
		}
		if n == want && n > 4 {
			return n, true
		}
	}
}

// lossy is a transport that reaches the only broker through the proxy, whatever address the broker gives.
func lossy(addr string) *kafka.Transport {
	return &kafka.Transport{MetadataTTL: time.Second, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
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
	c := cluster(t)
	r := lostAcks(t, c.ListenAddrs()[0], 200)
	checkStored(t, stored(t, c.ListenAddrs(), topic, 3), r.s.Epoch(), 200)
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

// freePort is below the range from which the system takes ports for clients.
func freePort(t *testing.T) int {
	for range 50 {
		p := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p))); err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

func TestTooLargeForKafkaIsMovedAside(t *testing.T) {
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
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 30 * time.Second}
	config := []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "20000"}}
	client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	for wait := time.Now().Add(30 * time.Second); ; {
		r, err := client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: config}}})
		if err == nil && r.Errors[topic] == nil {
			break
		}
		if time.Now().After(wait) {
			t.Fatal(err, r.Errors)
		}
	}
	r := lostAcks(t, addr, 200)
	fill2 := Record{Value: make([]byte, 30000), Meta: Meta{Epoch: r.s.Epoch(), Worker: 9, Seq: 1}}
	mustAppend(t, r.s, fill2)
	start(t, r.s, PublisherConfig{Brokers: []string{addr}}).finish(t)
	checkStored(t, stored(t, []string{addr}, topic, 3), r.s.Epoch(), 200)
	if d := r.s.Dropped(); len(d) != 1 || d[0].Reason != ReasonRejected {
		t.Errorf("declared %+v", d)
	}
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
