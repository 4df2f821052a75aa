package importer

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tapwatch/tapwatch/analyzer/importer/datagram"
)

// Datagrams sent to the sockets become the flows that were exported; the end of
// the receiver hands out what waits, and says that it is the end.
func TestReceiverTakesDatagrams(t *testing.T) {
	sockets, err := listen([]string{"127.0.0.1:0", "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	sink := NewBatches(context.Background(), "routers", "lab", s.publish)
	sink.live, sink.epoch = true, 7
	m := newMetrics(prometheus.NewRegistry())
	r := receiver{exports: newExports(sink), sink: sink, m: m, lateness: time.Minute, datagrams: make(chan datagram.Datagram, queued)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx, sockets) }()

	sent := 0
	for i, name := range []string{"wikipedia.netflow9", "wikipedia.ipfix"} {
		c, err := net.Dial("udp", sockets[i].LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		err = datagram.Read(f, func(d datagram.Datagram) error { sent++; _, err := c.Write(d.Payload); return err }, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		c.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); testutil.ToFloat64(m.datagrams) < float64(sent); {
		if time.Now().After(deadline) {
			t.Fatalf("%v of %d datagrams arrived", testutil.ToFloat64(m.datagrams), sent)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	origins := make(map[string]int)
	end := false
	for _, id := range s.order {
		b := s.batches[id]
		h := b.Header()
		end = end || h.EndOfStream
		if !h.Live || h.Site != "lab" {
			t.Errorf("live %v, site %q", h.Live, h.Site)
		}
	}
	for _, r := range s.records() {
		origins[r.Origin]++
		if r.Interface != "127.0.0.1/0" {
			t.Errorf("interface %q", r.Interface)
		}
	}
	if !end || origins["netflow9"] != 34 || origins["ipfix"] != 34 {
		t.Errorf("end %v, records %v", end, origins)
	}
}
