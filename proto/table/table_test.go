package table_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
	"github.com/tapwatch/tapwatch/proto/table"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// The columns of flows after the identity are those of the record, in order.
func TestFlowsHasTheRecordsColumns(t *testing.T) {
	conn := localtest.Database(t, "columns")
	ctx := context.Background()
	if err := table.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, "SELECT name, type FROM system.columns WHERE database = 'columns' AND table = 'flows' AND default_kind != 'ALIAS' ORDER BY position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got, want []string
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			t.Fatal(err)
		}
		got = append(got, name+" "+strings.ReplaceAll(typ, `\'`, "'"))
	}
	identity := slices.Index(got, "interface LowCardinality(String)")
	if identity < 0 {
		t.Fatalf("no column interface in %q", got)
	}
	for i, name := range flow.ColumnNames() {
		want = append(want, name+" "+flow.ColumnType(i))
	}
	if !slices.Equal(got[identity:], want) {
		t.Errorf("(-table +record)\n-%s\n+%s", strings.Join(got[identity:], "\n-"), strings.Join(want, "\n+"))
	}
}

func TestMigrateTogetherAndAgain(t *testing.T) {
	conn := localtest.Database(t, "together")
	ctx := context.Background()
	if err := table.Check(ctx, conn); !errors.Is(err, table.ErrPending) {
		t.Errorf("check of an empty database: %v", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = table.Migrate(ctx, conn) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := table.Migrate(ctx, conn); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := table.Check(ctx, conn); err != nil {
		t.Errorf("check: %v", err)
	}
	if err := conn.Exec(ctx, "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')"); err != nil {
		t.Fatal(err)
	}
	if err := table.Migrate(ctx, conn); !errors.Is(err, table.ErrNewer) {
		t.Errorf("a newer schema: %v", err)
	}
}

// Every statement can be repeated: a step that was cut short is run again.
func TestStatementsAreRepeatable(t *testing.T) {
	all, err := table.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, s := range m.Statements {
			if !strings.Contains(s, "IF NOT EXISTS") && !strings.Contains(s, "IF EXISTS") && !strings.Contains(s, "CREATE OR REPLACE VIEW") && !strings.Contains(s, "MODIFY ") {
				t.Errorf("%04d_%s: not repeatable: %.60s", m.Version, m.Name, s)
			}
		}
	}
}

// community_id in SQL is that of the specification for every kind of key.
func TestCommunityIDAlias(t *testing.T) {
	conn := localtest.Database(t, "community")
	ctx := context.Background()
	if err := table.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		src, dst         string
		srcPort, dstPort uint16
		protocol         uint8
	}{
		{"10.0.0.2", "10.0.0.1", 1234, 80, 6}, {"10.0.0.1", "10.0.0.2", 80, 1234, 6}, {"10.0.0.1", "10.0.0.1", 9, 8, 17},
		{"2001:db8::2", "2001:db8::1", 1234, 443, 17}, {"10.0.0.2", "10.0.0.1", 8, 0, 1}, {"10.0.0.2", "10.0.0.1", 3, 1, 1},
		{"fe80::2", "fe80::1", 135, 0, 58}, {"10.0.0.9", "10.0.0.1", 0, 0, 46}, {"10.0.0.9", "10.0.0.1", 7, 5, 132},
	}
	for _, tt := range tests {
		src, dst := flow.AddrFrom(netip.MustParseAddr(tt.src)), flow.AddrFrom(netip.MustParseAddr(tt.dst))
		if err := conn.Exec(ctx, "INSERT INTO flows (received, src_ip, dst_ip, src_port, dst_port, protocol) VALUES (now(), @src, @dst, @sp, @dp, @p)",
			clickhouse.Named("src", src.String()), clickhouse.Named("dst", dst.String()), clickhouse.Named("sp", tt.srcPort), clickhouse.Named("dp", tt.dstPort), clickhouse.Named("p", tt.protocol)); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := conn.QueryRow(ctx, "SELECT community_id FROM flows WHERE src_ip = toIPv6(@src) AND dst_ip = toIPv6(@dst) AND src_port = @sp AND dst_port = @dp AND protocol = @p",
			clickhouse.Named("src", src.String()), clickhouse.Named("dst", dst.String()), clickhouse.Named("sp", tt.srcPort), clickhouse.Named("dp", tt.dstPort), clickhouse.Named("p", tt.protocol)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := flow.CommunityID(src, dst, tt.srcPort, tt.dstPort, tt.protocol); got != want {
			t.Errorf("%v: got %s, want %s", tt, got, want)
		}
	}
}

// The names that SQL gives to risks are those of the record.
func TestRiskNames(t *testing.T) {
	conn := localtest.Database(t, "risks")
	ctx := context.Background()
	if err := table.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	for bit := 1; bit < 58; bit++ {
		risk := flow.Risk(1)<<bit | flow.RiskNumericIPHost
		if err := conn.Exec(ctx, "INSERT INTO flows (start, received, seq, risks) VALUES (now(), now(), ?, ?)", bit, uint64(risk)); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := conn.QueryRow(ctx, "SELECT arrayFilter(x -> x != '', risk_names) FROM flows WHERE seq = ?", bit).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := risk.Names(); !slices.Equal(got, want) {
			t.Errorf("bit %d (-table +record)\n-%q\n+%q", bit, got, want)
		}
	}
}
