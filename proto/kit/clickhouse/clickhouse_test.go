package clickhouse_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// server starts a ClickHouse with the user `tap`, whose password is `pw`.
func server(t *testing.T) *local.ClickHouse {
	t.Helper()
	if _, _, err := local.FindClickHouse(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no ClickHouse on this machine: %v", err)
	}
	s, err := local.StartClickHouse(t.Context(), local.ClickHouseConfig{
		Dir: t.TempDir(), KeepFree: -1, Users: []local.ClickHouseUser{{Name: "tap", Password: "pw"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestCheckAgainstServer(t *testing.T) {
	s := server(t)
	good := clickhouse.Config{Addr: []string{s.Addr()}, Database: "tapwatch", Username: "tap", Password: "pw"}
	tests := []struct {
		name   string
		change func(*clickhouse.Config)
		kind   error
		hint   string
	}{
		{"good", func(*clickhouse.Config) {}, nil, ""},
		{"default database", func(c *clickhouse.Config) { c.Database = "" }, nil, ""},
		{"second address", func(c *clickhouse.Config) { c.Addr = []string{closedPort(t), s.Addr()} }, nil, ""},
		{"wrong password", func(c *clickhouse.Config) { c.Password = "CANARY" }, clickhouse.ErrRefused, "clickhouse.password"},
		{"unknown user", func(c *clickhouse.Config) { c.Username = "nobody" }, clickhouse.ErrRefused, "clickhouse.username"},
		{"no database", func(c *clickhouse.Config) { c.Database = "nowhere" }, clickhouse.ErrNoDatabase, "collector creates it"},
		{"http port", func(c *clickhouse.Config) { c.Addr = []string{s.HTTPAddr()} }, clickhouse.ErrUnreachable, "native port"},
		{"tls to plain", func(c *clickhouse.Config) { c.TLS.Enabled = true }, clickhouse.ErrTLS, "9440"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			check(t, c, tt.kind, tt.hint)
		})
	}
	conn, err := good.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var n uint64
	if err := conn.QueryRow(t.Context(), "SELECT sum(number) FROM numbers(10)").Scan(&n); err != nil || n != 45 {
		t.Errorf("a query through Open: %d, %v; want 45", n, err)
	}
	if err := conn.Exec(t.Context(), "SELECT nothing FROM nowhere"); err == nil || good.Classify(err) != err {
		t.Errorf("an error of a statement must come back as it is: %v", err)
	}
}

func check(t *testing.T, c clickhouse.Config, kind error, hint string) {
	t.Helper()
	err := c.Check(t.Context())
	if !errors.Is(err, kind) || (kind == nil) != (err == nil) || !strings.Contains(kit.HintOf(err), hint) {
		t.Errorf("Check = %v (%s), want %v (%s)", err, kit.HintOf(err), kind, hint)
	}
	if err != nil && (strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.Addr[0])) {
		t.Errorf("%q must be one line, name the server and never the password", err)
	}
}

// closedPort is an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestUnreachable(t *testing.T) {
	check(t, clickhouse.Config{Addr: []string{closedPort(t)}}, clickhouse.ErrUnreachable, "is ClickHouse running")
	check(t, clickhouse.Config{Addr: []string{"clickhouse.invalid:9000"}}, clickhouse.ErrUnreachable, "does not resolve")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := (clickhouse.Config{Addr: []string{silent.Addr().String()}}).Check(ctx); !errors.Is(err, clickhouse.ErrUnreachable) {
		t.Errorf("Check of a silent server = %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := (clickhouse.Config{Addr: []string{silent.Addr().String()}}).Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Check with an ended context = %v", err)
	}
}

func TestWrongConfig(t *testing.T) {
	for name, c := range map[string]clickhouse.Config{
		"no server":   {},
		"no port":     {Addr: []string{"clickhouse"}},
		"connections": {Addr: []string{"c:9000"}, MaxConns: -1},
		"tls":         {Addr: []string{"c:9000"}, TLS: kit.TLS{CA: "x"}},
	} {
		if err := c.Validate(); err == nil || kit.HintOf(err) == "" {
			t.Errorf("%s: %v (%q), want an error with a hint", name, err, kit.HintOf(err))
		}
		if _, err := c.Open(); err == nil {
			t.Errorf("%s: Open accepts it", name)
		}
	}
}
