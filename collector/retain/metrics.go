package retain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	used                         *prometheus.GaugeVec
	budget, free, excess, growth prometheus.Gauge
	steady, full                 prometheus.Gauge
	dropped                      *prometheus.CounterVec
	failures                     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	const prefix = "tapwatch_collector_retain_"
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
	}
	m := &metrics{
		used:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "used_bytes", Help: "Disk that a table takes; system: ClickHouse's own logs."}, []string{"table"}),
		budget:   gauge("budget_bytes", "Disk that all may take together."),
		free:     gauge("free_bytes", "Free on the disks that flows are on."),
		excess:   gauge("excess_bytes", "What has no room, and may not go."),
		growth:   gauge("growth_bytes_per_day", "What comes in, of the last two weeks; 0: not known yet."),
		steady:   gauge("steady_bytes", "What all will take when as much goes as comes; 0: not known yet."),
		full:     gauge("full_timestamp_seconds", "When the budget will be used up, Unix time; 0: never, or not known yet."),
		dropped:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "dropped_bytes_total", Help: "What retention has dropped."}, []string{"table", "reason"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "failures_total", Help: "Passes that failed and are repeated."}),
	}
	r.MustRegister(m.used, m.budget, m.free, m.excess, m.growth, m.steady, m.full, m.dropped, m.failures)
	return m
}

func (m *metrics) usage(u Usage) {
	for name, bytes := range u.Tables {
		m.used.WithLabelValues(name).Set(float64(bytes))
	}
	m.budget.Set(float64(u.Budget))
	m.free.Set(float64(u.Free))
}

func (m *metrics) forecast(f Forecast, ok bool) {
	if !ok {
		f = Forecast{}
	}
	m.growth.Set(f.Growth)
	m.steady.Set(f.Steady)
	m.full.Set(unix(f.Full))
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
