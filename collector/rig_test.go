package collector_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

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
	ch := localtest.TestClickHouse(t)
	broker := localtest.TestKafka(t)
	name := strings.ToLower(strings.NewReplacer("/", "_", "-", "_").Replace(t.Name()))
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	cfg.Topic, cfg.DeadLetterTopic, cfg.Group = name, name+".dead", name
	cfg.Create = collector.Create{Partitions: partitions, Replication: 1}
	cfg.ClickHouse.Addr = []string{ch.Addr()}
	cfg.ClickHouse.Database = fmt.Sprintf("%s_%d", name, time.Now().UnixNano())
	cfg.Block.MaxWait = 200 * time.Millisecond
	cfg.Rollup.Interval = 200 * time.Millisecond
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", logLevel()
	r := &rig{TB: t, cfg: cfg, clickhouse: ch}
	if err := cfg.Kafka.EnsureTopic(t.Context(), cfg.Topic, partitions, 1, nil); err != nil {
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
