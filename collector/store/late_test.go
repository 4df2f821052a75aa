package store

import (
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local/fault"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// through is a connection to the same database by way of a proxy.
func through(t *testing.T, conn driver.Conn) (driver.Conn, *fault.Proxy) {
	t.Helper()
	p, err := fault.Listen(localtest.TestClickHouse(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	var name string
	if err := conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	c, err := clickhouse.Config{Addr: []string{p.Addr()}, Database: name}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, p
}

// An attempt that was given up reaches the server after the next one has done the
// work: it has the same token, and is dropped.
func TestLateAttempt(t *testing.T) {
	_, conn := database(t)
	proxied, p := through(t, conn)
	s := open(t, proxied)
	s.timeout = time.Second
	p.Strike(fault.Late, "INSERT INTO flows (", 0, 1)
	b := block(t, 2, 100, time.Second)
	put(t, s, b)
	if p.Struck(fault.Late) != 1 {
		t.Fatal("no attempt was held up: the test has not tested")
	}
	once(t, conn, 2, 200)
	p.Release()
	once(t, conn, 2, 200)
	put(t, open(t, conn), b)
	once(t, conn, 2, 200)
	// The proof that it came: the server has seen the token again.
	var dropped uint64
	if err := conn.QueryRow(t.Context(), "SELECT value FROM system.events WHERE event = 'DuplicatedInsertedBlocks'").Scan(&dropped); err != nil || dropped == 0 {
		t.Errorf("%d inserts were dropped, %v", dropped, err)
	}
}
