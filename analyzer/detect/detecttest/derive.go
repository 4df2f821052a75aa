package detecttest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// derive fills assets_seen and users_seen from the stored flows, with the
// statements of the collector, which are read from where they are: no module of a
// service imports another's.
func derive(t testing.TB, conn driver.Conn) {
	t.Helper()
	var rows uint64
	var days []uint32
	var first, last time.Time
	if err := conn.QueryRow(context.Background(), `SELECT count(), groupUniqArray(toYYYYMMDD(start)), min(received), max(received) FROM flows
		WHERE user != '' OR app_host != '' OR app IN ('dhcp', 'mdns', 'nbns', 'llmnr') OR ethertype = 2054`).Scan(&rows, &days, &first, &last); err != nil {
		t.Fatal(err)
	}
	if rows == 0 { // nobody has a name
		return
	}
	_, here, _, _ := runtime.Caller(0)
	for _, file := range []string{"assets.sql", "users.sql"} {
		sql, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../collector/enrich", file))
		if err != nil {
			t.Fatal(err)
		}
		const layout = "2006-01-02 15:04:05.000"
		if err := conn.Exec(context.Background(), string(sql), clickhouse.Named("days", days),
			clickhouse.Named("from", first.UTC().Format(layout)), clickhouse.Named("to", last.Add(time.Millisecond).UTC().Format(layout))); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}
