package e2e

import (
	"bufio"
	"compress/gzip"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer"
)

// importLogs imports files into the chain's topic.
func (c *chain) importLogs(format string, files ...string) string {
	c.t.Helper()
	cfg := analyzer.DefaultImportConfig()
	cfg.Kafka.Brokers, cfg.Topic, cfg.Ops.LogLevel = c.brokers, c.name, "error"
	tally, err := analyzer.Import(context.Background(), cfg, format, files)
	if err != nil {
		c.t.Fatal(err)
	}
	return tally.String()
}

// A day of Zeek's logs goes in; out come as many rows as conn.log has lines, with
// the same sums, and the names of the other logs. The second import of the same
// logs changes nothing.
func TestImportZeekIsStoredOnce(t *testing.T) {
	dir := captures(t)
	files, err := filepath.Glob(filepath.Join(dir, "flows/rita-server-day1/*.log.gz"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v", files, err)
	}
	c := newChain(t, "importzeek")
	t.Log(c.importLogs("zeek", files...))
	c.wait(1)

	type sums struct {
		rows, connections, bytes, payload, packets, sni, dns, http, zeek uint64
	}
	ask := func() (s sums) {
		err := c.db.QueryRow(context.Background(), `SELECT count(), countIf(segment = 0), sum(src_bytes + dst_bytes), sum(src_payload_bytes + dst_payload_bytes),
			sum(src_packets + dst_packets), countIf(tls_sni != ''), sum(length(dns_names)), sum(length(http_requests)), countIf(origin = 'zeek') FROM flows`).
			Scan(&s.rows, &s.connections, &s.bytes, &s.payload, &s.packets, &s.sni, &s.dns, &s.http, &s.zeek)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := ask()
	t.Logf("%+v", first)
	want := zeekSums(t, files)
	if first.connections != want.lines || first.zeek != first.rows {
		t.Errorf("%d connections of %d rows, %d of them from zeek; conn.log has %d lines", first.connections, first.rows, first.zeek, want.lines)
	}
	if first.bytes != want.ipBytes || first.payload != want.bytes || first.packets != want.packets {
		t.Errorf("stored %+v, the log says %+v", first, want)
	}
	if first.dns != want.dns || first.http != want.http {
		t.Errorf("%d names asked for, %d requests; the logs have %d, %d", first.dns, first.http, want.dns, want.http)
	}
	var records, lost uint64
	if err := c.db.QueryRow(context.Background(), "SELECT (SELECT sum(records) FROM ledger), (SELECT sum(lost_records) FROM ledger_losses)").Scan(&records, &lost); err != nil {
		t.Fatal(err)
	}
	if records-lost != first.rows {
		t.Errorf("the ledger does not close: %d records made, %d lost, %d stored", records, lost, first.rows)
	}

	c.importLogs("zeek", files...)
	var batches, duplicates uint64
	c.until("the second import is dealt with", func() bool {
		if err := c.db.QueryRow(context.Background(), "SELECT countIf(status = 'stored'), countIf(status = 'duplicate') FROM batches FINAL").Scan(&batches, &duplicates); err != nil {
			t.Fatal(err)
		}
		return duplicates >= batches
	})
	if second := ask(); second != first || duplicates != batches {
		t.Errorf("the second import changed what is stored: %+v, %d batches and %d duplicates; before %+v", second, batches, duplicates, first)
	}
}

// logSums are what conn.log, dns.log and http.log add up to, read without the importer.
type logSums struct{ lines, bytes, ipBytes, packets, dns, http uint64 }

func zeekSums(t *testing.T, files []string) (s logSums) {
	t.Helper()
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for lines := bufio.NewScanner(z); lines.Scan(); {
			cells := strings.Split(lines.Text(), "\t")
			if cells[0] == "#fields" {
				names = cells[1:]
			}
			if strings.HasPrefix(cells[0], "#") {
				continue
			}
			n := func(name string) uint64 {
				v, _ := strconv.ParseUint(cells[slices.Index(names, name)], 10, 64)
				return v
			}
			switch {
			case strings.HasPrefix(filepath.Base(path), "conn"):
				s.lines++
				s.bytes += n("orig_bytes") + n("resp_bytes")
				s.ipBytes += n("orig_ip_bytes") + n("resp_ip_bytes")
				s.packets += n("orig_pkts") + n("resp_pkts")
			case strings.HasPrefix(filepath.Base(path), "dns"):
				s.dns++
			case strings.HasPrefix(filepath.Base(path), "http"):
				s.http++
			}
		}
		f.Close()
	}
	return s
}

// until waits for something that the collector does.
func (c *chain) until(what string, done func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); {
		select {
		case err := <-c.ended:
			c.ended <- err
			c.t.Fatalf("collector ended: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// What routers send over UDP is stored as flows; kept apart from those of probes by its origin.
func TestImportLiveStoresWhatRoutersSend(t *testing.T) {
	c := newChain(t, "importlive")
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.LocalAddr().String()
	free.Close()
	cfg := analyzer.DefaultImportConfig()
	cfg.Kafka.Brokers, cfg.Topic, cfg.Ops.LogLevel = c.brokers, c.name, "error"
	cfg.Name, cfg.Listen, cfg.Spool.Dir = "routers", []string{addr}, filepath.Join(t.TempDir(), "spool")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- analyzer.ImportLive(ctx, cfg) }()
	c.until("the receiver has begun", func() bool {
		var n uint64
		return c.db.QueryRow(context.Background(), "SELECT count() FROM batches WHERE probe = 'routers' AND live").Scan(&n) == nil && n > 0
	})
	message, err := os.ReadFile("../../analyzer/importer/testdata/wikipedia-biflow.ipfix")
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer exporter.Close()
	for len(message) >= 4 { // IPFIX messages say how long they are
		n := int(message[2])<<8 | int(message[3])
		if _, err := exporter.Write(message[:n]); err != nil {
			t.Fatal(err)
		}
		message = message[n:]
	}
	var rows, pairs uint64
	c.until("the flows are stored", func() bool {
		err := c.db.QueryRow(context.Background(), "SELECT countIf(origin = 'ipfix'), countIf(src_packets > 0 AND dst_packets > 0) FROM flows WHERE probe = 'routers'").Scan(&rows, &pairs)
		return err == nil && rows >= 34
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	c.wait(1)
	if rows != 34 || pairs != 23 {
		t.Errorf("%d flows, %d with both directions; the capture has 34 and 23", rows, pairs)
	}
}
