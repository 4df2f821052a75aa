package ipfix

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/probe/plugin"
)

// Exporter sends the records of all workers to one collector. It is a plugin.Exporter.
type Exporter struct {
	cfg     Config
	log     *slog.Logger
	layouts [shapes][]field
	limit   int // octets of a message
	text    int // octets of a text in a record
	started time.Time

	free, queue chan *message
	failing     atomic.Bool // the collector cannot be reached
	ended       chan struct{}

	mu     sync.Mutex
	ifaces []string // ingressInterface is the index and one
	byName map[string]uint32

	sent struct{ messages, records, octets, errors atomic.Uint64 }
	lost struct{ queue, send, end atomic.Uint64 }
	// notSent are the packets and octets of all lost records.
	notSent struct{ packets, octets atomic.Uint64 }
}

var _ plugin.Exporter = (*Exporter)(nil)

// maxInterfaces bounds the table of interfaces; later ones get the number 0.
const maxInterfaces = 4096

// New prepares an exporter with cfg, which has passed Check and has an Address, and registers its metrics with reg; nothing is
// sent before Run. reg may be nil.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Exporter, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	x := &Exporter{cfg: cfg, log: log, limit: cfg.message(), started: time.Now(), ended: make(chan struct{}), byName: make(map[string]uint32)}
	for s := range shapes {
		x.layouts[s] = layout(s, timeOf(cfg.Times))
	}
	x.text = min((x.limit-room)/texts-3, 1024)
	n := min(int(cfg.Queue)/x.limit, 1<<16)
	x.free, x.queue = make(chan *message, n), make(chan *message, n)
	for range n {
		x.free <- new(message)
	}
	if reg != nil {
		x.register(reg)
	}
	return x, nil
}

// Name is "ipfix".
func (x *Exporter) Name() string { return "ipfix" }

// Open returns the sink of a worker.
func (x *Exporter) Open(w plugin.Worker) (plugin.Sink, error) {
	return &sink{x: x, domain: x.cfg.Domain + w.Number, live: w.Live, ifaces: make(map[string]uint32),
		in: input{text: x.text, sampled: uint64(max(x.cfg.SamplePackets, 1))}}, nil
}

// interfaceNumber returns the number of an interface, and how many there are now.
func (x *Exporter) interfaceNumber(name string) (id uint32, known int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id = x.byName[name]
	if id == 0 && len(x.ifaces) < maxInterfaces && name != "" {
		x.ifaces = append(x.ifaces, name)
		id = uint32(len(x.ifaces))
		x.byName[name] = id
	}
	return id, len(x.ifaces)
}

// interfacesFrom returns the names from number n+1 on. They are not changed any more.
func (x *Exporter) interfacesFrom(n int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ifaces[min(n, len(x.ifaces)):]
}

func (x *Exporter) lose(why *atomic.Uint64, records, packets, octets uint64) {
	why.Add(records)
	x.notSent.packets.Add(packets)
	x.notSent.octets.Add(octets)
}

// Stats counts since New. Records are IPFIX data records of flows: two for a flow with both directions, unless biflows are exported.
type Stats struct {
	Messages uint64 // sent
	Records  uint64 // in them
	Octets   uint64 // of them, headers and templates included
	Errors   uint64 // of connecting and sending

	DroppedQueue uint64 // records: the queue was full
	DroppedSend  uint64 // records: the system refused the message (UDP)
	DroppedEnd   uint64 // records: left over when the time to drain was up
}

// Stats may be called at any time.
func (x *Exporter) Stats() Stats {
	return Stats{x.sent.messages.Load(), x.sent.records.Load(), x.sent.octets.Load(), x.sent.errors.Load(),
		x.lost.queue.Load(), x.lost.send.Load(), x.lost.end.Load()}
}

func (x *Exporter) register(reg prometheus.Registerer) {
	counter := func(name, help string, n *atomic.Uint64, labels prometheus.Labels) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tapwatch_probe_ipfix_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(n.Load()) }))
	}
	counter("messages_total", "IPFIX messages sent, templates included.", &x.sent.messages, nil)
	counter("records_total", "Flow data records sent.", &x.sent.records, nil)
	counter("octets_total", "Octets of all messages sent.", &x.sent.octets, nil)
	counter("errors_total", "Failures to reach the collector or to send.", &x.sent.errors, nil)
	for _, d := range []struct {
		reason string
		n      *atomic.Uint64
	}{{"queue_full", &x.lost.queue}, {"refused", &x.lost.send}, {"stopped", &x.lost.end}} {
		counter("dropped_records_total", "Flow data records that were not sent, by reason.", d.n, prometheus.Labels{"reason": d.reason})
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tapwatch_probe_ipfix_queued_messages", Help: "Messages that wait to be sent."},
		func() float64 { return float64(len(x.queue)) }))
}

// milliseconds of t since the Unix epoch.
func milliseconds(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) & math.MaxInt64 }
