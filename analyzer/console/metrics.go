package console

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	questions *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	logins    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		questions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tapwatch_analyzer_console_question_seconds", Help: "Time ClickHouse took for one question of the console, by outcome.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapwatch_analyzer_console_refused_requests_total", Help: "Requests that were turned away, by reason.",
		}, []string{"reason"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapwatch_analyzer_console_logins_total", Help: "Attempts to log in, by outcome: good, wrong or locked.",
		}, []string{"outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.questions, m.refused, m.logins)
	}
	return m
}
