package schedule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

type metrics struct {
	windows, candidates, learning, alerts *prometheus.CounterVec
	seconds                               *prometheus.HistogramVec
	pending                               prometheus.Gauge
	short                                 prometheus.Counter
	stages                                *ops.Stages
}

func newMetrics(reg prometheus.Registerer, stages *ops.Stages) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_analyzer_" + name, Help: help}, labels)
	}
	m := &metrics{
		windows:    vec("schedule_windows_total", "Windows judged, by detector and result (closed, provisional or error).", "detector", "result"),
		candidates: vec("detect_candidates_total", "Candidates that were scored.", "detector"),
		learning:   vec("detect_learning_candidates_total", "Candidates without enough history to be judged.", "detector"),
		alerts:     vec("alert_revisions_total", "Revisions of alerts stored, by detector and kind (new, changed or withdrawn).", "detector", "kind"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tapwatch_analyzer_detect_window_seconds", Help: "Time one window took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"detector"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tapwatch_analyzer_schedule_pending_windows", Help: "Windows that wait to be judged, open ones included."}),
		short:   prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_schedule_unseen_rows_total", Help: "Rows that batches promised and flows did not have when their window was judged."}),
		stages:  stages,
	}
	if reg != nil {
		reg.MustRegister(m.windows, m.candidates, m.learning, m.alerts, m.seconds, m.pending, m.short)
	}
	return m
}

func (m *metrics) judged(detector string, o outcome, closed bool) {
	result := "provisional"
	if closed {
		result = "closed"
	}
	if o.err != nil {
		result = "error"
	}
	m.windows.WithLabelValues(detector, result).Inc()
	m.candidates.WithLabelValues(detector).Add(float64(o.result.Judged))
	m.learning.WithLabelValues(detector).Add(float64(o.result.Learning))
	m.seconds.WithLabelValues(detector).Observe(o.took.Seconds())
}

func (m *metrics) raised(detector string, r alert.Raised) {
	m.alerts.WithLabelValues(detector, "new").Add(float64(r.New))
	m.alerts.WithLabelValues(detector, "changed").Add(float64(r.Changed - r.Withdrawn))
	m.alerts.WithLabelValues(detector, "withdrawn").Add(float64(r.Withdrawn))
}

func (m *metrics) incident(d time.Duration) {
	if m.stages != nil {
		m.stages.Observe(ops.RowToIncident, d)
	}
}

func (m *metrics) waiting(n int, now, oldest time.Time) {
	m.pending.Set(float64(n))
	if m.stages == nil {
		return
	}
	if oldest.IsZero() {
		m.stages.Lag(ops.RowToIncident, 0)
		return
	}
	m.stages.Lag(ops.RowToIncident, now.Sub(oldest))
}
