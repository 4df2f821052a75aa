package retro

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func driverNamed(k, v string) driver.NamedValue { return clickhouse.Named(k, v) }

// named are the arguments of Exec for a statement of fillRandom.
func named(sql string, rows, days int, seed uint64) (context.Context, string, []any) {
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0, "max_partitions_per_insert_block": 1000}))
	return ctx, sql, []any{clickhouse.Named("rows", rows), clickhouse.Named("days", days), clickhouse.Named("seed", seed), clickhouse.Named("day0", day0.Format(time.DateTime))}
}
