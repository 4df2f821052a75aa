package enrich

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

var (
	//go:embed assets.sql
	assetsSQL string
	//go:embed users.sql
	usersSQL string
	//go:embed stored.sql
	storedSQL string
)

const (
	deriveTask = "hosts and users"
	// deriveAtOnce is how much of `batches` is looked at in one step, by the
	// time at which it was stored; deriveSteps so many steps before other
	// tasks have their turn.
	deriveAtOnce = 10 * time.Minute
	deriveSteps  = 100
	// deriveOverlap is what may have been stored with an older time than what
	// has been seen: an insert may take so long.
	deriveOverlap = 2 * time.Minute
)

// derive takes the names of hosts and users from what was stored since the last
// look. Least and greatest of a time do not change when a row is seen twice, so
// it may repeat itself, and be repeated by others.
func (k *keeper) derive(ctx context.Context) error {
	if !k.untilRead {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		if err := k.conn.QueryRow(ctx, "SELECT max(until) FROM enrich_state WHERE name = {name:String}", clickhouse.Named("name", deriveTask)).Scan(&k.until); err != nil {
			return fmt.Errorf("look how far hosts and users are: %w", err)
		}
		k.untilRead = true
	}
	for range deriveSteps {
		more, err := k.deriveStep(ctx)
		if err != nil || !more {
			return err
		}
	}
	k.derived = time.Time{} // there is more: at the next pass
	return nil
}

// deriveStep looks at a stretch of time, and tells whether more is waiting.
func (k *keeper) deriveStep(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "max_threads": 2,
		"max_bytes_before_external_group_by": 256 << 20, "parallel_distributed_insert_select": 0}))
	var (
		batches             uint64
		first, next, newest time.Time
		received            [2]time.Time
		days                []uint32
	)
	from := k.until.Add(-deriveOverlap)
	if from.Before(time.Unix(0, 0)) {
		from = time.Unix(0, 0)
	}
	if err := k.conn.QueryRow(ctx, storedSQL, clickhouse.Named("from", stamp(from)), clickhouse.Named("until", stamp(k.until)),
		clickhouse.Named("step", uint32(deriveAtOnce/time.Second))).Scan(&batches, &first, &next, &newest, &received[0], &received[1], &days); err != nil {
		return false, fmt.Errorf("look for new batches: %w", err)
	}
	k.e.metrics.derived.Inc()
	if batches == 0 {
		return false, nil
	}
	args := []any{clickhouse.Named("days", days), clickhouse.Named("from", stamp(received[0])), clickhouse.Named("to", stamp(received[1]))}
	if err := k.conn.Exec(ctx, assetsSQL, args...); err != nil {
		return false, fmt.Errorf("look for hosts: %w", err)
	}
	if err := k.conn.Exec(ctx, usersSQL, args...); err != nil {
		return false, fmt.Errorf("look for users: %w", err)
	}
	if next.After(k.until) {
		if err := k.state(ctx, deriveTask, 0, next); err != nil {
			return false, err
		}
		k.until = next
	}
	return newest.After(next), nil
}
