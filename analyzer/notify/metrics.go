package notify

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	messages, attempts *prometheus.CounterVec
	seconds            *prometheus.HistogramVec
	waiting, oldest    *prometheus.GaugeVec
	lookErrors         prometheus.Counter
	storeErrors        *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const prefix = "tapwatch_analyzer_notify_"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, []string{"sink"})
	}
	m := &metrics{
		messages: counter("messages_total", "Messages that are done with, by sink and status (delivered, gave_up or replaced by a newer revision).", "sink", "status"),
		attempts: counter("attempts_total", "Attempts to send, by sink and result (ok, failed, refused or cut_short by the end of the process).", "sink", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "attempt_seconds", Help: "Time one attempt took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"sink"}),
		waiting:     gauge("waiting_messages", "Messages that wait to be sent."),
		oldest:      gauge("waiting_seconds", "How long the oldest of them has waited."),
		lookErrors:  prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "look_errors_total", Help: "Looks for alerts that failed, for ClickHouse's sake."}),
		storeErrors: counter("store_errors_total", "Times that the state of a delivery could not be read or stored.", "sink"),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.attempts, m.seconds, m.waiting, m.oldest, m.lookErrors, m.storeErrors)
	}
	return m
}
