package spool

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
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
	return startTopic(t, s, topic, cfg)
}

func startTopic(t *testing.T, s *Spool, topic string, cfg PublisherConfig) *run {
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

// recreate makes an empty topic of 3 partitions.
func recreate(t *testing.T, addr, topic string, config []kafka.ConfigEntry) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 30 * time.Second}
	client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	for wait := time.Now().Add(30 * time.Second); ; {
		r, err := client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: config}}})
		if err == nil && r.Errors[topic] == nil {
			return
		}
		if time.Now().After(wait) {
			t.Fatalf("create topic %s: %v", topic, err)
		}
	}
}
