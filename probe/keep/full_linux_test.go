package keep

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit/disk"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills a real file system: the oldest packets go, and what is there is
// whole.
func TestFullDisk(t *testing.T) {
	for name, free := range map[string]func(string) (int64, bool){
		"known":   disk.Free,
		"unknown": func(string) (int64, bool) { return 0, false }, // as with a quota: writing fails
	} {
		t.Run(name, func(t *testing.T) { fullDisk(t, free, name == "unknown") })
	}
}

func fullDisk(t *testing.T, free func(string) (int64, bool), fails bool) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a file system of its own needs root: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	cfg := testConfig(t)
	cfg.Dir = dir // 1 GiB is allowed, there are 2 MiB
	var text bytes.Buffer
	r, err := Open(cfg, slog.New(slog.NewTextHandler(&text, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.free = free
	frames := numbered(20000, 400)
	w := r.Writer(0)
	w.Wait = true
	for i := range frames {
		frames[i].add(w)
		if i == 15000 { // somebody else takes what there is
			fillUp(t, dir+"/other")
		}
		if i == 18000 {
			if err := os.Remove(dir + "/other"); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if s.KeptPackets+s.DroppedPackets != uint64(len(frames)) || s.RemovedSegments == 0 || fails && s.IOErrors == 0 {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(text.String(), "packets are not kept"); n > 1 {
		t.Errorf("%d lines say that the disk is full:\n%s", n, text.String())
	}
	r = openRing(t, cfg)
	defer r.Close()
	got := found(t, r, Query{})
	if len(got) < 1000 || got[len(got)-1].Time != frames[len(frames)-1].Time {
		t.Fatalf("%d packets, the last at %d", len(got), got[len(got)-1].Time)
	}
	byTime := make(map[int64]frame)
	for _, f := range frames {
		byTime[f.Time] = f
	}
	for i := range got {
		same(t, "after the disk was full", got[i:i+1], []frame{byTime[got[i].Time]})
	}
	if s := r.Stats(); s.DamagedBlocks > 0 {
		t.Errorf("%d damaged blocks", s.DamagedBlocks)
	}
}

// fillUp writes until there is no room.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		return // not even that
	}
	defer f.Close()
	for b := make([]byte, 64<<10); len(b) > 0; {
		if _, err := f.Write(b); err != nil {
			b = b[:len(b)/2]
		}
	}
}
