package store

import (
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// ClickHouse refuses for a while: the block waits, the readiness says why and what
// to do, and when it is over the rows are there, once.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, refuse, accept string
		reason               string
	}{
		{"too many parts", "parts_to_throw_insert = 1, parts_to_delay_insert = 1", "parts_to_throw_insert = 3000, parts_to_delay_insert = 1000", "merges do not keep up"},
		{"no space", "min_free_disk_bytes_to_perform_insert = 1000000000000000", "min_free_disk_bytes_to_perform_insert = 0", "no space left"},
		{"read-only", "table_readonly = 1", "table_readonly = 0", "read-only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, conn := database(t)
			localtest.Exec(t, conn, "SYSTEM STOP MERGES flows")
			for epoch := range uint64(2) {
				b := block(t, 1, 10, time.Second)
				b.From, b.To = int64(epoch)*10, int64(epoch)*10+1
				b.Messages[0].Batch.Header().Epoch, b.Messages[0].Offset = 100+epoch, b.From
				put(t, s, b)
			}
			localtest.Exec(t, conn, "ALTER TABLE flows MODIFY SETTING "+tt.refuse)
			done := make(chan error, 1)
			b := block(t, 2, 100, time.Second)
			b.From, b.To = 50, 52
			go func() { done <- s.Put(t.Context(), b) }()
			for deadline := time.Now().Add(20 * time.Second); ; {
				if _, told := s.ops.Status(); strings.Contains(told["clickhouse"], tt.reason) {
					break
				}
				select {
				case err := <-done:
					t.Fatalf("it was not refused: %v", err)
				case <-time.After(20 * time.Millisecond):
				}
				if time.Now().After(deadline) {
					_, told := s.ops.Status()
					t.Fatalf("readiness does not tell of %q: %q", tt.reason, told)
				}
			}
			localtest.Expect(t, conn, "SELECT count() FROM flows", 20)
			localtest.Exec(t, conn, "ALTER TABLE flows MODIFY SETTING "+tt.accept)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			localtest.Expect(t, conn, "SELECT count() FROM flows", 220)
			if ready, told := s.ops.Status(); !ready {
				t.Errorf("not ready afterwards: %q", told)
			}
		})
	}
}
