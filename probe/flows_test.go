package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// demo is the directory of the captures that the project records itself.
const demo = "../deploy/demo/captures"

func flowsOf(t *testing.T, path, format, filter string) (string, ledger.Totals) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Capture.Files, cfg.Capture.Filter = []string{path}, filter
	return flowsWith(t, cfg, format)
}

func flowsWith(t *testing.T, cfg Config, format string) (string, ledger.Totals) {
	t.Helper()
	var out bytes.Buffer
	totals, err := Flows(context.Background(), cfg, format, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), totals
}

// batchesOf reads what FormatBatch has written, which is octet for octet what
// proto.Marshal makes of it.
func batchesOf(t *testing.T, text string) (all []*flow.Batch) {
	t.Helper()
	decompress, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decompress.Close()
	for rest := []byte(text); len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest)
		b, err := flow.NewReader().Read(rest[4 : 4+n])
		if err != nil {
			t.Fatal(err)
		}
		got, err := decompress.DecodeAll(rest[4:4+n], nil)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := proto.Marshal(b.Header()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("batch %d: %d octets differ from the %d of proto.Marshal, %v", len(all), len(got), len(want), err)
		}
		all = append(all, b)
		rest = rest[4+n:]
	}
	return all
}

// checkTotals says whether seen = in flows + losses.
func checkTotals(t *testing.T, n ledger.Totals) {
	t.Helper()
	packets, octets := n.FlowPackets, n.FlowFrameBytes
	for _, l := range n.Losses {
		packets += l.Packets
		octets += l.FrameBytes
	}
	if n.SeenPackets == 0 || packets != n.SeenPackets || octets != n.SeenFrameBytes {
		t.Errorf("the ledger does not close: %+v", n)
	}
}

// Every format holds the same records, and they hold every packet.
func TestFlowsFormats(t *testing.T) {
	path := filepath.Join(demo, "3-protocols.pcap.gz")
	text, totals := flowsOf(t, path, FormatJSON, "")
	checkTotals(t, totals)
	var packets, octets, rows uint64
	apps := make(map[string]int)
	for line := range strings.Lines(text) {
		var r struct {
			SrcPackets    uint64 `json:"src_packets"`
			DstPackets    uint64 `json:"dst_packets"`
			SrcFrameBytes uint64 `json:"src_frame_bytes"`
			DstFrameBytes uint64 `json:"dst_frame_bytes"`
			App           string `json:"app"`
			CommunityID   string `json:"community_id"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if !strings.HasPrefix(r.CommunityID, "1:") && r.App != "arp" {
			t.Errorf("community_id %q", r.CommunityID)
		}
		packets += r.SrcPackets + r.DstPackets
		octets += r.SrcFrameBytes + r.DstFrameBytes
		apps[r.App]++
		rows++
	}
	if packets != totals.FlowPackets || octets != totals.FlowFrameBytes || rows != totals.Records {
		t.Errorf("records hold %d packets, %d bytes in %d lines; the ledger says %+v", packets, octets, rows, totals)
	}
	for _, app := range []string{"tls", "http", "dns", "ssh", "quic"} {
		if apps[app] == 0 {
			t.Errorf("no flow of %s: %v", app, apps)
		}
	}

	lines := text
	text, _ = flowsOf(t, path, FormatCSV, "")
	cells, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || uint64(len(cells)) != rows+1 {
		t.Errorf("csv: %d lines, %v", len(cells), err)
	}

	text, _ = flowsOf(t, path, FormatBatch, "")
	var inBatches []byte
	batches := batchesOf(t, text)
	for i, b := range batches {
		var r flow.Record
		for i := range b.Len() {
			b.Record(i, &r)
			inBatches = append(r.AppendJSON(inBatches), '\n')
		}
		if last := i == len(batches)-1; b.Header().EndOfStream != last {
			t.Errorf("end of stream said %v in batch %d of %d", b.Header().EndOfStream, i, len(batches))
		}
	}
	if string(inBatches) != lines {
		t.Errorf("the batches hold other records than the %d lines of JSON", rows)
	}
	if text, _ := flowsOf(t, path, FormatNone, ""); text != "" {
		t.Errorf("none wrote %d bytes", len(text))
	}
}

func TestFilteredPacketsAreCounted(t *testing.T) {
	path := filepath.Join(demo, "3-protocols.pcap.gz")
	_, all := flowsOf(t, path, FormatNone, "")
	_, some := flowsOf(t, path, FormatNone, "tcp port 443")
	checkTotals(t, some)
	if some.SeenPackets != all.SeenPackets || some.SeenFrameBytes != all.SeenFrameBytes || some.Losses[flow.LossFiltered].Packets == 0 {
		t.Errorf("unfiltered %+v, filtered %+v", all, some)
	}
}

// Flows go on from file to file: two halves have the flows of the whole.
func TestDirectoryIsOneStream(t *testing.T) {
	text, whole := flowsOf(t, demo, FormatJSON, "")
	checkTotals(t, whole)
	var records uint64
	for _, f := range []string{"1-baseline.pcap.gz", "2-attacks.pcap.gz", "3-protocols.pcap.gz"} {
		_, n := flowsOf(t, filepath.Join(demo, f), FormatNone, "")
		records += n.Records
	}
	if n := uint64(strings.Count(text, "\n")); n != whole.Records || whole.Records > records {
		t.Errorf("%d lines, %d records together, %d apart", n, whole.Records, records)
	}
}

func TestFlowsRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		path, format, filter string
		want                 error
	}{
		"missing":     {filepath.Join(dir, "none"), FormatJSON, "", os.ErrNotExist},
		"not capture": {write("text", "hello, world, this is text"), FormatJSON, "", capture.ErrNotCapture},
		"empty":       {write("empty", ""), FormatJSON, "", capture.ErrEmptyFile},
		"filter":      {filepath.Join(demo, "3-protocols.pcap.gz"), FormatJSON, "port port", capture.ErrFilter},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Capture.Files, cfg.Capture.Filter = []string{tt.path}, tt.filter
			_, err := Flows(context.Background(), cfg, tt.format, io.Discard, slog.New(slog.DiscardHandler))
			if errors.Is(err, capture.ErrNoLibpcap) {
				t.Skip(err)
			}
			if !errors.Is(err, tt.want) || strings.Contains(fmt.Sprint(err, kit.HintOf(err)), "\n") {
				t.Errorf("got %v, want %v in one line", err, tt.want)
			}
		})
	}
	cfg := DefaultConfig()
	cfg.Capture.Files = []string{demo}
	if _, err := Flows(context.Background(), cfg, "xml", io.Discard, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the format xml was accepted")
	}
}

func TestPacketsListsEveryPacket(t *testing.T) {
	var out bytes.Buffer
	path := filepath.Join(demo, "3-protocols.pcap.gz")
	if err := Packets(context.Background(), path, "", 0, &out); err != nil {
		t.Fatal(err)
	}
	_, totals := flowsOf(t, path, FormatNone, "")
	if n := uint64(bytes.Count(out.Bytes(), []byte("\n"))); n != totals.SeenPackets {
		t.Errorf("%d lines for %d packets", n, totals.SeenPackets)
	}
	for _, want := range []string{": Flags [S], seq ", ": UDP, length ", "ICMP type 8 code 0", "IP6 ", "vlan "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line has %q", want)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	good := DefaultConfig()
	good.Capture.Interfaces = []string{"eth0"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*Config){
		"no source":  func(c *Config) { c.Capture.Interfaces = nil },
		"both":       func(c *Config) { c.Capture.Files = []string{"x"} },
		"no name":    func(c *Config) { c.Name = "" },
		"no workers": func(c *Config) { c.Capture.Workers = 0 },
		"no topic":   func(c *Config) { c.Topic = "" },
		"no broker":  func(c *Config) { c.Kafka.Brokers = nil },
		"no time":    func(c *Config) { c.Meter.IdleTimeout = 0 },
		"no flows":   func(c *Config) { c.Meter.MaxFlows = 0 },
		"no spool":   func(c *Config) { c.Spool.Dir = "" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if c.Check() == nil {
				t.Error("accepted")
			}
		})
	}
}
