package collector_test

import (
	"testing"
	"time"
)

var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestStores(t *testing.T) {
	r := newRig(t, 2)
	g := [2]*generator{newGenerator(1, "a"), newGenerator(2, "b")}
	for i := range 20 {
		p := i % 2
		// The last of them span three days.
		span := time.Minute
		if i >= 18 {
			span = 70 * time.Hour
		}
		produce(t, r.client, r.cfg.Topic, p, g[p].batch(t, 500, monday.Add(time.Duration(i)*time.Hour), span))
	}
	produce(t, r.client, r.cfg.Topic, 0, g[0].batch(t, 0, monday, 0)) // nothing but a ledger
	stop := r.start(r.cfg)
	r.until("SELECT count() FROM batches FINAL", 21, 20*time.Second)
	r.want("SELECT count() FROM flows", 10000)
	r.want("SELECT uniqExact(probe, epoch, worker, seq, row) FROM flows", 10000)
	r.want("SELECT count() FROM batches FINAL WHERE status = 'stored'", 21)
	r.want("SELECT sum(rows) FROM batches FINAL", 10000)
	r.want("SELECT sum(arraySum(minute_rows)) FROM batches FINAL", 10000)
	r.want("SELECT sum(seen_packets) FROM ledger", 110000)
	r.want("SELECT sum(packets) FROM ledger_losses", 10000)
	r.until("SELECT sum(segments) FROM flows_1m", 10000, 20*time.Second)
	r.want("SELECT sum(src_bytes + dst_bytes) = (SELECT sum(src_bytes + dst_bytes) FROM flows) ? 1::UInt64 : 0::UInt64 FROM flows_1m", 1)
	stop()
}
