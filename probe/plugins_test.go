package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// counter is an exporter of a user: it counts records and packets.
type counter struct {
	records, packets, open atomic.Uint64
	early                  error // what Run returns at once
}

func (c *counter) Name() string                            { return "counter" }
func (c *counter) Open(plugin.Worker) (plugin.Sink, error) { c.open.Add(1); return c, nil }
func (c *counter) Add(r *flow.Record)                      { c.records.Add(1); c.packets.Add(r.Packets()) }
func (c *counter) Cut()                                    {}
func (c *counter) Close() error                            { c.open.Add(^uint64(0)); return nil }
func (c *counter) Run(ctx context.Context) error {
	if c.early == nil {
		<-ctx.Done()
	}
	return c.early
}

// runFiles is Run without spool and Kafka.
func runFiles(t *testing.T, cfg Config) error {
	t.Helper()
	cfg.Ops.Listen = "127.0.0.1:0"
	o, err := ops.New("probe", cfg.Ops)
	if err != nil {
		t.Fatal(err)
	}
	in, err := open(cfg, o.Log)
	if err != nil {
		t.Fatal(err)
	}
	return in.run(t.Context(), cfg, nil, newBatchFile(newOutput(io.Discard)), nil, o)
}

// A user's exporter, IPFIX and a socket get every record of every worker, beside what Kafka gets.
func TestExporters(t *testing.T) {
	path := filepath.Join(demo, "3-protocols.pcap.gz")
	text, _ := flowsOf(t, path, FormatJSON, "")
	records := uint64(strings.Count(text, "\n"))
	for _, workers := range []int{1, 2} {
		collector, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer collector.Close()
		mine := new(counter)
		cfg := DefaultConfig()
		cfg.Capture.Files, cfg.Capture.Workers = []string{path}, workers
		cfg.Plugins.Exporters = []plugin.Exporter{mine}
		cfg.IPFIX.Address = collector.LocalAddr().String()
		if err := runFiles(t, cfg); err != nil {
			t.Fatal(err)
		}
		if mine.records.Load() != records || mine.open.Load() != 0 {
			t.Errorf("%d workers: %d records, want %d; %d sinks open", workers, mine.records.Load(), records, mine.open.Load())
		}
		collector.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := collector.Read(make([]byte, 65536)); n < 16 || err != nil {
			t.Errorf("%d octets of IPFIX, %v", n, err)
		}
	}
}

// An exporter that ends early ends the probe, with its error.
func TestExporterFails(t *testing.T) {
	broken := errors.New("broken")
	cfg := DefaultConfig()
	cfg.Capture.Files, cfg.Capture.Workers = []string{filepath.Join(demo, "3-protocols.pcap.gz")}, 1
	cfg.Plugins.Exporters = []plugin.Exporter{&counter{early: broken}}
	if err := runFiles(t, cfg); !errors.Is(err, broken) || !strings.Contains(err.Error(), "exporter counter") {
		t.Errorf("%v", err)
	}
}
