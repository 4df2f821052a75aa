package docker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/config"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
)

// house is a ClickHouse with the users of clickhouse_users.xml, and without the
// database, which the migrator makes.
type house struct {
	*testing.T
	dir    string // of the secrets
	server *local.ClickHouse
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, dir: secrets(t)}
	if _, _, err := local.FindClickHouse(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	state, err := os.MkdirTemp("", "tapwatch-rights-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	cfg := local.ClickHouseConfig{Dir: state, MaxMemory: 2 << 30, KeepFree: -1}
	for name, u := range users(t, h.dir) {
		if name != "default" {
			cfg.Users = append(cfg.Users, local.ClickHouseUser{Name: name, Password: password(t, h.dir, name), Grants: u.Grants, Settings: u.settings})
		}
	}
	if h.server, err = local.StartClickHouse(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.server.Close() })
	admin, err := kitclickhouse.Config{Addr: []string{h.server.Addr()}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Exec(t.Context(), "DROP DATABASE tapwatch"); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) login(user string) kitclickhouse.Config {
	return kitclickhouse.Config{Addr: []string{h.server.Addr()}, Username: user, Password: config.Secret(password(h.T, h.dir, user))}
}

func (h *house) open(user string) driver.Conn {
	h.Helper()
	conn, err := h.login(user).Open()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return conn
}

func (h *house) migrate() {
	h.Helper()
	cfg := collector.DefaultConfig()
	cfg.ClickHouse = h.login("migrator")
	if err := collector.Migrate(h.Context(), cfg); err != nil {
		h.Fatalf("the migrator cannot make the tables: %v", err)
	}
}

// refused fails the test unless the statement is refused with one of the codes.
func refused(ctx context.Context, t *testing.T, conn driver.Conn, user, statement string, codes ...int) {
	t.Helper()
	err := conn.Exec(ctx, statement)
	for _, code := range codes {
		if err != nil && strings.Contains(err.Error(), fmt.Sprintf("code: %d,", code)) {
			return
		}
	}
	t.Errorf("%s: %s: %v; want code %v", user, statement, err, codes)
}

// From ClickHouse's src/Common/ErrorCodes.cpp.
const (
	accessDenied  = 497
	readOnly      = 164
	tooManyResult = 396
	memoryLimit   = 241
	tooManyRows   = 158
	tooBigTree    = 168
)

// outside are ways out of the database, for whoever may only read or write it.
var outside = []string{
	"SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM file('../../etc/passwd', 'LineAsString')",
	"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'LineAsString')",
	"SELECT * FROM remote('127.0.0.1:1', system.one)", "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
	"SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')", "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
	"SELECT * FROM mongodb('127.0.0.1:1', 'd', 'c', 'u', 'p', 'x UInt8')", "SELECT * FROM executable('id', 'TSV', 'x String')",
	"SELECT * FROM sqlite('x.db', 't')", "INSERT INTO FUNCTION file('x', 'TSV', 'x UInt8') SELECT 1",
	"INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'TSV', 'x UInt8') SELECT 1",
	"BACKUP TABLE tapwatch.flows TO File('x')", "CREATE FUNCTION f AS (x) -> x", "CREATE NAMED COLLECTION c AS a = 1",
	"CREATE DATABASE other", "CREATE USER eve", "GRANT SELECT ON tapwatch.* TO default", "SYSTEM SHUTDOWN", "SYSTEM STOP MERGES flows", "SYSTEM DROP MARK CACHE",
	"CREATE TABLE t (a UInt8) ENGINE = Memory", "CREATE VIEW v AS SELECT 1", "DROP TABLE flows", "DROP DATABASE tapwatch", "RENAME TABLE flows TO f",
	"ALTER TABLE flows ADD COLUMN x UInt8", "ALTER TABLE flows DROP COLUMN user", "ALTER TABLE flows MODIFY SETTING fsync_after_insert = 0",
	"TRUNCATE TABLE flows", "TRUNCATE TABLE batches",
	"SELECT * FROM system.users", "SELECT * FROM system.grants", "SELECT * FROM system.merges", "SELECT * FROM system.server_settings",
	"SELECT * FROM system.macros", "SELECT * FROM system.replicas",
	"CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(HTTP(URL 'http://127.0.0.1:1/' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
}

// S3: what each user may do, and what not, on a real server.
func TestRights(t *testing.T) {
	h := newHouse(t)
	h.migrate()
	allowed := map[string][]string{
		"migrator": {"CREATE TABLE own (a UInt8) ENGINE = MergeTree ORDER BY a", "ALTER TABLE own ADD COLUMN b UInt8", "DROP TABLE own"},
		"writer": {"INSERT INTO flows (probe) VALUES ('x')", "SELECT count() FROM flows", "SELECT count() FROM system.processes",
			"ALTER TABLE flows DELETE WHERE 0", "DELETE FROM flows_1m_builds WHERE build = 0", "ALTER TABLE flows DROP PARTITION ID '19700101'", "SELECT * FROM system.parts LIMIT 1"},
		"reader": {"SELECT count() FROM flows", "SELECT * FROM flows_1h", "SELECT * FROM ledger", "SELECT * FROM first_seen", "SELECT * FROM system.tables WHERE database = 'tapwatch'",
			"SELECT dictGet('networks_trie', 'name', toIPv6('10.0.0.1'))", "EXPLAIN SELECT count() FROM flows", "SELECT * FROM asset_at(ip = '10.0.0.5', time = '2026-11-01 12:00:00')"},
		"analyzer": {"SELECT count() FROM flows", "SELECT count() FROM ledger", "INSERT INTO alerts (id) VALUES ('x')",
			"INSERT INTO leases (name) VALUES ('x')", "INSERT INTO exclusions (id) VALUES ('x')", "INSERT INTO incident_events (alert) VALUES ('x')",
			"INSERT INTO alert_findings (alert) VALUES ('x')", "INSERT INTO audit_log (who) VALUES ('x')", "INSERT INTO response_steps (id) VALUES ('x')",
			"INSERT INTO reports_written (kind) VALUES ('x')", "INSERT INTO retro_sweeps SELECT * FROM retro_sweeps", "INSERT INTO retro_hits SELECT * FROM retro_hits",
			"INSERT INTO job_runs (detector) VALUES ('x')", "INSERT INTO deliveries (alert) VALUES ('x')"},
	}
	denied := map[string][]string{
		"migrator": {"CREATE DATABASE other", "CREATE USER eve", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SYSTEM SHUTDOWN", "SELECT * FROM system.users"},
		"writer":   outside,
		"reader": append([]string{"INSERT INTO alerts (id) VALUES ('x')", "SET readonly = 0", "SET max_execution_time = 0", "SELECT 1 SETTINGS max_memory_usage = 0",
			"SELECT 1 SETTINGS readonly = 0", "ALTER TABLE flows DELETE WHERE 1", "DELETE FROM flows WHERE 1", "CREATE TEMPORARY TABLE t (a UInt8)",
			"SELECT * FROM system.processes", "SELECT * FROM system.parts", "SELECT * FROM system.mutations", "SELECT * FROM system.disks",
			"KILL QUERY WHERE 1 SYNC"}, outside...),
		"analyzer": append([]string{"INSERT INTO flows (probe) VALUES ('x')", "INSERT INTO batches (probe) VALUES ('x')", "ALTER TABLE flows DELETE WHERE 1",
			"ALTER TABLE alerts DELETE WHERE 1", "ALTER TABLE flows DROP PARTITION ID '19700101'", "SELECT * FROM system.processes"}, outside...),
	}
	for name, statements := range allowed {
		t.Run(name, func(t *testing.T) {
			conn := h.open(name)
			for _, statement := range statements {
				if err := conn.Exec(t.Context(), statement); err != nil {
					t.Errorf("may not: %s: %v", statement, err)
				}
			}
			for _, statement := range denied[name] {
				refused(t.Context(), t, conn, name, statement, accessDenied, readOnly)
			}
		})
	}
	// A server leaves INTO OUTFILE to the client, whatever the answer is.
	outfile := filepath.Join(t.TempDir(), "outfile")
	err := h.open("reader").Exec(t.Context(), "SELECT 1 INTO OUTFILE '"+outfile+"'")
	if _, missing := os.Stat(outfile); missing == nil {
		t.Errorf("INTO OUTFILE wrote a file, and says %v", err)
	}
}

// S13: a reader's question ends at its limits, whatever it asks.
func TestLimits(t *testing.T) {
	h := newHouse(t)
	h.migrate()
	conn := h.open("reader")
	for statement, code := range map[string]int{
		"SELECT number FROM numbers(100000000) FORMAT Null":           tooManyResult,
		"SELECT sum(number) FROM numbers(3000000000)":                 tooManyRows,
		"SELECT repeat(toString(number), 100000) FROM numbers(10000)": memoryLimit,
		"SELECT randomPrintableASCII(1000) FROM numbers(900000)":      tooManyResult,
		"SELECT [" + strings.Repeat("1+1,", 12000) + "1]":             tooBigTree,
	} {
		err := conn.Exec(t.Context(), statement)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("code: %d,", code)) {
			t.Errorf("%.80s: %v; want code %d", statement, err, code)
		}
	}
	for name, want := range users(t, h.dir)["reader"].settings {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT value FROM system.settings WHERE name = ?", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

// The collector works whole as writer: blocks, rollups, retention, enrichment,
// erasure, holds; and it waits for the migrator. The analyzer works as analyzer.
func TestServicesHaveTheirRights(t *testing.T) {
	h := newHouse(t)
	broker, err := local.StartKafka(t.Context(), local.KafkaConfig{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	h.migrate()
	admin, err := kitclickhouse.Config{Addr: []string{h.server.Addr()}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	// A schema that is not there yet: the collector may not make it, and waits.
	if err := admin.Exec(t.Context(), "ALTER TABLE tapwatch.schema_migrations DELETE WHERE version > 8 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	networks := filepath.Join(t.TempDir(), "networks.csv")
	if err := os.WriteFile(networks, []byte("prefix,name\n10.0.0.0/8,office\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "TAPWATCH_COLLECTOR_KAFKA_BROKERS="+broker.Addr(), "TAPWATCH_COLLECTOR_CLICKHOUSE_ADDR="+h.server.Addr(),
		"TAPWATCH_COLLECTOR_CLICKHOUSE_USERNAME=writer", "TAPWATCH_COLLECTOR_CLICKHOUSE_PASSWORD=file:"+filepath.Join(h.dir, "clickhouse_writer_password"),
		"TAPWATCH_COLLECTOR_OPS_LISTEN=127.0.0.1:0", "TAPWATCH_COLLECTOR_BLOCK_MAX_WAIT=100ms", "TAPWATCH_COLLECTOR_ROLLUP_INTERVAL=200ms",
		"TAPWATCH_COLLECTOR_ENRICH_NETWORKS="+networks)
	program := filepath.Join(programs(t), "collector")
	service := exec.CommandContext(t.Context(), program)
	service.Env = env
	var log lines
	service.Stderr, service.Stdout = &log, &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		service.Process.Signal(os.Interrupt)
		if err := service.Wait(); err != nil {
			t.Errorf("collector: %v", err)
		}
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.Contains(line, "code: 497") {
				t.Errorf("collector says: %s", line)
			}
		}
	}()
	topic := collector.DefaultConfig().Topic
	k := kafka.Config{Brokers: []string{broker.Addr()}}
	if err := k.EnsureTopic(t.Context(), topic, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	h.migrate() // now the migrator has come
	e := flow.NewEncoder()
	now := time.Now().Add(-2 * time.Hour)
	for i := range 10 {
		r := flow.Record{Start: now.UnixNano() + int64(i), End: now.UnixNano() + 1000, Protocol: 6, SrcPort: uint16(i), DstPort: 443, FlowID: uint64(i + 1), SrcPackets: 1, SrcBytes: 40}
		r.SrcIP, r.DstIP = flow.AddrFrom(netip.MustParseAddr("10.0.0.1")), flow.AddrFrom(netip.MustParseAddr("192.0.2.1"))
		e.Add(&r)
	}
	message, err := e.Seal(&flowpb.FlowBatch{Probe: "p", Epoch: 1, Seq: 1, EndOfStream: true, SealedNs: time.Now().UnixNano(), WatermarkNs: time.Now().UnixNano(), ClockNs: time.Now().UnixNano()})
	if err != nil {
		t.Fatal(err)
	}
	w := &kafkago.Writer{Addr: kafkago.TCP(broker.Addr()), Topic: topic, RequiredAcks: kafkago.RequireAll, BatchTimeout: time.Millisecond}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), kafkago.Message{Value: message}); err != nil {
		t.Fatal(err)
	}
	reader := h.open("reader")
	for sql, want := range map[string]uint64{
		"SELECT count() FROM flows": 10, "SELECT sum(segments) FROM flows_1m": 10, "SELECT sum(segments) FROM flows_1h": 10,
		"SELECT count() FROM networks FINAL": 1, "SELECT count() FROM days_received FINAL": 1, "SELECT count() FROM first_seen WHERE kind = 'host' AND value = '10.0.0.1'": 1,
	} {
		until(t, reader, sql, want)
	}
	analyze, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	cfg := analyzer.DefaultConfig()
	cfg.ClickHouse = h.login("analyzer")
	cfg.Console.Listen, cfg.Ops.Listen = "127.0.0.1:0", ""
	go func() { ended <- analyzer.Run(analyze, cfg) }()
	until(t, reader, "SELECT toUInt64(uniqExact(detector) > 3) FROM job_runs WHERE error = ''", 1)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("analyzer: %v", err)
	}
	// What operators do as writer.
	for _, args := range [][]string{
		{"storage"}, {"hold", "add", "--from", "2020-01-01", "--to", "2020-01-02", "--reason", "case", "--owner", "me"}, {"hold", "list"},
		{"erase", "--address", "10.0.0.1", "--owner", "me", "--reason", "asked", "--sure"}, {"enrich"},
	} {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("collector %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	until(t, reader, "SELECT count() FROM flows", 0)
}

// until waits for a query to give want.
func until(t *testing.T, conn driver.Conn, sql string, want uint64) {
	t.Helper()
	// No deadline: the driver would make a setting of it, which readonly forbids.
	for began := time.Now(); ; {
		var got uint64
		err := conn.QueryRow(context.WithoutCancel(t.Context()), sql).Scan(&got)
		if err == nil && got == want {
			return
		}
		if time.Since(began) > 3*time.Minute {
			t.Fatalf("%s: %d, %v; want %d", sql, got, err, want)
		}
		timer := time.NewTimer(50 * time.Millisecond)
		<-timer.C
	}
}

// lines is what a program says.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
