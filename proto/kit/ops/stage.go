package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stage is one leg of the way from a packet to an incident.
type Stage string

// The stages, in the order of the data. Each is measured by the service at its end.
const (
	// PacketToFlowEnd runs from the last packet of a flow until its record is emitted: the probe's timeouts.
	PacketToFlowEnd Stage = "packet_to_flow_end"
	// FlowEndToKafka runs from the emission of a batch's oldest record until Kafka acknowledges the batch.
	FlowEndToKafka Stage = "flow_end_to_kafka"
	// KafkaToRow runs from Kafka's time stamp of a message until its rows are known to be stored.
	KafkaToRow Stage = "kafka_to_row"
	// RowToIncident runs from the storing of the newest row in a window until the window's alerts are stored.
	RowToIncident Stage = "row_to_incident"
)

// Stages measures how long a service's stages take, under the same metric names in every service, so that one query
// over all of them names the slowest:
//
//	topk(1, max by (stage) (tapwatch_stage_lag_seconds))
type Stages struct {
	latency  *prometheus.HistogramVec
	lag      *prometheus.GaugeVec
	negative *prometheus.CounterVec
}

// StageLatency registers the metrics of the stages with reg; service ("probe") becomes a label. It panics when called
// twice with the same reg: that is a mistake of a programmer.
func StageLatency(reg prometheus.Registerer, service string) *Stages {
	label := prometheus.Labels{"service": service}
	s := &Stages{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:        "tapwatch_stage_latency_seconds",
			Help:        "Time one unit of work (flow, batch, block, window) spent in a stage.",
			ConstLabels: label,
			// 1 ms to 1 h: a flow may wait out an active timeout, a batch an outage.
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"stage"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name:        "tapwatch_stage_lag_seconds",
			Help:        "Age of the oldest unit of work that still waits in a stage; 0 when none waits.",
			ConstLabels: label,
		}, []string{"stage"}),
		negative: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name:        "tapwatch_stage_latency_negative_total",
			Help:        "Latencies below zero, counted as zero: two machines disagree about the time.",
			ConstLabels: label,
		}, []string{"stage"}),
	}
	reg.MustRegister(s.latency, s.lag, s.negative)
	return s
}

// Observe records that one unit of work took d in a stage. For traffic that is replayed the caller measures against
// the time of reading, not of the capture.
func (s *Stages) Observe(stage Stage, d time.Duration) {
	if d < 0 {
		s.negative.WithLabelValues(string(stage)).Inc()
		d = 0
	}
	s.latency.WithLabelValues(string(stage)).Observe(d.Seconds())
}

// Lag sets the age of the oldest unit of work that waits in a stage; 0 when none does. Less than 0 counts as 0.
func (s *Stages) Lag(stage Stage, d time.Duration) {
	s.lag.WithLabelValues(string(stage)).Set(max(d, 0).Seconds())
}
