package collector_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/consume"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		child(text)
	}
	localtest.Main(m)
}

// rig is a topic and a database of a test's own.
type rig struct {
	testing.TB
	cfg        collector.Config
	clickhouse *local.ClickHouse
	client     *kafkago.Client
	conn       driver.Conn
}

func newRig(t testing.TB, partitions int) *rig {
	t.Helper()
	return newRigOn(t, partitions, 1, localtest.TestKafka(t).Addr())
}

// newRigOn is newRig with another Kafka.
func newRigOn(t testing.TB, partitions, replicas int, brokers ...string) *rig {
	t.Helper()
	ch := localtest.TestClickHouse(t)
	name := strings.ToLower(strings.NewReplacer("/", "_", "-", "_").Replace(t.Name()))
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers = brokers
	cfg.Topic, cfg.DeadLetterTopic, cfg.Group = name, name+".dead", name
	cfg.Create = collector.Create{Partitions: partitions, Replication: replicas}
	cfg.ClickHouse.Addr = []string{ch.Addr()}
	cfg.ClickHouse.Database = fmt.Sprintf("%s_%d", name, time.Now().UnixNano())
	cfg.Block.MaxWait = 200 * time.Millisecond
	cfg.Rollup.Interval = 200 * time.Millisecond
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", logLevel()
	r := &rig{TB: t, cfg: cfg, clickhouse: ch}
	if err := cfg.Kafka.EnsureTopic(t.Context(), cfg.Topic, partitions, replicas, nil); err != nil {
		t.Fatal(err)
	}
	if err := collector.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.client, err = cfg.Kafka.Client(); err != nil {
		t.Fatal(err)
	}
	if r.conn, err = cfg.ClickHouse.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.conn.Exec(ctx, "DROP DATABASE "+cfg.ClickHouse.Database+" SYNC"); err != nil {
			t.Logf("drop database: %v", err)
		}
		r.conn.Close()
		kafka.CloseIdle(r.client)
	})
	return r
}

// start runs a collector until stop is called, which waits for its end.
func (r *rig) start(cfg collector.Config) (stop func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- collector.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			r.Errorf("collector ended with %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			r.Errorf("collector took %s to end", took)
		}
	}
	r.Cleanup(stop)
	return stop
}

// query scans the one row of a query, and asks again while ClickHouse is away.
func (r *rig) query(sql string, dest ...any) {
	r.Helper()
	var err error
	for range 50 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err = r.conn.QueryRow(ctx, sql).Scan(dest...)
		cancel()
		if err == nil {
			return
		}
		pause(200 * time.Millisecond)
	}
	r.Fatalf("%s: %v", sql, err)
}

func (r *rig) count(sql string) (n uint64) {
	r.Helper()
	r.query(sql, &n)
	return n
}

// pause waits for a thing outside this process, which nothing announces.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

// until waits for a query to give want.
func (r *rig) until(sql string, want uint64, limit time.Duration) {
	r.Helper()
	deadline := time.Now().Add(limit)
	var got uint64
	for {
		if got = r.count(sql); got == want {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s: (-got +want)\n-%d\n+%d", sql, got, want)
		}
		pause(50 * time.Millisecond)
	}
}

// want compares a query's one number.
func (r *rig) want(sql string, want uint64) {
	r.Helper()
	if got := r.count(sql); got != want {
		r.Errorf("%s: (-got +want)\n-%d\n+%d", sql, got, want)
	}
}

// logLevel of the collectors under test.
func logLevel() string {
	if level := os.Getenv("TAPWATCH_TEST_LOG"); level != "" {
		return level
	}
	return "error"
}

// serveMetrics gives the collector a port, and returns a function that adds up
// all series of a metric; -1 means that it has none.
func (r *rig) serveMetrics(cfg *collector.Config) func(metric string) float64 {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	cfg.Ops.Listen = l.Addr().String()
	l.Close()
	return func(metric string) float64 {
		r.Helper()
		answer, err := http.Get("http://" + cfg.Ops.Listen + "/metrics")
		if err != nil {
			r.Fatal(err)
		}
		defer answer.Body.Close()
		sum, found := 0.0, false
		for s := bufio.NewScanner(answer.Body); s.Scan(); {
			name, value, _ := strings.Cut(s.Text(), " ")
			if name == metric || strings.HasPrefix(name, metric+"{") {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					r.Fatal(err)
				}
				sum, found = sum+v, true
			}
		}
		if !found {
			return -1
		}
		return sum
	}
}

// readiness is the body of /readyz.
func (r *rig) readiness(cfg collector.Config) string {
	r.Helper()
	answer, err := http.Get("http://" + cfg.Ops.Listen + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(body)
}

// exactly compares what is stored with what was produced: each row once, with
// its content, and the rollup with it.
func (r *rig) exactly(sent ...[]byte) {
	r.Helper()
	reader := flow.NewReader()
	var rows, bytes, hash, starts, payload uint64
	var rec flow.Record
	for _, value := range sent {
		b, err := reader.Read(value)
		if err != nil {
			r.Fatal(err)
		}
		for i := range b.Len() {
			b.Record(i, &rec)
			rows++
			bytes += rec.SrcBytes + rec.DstBytes
			payload += rec.SrcPayloadBytes*uint64(rec.SrcPort) + rec.DstPayloadBytes*uint64(rec.DstPort)
			starts += uint64(rec.Start)
			hash += flow.CommunityHash(rec.SrcIP, rec.DstIP, rec.SrcPort, rec.DstPort, rec.Protocol) * rec.FlowID
		}
	}
	r.until("SELECT sum(rows) FROM batches FINAL WHERE status = 'stored'", rows, 60*time.Second)
	r.want("SELECT count() FROM flows", rows)
	r.want("SELECT uniqExact(probe, epoch, worker, seq, row) FROM flows", rows)
	r.want("SELECT sum(src_bytes + dst_bytes) FROM flows", bytes)
	r.want("SELECT sum(src_payload_bytes * src_port + dst_payload_bytes * dst_port) FROM flows", payload)
	r.want("SELECT sum(toUInt64(toUnixTimestamp64Nano(start))) FROM flows", starts)
	r.want("SELECT sum(community_hash * flow_id) FROM flows", hash)
	r.until("SELECT sum(segments) FROM flows_1m", rows, 3*time.Minute)
	r.want("SELECT sum(src_bytes + dst_bytes) FROM flows_1m", bytes)
}

// read returns the first n messages of a topic of one partition.
func (r *rig) read(topic string, n int) (list []kafkago.Message) {
	r.Helper()
	reader := kafkago.NewReader(kafkago.ReaderConfig{Brokers: r.cfg.Kafka.Brokers, Topic: topic, MaxWait: 100 * time.Millisecond, ReadLagInterval: -1})
	defer reader.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range n {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			r.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// letter puts a message into the dead-letter topic as if it had been refused.
func (r *rig) letter(value []byte, reason string, offset int) {
	r.Helper()
	var headers []kafkago.Header
	for k, v := range map[string]string{consume.HeaderReason: reason, consume.HeaderTopic: r.cfg.Topic,
		consume.HeaderPartition: "0", consume.HeaderOffset: strconv.Itoa(offset)} {
		headers = append(headers, kafkago.Header{Key: k, Value: []byte(v)})
	}
	r.produceRecord(r.cfg.DeadLetterTopic, kafkago.Record{Value: kafkago.NewBytes(value), Headers: headers, Time: time.Now()})
}

// produceAt produces to partition 0 with a time of the test's own.
func (r *rig) produceAt(at time.Time, value []byte) {
	r.Helper()
	r.produceRecord(r.cfg.Topic, kafkago.Record{Value: kafkago.NewBytes(value), Time: at})
}

func (r *rig) produceRecord(topic string, record kafkago.Record) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := r.cfg.Kafka.Client() // one that has not heard yet which topics there are
	if err != nil {
		r.Fatal(err)
	}
	defer kafka.CloseIdle(client)
	answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(record)})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		r.Fatalf("produce: %v", err)
	}
}
