package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/probe/mirror"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// metrics of one worker; the vectors are shared by all workers of a probe.
type metrics struct {
	*meters
	worker string
	last   ledger.Totals
	losses map[string]ledger.Loss
	meter  meter.Stats
	seen   dpi.Stats
	dec    decode.Stats
}

// meters are the probe's metrics.
type meters struct {
	packets, bytes          *prometheus.CounterVec
	flowPackets, flowBytes  *prometheus.CounterVec
	flows, records          *prometheus.CounterVec
	lost, lostRecords       *prometheus.CounterVec
	open                    *prometheus.GaugeVec
	evicted                 *prometheus.CounterVec
	emergencies, aggregated *prometheus.CounterVec
	dpi                     *prometheus.CounterVec
	buffers                 *prometheus.GaugeVec
	fragments, freezes      *prometheus.CounterVec
	stages                  *ops.Stages
	mirror                  *mirror.Metrics
}

func newMeters(reg prometheus.Registerer) *meters {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_probe_" + name, Help: help}, append([]string{"worker"}, labels...))
		reg.MustRegister(c)
		return c
	}
	m := &meters{
		packets:     counter("capture_packets_total", "Packets that reached the capture point, lost ones included."),
		bytes:       counter("capture_frame_bytes_total", "Octets of their frames on the wire."),
		flowPackets: counter("meter_packets_total", "Packets counted into flows."),
		flowBytes:   counter("meter_frame_bytes_total", "Octets of their frames on the wire."),
		flows:       counter("meter_flows_total", "Connections begun."),
		records:     counter("meter_records_total", "Flow records made."),
		lost:        counter("ledger_lost_packets_total", "Packets that are in no flow, by reason.", "reason"),
		lostRecords: counter("ledger_lost_records_total", "Flow records that were not handed over, by reason.", "reason"),
		evicted:     counter("meter_evicted_flows_total", "Flows ended early because the table was full."),
		emergencies: counter("meter_emergencies_total", "Times the flow table was nearly full, so that timeouts were shortened."),
		aggregated:  counter("meter_aggregated_flows_total", "Connections of floods that were added up in records of many."),
		dpi:         counter("dpi_events_total", "Flows recognised or given up, streams cut (of these for want of memory), malformed messages, QUIC packets that could not be opened.", "event"),
		buffers:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tapwatch_probe_dpi_buffer_bytes", Help: "Octets held for stream reassembly."}, []string{"worker"}),
		open:        prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tapwatch_probe_meter_open_flows", Help: "Flows in the table."}, []string{"worker"}),
		fragments:   counter("decode_fragments_total", "Pieces of fragmented datagrams, datagrams put together, and those given up, by what became of them.", "event"),
		freezes:     counter("capture_ring_freezes_total", "Times the ring was full, so that the kernel dropped."),
		stages:      ops.StageLatency(reg, "probe"),
	}
	reg.MustRegister(m.open, m.buffers)
	m.mirror = mirror.NewMetrics(reg)
	return m
}

func (m *meters) of(worker string) *metrics {
	return &metrics{meters: m, worker: worker, losses: make(map[string]ledger.Loss)}
}

func (m *metrics) flowEnded(sinceLastPacket int64) {
	m.stages.Observe(ops.PacketToFlowEnd, time.Duration(sinceLastPacket))
}

// update adds what the ledger counted since the update before.
func (m *metrics) update(t ledger.Totals, open int, flows meter.Stats, seen dpi.Stats, dec decode.Stats) {
	add := func(c *prometheus.CounterVec, now, was uint64) { c.WithLabelValues(m.worker).Add(float64(now - was)) }
	add(m.packets, t.SeenPackets, m.last.SeenPackets)
	add(m.bytes, t.SeenFrameBytes, m.last.SeenFrameBytes)
	add(m.flowPackets, t.FlowPackets, m.last.FlowPackets)
	add(m.flowBytes, t.FlowFrameBytes, m.last.FlowFrameBytes)
	add(m.flows, t.FlowsStarted, m.last.FlowsStarted)
	add(m.records, t.Records, m.last.Records)
	for reason, n := range t.Losses {
		was := m.losses[reason]
		m.lost.WithLabelValues(m.worker, reason).Add(float64(n.Packets - was.Packets))
		m.lostRecords.WithLabelValues(m.worker, reason).Add(float64(n.Records - was.Records))
		m.losses[reason] = n
	}
	add(m.evicted, flows.Evicted, m.meter.Evicted)
	add(m.emergencies, flows.EmergenciesEntered, m.meter.EmergenciesEntered)
	add(m.aggregated, flows.Aggregated, m.meter.Aggregated)
	for _, e := range [...]struct {
		name     string
		now, was uint64
	}{
		{"recognised", seen.Recognised, m.seen.Recognised}, {"unknown", seen.Unknown, m.seen.Unknown},
		{"stream_cut", seen.StreamsCut, m.seen.StreamsCut}, {"no_memory", seen.NoMemory, m.seen.NoMemory},
		{"malformed", seen.Malformed, m.seen.Malformed}, {"quic_failed", seen.QUICFailed, m.seen.QUICFailed},
	} {
		m.dpi.WithLabelValues(m.worker, e.name).Add(float64(e.now - e.was))
	}
	for _, e := range [...]struct {
		name     string
		now, was uint64
	}{
		{"piece", dec.Fragments, m.dec.Fragments}, {"reassembled", dec.Reassembled, m.dec.Reassembled}, {"overlap", dec.FragmentOverlaps, m.dec.FragmentOverlaps},
		{"expired", dec.FragmentsExpired, m.dec.FragmentsExpired}, {"evicted", dec.FragmentsEvicted, m.dec.FragmentsEvicted},
		{"refused", dec.FragmentsRefused, m.dec.FragmentsRefused},
	} {
		m.fragments.WithLabelValues(m.worker, e.name).Add(float64(e.now - e.was))
	}
	m.dec = dec
	m.buffers.WithLabelValues(m.worker).Set(float64(seen.BufferBytes))
	m.meter, m.seen = flows, seen
	m.open.WithLabelValues(m.worker).Set(float64(open))
	m.last = t
}
