package clickhouse_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// TestContextEndsAfterSend: a context that ends just after its batch was sent closes nothing. The connection belongs to
// whoever asks next, who would find it closed, before or in the midst of a statement. It takes a busy process to show.
func TestContextEndsAfterSend(t *testing.T) {
	conn, err := clickhouse.Config{Addr: []string{server(t).Addr()}, Username: "tap", Password: "pw", MaxConns: 1}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "CREATE TABLE numbers (n UInt64) ENGINE = Memory"); err != nil {
		t.Fatal(err)
	}
	busy, idle := context.WithCancel(t.Context())
	defer idle()
	for range 4 * runtime.GOMAXPROCS(0) {
		go func() {
			for busy.Err() == nil {
			}
		}()
	}
	var first uint16
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO numbers (n) SETTINGS async_insert = 0")
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Append(uint64(i)); err != nil {
			t.Fatal(err)
		}
		err = batch.Send()
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		var port uint16
		if err := conn.QueryRow(t.Context(), "SELECT port FROM system.processes WHERE query_id = queryID()").Scan(&port); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if i > 0 && port != first {
			t.Fatalf("round %d: the connection was closed", i)
		}
		first = port
	}
}

// TestContextEndsBatch: until it is sent, a batch ends with its context.
func TestContextEndsBatch(t *testing.T) {
	conn, err := clickhouse.Config{Addr: []string{server(t).Addr()}, Username: "tap", Password: "pw", MaxConns: 1}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "CREATE TABLE slow (n UInt64, m UInt8 MATERIALIZED sleepEachRow(1)) ENGINE = Memory"); err != nil {
		t.Fatal(err)
	}
	for _, when := range []time.Duration{0, 300 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO slow (n) SETTINGS async_insert = 0, function_sleep_max_microseconds_per_block = 60000000")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if err := batch.Append(uint64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if when == 0 {
			cancel()
		} else {
			time.AfterFunc(when, cancel)
		}
		begun := time.Now()
		if err := batch.Send(); err == nil {
			t.Error("sent after its context ended")
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %s to notice", took)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.PrepareBatch(ctx, "INSERT INTO slow (n)"); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch of a context that is over: %v", err)
	}
	var n uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM slow").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows: %v", n, err)
	}
}
