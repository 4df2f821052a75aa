package localtest

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Database makes an empty database in the ClickHouse of this binary and
// returns a connection to it, which the test's end closes. The name must be new
// to the binary and needs no quoting. See TestClickHouse for when it skips.
func Database(t testing.TB, name string) driver.Conn {
	t.Helper()
	addr := TestClickHouse(t).Addr()
	open := func(database string) driver.Conn {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database}})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	admin := open("default")
	defer admin.Close()
	if err := admin.Exec(t.Context(), "CREATE DATABASE "+name+" ENGINE = Atomic"); err != nil {
		t.Fatal(err)
	}
	conn := open(name)
	t.Cleanup(func() { conn.Close() })
	return conn
}
