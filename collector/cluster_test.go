package collector_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// cluster starts n servers that know each other as shards.
func cluster(t *testing.T, n int) []*local.ClickHouse {
	t.Helper()
	localtest.TestClickHouse(t) // skips where there is none
	ports := make([]int, n)
	var shards strings.Builder
	for i := range ports {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 14000+os.Getpid()%900+i))
		if err != nil {
			t.Skipf("no free port for a shard: %v", err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
		fmt.Fprintf(&shards, "<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>%d</port></replica></shard>", ports[i])
	}
	servers := make([]*local.ClickHouse, n)
	for i := range servers {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "config.d"), 0o700); err != nil {
			t.Fatal(err)
		}
		// Only one's own port is local to a server.
		text := "<clickhouse><remote_servers><sharded>" + shards.String() + "</sharded></remote_servers></clickhouse>"
		if err := os.WriteFile(filepath.Join(dir, "config.d", "cluster.xml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := local.StartClickHouse(t.Context(), local.ClickHouseConfig{Dir: dir, TCPPort: ports[i], MaxMemory: 1 << 30, KeepFree: -1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		servers[i] = s
	}
	return servers
}

// Two shards (three in full), two collectors, four partitions; one shard is killed while
// batches come. Each flow is in one shard, once, the one of its partition; the
// Distributed tables have all; rollups of all shards together equal raw.
func TestCluster(t *testing.T) {
	n := 2
	if os.Getenv("TAPWATCH_E2E") == "full" {
		n = 3
	}
	servers := cluster(t, n)
	broker := localtest.TestKafka(t)
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	cfg.Topic, cfg.DeadLetterTopic, cfg.Group = "cluster", "cluster.dead", "cluster"
	cfg.Create = collector.Create{Partitions: 4, Replication: 1}
	cfg.ClickHouse.Addr = []string{servers[0].Addr()}
	cfg.Cluster.Name = "sharded"
	for _, s := range servers {
		cfg.Cluster.Shards = append(cfg.Cluster.Shards, s.Addr())
	}
	cfg.Block.MaxWait, cfg.Rollup.Interval = 100*time.Millisecond, 200*time.Millisecond
	cfg.Block.Timeout = 5 * time.Second
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", logLevel()
	if err := collector.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := collector.Migrate(t.Context(), cfg); err != nil {
		t.Fatalf("again: %v", err)
	}
	if _, err := collector.Open(t.Context(), cfg); err == nil {
		t.Error("a command that is for one server takes a cluster")
	}
	if err := cfg.Kafka.EnsureTopic(t.Context(), cfg.Topic, 4, 1, nil); err != nil {
		t.Fatal(err)
	}
	open := func(c clickhouse.Config) driver.Conn {
		conn, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	all := open(cfg.ClickHouse)
	r := &rig{TB: t, cfg: cfg, conn: all}
	defer r.start(cfg)()
	defer r.start(cfg)()

	client, err := cfg.Kafka.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.CloseIdle(client)
	const batches, rows = 30, 50
	start := time.Now().Add(-3 * time.Hour)
	var killed sync.Once
	for seq := uint64(1); seq <= batches; seq++ {
		for partition := range 4 {
			e := flow.NewEncoder()
			for i := range rows {
				f := flow.Record{FlowID: seq*rows + uint64(i), Start: start.Add(time.Duration(i) * time.Second).UnixNano(), Protocol: 6,
					SrcPort: uint16(i), DstPort: 443, SrcPackets: 1, SrcBytes: uint64(100 + i), App: "tls"}
				f.End = f.Start + 1000
				f.SrcIP, f.DstIP = flow.Addr{15: byte(partition)}, flow.Addr{15: byte(i)}
				e.Add(&f)
			}
			message, err := e.Seal(&flowpb.FlowBatch{Probe: fmt.Sprintf("probe%d", partition), Epoch: 7, Seq: seq, EndOfStream: seq == batches, SealedNs: time.Now().UnixNano(),
				ClockNs: start.Add(time.Hour).UnixNano(), WatermarkNs: start.UnixNano()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: cfg.Topic, Partition: partition, RequiredAcks: kafkago.RequireAll,
				Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(message)})}); err != nil {
				t.Fatal(err)
			}
		}
		if seq == batches/3 {
			r.until("SELECT toUInt64(count() > 0) FROM flows", 1, time.Minute)
			killed.Do(func() {
				if err := syscall.Kill(servers[1].PID(), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	back := cfg.ClickHouse
	back.Addr = []string{servers[1].Addr()}
	for began := time.Now(); ; pause(100 * time.Millisecond) {
		err := back.Check(t.Context())
		if err == nil {
			break
		}
		if time.Since(began) > 90*time.Second {
			t.Fatalf("the shard that was killed does not come back: %v; process %d, %d restarts", err, servers[1].PID(), servers[1].Restarts())
		}
	}
	r.until("SELECT count() FROM flows", 4*batches*rows, 2*time.Minute)
	r.until("SELECT sum(segments) FROM flows_1m", 4*batches*rows, 3*time.Minute)
	for sql, want := range map[string]uint64{
		"SELECT uniqExact(probe, epoch, worker, seq, row) FROM flows":                               4 * batches * rows,
		"SELECT count() FROM batches FINAL WHERE status = 'stored'":                                 4 * batches,
		fmt.Sprintf("SELECT countIf(_shard_num - 1 != kafka_partition %% %d) FROM flows", n):        0,
		"SELECT uniqExact(_shard_num) FROM flows":                                                   uint64(n),
		"SELECT toUInt64(sum(src_bytes) - (SELECT sum(src_bytes) FROM flows)) FROM flows_1h":        0,
		"SELECT toUInt64(sum(src_bytes) - (SELECT sum(src_bytes) FROM flows)) FROM flows_1m":        0,
		"SELECT count() FROM first_seen WHERE kind = 'host' AND value = '::3'":                      1,
		"SELECT count() FROM schema_migrations WHERE version = 1":                                   uint64(n),
		"SELECT toUInt64(count() = 0) FROM asset_at(ip = '10.0.0.5', time = '2026-11-01 12:00:00')": 1,
	} {
		if got := r.count(sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	if servers[1].Restarts() == 0 {
		t.Error("no shard was killed")
	}
	// All there is can be read by all, with the same columns.
	for sql, want := range map[string]uint64{
		"SELECT count() FROM system.tables WHERE database = 'tapwatch_shard' AND engine != 'Join' AND name NOT IN (SELECT name FROM system.tables WHERE database = 'tapwatch')": 0,
		`SELECT count() FROM (SELECT table, name, type FROM system.columns WHERE database = 'tapwatch_shard') AS a
			INNER JOIN (SELECT name FROM system.tables WHERE database = 'tapwatch' AND engine = 'Distributed') AS t ON t.name = a.table
			LEFT JOIN (SELECT table, name, type FROM system.columns WHERE database = 'tapwatch') AS b ON a.table = b.table AND a.name = b.name
			WHERE a.type != b.type`: 0,
		"SELECT toUInt64(count() > 40) FROM system.tables WHERE database = 'tapwatch' AND engine = 'Distributed'": 1,
	} {
		if got := r.count(sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	// Every server answers for all.
	for i, s := range servers {
		c := cfg.ClickHouse
		c.Addr = []string{s.Addr()}
		var n uint64
		if err := open(c).QueryRow(context.Background(), "SELECT count() FROM flows").Scan(&n); err != nil || n != 4*batches*rows {
			t.Errorf("server %d: %d rows, %v", i, n, err)
		}
	}
}

func TestClusterConfig(t *testing.T) {
	good := collector.DefaultConfig()
	good.Cluster = collector.Cluster{Name: "c", Shards: []string{"a:9000|b:9000", "c:9000|d:9000"}, Replicated: true}
	if err := collector.Check(good); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, change := range map[string]func(*collector.Cluster){
		"no name":     func(c *collector.Cluster) { c.Name = "" },
		"no shards":   func(c *collector.Cluster) { c.Shards = nil },
		"no port":     func(c *collector.Cluster) { c.Shards[1] = "c|d" },
		"empty":       func(c *collector.Cluster) { c.Shards[1] = "" },
		"replication": func(c *collector.Cluster) { c.Replicated = false },
	} {
		cfg := good
		cfg.Cluster.Shards = append([]string(nil), good.Cluster.Shards...)
		change(&cfg.Cluster)
		if err := collector.Check(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
