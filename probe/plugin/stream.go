package plugin

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

// StreamConfig is where to send batches.
type StreamConfig struct {
	Address string        `conf:"address" help:"unix:/path of a socket, or tcp:host:port, to which flow batches are sent; empty: none"`
	Drain   time.Duration `conf:"drain" help:"at the end wait this long for whoever listens"`
}

// DefaultStreamConfig sends nowhere.
func DefaultStreamConfig() StreamConfig { return StreamConfig{Drain: 2 * time.Second} }

// Check says what is wrong with cfg without opening anything.
func (cfg StreamConfig) Check() error {
	if cfg.Address == "" {
		return nil
	}
	if network, address, _ := strings.Cut(cfg.Address, ":"); network != "unix" && network != "tcp" || address == "" {
		return fmt.Errorf("stream.address %q: unix:/path or tcp:host:port is needed", cfg.Address)
	}
	return nil
}

// Stream is the Exporter that needs no compiler: it connects to a socket and writes the messages that Kafka would get (a
// zstd-compressed FlowBatch of flow.proto, with up to a second of records, without a ledger), each after its length as four octets, big
// endian. Whoever listens may be written in any language and run as any user; it is not started by the probe, which after its start may
// not start programs. While nobody listens, records are dropped and counted.
type Stream struct {
	cfg   StreamConfig
	log   *slog.Logger
	epoch uint64

	free chan *flow.Encoder
	full chan sealing

	up    atomic.Bool // somebody listens
	ended chan struct{}

	messages, records, dropped, errors atomic.Uint64
}

type sealing struct {
	encoder *flow.Encoder
	worker  Worker
	seq     uint64
}

// streamBatches is how many batches there are: filled, waiting and being sent. Each is below flow.MaxMessageBytes.
const streamBatches = 8

// NewStream prepares an exporter with cfg, which has passed Check and has an Address, and registers its metrics with reg, which may be nil.
func NewStream(cfg StreamConfig, log *slog.Logger, reg prometheus.Registerer) (*Stream, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var b [8]byte
	rand.Read(b[:])
	s := &Stream{cfg: cfg, log: log, epoch: binary.BigEndian.Uint64(b[:]) | 1, free: make(chan *flow.Encoder, streamBatches),
		full: make(chan sealing, streamBatches), ended: make(chan struct{})}
	for range streamBatches {
		s.free <- flow.NewEncoder()
	}
	if reg != nil {
		for name, c := range map[string]struct {
			help string
			n    *atomic.Uint64
		}{
			"messages_total":        {"Batches written to the socket.", &s.messages},
			"records_total":         {"Flow records in them.", &s.records},
			"dropped_records_total": {"Flow records dropped: nobody listened, or too slowly.", &s.dropped},
			"errors_total":          {"Failures to connect or to write.", &s.errors},
		} {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tapwatch_probe_plugin_stream_" + name, Help: c.help},
				func() float64 { return float64(c.n.Load()) }))
		}
	}
	return s, nil
}

// Name is "stream".
func (s *Stream) Name() string { return "stream" }

// Open returns the sink of a worker.
func (s *Stream) Open(w Worker) (Sink, error) { return &streamSink{s: s, worker: w}, nil }

// Dropped is the number of records that were not sent.
func (s *Stream) Dropped() uint64 { return s.dropped.Load() }

type streamSink struct {
	s       *Stream
	worker  Worker
	filling *flow.Encoder
	seq     uint64
}

func (k *streamSink) Add(r *flow.Record) {
	if k.filling != nil && !k.filling.Fits(r) {
		k.Cut()
	}
	if k.filling == nil && !k.take() {
		k.s.dropped.Add(1)
		return
	}
	k.filling.Add(r)
}

// take gets an empty batch. A file waits for one while somebody listens.
func (k *streamSink) take() bool {
	for {
		select {
		case <-k.s.ended:
			return false
		case k.filling = <-k.s.free:
			return true
		default:
		}
		if k.worker.Live || !k.s.up.Load() {
			return false
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case k.filling = <-k.s.free:
			timer.Stop()
			return true
		case <-timer.C:
		}
	}
}

// Cut hands the batch on.
func (k *streamSink) Cut() {
	if k.filling != nil && k.filling.Len() > 0 {
		k.seq++
		k.s.full <- sealing{k.filling, k.worker, k.seq} // has room: no more batches than places
		k.filling = nil
	}
}

// Close hands on the last batch.
func (k *streamSink) Close() error {
	k.Cut()
	if k.filling != nil {
		k.s.free <- k.filling
		k.filling = nil
	}
	return nil
}

// Run connects and sends until ctx ends, then what is left for at most Config.Drain.
func (s *Stream) Run(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.cfg.Drain, end) })()
	defer s.leave()
	network, address, _ := strings.Cut(s.cfg.Address, ":")
	retry := backoff.Backoff{Max: 5 * time.Second}
	var left []byte // a message that could not be written
	var count uint64
	for told := false; ; {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(life, network, address)
		if err == nil {
			s.up.Store(true)
			retry, told = backoff.Backoff{Max: 5 * time.Second}, false
			left, count, err = s.send(ctx, life, conn, left, count)
			conn.Close()
			s.up.Store(false)
		}
		if err == nil || life.Err() != nil || ctx.Err() != nil && len(s.full) == 0 && left == nil {
			s.dropped.Add(count)
			return nil
		}
		s.errors.Add(1)
		if !told {
			told = true
			s.log.Warn("nobody takes the stream of flows; records that do not fit the queue are dropped and counted", "address", s.cfg.Address,
				"err", kit.Hint(err, "start what listens there, or empty stream.address"))
		}
		if retry.Wait(life) != nil {
			s.dropped.Add(count)
			return nil
		}
	}
}

// send writes until ctx has ended and nothing is left, which gives a nil error, or the connection fails, which gives the message that was
// not written and its records.
func (s *Stream) send(ctx, life context.Context, conn net.Conn, left []byte, count uint64) ([]byte, uint64, error) {
	defer context.AfterFunc(life, func() { conn.Close() })()
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, conn); close(gone) }()
	defer func() { conn.Close(); <-gone }()
	for stopping := ctx.Done(); ; {
		if left != nil {
			if _, err := conn.Write(left); err != nil {
				return left, count, err
			}
			s.messages.Add(1)
			s.records.Add(count)
			left, count = nil, 0
		}
		var b sealing
		if stopping == nil {
			select {
			case b = <-s.full:
			default:
				return nil, 0, nil
			}
		} else {
			select {
			case b = <-s.full:
			case <-stopping:
				stopping = nil
				continue
			case <-gone:
				return nil, 0, errors.New("the connection was closed from the other side")
			}
		}
		count = uint64(b.encoder.Len())
		message, err := b.encoder.Seal(&flowpb.FlowBatch{Probe: b.worker.Probe, Site: b.worker.Site, Epoch: s.epoch, Worker: b.worker.Number, Seq: b.seq,
			SealedNs: time.Now().UnixNano(), Live: b.worker.Live})
		s.free <- b.encoder
		if err != nil {
			s.errors.Add(1)
			s.dropped.Add(count)
			continue
		}
		left = append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(message)), uint32(len(message))), message...)
	}
}

// leave counts what is left; sinks lose what comes later.
func (s *Stream) leave() {
	close(s.ended)
	for {
		select {
		case b := <-s.full:
			s.dropped.Add(uint64(b.encoder.Len()))
			s.free <- flow.NewEncoder()
		default:
			return
		}
	}
}
