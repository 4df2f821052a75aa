package importer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/datagram"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// Bounds of the receiver.
const (
	receiveBuffer = 8 << 20 // of a socket: a second of 6000 full datagrams
	queued        = 4096    // datagrams between the sockets and the decoder
)

// Live receives NetFlow v5, v9, IPFIX and sFlow from routers on cfg.Listen, and
// publishes their flows by way of a spool on disk, until ctx ends; then what is
// there goes out, and the end of the stream is said. Flows are stored under
// cfg.Name, with exporter and interface in the column interface.
func Live(ctx context.Context, cfg Config) error {
	if err := cfg.CheckLive(); err != nil {
		return err
	}
	o, err := ops.New("import", cfg.Ops)
	if err != nil {
		return err
	}
	sockets, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer closeAll(sockets)
	seal, err := sealer(cfg)
	if err != nil {
		return err
	}
	queue := spool.DefaultConfig()
	queue.Dir, queue.MaxBytes = cfg.Spool.Dir, int64(cfg.Spool.MaxBytes)
	sp, err := spool.Open(queue, o.Log, o.Registry)
	if err != nil {
		return err
	}
	defer sp.Close()
	transport, err := cfg.Kafka.Transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	m := newMetrics(o.Registry)

	// The sockets end first, then the publisher, then the metrics.
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	var g errgroup.Group
	g.Go(func() error { return o.Serve(publishing) })
	g.Go(func() error {
		err := spool.Publish(publishing, sp, spool.PublisherConfig{Brokers: cfg.Kafka.Brokers, Transport: transport, Topic: cfg.Topic, DrainTimeout: cfg.Spool.Drain}, o.Log, o.Registry)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		defer stopPublishing()
		sink := NewBatches(context.WithoutCancel(ctx), cfg.Name, cfg.Site, func(_ context.Context, r spool.Record) error {
			r.Value = seal(r.Value)
			return sp.Append(r)
		})
		sink.live, sink.perBatch, sink.dropped, sink.epoch = true, flow.MaxRecords, sp.Dropped, sp.Epoch()
		r := receiver{exports: newExports(sink), sink: sink, m: m, lateness: cfg.Lateness, datagrams: make(chan datagram.Datagram, queued)}
		return r.run(ctx, sockets)
	})
	return g.Wait()
}

func listen(addresses []string) ([]net.PacketConn, error) {
	var all []net.PacketConn
	for _, a := range addresses {
		c, err := net.ListenPacket("udp", a)
		if err != nil {
			closeAll(all)
			return nil, kit.Hint(fmt.Errorf("listen for exporters on %s: %w", a, err), "another receiver may have the port")
		}
		if u, ok := c.(*net.UDPConn); ok {
			u.SetReadBuffer(receiveBuffer) // the system's limit may be lower
		}
		all = append(all, c)
	}
	return all, nil
}

func closeAll(sockets []net.PacketConn) {
	for _, s := range sockets {
		s.Close()
	}
}

// receiver owns the decoders; sockets are read by goroutines of their own.
type receiver struct {
	exports   *exports
	sink      *Batches
	m         *metrics
	lateness  time.Duration
	datagrams chan datagram.Datagram
}

func (r *receiver) run(ctx context.Context, sockets []net.PacketConn) error {
	var g errgroup.Group
	for _, s := range sockets {
		g.Go(func() error { return r.receive(ctx, s) })
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait(); close(r.datagrams) }()
	stop := context.AfterFunc(ctx, func() { closeAll(sockets) })
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := make(map[string]uint64)
	for {
		select {
		case d, ok := <-r.datagrams:
			if !ok {
				return errors.Join(<-done, r.exports.flush(), r.sink.Close())
			}
			if err := r.exports.datagram(d); err != nil {
				closeAll(sockets)
				return err
			}
		case now := <-tick.C:
			if err := r.beat(now.UnixNano()); err != nil {
				closeAll(sockets)
				return err
			}
			r.m.tell(&r.exports.tally, told)
		}
	}
}

// beat is a second's work: what waited long enough goes out, and a header says
// that the receiver lives, and up to which time flows have come.
func (r *receiver) beat(now int64) error {
	if err := r.exports.sflow.Expire(now-int64(time.Minute), r.exports.half); err != nil {
		return err
	}
	if err := r.exports.table.Expire(now - int64(biflow.Window)); err != nil {
		return err
	}
	r.sink.clock = max(r.sink.clock, now)
	r.sink.watermark = now - int64(r.lateness)
	return r.sink.cut(false)
}

func (r *receiver) receive(ctx context.Context, s net.PacketConn) error {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("receive on %s: %w", s.LocalAddr(), err)
		}
		r.m.datagrams.Inc()
		d := datagram.Datagram{Time: time.Now().UnixNano(), Payload: append([]byte(nil), buf[:n]...)}
		if a, ok := from.(*net.UDPAddr); ok {
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				d.From = flow.AddrFrom(ip)
			}
		}
		select {
		case r.datagrams <- d:
		default: // the sockets' buffers are for bursts; what is beyond is counted
			r.m.overflow.Inc()
		}
	}
}

// metrics of the receiver.
type metrics struct {
	datagrams, overflow prometheus.Counter
	records             prometheus.Counter
	skipped             *prometheus.CounterVec
	made                uint64
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "tapwatch", Subsystem: "analyzer_importer", Name: name, Help: help}
	}
	m := &metrics{
		datagrams: prometheus.NewCounter(counter("received_datagrams_total", "Export datagrams that arrived.")),
		overflow:  prometheus.NewCounter(counter("overflow_datagrams_total", "Export datagrams dropped because the decoder was too slow.")),
		records:   prometheus.NewCounter(counter("made_records_total", "Flow records made of what exporters sent.")),
		skipped:   prometheus.NewCounterVec(counter("skipped_records_total", "Records and samples left out, by reason."), []string{"reason"}),
	}
	reg.MustRegister(m.datagrams, m.overflow, m.records, m.skipped)
	return m
}

// tell brings the counters to what the tally says; told is what it said before.
func (m *metrics) tell(t *source.Tally, told map[string]uint64) {
	m.records.Add(float64(t.Records - m.made))
	m.made = t.Records
	for reason, s := range t.Skipped {
		m.skipped.WithLabelValues(reason).Add(float64(s.Count - told[reason]))
		told[reason] = s.Count
	}
}
