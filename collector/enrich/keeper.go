package enrich

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// keeper keeps the tables that belong to no flow. An installation has one at a
// time; two for a while do no harm.
type keeper struct {
	e     *Enricher
	conn  driver.Conn
	holds map[string]uint64 // what the tables are known to hold

	open      map[openKey]*interval // workloads that are there
	written   map[string]time.Time  // when the open ones of a feed were written last
	derived   time.Time             // last look at new flows
	until     time.Time             // batches stored before have been looked at
	untilRead bool
}

func newKeeper(e *Enricher, conn driver.Conn) *keeper {
	return &keeper{e: e, conn: conn, holds: map[string]uint64{}, written: map[string]time.Time{}}
}

// Lead keeps the tables until ctx ends: those filled from files and feeds, and
// the names of hosts and users that are taken from new flows. One collector of
// an installation should do it.
func (e *Enricher) Lead(ctx context.Context, conn driver.Conn) {
	k := newKeeper(e, conn)
	for ctx.Err() == nil {
		k.pass(ctx)
		t := time.NewTimer(min(e.cfg.Reload, max(e.cfg.Interval, time.Second)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// pass does once what is due. What fails is said, and tried again the next time.
func (k *keeper) pass(ctx context.Context) {
	d := k.e.data.Load()
	failed := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			k.e.metrics.failures.Inc()
			k.e.log.Warn("enrichment is behind", "task", what, "cause", err)
		}
	}
	for _, t := range tables() {
		failed(t.name, k.fill(ctx, t, d))
	}
	failed("workloads", k.followWorkloads(ctx, d))
	if k.e.cfg.Interval > 0 && k.e.now().Sub(k.derived) >= k.e.cfg.Interval {
		k.derived = k.e.now()
		failed("hosts and users", k.derive(ctx))
	}
}
