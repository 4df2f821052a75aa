package keep

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector shows the Stats of a Ring as metrics.
type collector struct{ r *Ring }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tapwatch_probe_keep_"+name, help, labels, nil)
}

var (
	keptPackets   = describe("kept_packets_total", "Packets written to the packet ring.")
	keptBytes     = describe("kept_bytes_total", "Captured octets of these packets.")
	cutPackets    = describe("cut_packets_total", "Packets left out because their flow had its share.")
	cutBytes      = describe("cut_bytes_total", "Captured octets of these packets.")
	dropPackets   = describe("dropped_packets_total", "Packets not kept because the disk lagged, was full or failed.")
	dropBytes     = describe("dropped_bytes_total", "Captured octets of these packets.")
	writtenBlocks = describe("written_blocks_total", "Blocks written.")
	writtenBytes  = describe("written_bytes_total", "Octets written, compressed.")
	removedFiles  = describe("removed_segments_total", "Segments removed, by reason: bytes, age, space.", "reason")
	damagedBlocks = describe("damaged_blocks_total", "Blocks found damaged on disk.")
	tornBytes     = describe("torn_bytes_total", "Octets behind the last whole block of a segment that was not completed.")
	ioErrors      = describe("io_errors_total", "Errors of the disk.")
	segmentFiles  = describe("segments", "Segments on disk.")
	sizeBytes     = describe("size_bytes", "Octets of all segments on disk.")
	limitBytes    = describe("limit_bytes", "Octets the segments may take.")
	oldestAge     = describe("oldest_age_seconds", "Age of the oldest kept packet; 0 when there is none.")
)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{keptPackets, keptBytes, cutPackets, cutBytes, dropPackets, dropBytes, writtenBlocks, writtenBytes,
		removedFiles, damagedBlocks, tornBytes, ioErrors, segmentFiles, sizeBytes, limitBytes, oldestAge} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.r.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count(keptPackets, s.KeptPackets)
	count(keptBytes, s.KeptBytes)
	count(cutPackets, s.CutPackets)
	count(cutBytes, s.CutBytes)
	count(dropPackets, s.DroppedPackets)
	count(dropBytes, s.DroppedBytes)
	count(writtenBlocks, s.WrittenBlocks)
	count(writtenBytes, s.WrittenBytes)
	count(damagedBlocks, s.DamagedBlocks)
	count(tornBytes, s.TornBytes)
	count(ioErrors, s.IOErrors)
	c.r.mu.Lock()
	removed := [...]uint64{c.r.removed["bytes"], c.r.removed["age"], c.r.removed["space"]}
	c.r.mu.Unlock()
	for i, reason := range [...]string{"bytes", "age", "space"} {
		count(removedFiles, removed[i], reason)
	}
	gauge(segmentFiles, float64(s.Segments))
	gauge(sizeBytes, float64(s.Bytes))
	gauge(limitBytes, float64(c.r.cfg.MaxBytes))
	age := 0.0
	if !s.First.IsZero() {
		age = max(0, time.Since(s.First).Seconds())
	}
	gauge(oldestAge, age)
}
