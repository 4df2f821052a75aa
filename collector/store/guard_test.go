package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// With less than the reserve free nothing is inserted, and the readiness says
// so; when there is room again, the block goes on by itself.
func TestReserve(t *testing.T) {
	s, conn := database(t)
	var name string
	var free, total int64
	if err := conn.QueryRow(t.Context(), disksSQL).Scan(&name, &free, &total); err != nil || free <= 0 || total < free {
		t.Fatalf("disk %q: %d free of %d, %v", name, free, total, err)
	}
	s.guard.reserve = total
	b := block(t, 1, 10, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the end of patience", err)
	}
	localtest.Expect(t, conn, "SELECT count() FROM flows", 0)
	if ready, told := s.ops.Status(); ready || !strings.Contains(told["clickhouse"], "the reserve is") {
		t.Errorf("ready %v, and says %q", ready, told)
	}
	if n := counter(t, s, "tapwatch_collector_store_reserve_waits_total"); n < 1 {
		t.Errorf("%v inserts were put off", n)
	}
	s.guard.reserve = 0
	put(t, s, b)
	localtest.Expect(t, conn, "SELECT count() FROM flows", 10)
	if ready, told := s.ops.Status(); !ready {
		t.Errorf("not ready: %q", told)
	}
}
