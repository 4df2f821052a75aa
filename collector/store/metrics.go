package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/collector/consume"
)

type metrics struct {
	rows, verified, dropped, poisoned, present, twins, full prometheus.Counter
	diskFree, diskReserve                                   prometheus.Gauge
	inserts, retries, messages                              *prometheus.CounterVec
	blockRows, insertSeconds, blockSeconds                  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const prefix = "tapwatch_collector_store_"
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	vec := func(label, name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, []string{label})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	return &metrics{
		rows:          counter("rows_total", "Flow records known to be in flows."),
		messages:      vec("status", "messages_total", "Messages dealt with: stored, duplicate, quarantined, expired, or settled before."),
		inserts:       vec("outcome", "inserts_total", "Inserts into flows: ok, dropped (the server knew the token) or error."),
		retries:       vec("reason", "retries_total", "Attempts that failed and are repeated, by reason."),
		verified:      counter("verifications_total", "Inserts whose rows were counted, because there was doubt."),
		dropped:       counter("dedup_hits_total", "Inserts that the server dropped because it knew their token."),
		poisoned:      counter("poisoned_tokens_total", "Tokens that the server knew without having their rows."),
		present:       counter("present_rows_total", "Flow records of suspect and repeated blocks that were there already."),
		twins:         counter("twin_rows_total", "Flow records that two partitions had stored at once, and of which one copy was removed."),
		full:          counter("reserve_waits_total", "Inserts that were put off because the disk is at its reserve."),
		diskFree:      gauge("disk_free_bytes", "Free space of the disk that rows go to, as ClickHouse says."),
		diskReserve:   gauge("disk_reserve_bytes", "What inserts leave free of it."),
		blockRows:     histogram("block_rows", "Flow records per block.", prometheus.ExponentialBuckets(1, 4, 10)),
		insertSeconds: histogram("insert_seconds", "Time of one insert that succeeded.", seconds),
		blockSeconds:  histogram("block_seconds", "Time to store one block, waiting included.", seconds),
	}
}

func (m *metrics) insert(o outcome) {
	switch {
	case o.err != nil:
		m.inserts.WithLabelValues("error").Inc()
	case o.dropped:
		m.inserts.WithLabelValues("dropped").Inc()
		m.dropped.Inc()
	default:
		m.inserts.WithLabelValues("ok").Inc()
	}
}

func (m *metrics) done(b *consume.Block, messages []message, took time.Duration) {
	rows := 0
	for i := range messages {
		status := messages[i].status
		if status == stored {
			rows += messages[i].Batch.Len()
		}
		if status == settled {
			status = "settled"
		}
		m.messages.WithLabelValues(string(status)).Inc()
	}
	m.rows.Add(float64(rows))
	m.blockRows.Observe(float64(rows))
	m.blockSeconds.Observe(took.Seconds())
}
