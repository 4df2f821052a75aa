package collector_test

import (
	"testing"
	"time"
)

// BenchmarkCollect measures flow records per second from Kafka to verified rows
// in ClickHouse, all on this machine.
func BenchmarkCollect(b *testing.B) {
	const batches, rows = 100, 2000
	g := newGenerator(1, "bench")
	var values [][]byte
	bytes := 0
	for i := range batches {
		values = append(values, g.batch(b, rows, monday.Add(time.Duration(i)*time.Minute), time.Minute))
		bytes += len(values[i])
	}
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, 2)
		for i, v := range values {
			produce(b, r.client, r.cfg.Topic, i%2, v)
		}
		r.cfg.Rollup.Interval = 0
		metric := r.serveMetrics(&r.cfg)
		b.StartTimer()
		began := time.Now()
		stop := r.start(r.cfg)
		r.until("SELECT count() FROM batches", batches, time.Minute)
		took := time.Since(began)
		b.StopTimer()
		inserts := metric("tapwatch_collector_store_insert_seconds_sum")
		stop()
		disk := r.count("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'flows' AND database = '" + r.cfg.ClickHouse.Database + "'")
		b.ReportMetric(batches*rows/took.Seconds(), "rows/s")
		b.ReportMetric(inserts, "s-in-inserts")
		b.ReportMetric(float64(bytes)/(batches*rows), "message-B/row")
		b.ReportMetric(float64(disk)/(batches*rows), "disk-B/row")
		b.StartTimer()
	}
}
