package spool

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// TestMain is also the child of the crash tests: it appends and acknowledges until it is killed, and says what it was promised.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

func child(dir string) {
	limit, _ := strconv.Atoi(os.Getenv("SPOOL_TEST_RECORDS"))
	s, err := Open(Config{Dir: dir, MaxBytes: 64 << 20, SegmentBytes: minSegmentBytes, Sync: os.Getenv("SPOOL_TEST_SYNC") != "",
		KeyFile: os.Getenv("SPOOL_TEST_KEY")}, nil, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("open %d\n", s.Epoch())
	for seq := uint64(0); limit == 0 || seq < uint64(limit); seq++ {
		if err := s.Append(testRecord(s.Epoch(), 0, seq)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("appended %d %d\n", s.Epoch(), seq)
		if seq%3 == 0 && limit == 0 {
			r, pos, _, err := s.tryNext()
			if err != nil {
				os.Exit(1)
			}
			fmt.Printf("took %d %d\n", r.Meta.Epoch, r.Meta.Seq)
			if s.Ack(pos) != nil {
				os.Exit(1)
			}
		}
	}
	s.Close()
}

func TestKill(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, key *seal.Key) {
		t.Parallel()
		testKill(t, key)
	})
}

func testKill(t *testing.T, key *seal.Key) {
	keyFile := ""
	if key != nil {
		keyFile = writeKey(t, t.TempDir(), testSecret)
	}
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	dir := t.TempDir()
	promised := map[string]bool{} // appended and not taken
	total, torn := 0, 0
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SPOOL_TEST_CHILD="+dir, "SPOOL_TEST_KEY="+keyFile)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := rand.IntN(400)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			what, id, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "appended":
				promised[id] = true
				total++
			case "took":
				delete(promised, id)
			}
			if n == kill { // it goes on meanwhile: what it prints until then counts too
				time.AfterFunc(time.Duration(rand.IntN(500))*time.Microsecond, func() { cmd.Process.Signal(syscall.SIGKILL) })
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	reg := prometheus.NewRegistry()
	s, err := Open(Config{Dir: dir, MaxBytes: 64 << 20, SegmentBytes: minSegmentBytes, Key: key}, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, d := range s.Dropped() {
		if d.Reason != ReasonCorrupt || d.Records != 1 || promised[fmt.Sprintf("%d %d", d.Epoch, d.From)] {
			t.Errorf("declared %+v", d) // one append cut short per kill is all there may be
		}
		torn++
	}
	extra := 0
	for _, m := range drain(t, s) {
		id := fmt.Sprintf("%d %d", m.Epoch, m.Seq)
		if !promised[id] {
			extra++ // appended without having said so, or taken without its acknowledgement
		}
		delete(promised, id)
	}
	if len(promised) > 0 {
		t.Errorf("%d accepted records are lost: %v", len(promised), promised)
	}
	if total == 0 || extra > 3*rounds {
		t.Errorf("%d accepted, %d more than promised", total, extra)
	}
	t.Logf("%d kills, %d records accepted, 0 lost, %d came more than promised, %d cut short", rounds, total, extra, torn)
}

// TestSyncOrder looks at the system calls: a new segment is in its directory, and the data on the device, before Append returns.
func TestSyncOrder(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: the order of fsync is not checked")
	}
	dir := t.TempDir()
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-s", "64", "-o", log, "-e", "trace=fdatasync,fsync,openat,write,pwrite64,unlinkat", os.Args[0])
	cmd.Env = append(os.Environ(), "SPOOL_TEST_CHILD="+dir, "SPOOL_TEST_RECORDS=200", "SPOOL_TEST_SYNC=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace here: %v: %.200s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	created := regexp.MustCompile(`openat\(.*(seg-[0-9a-f-]+\.tws).*O_CREAT`)
	wrote := regexp.MustCompile(`pwrite64\(\d+<[^>]*(seg-[0-9a-f-]+\.tws)>, "TWSR.*, (\d+), (\d+)`)
	written, onDisk := map[string]int{}, map[string]int{} // bytes of each segment
	promised := map[string]bool{}
	synced := regexp.MustCompile(`fdatasync\(\d+<[^>]*(seg-[0-9a-f-]+\.tws)>`)
	dirSynced := regexp.MustCompile(`fsync\(\d+<` + regexp.QuoteMeta(dir) + `>`)
	open := map[string]bool{} // created, directory not yet on disk
	dirty := map[string]bool{}
	appends, creates := 0, 0
	for _, l := range strings.Split(string(b), "\n") {
		switch {
		case created.MatchString(l):
			open[created.FindStringSubmatch(l)[1]] = true
			creates++
		case dirSynced.MatchString(l):
			clear(open)
		case wrote.MatchString(l):
			m := wrote.FindStringSubmatch(l)
			length, _ := strconv.Atoi(m[2])
			offset, _ := strconv.Atoi(m[3])
			dirty[m[1]] = true
			written[m[1]] = offset + length
		case synced.MatchString(l):
			name := synced.FindStringSubmatch(l)[1]
			delete(dirty, name)
			onDisk[name] = written[name]
		case strings.Contains(l, `"appended `):
			appends++
			_, id, _ := strings.Cut(l, `"appended `)
			id, _, _ = strings.Cut(id, `\n`)
			promised[id] = true
			if appends%20 == 0 {
				powerLoss(t, dir, onDisk, promised)
			}
			if len(open) > 0 || len(dirty) > 0 {
				t.Fatalf("Append returned with %v not in the directory, %v not on disk:\n%s", open, dirty, l)
			}
		}
	}
	if appends != 200 || creates < 2 {
		t.Errorf("saw %d appends and %d new segments in the trace", appends, creates)
	}
}

// powerLoss opens what would be left if the power went now: of each segment the bytes that were synced, and no state. Every promised record
// must be there.
func powerLoss(t *testing.T, from string, onDisk map[string]int, promised map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	for name, n := range onDisk {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, Config{Dir: dir, MaxBytes: 64 << 20})
	defer s.Close()
	got := map[string]bool{}
	for _, m := range drain(t, s) {
		got[fmt.Sprintf("%d %d", m.Epoch, m.Seq)] = true
	}
	for id := range promised {
		if !got[id] {
			t.Fatalf("record %s was accepted and is not on disk", id)
		}
	}
	if len(got) == 0 || len(s.Dropped()) > 0 {
		t.Fatalf("%d records came out, %v declared", len(got), s.Dropped())
	}
}

func metric(t *testing.T, reg prometheus.Gatherer, name string) (sum uint64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += uint64(value(m))
			}
		}
	}
	return sum
}

func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			s := mustOpen(b, Config{Dir: b.TempDir(), Sync: sync})
			defer s.Close()
			rec := Record{Value: make([]byte, 100<<10)}
			b.SetBytes(int64(len(rec.Value)))
			for b.Loop() {
				rec.Meta.Seq++
				mustAppend(b, s, rec)
				_, pos, _ := s.Next(context.Background())
				s.Ack(pos)
			}
		})
	}
}
