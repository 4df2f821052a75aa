package table_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

// spine is the last migration of the first schema that was in use.
const spine = 4

// migrateSpine brings an empty database to the first schema the way its build
// did: the statements as they stand.
func migrateSpine(t *testing.T, conn driver.Conn) {
	t.Helper()
	all, err := table.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	localtest.Exec(t, conn, `CREATE TABLE IF NOT EXISTS schema_migrations
		(version UInt32, name String, checksum String, applied DateTime64(3, 'UTC') DEFAULT now64(3))
		ENGINE = ReplacingMergeTree ORDER BY version`)
	for _, m := range all[:spine] {
		for _, s := range m.Statements {
			localtest.Exec(t, conn, s)
		}
		if err := conn.Exec(t.Context(), "INSERT INTO schema_migrations (version, name, checksum) VALUES (?, ?, ?)", m.Version, m.Name, m.Checksum); err != nil {
			t.Fatal(err)
		}
	}
}

// strs reads a query's single column.
func strs(t *testing.T, conn driver.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

const rowsPerTable = 60

// fillTable inserts random values into every column that takes any. Times are of
// the last two days: others would have outlived their TTL.
func fillTable(t *testing.T, conn driver.Conn, name string, columns []string) {
	t.Helper()
	types := strs(t, conn, "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = ? AND has(?, name) ORDER BY indexOf(?, name)", name, columns, columns)
	var structure, values []string
	for i, c := range columns {
		structure = append(structure, "`"+c+"` "+types[i])
		switch typ := types[i]; {
		case strings.HasPrefix(typ, "DateTime64"):
			values = append(values, "toDateTime64(now() - rowNumberInAllBlocks() * 2800, 9, 'UTC') + toIntervalMicrosecond(rowNumberInAllBlocks())")
		case strings.HasPrefix(typ, "DateTime") || typ == "Date":
			values = append(values, "now() - rowNumberInAllBlocks() * 2800")
		case typ == "String": // keys must differ
			values = append(values, "concat(`"+c+"`, toString(rowNumberInAllBlocks()))")
		default:
			values = append(values, "`"+c+"`")
		}
	}
	localtest.Exec(t, conn, fmt.Sprintf("INSERT INTO `%s` (`%s`) SELECT %s FROM generateRandom('%s', 7, 12, 4) LIMIT %d SETTINGS max_partitions_per_insert_block = 0",
		name, strings.Join(columns, "`, `"), strings.Join(values, ", "), strings.ReplaceAll(strings.Join(structure, ", "), "'", `\'`), rowsPerTable))
}

// content is the number of rows of a table and a sum over all the values given.
func content(t *testing.T, conn driver.Conn, name string, columns []string) (s string) {
	t.Helper()
	sql := fmt.Sprintf("SELECT concat(toString(count()), ' rows, sum ', toString(sum(cityHash64(`%s`)))) FROM `%s`", strings.Join(columns, "`, `"), name)
	return strs(t, conn, sql)[0]
}

// A database of the first schema with rows in every table keeps each value, its
// sort key, and takes inserts of both builds.
func TestUpgradeKeepsEveryRow(t *testing.T) {
	conn := localtest.Database(t, "upgrade")
	migrateSpine(t, conn)
	tables := strs(t, conn, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_migrations' ORDER BY name")
	if len(tables) < 7 {
		t.Fatalf("the first schema has only %q", tables)
	}
	columns, before := map[string][]string{}, map[string]string{}
	for _, name := range tables {
		columns[name] = strs(t, conn, "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = ? AND default_kind = '' ORDER BY position", name)
		fillTable(t, conn, name, columns[name])
		before[name] = content(t, conn, name, columns[name])
		if !strings.HasPrefix(before[name], fmt.Sprintf("%d rows", rowsPerTable)) {
			t.Fatalf("%s was filled with %s", name, before[name])
		}
	}
	key := strs(t, conn, "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = 'flows'")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := table.Migrate(t.Context(), conn); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := table.Check(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	for _, name := range tables {
		if got := content(t, conn, name, columns[name]); got != before[name] {
			t.Errorf("%s (-after +before)\n-%s\n+%s", name, got, before[name])
		}
	}
	if got := strs(t, conn, "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = 'flows'"); !slices.Equal(got, key) {
		t.Errorf("sorting key (-after +before)\n-%s\n+%s", got, key)
	}
	// A collector of the build before.
	fillTable(t, conn, "flows", columns["flows"])
	localtest.Expect(t, conn, "SELECT count() FROM flows", 2*rowsPerTable)
}

// Old parts get what new ones have, once, and answer alike.
func TestMaterialize(t *testing.T) {
	conn := localtest.Database(t, "materialize")
	ctx := t.Context()
	migrateSpine(t, conn)
	columns := strs(t, conn, "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'flows' AND default_kind = '' ORDER BY position")
	fillTable(t, conn, "flows", columns)
	if err := table.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	fillTable(t, conn, "flows", columns)
	const find = "SELECT count() FROM flows WHERE dst_ip = (SELECT max(dst_ip) FROM flows)"
	before := strs(t, conn, "SELECT toString(("+find+"))")
	without := "SELECT countIf(NOT hasAll(projections, ['by_dst_ip', 'by_tls_sni'])) FROM system.parts WHERE database = 'materialize' AND table = 'flows' AND active"
	made, err := table.Materialize(ctx, conn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if made == 0 {
		t.Error("nothing was made for parts of the first schema")
	}
	localtest.Expect(t, conn, without, 0)
	if made, err = table.Materialize(ctx, conn, slog.New(slog.DiscardHandler)); err != nil || made != 0 {
		t.Errorf("again: %d made, %v", made, err)
	}
	if after := strs(t, conn, "SELECT toString(("+find+"))"); !slices.Equal(after, before) {
		t.Errorf("rows of an address (-after +before)\n-%s\n+%s", after, before)
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows", 2*rowsPerTable)
}

// A database without flows gets the key that searches are made for, whoever comes first.
func TestFreshKey(t *testing.T) {
	conn := localtest.Database(t, "freshkey")
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	got := strs(t, conn, "SELECT concat(sorting_key, ' ', extract(engine_full, 'index_granularity = [0-9]+')) FROM system.tables WHERE database = currentDatabase() AND name = 'flows'")
	if want := []string{"src_ip, dst_ip, dst_port, start index_granularity = 1024"}; !slices.Equal(got, want) {
		t.Errorf("(-got +want)\n-%s\n+%s", got, want)
	}
	for _, setting := range []string{"non_replicated_deduplication_window = 100000", "fsync_after_insert = 1", "fsync_part_directory = 1", "min_bytes_for_wide_part = 4194304", "min_level_for_wide_part = 1", "ttl_only_drop_parts = 1"} {
		localtest.Expect(t, conn, "SELECT countIf(position(engine_full, '"+setting+"') > 0) FROM system.tables WHERE database = 'freshkey' AND name = 'flows'", 1)
	}
}

// One insert is one part, projections and indexes included, and a token that
// was used is still known.
func TestInsertIsOnePart(t *testing.T) {
	conn := localtest.Database(t, "onepart")
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": "a", "max_insert_threads": 1,
		"max_insert_block_size": 100_000_000, "min_insert_block_size_rows": 100_000_000, "min_insert_block_size_bytes": 16 << 30, "max_partitions_per_insert_block": 1}))
	for range 2 {
		if err := conn.Exec(ctx, `INSERT INTO flows (received, start, src_ip, dst_ip, tls_sni, ja4, row)
			SELECT now(), toDateTime64('2026-11-01 00:00:00', 9, 'UTC') + number % 86400, toIPv6('::1'), toIPv6(concat('::', hex(toUInt16(number % 1000)))), concat('n', toString(number % 77)), toString(number % 55), number
			FROM numbers(50000)`); err != nil {
			t.Fatal(err)
		}
	}
	localtest.Expect(t, conn, "SELECT count() FROM system.parts WHERE database = 'onepart' AND table = 'flows' AND active AND rows = 50000 AND length(projections) = 2", 1)
	localtest.Expect(t, conn, "SELECT count() FROM system.parts WHERE database = 'onepart' AND table = 'flows' AND level = 0", 1)
	localtest.Expect(t, conn, "SELECT count() FROM flows WHERE ja4 = '7'", 909)
	localtest.Expect(t, conn, "SELECT count() FROM flows WHERE tls_sni = 'n7'", 650)
}
