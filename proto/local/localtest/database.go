package localtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/table"
)

// Database makes an empty database in the ClickHouse of this binary and
// returns a connection to it, which the test's end closes. The name must be new
// to the binary and needs no quoting. See TestClickHouse for when it skips.
func Database(t testing.TB, name string) driver.Conn {
	t.Helper()
	addr := TestClickHouse(t).Addr()
	open := func(database string) driver.Conn {
		conn, err := kitclickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database}})
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

// Tables is Database with a name of its own and all tables in it.
func Tables(t testing.TB) driver.Conn {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	conn := Database(t, fmt.Sprintf("%s_%d", name, time.Now().UnixNano()))
	if err := table.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Exec runs a statement that must succeed.
func Exec(t testing.TB, conn driver.Conn, sql string) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Expect compares a query's single number with want.
func Expect(t testing.TB, conn driver.Conn, sql string, want uint64) {
	t.Helper()
	var got uint64
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if got != want {
		t.Errorf("%s: (-got +want)\n-%d\n+%d", sql, got, want)
	}
}
