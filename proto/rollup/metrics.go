package rollup

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	builds, rows *prometheus.CounterVec
	dirty        *prometheus.GaugeVec
	seconds      *prometheus.HistogramVec
	added        prometheus.Counter
	failures     prometheus.Counter
	provisional  prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) metrics {
	const prefix = "tapwatch_collector_rollup_"
	label := []string{"rollup"}
	m := metrics{
		builds:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "buckets_total", Help: "Buckets built."}, label),
		rows:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "raw_rows_total", Help: "Rows of flows they were made of."}, label),
		dirty:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "dirty_buckets", Help: "Buckets that lack rows which batches promises."}, label),
		seconds:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "build_seconds", Help: "Time of one build, of up to 24 buckets.", Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 60, 300, 600}}, label),
		added:       prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "added_total", Help: "Late batches added to buckets whose raw rows had gone: builds."}),
		failures:    prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "failures_total", Help: "Looks or builds that failed and are repeated."}),
		provisional: prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "provisional_buckets", Help: "Hours that are not closed."}),
	}
	registry.MustRegister(m.builds, m.rows, m.dirty, m.seconds, m.added, m.failures, m.provisional)
	for _, r := range append(hourly(), daily()) {
		m.builds.WithLabelValues(r.name)
		m.rows.WithLabelValues(r.name)
		m.dirty.WithLabelValues(r.name)
		m.seconds.WithLabelValues(r.name)
	}
	return m
}

// look sets what was found by a look.
func (m *metrics) look(buckets map[int64]*bucket) {
	provisional := 0
	for _, k := range buckets {
		if k.cover == 0 {
			provisional++
		}
	}
	m.provisional.Set(float64(provisional))
	for _, r := range hourly() {
		n := 0
		for _, k := range buckets {
			if k.lacking(r.name) {
				n++
			}
		}
		m.dirty.WithLabelValues(r.name).Set(float64(n))
	}
}

// idle says that this collector builds nothing any more.
func (m *metrics) idle() {
	m.provisional.Set(0)
	for _, r := range append(hourly(), daily()) {
		m.dirty.WithLabelValues(r.name).Set(0)
	}
}
