package mirror

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of all workers of a probe.
type Metrics struct {
	share, count *prometheus.GaugeVec
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tapwatch_probe_mirror_" + name, Help: help}, []string{"worker", "interface", "state"})
		reg.MustRegister(g)
		return g
	}
	return &Metrics{gauge("share", "Share of frames, connections or octets that show a fault of the mirror port, 0 to 1; for clock_offset and clock_disagreement seconds."),
		gauge("affected", "How many frames, connections or octets that are, of those looked at lately.")}
}

// Update sets the figures of a worker. It is called on the goroutine that owns o.
func (m *Metrics) Update(worker string, o *Observer) {
	for _, s := range o.Shares() {
		m.share.WithLabelValues(worker, s.Interface, string(s.Kind)).Set(s.Value)
		m.count.WithLabelValues(worker, s.Interface, string(s.Kind)).Set(float64(s.Count))
	}
}

// News returns the findings that the call before did not have, so that each is logged once, and again when it comes back.
func (o *Observer) News() (news []Finding) {
	type key struct {
		on   string
		kind Kind
	}
	told := make(map[any]bool)
	for _, f := range o.Findings() {
		k := key{f.Interface, f.Kind}
		told[k] = true
		if !o.told[k] {
			news = append(news, f)
		}
	}
	o.told = told
	return news
}
