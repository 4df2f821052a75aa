package table

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// oldParts lists what parts of `flows` that were written before migration 0006
// do not have yet, newest day first: a projection, or an index.
const oldParts = `
SELECT partition_id, kind, name FROM
(
    SELECT partition_id, 'PROJECTION' AS kind, name, count() AS missing FROM
    (
        SELECT partition_id, name AS part, projections, arrayJoin(['by_dst_ip', 'by_tls_sni']) AS name
        FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active
    )
    WHERE NOT has(projections, name)
    GROUP BY partition_id, name
)
WHERE missing > 0
ORDER BY partition_id DESC, name`

// Materialize gives old parts of `flows` the projections that new parts get by
// themselves, one day and one projection at a time, newest first, and returns
// how many it made. It is for tables that were filled before migration 0006;
// without it, old days answer as before. Inserts and queries go on meanwhile. It
// can be ended and repeated at any time: what is done is not done again. Each
// day needs as much free space as its projections take, a third of the day.
func Materialize(ctx context.Context, conn driver.Conn, log *slog.Logger) (made int, err error) {
	rows, err := conn.Query(ctx, oldParts)
	if err != nil {
		return 0, fmt.Errorf("list parts of flows: %w", err)
	}
	defer rows.Close()
	var steps [][3]string
	for rows.Next() {
		var partition, kind, name string
		if err := rows.Scan(&partition, &kind, &name); err != nil {
			return 0, fmt.Errorf("list parts of flows: %w", err)
		}
		steps = append(steps, [3]string{partition, kind, name})
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("list parts of flows: %w", err)
	}
	wait := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
	for _, s := range steps {
		// The names are constants of oldParts; the day is ClickHouse's own.
		if err := conn.Exec(wait, "ALTER TABLE flows MATERIALIZE "+s[1]+" IF EXISTS "+s[2]+" IN PARTITION ID {partition:String}",
			clickhouse.Named("partition", s[0])); err != nil {
			return made, fmt.Errorf("materialize %s of flows in %s: %w", s[2], s[0], err)
		}
		made++
		log.Info("old rows can be found by projection", "projection", s[2], "day", s[0], "left", len(steps)-made)
	}
	return made, nil
}
