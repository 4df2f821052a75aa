package local

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

func TestClickHouseSettings(t *testing.T) {
	t.Parallel()
	c := startClickHouse(t, ClickHouseConfig{
		Dir:       filepath.Join(t.TempDir(), "a <dir> & more"), // the configuration is XML
		MaxMemory: 1 << 30,
		KeepFree:  100 << 20,
		Users: []ClickHouseUser{
			{Name: "reader", Password: "p&<>\"", Grants: []string{"GRANT SELECT ON tapwatch.*"}},
			{Name: "viewer", ReadOnly: true},
		},
	})
	for _, q := range []struct{ sql, want string }{
		{"SELECT value FROM system.settings WHERE name = 'async_insert'", "0"},
		{"SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'", "1073741824"},
		{"SELECT value FROM system.merge_tree_settings WHERE name = 'min_free_disk_bytes_to_perform_insert'", "131072000"},
		{"SELECT keep_free_space FROM system.disks WHERE name = 'default'", "104857600"},
		{"SELECT engine FROM system.databases WHERE name = 'tapwatch'", "Atomic"},
	} {
		if got := strings.TrimSpace(query(t, c, q.sql)); got != q.want {
			t.Errorf("%s (-got +want)\n-%s\n+%s", q.sql, got, q.want)
		}
	}

	query(t, c, "CREATE TABLE tapwatch.seen (n UInt32) ENGINE = MergeTree ORDER BY n")
	query(t, c, "INSERT INTO tapwatch.seen SELECT number FROM numbers(10)")
	as := func(user, password string) error {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{c.Addr()}, Auth: clickhouse.Auth{Username: user, Password: password}})
		if err != nil {
			return err
		}
		defer conn.Close()
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM tapwatch.seen").Scan(&n); err != nil {
			return err
		}
		if n < 10 {
			t.Errorf("%s counts %d rows, want at least 10", user, n)
		}
		return conn.Exec(t.Context(), "INSERT INTO tapwatch.seen SELECT 1")
	}
	for _, u := range []struct {
		user, password string
		want           int32 // ClickHouse's error code, 0 = all succeeds
	}{
		{"default", "", 0},
		{"reader", "p&<>\"", 497}, // ACCESS_DENIED
		{"viewer", "", 164},       // READONLY
		{"reader", "", 516},       // AUTHENTICATION_FAILED
		{"nobody", "", 516},
	} {
		err := as(u.user, u.password)
		var ex *clickhouse.Exception
		if u.want == 0 && err != nil || u.want != 0 && (!errors.As(err, &ex) || ex.Code != u.want) {
			t.Errorf("user %s with password %q: got %v, want code %d", u.user, u.password, err, u.want)
		}
	}
	if log, err := os.ReadFile(filepath.Join(c.cfg.Dir, "clickhouse.log")); err != nil || strings.Contains(string(log), "<Debug>") {
		t.Errorf("log is missing or of level debug: %v", err)
	}
}

func TestClickHouseRestartsAfterKill(t *testing.T) {
	c := startClickHouse(t, ClickHouseConfig{})
	query(t, c, "CREATE TABLE tapwatch.kept (n UInt32) ENGINE = MergeTree ORDER BY n")
	addr, http := c.Addr(), c.HTTPAddr()
	const kills = 4
	for i := range kills {
		query(t, c, "INSERT INTO tapwatch.kept SELECT "+strconv.Itoa(i))
		// Somebody is connected on both ports when it dies.
		for _, a := range []string{addr, http} {
			conn, err := net.Dial("tcp", a)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		pid := c.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		took := waitFor(t, "restart", 10*time.Second, func() bool {
			return c.PID() != pid && c.PID() != 0 && c.probe(t.Context()) == nil
		})
		if took > 3*time.Second {
			t.Errorf("restart %d took %s, want under 3s", i+1, took)
		}
		t.Logf("back after %s", took.Round(time.Millisecond))
	}
	if c.Addr() != addr || c.HTTPAddr() != http {
		t.Errorf("ports moved: %s %s, were %s %s", c.Addr(), c.HTTPAddr(), addr, http)
	}
	if c.Restarts() != kills {
		t.Errorf("restarts: got %d, want %d", c.Restarts(), kills)
	}
	if got, want := query(t, c, "SELECT count(), sum(n) FROM tapwatch.kept"), "4\t6\n"; got != want {
		t.Errorf("rows after kills (-got +want)\n-%q\n+%q", got, want)
	}
}

func TestClickHouseWaitsForStolenPort(t *testing.T) {
	t.Parallel()
	for name, addr := range map[string]func(*ClickHouse) string{"native": (*ClickHouse).Addr, "HTTP": (*ClickHouse).HTTPAddr} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startClickHouse(t, ClickHouseConfig{})
			if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			var thief net.Listener
			waitFor(t, "port is free", 5*time.Second, func() (ok bool) {
				var err error
				thief, err = net.Listen("tcp4", addr(c))
				return err == nil
			})
			defer thief.Close()
			go func() {
				for {
					conn, err := thief.Accept()
					if err != nil {
						return
					}
					conn.Close()
				}
			}()
			// The first that starts without its port is killed, not left half deaf.
			waitFor(t, "second restart", 30*time.Second, func() bool { return c.Restarts() >= 2 })
			thief.Close()
			waitFor(t, "server is back", 30*time.Second, func() bool { return c.probe(t.Context()) == nil })
		})
	}
}

func TestClickHouseCloseWhileItRestarts(t *testing.T) {
	c := startClickHouse(t, ClickHouseConfig{})
	first := c.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "next process", 5*time.Second, func() bool { return c.PID() != 0 && c.PID() != first })
	second, began := c.PID(), time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > closeLimit/2 || !gone(second) {
		t.Errorf("took %s, process gone: %v", took, gone(second))
	}
}

func TestClickHouseStartCancelled(t *testing.T) {
	needClickHouse(t)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began, dir := time.Now(), t.TempDir()
	if _, err := StartClickHouse(ctx, ClickHouseConfig{Dir: dir}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	waitFor(t, "goroutines end", 5*time.Second, func() bool { return runtime.NumGoroutine() <= before })
	startClickHouse(t, ClickHouseConfig{Dir: dir})
}

func TestClickHouseSurvivesHostileClients(t *testing.T) {
	t.Parallel()
	c := startClickHouse(t, ClickHouseConfig{})
	pid := c.PID()
	garbage := strings.Repeat("\xff\x00\x80garbage\r\n", 500)
	hello := "\x00\x0aClickHouse\x14\x06\xb4\xa9\x03\x00\x07default\x00" // client hello without its addendum
	post := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
	for range 15 {
		for _, text := range []string{"", "\x00", hello, hello[:7], hello + "\x00\x01\x02", garbage, "GET / HTTP/1.1\r\n\r\n"} {
			reset(t, c.Addr(), text)
		}
		for _, text := range []string{"", "P", post[:20], post, post + "SELECT 1", post + "SELECT sleep(1)", garbage,
			"GET /?query=SELECT%20number%20FROM%20numbers(1e7) HTTP/1.1\r\nHost: x\r\n\r\n"} {
			reset(t, c.HTTPAddr(), text)
		}
	}
	// In the middle of an answer, which is where a write meets the reset.
	for range 5 {
		conn, err := net.Dial("tcp", c.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("GET /?query=SELECT%20number%20FROM%20numbers(1e8) HTTP/1.1\r\nHost: x\r\n\r\n"))
		conn.Read(make([]byte, 100))
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	if err := c.probe(t.Context()); err != nil {
		t.Error(err)
	}
	if c.PID() != pid || c.Restarts() != 0 {
		t.Errorf("server died: pid %d, was %d, %d restarts", c.PID(), pid, c.Restarts())
	}
}

func TestClickHouseRefusesSecondInstance(t *testing.T) {
	t.Parallel()
	c := startClickHouse(t, ClickHouseConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // it would wait for a dying owner
	defer cancel()
	_, err := StartClickHouse(ctx, ClickHouseConfig{Dir: c.cfg.Dir}, nil)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), c.cfg.Dir) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second instance on the directory: got %v, want ErrInUse with directory and pid", err)
	}
	query(t, c, "SELECT 1")

	for _, cfg := range []ClickHouseConfig{
		{Dir: t.TempDir(), TCPPort: c.cfg.TCPPort},
		{Dir: t.TempDir(), HTTPPort: c.cfg.TCPPort},
	} {
		_, err := StartClickHouse(t.Context(), cfg, nil)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(c.cfg.TCPPort)) {
			t.Errorf("taken port: got %v, want ErrInUse with the port", err)
		}
	}
}

func TestClickHouseCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	c := startClickHouse(t, ClickHouseConfig{})
	query(t, c, "CREATE TABLE tapwatch.kept (n UInt32) ENGINE = MergeTree ORDER BY n")
	query(t, c, "INSERT INTO tapwatch.kept SELECT 7")
	pid, began := c.PID(), time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > closeLimit/2 {
		t.Errorf("a clean end took %s", took)
	}
	if !gone(pid) || c.PID() != 0 {
		t.Errorf("process %d is still there", pid)
	}
	for _, port := range []int{c.cfg.TCPPort, c.cfg.HTTPPort} {
		if err := checkPort("closed", port); err != nil {
			t.Error(err)
		}
	}
	waitFor(t, "goroutines end", 5*time.Second, func() bool { return runtime.NumGoroutine() <= before })
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	again := startClickHouse(t, ClickHouseConfig{Dir: c.cfg.Dir, TCPPort: c.cfg.TCPPort, HTTPPort: c.cfg.HTTPPort})
	if got := query(t, again, "SELECT n FROM tapwatch.kept"); got != "7\n" {
		t.Errorf("rows after a restart: got %q, want 7", got)
	}
}

func TestClickHouseEndsWithParent(t *testing.T) {
	t.Parallel()
	needClickHouse(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), envTestParent+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		parent.Process.Kill()
		t.Fatalf("parent said %q", line)
	}
	if gone(pid) {
		t.Fatalf("process %d is not there to begin with", pid)
	}
	parent.Process.Kill()
	parent.Wait()
	// Orphans are reaped by init, where there is one; the lock tells in any case.
	lock, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatalf("server outlives its parent: %v", err)
	}
	lock.Close()
}

func TestClickHouseKeepsSpaceFree(t *testing.T) {
	t.Parallel()
	c := startClickHouse(t, ClickHouseConfig{KeepFree: -1})
	query(t, c, "CREATE TABLE tapwatch.full (n UInt32) ENGINE = MergeTree ORDER BY n")
	query(t, c, "SYSTEM STOP MERGES tapwatch.full")
	for range 3 {
		query(t, c, "INSERT INTO tapwatch.full SELECT number FROM numbers(100)")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// No disk has that much to spare: this server believes that its is full.
	c = startClickHouse(t, ClickHouseConfig{Dir: c.cfg.Dir, KeepFree: 1 << 55})
	for _, sql := range []string{
		"INSERT INTO tapwatch.full SELECT 1",
		"OPTIMIZE TABLE tapwatch.full FINAL SETTINGS optimize_throw_if_noop = 1",
	} {
		_, err := c.httpQuery(t.Context(), sql)
		if err == nil || !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") && !strings.Contains(err.Error(), "CANNOT_ASSIGN_OPTIMIZE") {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	if got, want := query(t, c, "SELECT count(), uniqExact(_part) FROM tapwatch.full"), "300\t3\n"; got != want {
		t.Errorf("rows and parts (-got +want)\n-%q\n+%q", got, want)
	}
}

func TestClickHouseBrokenLibrary(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("not a library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ library, want string }{
		"missing":       {filepath.Join(dir, "none.so"), "no such file"},
		"not a library": {text, "npm ci --prefix deploy/tapwatch"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := StartClickHouse(t.Context(), ClickHouseConfig{Dir: t.TempDir(), Library: tc.library}, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tc.want)
			}
		})
	}
}
