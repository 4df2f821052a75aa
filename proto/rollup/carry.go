package rollup

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// carry adds the rows of an earlier build of a bucket to a new one.
func (b *Builder) carry(ctx context.Context, r rollup, at int64, from, to uint64) error {
	var columns []string
	err := b.rows(ctx, "look for columns", "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = @table AND default_kind != 'ALIAS' AND name != 'build' ORDER BY position",
		func(rows driver.Rows) error {
			var name string
			err := rows.Scan(&name)
			columns = append(columns, "`"+name+"`")
			return err
		}, clickhouse.Named("table", r.table))
	if err != nil {
		return err
	}
	names := strings.Join(columns, ", ")
	return b.exec(ctx, "carry "+r.name+" over", fmt.Sprintf("INSERT INTO %s (build, %s) SELECT @to, %s FROM %s WHERE toUnixTimestamp(bucket) = @bucket AND build = @from", r.table, names, names, r.table),
		clickhouse.Named("to", to), clickhouse.Named("from", from), clickhouse.Named("bucket", at))
}
