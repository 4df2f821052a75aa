package consume

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// metrics are the package's own, and the stage that it can see waiting.
type metrics struct {
	messages, bytes, blocks, repeats, suspects prometheus.Counter
	quarantined                                *prometheus.CounterVec
	holes, missing, commits, fenced            prometheus.Counter
	lag                                        *prometheus.GaugeVec
	owned, stopped                             prometheus.Gauge
	stages                                     *ops.Stages

	mu      sync.Mutex
	waiting map[int]time.Time // Kafka's time of the oldest message at hand, by partition
}

func newMetrics(reg prometheus.Registerer, stages *ops.Stages) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_collector_consume_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		messages: counter("messages_total", "Messages taken from Kafka; those read again after a crash or rebalance count again."),
		bytes:    counter("message_bytes_total", "Octets of those messages, compressed."),
		blocks:   counter("blocks_total", "Blocks handed over and stored."),
		repeats:  counter("repeated_blocks_total", "Blocks formed again because an earlier owner had promised them."),
		suspects: counter("suspect_blocks_total", "Blocks whose rows were looked for before they were written."),
		holes:    counter("holes_total", "Times that Kafka no longer had the next message, by retention or because the topic is another."),
		missing:  counter("missing_messages_total", "Offsets that Kafka no longer had when it was their turn."),
		commits:  counter("commits_total", "Offsets committed."),
		fenced:   counter("fenced_commits_total", "Commits that Kafka refused because the partition has another owner."),
		quarantined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapwatch_collector_consume_quarantined_messages_total", Help: "Messages that cannot be decoded, by reason; they are in the dead-letter topic."}, []string{"reason"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapwatch_collector_consume_lag_messages", Help: "Messages in Kafka that have not been taken yet."}, []string{"partition"}),
		owned:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "tapwatch_collector_consume_owned_partitions", Help: "Partitions that this collector owns."}),
		stopped: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tapwatch_collector_consume_stopped_partitions", Help: "Partitions that stand still until somebody looks at them; /readyz says why."}),
		stages:  stages,
		waiting: map[int]time.Time{},
	}
	reg.MustRegister(m.quarantined, m.lag, m.owned, m.stopped)
	return m
}

// wait notes since when partition has had a message at hand; zero: it has none.
func (m *metrics) wait(partition int, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if since.IsZero() {
		delete(m.waiting, partition)
	} else {
		m.waiting[partition] = since
	}
}

// tell brings the lag of the stage up to date.
func (m *metrics) tell(now time.Time) {
	m.mu.Lock()
	var oldest time.Duration
	for _, t := range m.waiting {
		oldest = max(oldest, now.Sub(t))
	}
	m.mu.Unlock()
	m.stages.Lag(ops.KafkaToRow, oldest)
}

func (m *metrics) setLag(partition int, n int64) {
	m.lag.WithLabelValues(strconv.Itoa(partition)).Set(float64(max(n, 0)))
}

func (m *metrics) release(partition int) {
	m.wait(partition, time.Time{})
	m.lag.DeleteLabelValues(strconv.Itoa(partition))
}
