package collector_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/retain"
)

// TestRestore: a backup in the middle, the database lost, and everything is
// there again, once.
func TestRestore(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	cfg := r.cfg
	values := load(t, 12, 100)
	stop := r.start(cfg)
	for i, v := range values[:7] {
		produce(t, r.client, cfg.Topic, i%2, v)
	}
	r.until("SELECT count() FROM batches FINAL", 7, 20*time.Second)
	ctx := context.Background()
	place := fmt.Sprintf("file:%s", cfg.ClickHouse.Database)
	if err := retain.Backup(ctx, r.conn, place, ""); err != nil {
		t.Fatal(err)
	}
	for i, v := range values[7:] {
		produce(t, r.client, cfg.Topic, i%2, v)
	}
	r.until("SELECT count() FROM batches FINAL", 12, 20*time.Second)
	stop()

	lost := cfg.ClickHouse.Database
	if err := collector.Restore(ctx, cfg, place, lost); err == nil {
		t.Fatal("restored into a database that is not empty")
	}
	if err := r.conn.Exec(ctx, "DROP DATABASE "+lost+" SYNC"); err != nil {
		t.Fatal(err)
	}
	if err := collector.Restore(ctx, cfg, place, lost); err != nil {
		t.Fatal(err)
	}
	r.until("SELECT count() FROM batches FINAL", 7, 20*time.Second)
	r.start(cfg)
	r.until("SELECT count() FROM batches FINAL", 12, 30*time.Second)
	r.exactly(values...)
}
