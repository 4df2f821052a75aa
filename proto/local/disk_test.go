package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestClickHouseOnFullDisk fills a small disk through the server and besides
// it, and reads everything that was acknowledged.
func TestClickHouseOnFullDisk(t *testing.T) {
	t.Parallel()
	needClickHouse(t)
	disk := t.TempDir()
	if err := unix.Mount("tapwatch", disk, "tmpfs", 0, "size=128m"); err != nil {
		t.Skipf("mount a small disk: %v: this test needs root", err)
	}
	defer func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount %s: %v", disk, err)
		}
	}()
	const keepFree = 32 << 20
	c := startClickHouse(t, ClickHouseConfig{Dir: filepath.Join(disk, "state"), KeepFree: keepFree})
	defer c.Close()
	query(t, c, "CREATE TABLE tapwatch.rows (n UInt32, noise String) ENGINE = MergeTree ORDER BY n")
	// 2 MB that do not compress; background merges run as they like.
	insert := func(n int) error {
		_, err := c.httpQuery(t.Context(), fmt.Sprintf("INSERT INTO tapwatch.rows SELECT %d, randomString(1000) FROM numbers(2000)", n))
		return err
	}
	acked, refused := 0, 0
	for n := 0; refused < 5; n++ {
		if n > 200 {
			t.Fatal("128 MB hold more than 200 inserts of 2 MB")
		}
		switch err := insert(n); {
		case err == nil:
			acked++
		case strings.Contains(err.Error(), "NOT_ENOUGH_SPACE"):
			refused++
		default:
			t.Fatalf("insert %d: %v", n, err)
		}
	}
	free := func() int64 {
		_, free, err := diskSpace(disk)
		if err != nil {
			t.Fatal(err)
		}
		return free
	}
	if free() == 0 || acked < 10 {
		t.Errorf("%d inserts acknowledged, %d bytes free", acked, free())
	}
	// Somebody else takes half of what was kept free: merges now must be refused,
	// too. One that runs at this moment has its space reserved, and nothing can
	// guard what others take from under it: wait until none does.
	query(t, c, "SYSTEM STOP MERGES tapwatch.rows")
	waitFor(t, "no merge runs", 30e9, func() bool { return query(t, c, "SELECT count() FROM system.merges") == "0\n" })
	other, err := os.Create(filepath.Join(disk, "other"))
	if err != nil {
		t.Fatal(err)
	}
	for step := make([]byte, 1<<20); free() > keepFree/2; {
		if _, err := other.Write(step); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	query(t, c, "SYSTEM START MERGES tapwatch.rows")
	for range 5 {
		if err := insert(-1); err == nil || !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") {
			t.Errorf("insert on the full disk: got %v, want NOT_ENOUGH_SPACE", err)
		}
		if _, err := c.httpQuery(t.Context(), "OPTIMIZE TABLE tapwatch.rows FINAL"); err != nil && !strings.Contains(err.Error(), "NOT_ENOUGH_SPACE") {
			t.Errorf("merge on the full disk: %v", err)
		}
	}
	read := func(when string) {
		if got, want := query(t, c, "SELECT count(), uniqExact(n), sum(length(noise)) FROM tapwatch.rows"), fmt.Sprintf("%d\t%d\t%d\n", acked*2000, acked, acked*2_000_000); got != want {
			t.Errorf("rows %s (-got +want)\n-%q\n+%q", when, got, want)
		}
		if got := query(t, c, "CHECK TABLE tapwatch.rows SETTINGS check_query_single_value_result = 1"); strings.TrimSpace(got) != "1" {
			t.Errorf("check table %s: %q", when, got)
		}
	}
	read("on the full disk")
	// Room again: nothing needs to be repaired.
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Fatal(err)
	}
	query(t, c, "TRUNCATE TABLE tapwatch.rows")
	waitFor(t, "inserts go on", 30e9, func() bool { return insert(1) == nil })
	acked = 1
	read("after room was made")
}
