package enrich

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	flows, threats, panics, refused, derived, failures, rewritten prometheus.Counter
	late                                                          prometheus.Counter
	loads                                                         *prometheus.CounterVec
	entries, broken                                               *prometheus.GaugeVec
	seconds                                                       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const prefix = "tapwatch_collector_enrich_"
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, []string{"kind", "source"})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		flows:     counter("flows_total", "Flow records that were enriched."),
		late:      counter("late_flows_total", "Flow records that were not, because time was up; enrich them again."),
		threats:   counter("threat_flows_total", "Flow records on a threat list."),
		panics:    counter("panics_total", "Blocks that were stored without, because something in the data broke."),
		refused:   counter("refused_entries_total", "Lines or objects of a file or feed that say nothing that is understood, or are too many."),
		derived:   counter("looks_total", "Looks at new flows for hosts and users."),
		failures:  counter("failures_total", "Looks or writes of tables that failed and are repeated."),
		rewritten: counter("rewritten_partitions_total", "Partitions of flows that were enriched again."),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "loads_total",
			Help: "Files and feeds that were read because they changed, by kind and outcome: ok or error."}, []string{"kind", "outcome"}),
		entries: gauge("entries", "What is in force, by kind and source: networks, vendors, indicators, workloads, records of a database."),
		broken:  gauge("broken", "1: the source cannot be read, and what was read of it before, if anything, is in force."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "seconds", Help: "Time for the rows of one insert.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .025, .05, .1, .25, .5, 1}}),
	}
	reg.MustRegister(m.loads, m.seconds)
	return m
}
