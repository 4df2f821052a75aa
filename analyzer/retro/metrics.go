package retro

import "github.com/prometheus/client_golang/prometheus"

type meters struct {
	sweeps *prometheus.CounterVec
	hits   prometheus.Counter
	rows   prometheus.Counter
}

func newMeters(reg prometheus.Registerer) meters {
	m := meters{
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_analyzer_retro_sweeps_total", Help: "Sweeps of history, by outcome: done or failed, which is tried again."}, []string{"outcome"}),
		hits:   prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_retro_hits_total", Help: "Contacts with indicators that sweeps of history found."}),
		rows:   prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_analyzer_retro_rows_total", Help: "Rows of flows and rollups that sweeps of history looked through."}),
	}
	if reg != nil {
		reg.MustRegister(m.sweeps, m.hits, m.rows)
	}
	return m
}
