package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	if err := Lock(first); err != nil {
		t.Fatal(err)
	}
	if err := Lock(second); err == nil {
		t.Error("two have the lock")
	}
	first.Close()
	if err := Lock(second); err != nil {
		t.Errorf("after the first has closed: %v", err)
	}
}

func TestSyncAndFree(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Sync(f); err != nil {
		t.Error(err)
	}
	f.Close()
	if err := Sync(f); err == nil {
		t.Error("a closed file was synced")
	} else if Full(err) {
		t.Errorf("%v is taken for a full device", err)
	}
	if free, known := Free(dir); known && free <= 0 {
		t.Errorf("%d octets are free", free)
	}
	if _, known := Free(filepath.Join(dir, "none")); known {
		t.Error("a directory that is not there has room")
	}
}
