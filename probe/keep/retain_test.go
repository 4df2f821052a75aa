package keep

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/disk"
)

// sizeOf is what the segments of a directory take.
func sizeOf(t testing.TB, dir string) (n int64) {
	t.Helper()
	for _, path := range filesOf(t, dir) {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

// TestMaxBytes keeps the newest packets within the bytes that are allowed, at every
// moment.
func TestMaxBytes(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxBytes = 2 << 20
	frames := numbered(20000, 400)
	r := openRing(t, cfg)
	w := r.Writer(0)
	w.Wait = true
	for i := range frames {
		frames[i].add(w)
		if i%500 == 0 {
			if s := r.Stats(); s.Bytes > int64(cfg.MaxBytes) {
				t.Fatalf("%d bytes on disk, %d are allowed", s.Bytes, cfg.MaxBytes)
			}
		}
	}
	w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if n := sizeOf(t, cfg.Dir); n != s.Bytes || n > int64(cfg.MaxBytes) || n < int64(cfg.MaxBytes)/2 {
		t.Errorf("%d bytes on disk, %d counted, %d allowed", n, s.Bytes, cfg.MaxBytes)
	}
	if s.RemovedSegments == 0 || s.KeptPackets != 20000 {
		t.Errorf("%+v", s)
	}
	r = openRing(t, cfg)
	got := found(t, r, Query{})
	same(t, "the newest", got, frames[len(frames)-len(got):])
	if len(got) < 1500 {
		t.Errorf("%d packets left", len(got))
	}
	r.Close()
	// A smaller ring begins by removing.
	cfg.MaxBytes = 1 << 20
	one := numbered(1, 10)
	one[0].Time += int64(time.Hour)
	fill(t, cfg, one)
	if n := sizeOf(t, cfg.Dir); n > int64(cfg.MaxBytes) {
		t.Errorf("%d bytes after the limit was lowered to %d", n, cfg.MaxBytes)
	}
}

// TestMaxAge removes what is too old, whether packets come or not, and never keeps
// one longer.
func TestMaxAge(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxAge = time.Hour
	synctest.Test(t, func(t *testing.T) {
		r, err := Open(cfg, quiet(), nil)
		if err != nil {
			t.Fatal(err)
		}
		w := r.Writer(0)
		frames := numbered(120, 100)
		start := time.Now()
		for i := range frames { // one a minute, for two hours
			frames[i].Time = time.Now().UnixNano()
			frames[i].add(w)
			w.Tick(time.Now())
			time.Sleep(time.Minute - 2*time.Second)
			w.Tick(time.Now())
			time.Sleep(2 * time.Second)
			s := r.Stats()
			if age := time.Since(s.First); age > cfg.MaxAge+time.Minute {
				t.Fatalf("after %s a packet of %s ago is there", time.Since(start), age)
			}
			if age := time.Since(s.First); i > 70 && age < cfg.MaxAge*3/4 {
				t.Fatalf("after %s the oldest packet is of %s ago", time.Since(start), age)
			}
		}
		time.Sleep(cfg.MaxAge + time.Minute)
		if s := r.Stats(); s.Segments != 0 || s.Bytes != 0 {
			t.Errorf("an hour later: %+v", s)
		}
		w.Close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if n := len(filesOf(t, cfg.Dir)); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestMinFree drops packets, and says so once, when the file system has less left
// than it should.
func TestMinFree(t *testing.T) {
	cfg := testConfig(t)
	free, known := disk.Free(cfg.Dir)
	if !known {
		t.Skip("the free space is not known on this system")
	}
	fill(t, cfg, numbered(2000, 400))
	before := len(filesOf(t, cfg.Dir))
	cfg.MinFree = kit.Bytes(free * 2)
	var log bytes.Buffer
	r, err := Open(cfg, slog.New(slog.NewTextHandler(&log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := r.Writer(0)
	w.Wait = true
	frames := numbered(1000, 400)
	for i := range frames {
		frames[i].add(w)
	}
	w.Close()
	r.Close()
	s := r.Stats()
	if s.DroppedPackets != 1000 || s.KeptPackets != 0 || s.RemovedSegments != uint64(before) || s.Segments != 0 {
		t.Errorf("of %d segments: %+v", before, s)
	}
	if n := strings.Count(log.String(), "packets are not kept"); n != 1 {
		t.Errorf("%d lines say so:\n%s", n, log.String())
	}
}

// TestDirectoryGone counts what cannot be written and goes on when it can.
func TestDirectoryGone(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(t.TempDir(), "ring")
	r := openRing(t, cfg)
	w := r.Writer(0)
	w.Wait = true
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	frames := numbered(1000, 400)
	for i := range frames {
		frames[i].add(w)
	}
	w.Tick(time.Now())
	w.Tick(time.Now().Add(time.Hour))
	for r.Stats().DroppedPackets < 1000 {
		runtime.Gosched()
	}
	if r.Stats().IOErrors == 0 {
		t.Error("no error is counted")
	}
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	later := numbered(1000, 400)
	for i := range later {
		later[i].add(w)
	}
	w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "after it came back", found(t, openRing(t, cfg), Query{}), later)
}

// TestPrivate: nobody else reads packets, and no second process writes there.
func TestPrivate(t *testing.T) {
	cfg := testConfig(t)
	if err := os.Chmod(cfg.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fill(t, cfg, numbered(10, 10))
	if st, err := os.Stat(cfg.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st.Mode(), err)
	}
	for _, path := range filesOf(t, cfg.Dir) {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	openRing(t, cfg)
	if _, err := Open(cfg, quiet(), nil); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("opened twice: %v", err)
	}
}

// TestMetrics: every metric is there, with the values of Stats.
func TestMetrics(t *testing.T) {
	cfg := testConfig(t)
	reg := prometheus.NewPedanticRegistry()
	r, err := Open(cfg, quiet(), reg)
	if err != nil {
		t.Fatal(err)
	}
	w := r.Writer(0)
	frames := numbered(10, 10)
	for i := range frames {
		frames[i].add(w)
	}
	w.Close()
	r.Close()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if len(values) != 16 || values["tapwatch_probe_keep_kept_packets_total"] != 10 || values["tapwatch_probe_keep_segments"] != 1 {
		t.Errorf("%v", values)
	}
}
