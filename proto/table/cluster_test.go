package table_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

func TestReplicated(t *testing.T) {
	const path = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
	tests := map[string]struct{ statement, want string }{
		"plain":     {"CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = MergeTree\nORDER BY a", "CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = ReplicatedMergeTree(" + path + ")\nORDER BY a"},
		"arguments": {"CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = ReplacingMergeTree(a)\nORDER BY a", "CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = ReplicatedReplacingMergeTree(" + path + ", a)\nORDER BY a"},
		"window": {"CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = MergeTree\nORDER BY a\nSETTINGS non_replicated_deduplication_window = 100000",
			"CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = ReplicatedMergeTree(" + path + ")\nORDER BY a\nSETTINGS non_replicated_deduplication_window = 100000, replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 315360000"},
		"memory": {"CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = Join(ANY, LEFT, a)", "CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = Join(ANY, LEFT, a)"},
		"view":   {"CREATE OR REPLACE VIEW v AS SELECT 'ENGINE = MergeTree' AS x", "CREATE OR REPLACE VIEW v AS SELECT 'ENGINE = MergeTree' AS x"},
		"change": {"ALTER TABLE t ADD COLUMN IF NOT EXISTS b UInt8", "ALTER TABLE t ADD COLUMN IF NOT EXISTS b UInt8"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := table.Replicated(tt.statement); got != tt.want {
				t.Errorf("(-got +want)\n-%s\n+%s", got, tt.want)
			}
		})
	}
}

var plain = regexp.MustCompile(`ENGINE = (Replacing|Aggregating|Summing)?MergeTree`)

// All statements of all migrations are right on a replica: ClickHouse reads them,
// and goes as far with each table as is possible without Keeper.
func TestReplicatedMigrations(t *testing.T) {
	conn := localtest.Database(t, "replicated")
	ctx := t.Context()
	all, err := table.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, m := range all {
		for i, s := range m.Statements {
			r := table.Replicated(s)
			if plain.MatchString(r) {
				t.Errorf("%04d_%s statement %d: a table of one server is left: %.80s", m.Version, m.Name, i+1, r)
			}
			var text string
			if err := conn.QueryRow(ctx, "SELECT formatQuery(?)", r).Scan(&text); err != nil {
				t.Errorf("%04d_%s statement %d: %v\n%s", m.Version, m.Name, i+1, err, r)
			}
			if r == s {
				continue
			}
			tables++
			if !strings.Contains(text, "MergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'") {
				t.Errorf("%04d_%s statement %d: %s", m.Version, m.Name, i+1, text)
			}
			// With its macros in place, what is missing is Keeper, and nothing before it.
			r = strings.NewReplacer("{shard}", "1", "{replica}", "a").Replace(r)
			var e *clickhouse.Exception
			if err := conn.Exec(ctx, r); !errors.As(err, &e) || !strings.Contains(e.Message, "ZooKeeper") {
				t.Errorf("%04d_%s statement %d: %v; want that there is no Keeper", m.Version, m.Name, i+1, err)
			}
		}
	}
	if tables < 20 {
		t.Errorf("%d tables are replicated", tables)
	}
}
