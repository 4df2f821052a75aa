// Package cluster holds what is needed for Tapwatch on many machines. It has no
// code of its own: its test runs the services on a cluster of embedded servers.
package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// servers are two that know each other as shards, with the analyzer's user and
// the settings that users.sql gives it.
func servers(t *testing.T) (addrs []string) {
	t.Helper()
	if _, _, err := local.FindClickHouse(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	var ports []int
	var shards strings.Builder
	for port := 13000 + os.Getpid()%900; len(ports) < 2; port++ {
		if l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			ports = append(ports, port)
			fmt.Fprintf(&shards, "<shard><replica><host>127.0.0.1</host><port>%d</port></replica></shard>", port)
		}
	}
	for _, port := range ports {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "config.d"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := "<clickhouse><remote_servers><tapwatch>" + shards.String() + "</tapwatch></remote_servers></clickhouse>"
		if err := os.WriteFile(filepath.Join(dir, "config.d", "cluster.xml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := local.StartClickHouse(t.Context(), local.ClickHouseConfig{Dir: dir, TCPPort: port, MaxMemory: 1 << 30, KeepFree: -1, Users: []local.ClickHouseUser{{
			Name: "analyzer", Grants: []string{"GRANT SELECT, dictGet ON tapwatch.*", "GRANT SELECT, dictGet ON tapwatch_shard.*",
				"GRANT INSERT ON tapwatch.alerts", "GRANT INSERT ON tapwatch.job_runs", "GRANT INSERT ON tapwatch.deliveries",
				"GRANT INSERT ON tapwatch.alert_findings", "GRANT INSERT ON tapwatch.incident_events", "GRANT INSERT ON tapwatch.exclusions", "GRANT INSERT ON tapwatch.leases",
				"GRANT INSERT ON tapwatch.audit_log", "GRANT INSERT ON tapwatch.response_steps", "GRANT INSERT ON tapwatch.reports_written", "GRANT INSERT ON tapwatch.retro_sweeps", "GRANT INSERT ON tapwatch.retro_indicators", "GRANT INSERT ON tapwatch.retro_swept", "GRANT INSERT ON tapwatch.retro_days", "GRANT INSERT ON tapwatch.retro_parts", "GRANT INSERT ON tapwatch.retro_matches", "GRANT INSERT ON tapwatch.retro_hits"},
			Settings: map[string]string{"async_insert": "0", "distributed_foreground_insert": "1", "distributed_product_mode": "global"}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// A port scan whose flows come by two partitions, and so are in two shards, is one
// alert: the analyzer sees all shards as one, by its own user, and what it writes
// is where it finds it again.
func TestAnalyzerOnCluster(t *testing.T) {
	addrs, broker := servers(t), localtest.TestKafka(t)
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers, cfg.Create = []string{broker.Addr()}, collector.Create{Partitions: 2, Replication: 1}
	cfg.ClickHouse.Addr = addrs[:1]
	cfg.Cluster.Name, cfg.Cluster.Shards = "tapwatch", addrs
	cfg.Block.MaxWait, cfg.Rollup.Interval = 100*time.Millisecond, 200*time.Millisecond
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "warn"
	if err := collector.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Kafka.EnsureTopic(t.Context(), cfg.Topic, 2, 1, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- collector.Run(ctx, cfg) }()
	look := analyzer.DefaultConfig()
	look.ClickHouse = clickhouse.Config{Addr: addrs[1:], Username: "analyzer"} // not the server that holds its tables
	look.Console.Listen, look.Ops.Listen, look.Ops.LogLevel = "", "", "warn"
	go func() { ended <- analyzer.Run(ctx, look) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()

	const ports = 600
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
	w := &kafkago.Client{Addr: kafkago.TCP(broker.Addr())}
	for partition := range 2 {
		e := flow.NewEncoder()
		for port := partition; port < ports; port += 2 { // each sees half of the ports
			f := flow.Record{FlowID: uint64(port + 1), Start: start.UnixNano() + int64(port)*1e8, Protocol: 6, SrcPort: 40000, DstPort: uint16(port + 1),
				SrcPackets: 1, SrcBytes: 40, DstPackets: 1, DstBytes: 40, ConnState: flow.ConnREJ, History: "Sr", SrcTCPFlags: 2, DstTCPFlags: 0x14}
			f.End = f.Start + 1e6
			f.SrcIP, f.DstIP = flow.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 66}, flow.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 7}
			e.Add(&f)
		}
		end := start.Add(time.Hour).UnixNano()
		message, err := e.Seal(&flowpb.FlowBatch{Probe: fmt.Sprintf("probe%d", partition), Epoch: 1, Seq: 1, EndOfStream: true, ClockNs: end, WatermarkNs: end, SealedNs: time.Now().UnixNano()})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := w.Produce(t.Context(), &kafkago.ProduceRequest{Topic: cfg.Topic, Partition: partition, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(message), Time: time.Now()})})
		if err != nil || answer.Error != nil {
			t.Fatal(err, answer)
		}
	}
	for i, addr := range addrs { // from either server
		conn, err := clickhouse.Config{Addr: []string{addr}, Username: "analyzer"}.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		until(t, conn, "SELECT count() FROM flows", ports)
		until(t, conn, "SELECT uniqExact(_shard_num) FROM flows", 2)
		until(t, conn, "SELECT count() FROM alerts FINAL WHERE detector = 'portscan_vertical'", 1)
		until(t, conn, fmt.Sprintf("SELECT toUInt64(max(magnitude) > %d) FROM alerts FINAL WHERE detector = 'portscan_vertical'", ports/2), 1)
		until(t, conn, "SELECT count() FROM job_runs FINAL WHERE error != ''", 0)
		until(t, conn, "SELECT uniqExact(_shard_num) FROM job_runs", 1)
		t.Logf("server %d has seen all", i)
	}
}

// until waits for a query to give want.
func until(t *testing.T, conn driver.Conn, sql string, want uint64) {
	t.Helper()
	for began := time.Now(); ; {
		var got uint64
		err := conn.QueryRow(t.Context(), sql).Scan(&got)
		if err == nil && got == want {
			return
		}
		if time.Since(began) > 3*time.Minute {
			t.Fatalf("%s: %d, %v; want %d", sql, got, err, want)
		}
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
	}
}
