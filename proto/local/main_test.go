package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// envTestParent makes this binary a parent that only starts ClickHouse in the
// directory it names, says so, and waits to be killed.
const envTestParent = "TAPWATCH_TEST_PARENT"

func TestMain(m *testing.M) {
	RunChildIfAsked()
	if dir := os.Getenv(envTestParent); dir != "" {
		c, err := StartClickHouse(context.Background(), ClickHouseConfig{Dir: dir}, nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.PID())
		select {}
	}
	os.Exit(m.Run())
}

// needClickHouse skips where this machine has no ClickHouse; where CI=true
// that is a failure.
func needClickHouse(t *testing.T) {
	t.Helper()
	if _, _, err := FindClickHouse(); err != nil {
		if errors.Is(err, ErrNoClickHouse) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
}

// startClickHouse starts a server for one test and ends it with the test.
func startClickHouse(t *testing.T, cfg ClickHouseConfig) *ClickHouse {
	t.Helper()
	needClickHouse(t)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.KeepFree == 0 {
		cfg.KeepFree = 64 << 20
	}
	c, err := StartClickHouse(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// query runs one statement that must succeed.
func query(t *testing.T, c *ClickHouse, sql string) string {
	t.Helper()
	got, err := c.httpQuery(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// waitFor polls until ok, which is cheap, or fails after limit.
func waitFor(t *testing.T, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
		<-tick.C
	}
	return time.Since(began)
}

// gone reports whether no process has the id (a zombie still has it).
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// reset connects, sends text, and resets the connection instead of closing it.
func reset(t *testing.T, addr, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte(text)) // the server may have hung up on us already
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
}
