package spool

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one Spool. Registered with the caller's registry; without one they only count.
type metrics struct {
	appended, appendedBytes, acked prometheus.Counter
	droppedRecords, droppedRows    *prometheus.CounterVec
	droppedPackets, droppedFrames  *prometheus.CounterVec
	corrupt, torn, duplicates      prometheus.Counter
	ioErrors                       *prometheus.CounterVec
	fsync                          prometheus.Histogram
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "tapwatch_spool_" + name, Help: help})
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tapwatch_spool_" + name, Help: help}, []string{label})
}

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tapwatch_spool_" + name, Help: help,
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 18)}) // 0.25 ms to 32 s
}

func newMetrics(s *Spool, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		appended:       counter("appended_records_total", "Batches accepted: on disk."),
		appendedBytes:  counter("appended_bytes_total", "Bytes of key and value of the batches accepted."),
		acked:          counter("acked_records_total", "Batches that Kafka acknowledged and that left the spool."),
		droppedRecords: counters("dropped_records_total", "Batches that will not reach Kafka, by reason.", "reason"),
		droppedRows:    counters("dropped_rows_total", "Flow records in the dropped batches, by reason.", "reason"),
		droppedPackets: counters("dropped_packets_total", "Packets in the flows of the dropped batches, by reason.", "reason"),
		droppedFrames:  counters("dropped_frame_bytes_total", "Bytes on the wire of those packets, by reason.", "reason"),
		corrupt:        counter("corrupt_records_total", "Batches found damaged on disk."),
		torn:           counter("torn_bytes_total", "Bytes at the end of a segment that belong to no whole record."),
		duplicates:     counter("duplicate_segments_total", "Segment files that were copies of another, and removed."),
		ioErrors:       counters("io_errors_total", "Errors of the disk, by operation.", "operation"),
		fsync:          histogram("fsync_seconds", "Time of one group commit on disk."),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tapwatch_spool_" + name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return f()
		})
	}
	for _, c := range []prometheus.Collector{
		m.appended, m.appendedBytes, m.acked, m.droppedRecords, m.droppedRows, m.droppedPackets, m.droppedFrames, m.corrupt, m.torn,
		m.duplicates, m.ioErrors, m.fsync,
		gauge("size_bytes", "Bytes of all segments on disk.", func() float64 { return float64(s.total) }),
		gauge("limit_bytes", "Bytes the segments may take.", func() float64 { return float64(s.cfg.MaxBytes) }),
		gauge("waiting_records", "Batches not yet acknowledged.", func() float64 { return float64(s.waiting()) }),
		gauge("oldest_age_seconds", "Age of the oldest batch not yet acknowledged; 0 when there is none.", func() float64 {
			if ms := s.oldest(); ms != 0 {
				return max(0, time.Since(time.UnixMilli(ms)).Seconds())
			}
			return 0
		}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) dropped(r *DropRange) {
	l := r.Reason.String()
	m.droppedRecords.WithLabelValues(l).Add(float64(r.Records))
	m.droppedRows.WithLabelValues(l).Add(float64(r.Rows))
	m.droppedPackets.WithLabelValues(l).Add(float64(r.Packets))
	m.droppedFrames.WithLabelValues(l).Add(float64(r.FrameBytes))
}
