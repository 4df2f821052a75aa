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
	type counted struct {
		counter  *prometheus.CounterVec
		of       string // its second label, an event or a reason; "": it has none
		now, was uint64
	}
	list := []counted{
		{m.packets, "", t.SeenPackets, m.last.SeenPackets},
		{m.bytes, "", t.SeenFrameBytes, m.last.SeenFrameBytes},
		{m.flowPackets, "", t.FlowPackets, m.last.FlowPackets},
		{m.flowBytes, "", t.FlowFrameBytes, m.last.FlowFrameBytes},
		{m.flows, "", t.FlowsStarted, m.last.FlowsStarted},
		{m.records, "", t.Records, m.last.Records},
		{m.evicted, "", flows.Evicted, m.meter.Evicted},
		{m.emergencies, "", flows.EmergenciesEntered, m.meter.EmergenciesEntered},
		{m.aggregated, "", flows.Aggregated, m.meter.Aggregated},
		{m.dpi, "recognised", seen.Recognised, m.seen.Recognised},
		{m.dpi, "unknown", seen.Unknown, m.seen.Unknown},
		{m.dpi, "stream_cut", seen.StreamsCut, m.seen.StreamsCut},
		{m.dpi, "no_memory", seen.NoMemory, m.seen.NoMemory},
		{m.dpi, "malformed", seen.Malformed, m.seen.Malformed},
		{m.dpi, "quic_failed", seen.QUICFailed, m.seen.QUICFailed},
		{m.fragments, "piece", dec.Fragments, m.dec.Fragments},
		{m.fragments, "reassembled", dec.Reassembled, m.dec.Reassembled},
		{m.fragments, "overlap", dec.FragmentOverlaps, m.dec.FragmentOverlaps},
		{m.fragments, "expired", dec.FragmentsExpired, m.dec.FragmentsExpired},
		{m.fragments, "evicted", dec.FragmentsEvicted, m.dec.FragmentsEvicted},
		{m.fragments, "refused", dec.FragmentsRefused, m.dec.FragmentsRefused},
	}
	for reason, n := range t.Losses {
		was := m.losses[reason]
		list = append(list, counted{m.lost, reason, n.Packets, was.Packets}, counted{m.lostRecords, reason, n.Records, was.Records})
		m.losses[reason] = n
	}
	for _, c := range list {
		labels := []string{m.worker, c.of}
		if c.of == "" {
			labels = labels[:1]
		}
		c.counter.WithLabelValues(labels...).Add(float64(c.now - c.was))
	}
	m.buffers.WithLabelValues(m.worker).Set(float64(seen.BufferBytes))
	m.open.WithLabelValues(m.worker).Set(float64(open))
	m.last, m.meter, m.seen, m.dec = t, flows, seen, dec
}
