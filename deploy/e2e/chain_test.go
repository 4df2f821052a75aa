package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// chain is a collector between the Kafka and the ClickHouse of this binary,
// with a database and a topic of its own.
type chain struct {
	t       *testing.T
	name    string
	brokers []string
	db      driver.Conn
	cfg     collector.Config
	ended   chan error
}

// broker is a Kafka: the one at TAPWATCH_KAFKA (a real one, made for this test:
// topics are left behind), or the embedded one of this binary.
func broker(t *testing.T) string {
	t.Helper()
	if addr := os.Getenv("TAPWATCH_KAFKA"); addr != "" {
		return addr
	}
	return localtest.TestKafka(t).Addr()
}

func newChain(t *testing.T, name string) *chain {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &chain{t: t, name: name, brokers: []string{broker(t)}, db: localtest.Database(t, name), ended: make(chan error, 1)}
	admins := kafka.Config{Brokers: c.brokers}
	for topic, partitions := range map[string]int{name: 2, name + ".dead": 1} {
		if err := admins.EnsureTopic(ctx, topic, partitions, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers, cfg.Topic, cfg.DeadLetterTopic, cfg.Group = c.brokers, name, name+".dead", name
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{localtest.TestClickHouse(t).Addr()}, name
	cfg.Block.MaxWait = 200 * time.Millisecond
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "warn"
	c.cfg = cfg
	go func() { c.ended <- collector.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-c.ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("collector: %v", err)
		}
	})
	return c
}

// read sends a capture through a probe of the given name; it returns when all
// is in Kafka.
func (c *chain) read(name, path string) error {
	cfg := probe.DefaultConfig()
	cfg.Name, cfg.Capture.Files, cfg.Topic = name, []string{path}, c.name
	cfg.Kafka.Brokers = c.brokers
	cfg.Spool.Dir = filepath.Join(c.t.TempDir(), "spool")

	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	return probe.Run(context.Background(), cfg)
}

// wait returns when the end of every one of n probes' streams is stored.
func (c *chain) wait(n int) {
	c.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		var ended uint64
		err := c.db.QueryRow(context.Background(), "SELECT uniqExact(probe) FROM batches WHERE end_of_stream").Scan(&ended)
		if err == nil && ended >= uint64(n) {
			return
		}
		select {
		case err := <-c.ended:
			c.ended <- err
			c.t.Fatalf("collector ended: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d of %d streams are stored (%v)", ended, n, err)
		}
	}
}

// account is what the store says of one probe.
type account struct {
	seen, seenBytes, inFlows, inFlowsBytes, lost, lostBytes, rows, records uint64
}

func (c *chain) accounts() map[string]account {
	c.t.Helper()
	all := make(map[string]account)
	rows, err := c.db.Query(context.Background(), `
		SELECT probe, sum(seen), sum(seen_b), sum(flows), sum(flows_b), sum(lost), sum(lost_b), sum(n), sum(rec) FROM
		(
			SELECT probe, sum(seen_packets) AS seen, sum(seen_frame_bytes) AS seen_b, 0 AS flows, 0 AS flows_b, 0 AS lost, 0 AS lost_b, 0 AS n, sum(records) AS rec FROM ledger GROUP BY probe
			UNION ALL SELECT probe, 0, 0, sum(src_packets + dst_packets), sum(src_frame_bytes + dst_frame_bytes), 0, 0, count(), 0 FROM flows GROUP BY probe
			UNION ALL SELECT probe, 0, 0, 0, 0, sum(packets), sum(frame_bytes), 0, 0 FROM ledger_losses GROUP BY probe
		) GROUP BY probe`)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var a account
		if err := rows.Scan(&name, &a.seen, &a.seenBytes, &a.inFlows, &a.inFlowsBytes, &a.lost, &a.lostBytes, &a.rows, &a.records); err != nil {
			c.t.Fatal(err)
		}
		all[name] = a
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// listed is one line of captures.tsv.
type listed struct {
	path           string
	packets, bytes uint64
}

func list(t *testing.T, dir string) []listed {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "captures.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []listed
	for s := bufio.NewScanner(f); s.Scan(); {
		cells := strings.Split(s.Text(), "\t")
		packets, err := strconv.ParseUint(cells[2], 10, 64)
		if err != nil {
			continue // the header
		}
		bytes, err := strconv.ParseUint(cells[3], 10, 64)
		if err != nil {
			t.Fatalf("captures.tsv: %v", err)
		}
		all = append(all, listed{cells[0], packets, bytes})
	}
	return all
}

// short are the captures that are read when time is short: each link type,
// fragments, tunnels, cut packets, floods, and what the fingerprints need.
var short = []string{"arkime/", "community-id/", "ja4/", "pcapplusplus/", "simple-scan/", "gopacket/", "ndpi/synscan", "stopddos/", "wireshark/", "zeek/"}

// Packets and frame bytes in flows plus declared loss equal the file's, to the
// packet and byte, after the whole chain.
func TestChainAccountsForEveryPacket(t *testing.T) {
	dir := captures(t)
	c := newChain(t, "chain")
	want := make(map[string]listed)
	for _, l := range list(t, dir) {
		wanted := full()
		for _, s := range short {
			wanted = wanted || strings.HasPrefix(l.path, s)
		}
		if !wanted {
			continue
		}
		want[l.path] = l
		if err := c.read(l.path, filepath.Join(dir, l.path)); err != nil {
			t.Errorf("%s: %v", l.path, err)
		}
	}
	c.wait(len(want))
	got := c.accounts()
	for path, l := range want {
		a := got[path]
		switch {
		case a.seen != l.packets || a.seenBytes != l.bytes:
			t.Errorf("%s: saw %d packets, %d bytes; the file has %d, %d", path, a.seen, a.seenBytes, l.packets, l.bytes)
		case a.inFlows+a.lost != a.seen || a.inFlowsBytes+a.lostBytes != a.seenBytes:
			t.Errorf("%s: the ledger does not close: %+v", path, a)
		case a.rows != a.records:
			t.Errorf("%s: %d records made, %d stored", path, a.records, a.rows)
		}
	}
	t.Logf("%d captures", len(want))
	t.Run("community id", func(t *testing.T) { c.compareCommunityIDs(t, dir) })
	t.Run("fingerprints", func(t *testing.T) { c.compareFingerprints(t, dir, want) })
}

// compareCommunityIDs looks for each flow of the specification's baseline.
func (c *chain) compareCommunityIDs(t *testing.T, dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "community-id/expected/baseline_deflt.json"))
	if err != nil {
		t.Fatal(err)
	}
	var baseline []struct {
		Proto                     uint8
		Saddr, Daddr, CommunityID string
	}
	if err := json.Unmarshal(text, &baseline); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, b := range baseline {
		var n uint64
		err := c.db.QueryRow(context.Background(), `SELECT count() FROM flows WHERE startsWith(probe, 'community-id/') AND protocol = {protocol:UInt8} AND community_id = {id:String}`,
			clickhouse.Named("protocol", strconv.Itoa(int(b.Proto))), clickhouse.Named("id", b.CommunityID)).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Errorf("no flow %s (protocol %d, %s, %s)", b.CommunityID, b.Proto, b.Saddr, b.Daddr)
		}
		seen[b.CommunityID] = true
	}
	t.Logf("%d Community IDs", len(seen))
}

// compareFingerprints compares SNI, JA3 and JA4 of stored flows with what
// tshark (oracle) and the JA4 reference say of the same connections.
func (c *chain) compareFingerprints(t *testing.T, dir string, want map[string]listed) {
	var compared int
	for path := range want {
		flows := c.hellos(t, path)
		for _, h := range oracleHellos(t, dir, path) {
			got, ok := flows[h.key]
			switch {
			case !ok:
				continue // inside an encapsulation that the oracle names otherwise
			case got.sni != h.sni || h.ja3 != "" && got.ja3 != h.ja3:
				t.Errorf("%s %s: got %q %s, want %q %s", path, h.key, got.sni, got.ja3, h.sni, h.ja3)
			}
			compared++
		}
		for key, ja4 := range ja4Reference(t, dir, path) {
			if got, ok := flows[key]; !ok || got.ja4 != ja4 {
				t.Errorf("%s %s: got JA4 %s, want %s", path, key, got.ja4, ja4)
			}
			compared++
		}
	}
	if compared < 150 {
		t.Errorf("only %d fingerprints were compared", compared)
	}
	t.Logf("%d fingerprints", compared)
}

type hello struct{ key, sni, ja3, ja4 string }

func flowKey(protocol, src string, srcPort int, dst string, dstPort int) string {
	return fmt.Sprintf("%s %s:%d %s:%d", protocol, netip.MustParseAddr(src), srcPort, netip.MustParseAddr(dst), dstPort)
}

// hellos are the first segments of a probe's stored TLS and QUIC flows.
func (c *chain) hellos(t *testing.T, path string) map[string]hello {
	t.Helper()
	rows, err := c.db.Query(context.Background(), `SELECT if(protocol = 6, 'tcp', 'udp'), src_ip, src_port, dst_ip, dst_port, tls_sni, ja3, ja4
		FROM flows WHERE probe = {probe:String} AND ja3 != '' AND protocol IN (6, 17) ORDER BY start DESC`, clickhouse.Named("probe", path))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]hello)
	for rows.Next() {
		var protocol string
		var src, dst netip.Addr
		var srcPort, dstPort uint16
		var h hello
		if err := rows.Scan(&protocol, &src, &srcPort, &dst, &dstPort, &h.sni, &h.ja3, &h.ja4); err != nil {
			t.Fatal(err)
		}
		h.key = flowKey(protocol, src.Unmap().String(), int(srcPort), dst.Unmap().String(), int(dstPort))
		all[h.key] = h
	}
	return all
}

// oracleHellos are the ClientHellos that tshark found, the first of each
// connection.
func oracleHellos(t *testing.T, dir, path string) []hello {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "oracle", path+".json"))
	if err != nil {
		return nil
	}
	var o struct {
		Flows []struct {
			Proto, Src, Dst string
			Stream          int
			Sport, Dport    int
		}
		L7 struct {
			Hellos []struct{ Flow, SNI, JA3 string } `json:"tls_client_hello"`
		}
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	keys := make(map[string]string)
	for _, f := range o.Flows {
		if _, err := netip.ParseAddr(f.Src); err == nil {
			keys[fmt.Sprintf("%s/%d", f.Proto, f.Stream)] = flowKey(f.Proto, f.Src, f.Sport, f.Dst, f.Dport)
		}
	}
	var all []hello
	done := make(map[string]bool)
	for _, h := range o.L7.Hellos {
		if key := keys[h.Flow]; key != "" && !done[key] {
			done[key] = true
			all = append(all, hello{key: key, sni: h.SNI, ja3: h.JA3})
		}
	}
	return all
}

// ja4Reference reads the reference implementation's result for a capture: the
// JA4 of each connection.
func ja4Reference(t *testing.T, dir, path string) map[string]string {
	t.Helper()
	name, ok := strings.CutPrefix(path, "ja4/")
	if !ok {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "ja4/expected/rust", name+".snap"))
	if err != nil {
		return nil
	}
	all := make(map[string]string)
	for block := range strings.SplitSeq(string(text), "\n- ") {
		f := make(map[string]string)
		for line := range strings.Lines(block) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				f[k] = strings.Trim(v, `"'`)
			}
		}
		if f["ja4"] == "" {
			continue
		}
		srcPort, _ := strconv.Atoi(f["src_port"])
		dstPort, _ := strconv.Atoi(f["dst_port"])
		protocol := "tcp"
		if strings.HasPrefix(f["ja4"], "q") {
			protocol = "udp"
		}
		all[flowKey(protocol, f["src"], srcPort, f["dst"], dstPort)] = f["ja4"]
	}
	return all
}
