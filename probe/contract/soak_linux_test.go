package contract

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/local"
)

// gauge is what must not grow.
type gauge struct {
	at                                  time.Duration
	rss, heap, routines, files, threads int
}

func (p *running) gauge(at time.Duration, m map[string]float64) gauge {
	pid := fmt.Sprint(p.cmd.Process.Pid)
	files, _ := os.ReadDir("/proc/" + pid + "/fd")
	return gauge{at, status(pid, "VmRSS:") << 10, int(m["go_memstats_next_gc_bytes"] / 2), int(m["go_goroutines"]), len(files), status(pid, "Threads:")}
}

// endless is a capture that never ends: real frames and damaged ones, in order of
// time, at about 40 000 a second; stop ends it.
type endless struct {
	stop atomic.Bool
	sent atomic.Uint64
}

func (e *endless) feed(out io.WriteCloser, list [][]sample) error {
	defer out.Close()
	w, rng := newWire(out, 1), rand.New(rand.NewPCG(22, 22))
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	at := base
	for {
		for _, c := range list {
			shift := rng.Uint32() // other hosts each time
			for _, s := range c {
				if s.link != 1 {
					continue
				}
				b := s.data
				if rng.IntN(50) == 0 {
					b = mutate(rng, b, c[rng.IntN(len(c))].data)
				} else if len(b) > 34 && b[12] == 8 && b[13] == 0 {
					b = slices.Clone(b)
					b[27] ^= byte(shift)
					b[31] ^= byte(shift)
					b[28] ^= byte(shift >> 8)
					b[32] ^= byte(shift >> 8)
				}
				at += 25_000
				w.put(at, b, uint32(len(b)))
				if w.packets%1000 == 0 {
					e.sent.Store(w.packets)
					<-tick.C
				}
				if e.stop.Load() {
					e.sent.Store(w.packets)
					return w.err
				}
			}
		}
	}
}

// TestSoak is R22: under endless traffic with a fault again and again (reloads
// with other limits, Kafka away, pauses, strangers on its port) memory,
// goroutines, threads and descriptors stay as they are. TAPWATCH_CONTRACT_TIME
// is its length in full: 8h; a fault comes every minute then.
func TestSoak(t *testing.T) {
	length, every := 12*time.Second, 600*time.Millisecond
	if full() {
		length, every = 8*time.Hour, time.Minute
		if d, err := time.ParseDuration(os.Getenv("TAPWATCH_CONTRACT_TIME")); err == nil {
			length, every = d, min(time.Minute, d/20)
		}
	}
	list := samples(t, 40)
	dir := t.TempDir()
	broker := local.KafkaConfig{Dir: filepath.Join(dir, "kafka"), Topics: map[string]int32{"flows.v1": 1}, RetentionBytes: 64 << 20}
	kafka, err := local.StartKafka(t.Context(), broker, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kafka.Close() }()
	_, port, _ := net.SplitHostPort(kafka.Addr())
	fmt.Sscan(port, &broker.Port)
	yaml := func(limits string) string {
		return fmt.Sprintf(`
name: contract
capture: {files: ["-"], workers: 2%s
spool: {dir: %s/spool, max_bytes: 64MiB}
kafka: {brokers: ["%s"]}
ops: {listen: "%s"}
`, limits, dir, kafka.Addr(), metricsPort)
	}
	// Open connections are remembered for minutes: a small table is full before the first quarter is over.
	usual := "}\nmeter: {idle_timeout: 2s, unanswered_timeout: 1s, active_timeout: 3s, max_bytes: 4MiB}"
	limits := []string{
		", sample_flows: 4}\nmeter: {idle_timeout: 1s, unanswered_timeout: 1s, active_timeout: 2s, max_bytes: 4MiB}",
		", sample_packets: 10}\nmeter: {idle_timeout: 2s, unanswered_timeout: 1s, active_timeout: 3s, max_bytes: 4MiB}",
		"}\nmeter: {idle_timeout: 2s, unanswered_timeout: 1s, active_timeout: 3s, max_bytes: 4MiB, max_flows: 500}",
		", filter: \"tcp\"}\nmeter: {idle_timeout: 2s, max_bytes: 4MiB}", // waits for a restart: it is a file
		"}\nmeter: {idle_timeout: nonsense}", // refused
		usual,
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := serviceProcess(t, dir, yaml(usual), in)
	in.Close()
	traffic, fed := new(endless), make(chan error, 1)
	go func() { fed <- traffic.feed(out, list) }()
	p.until(30*time.Second, "the probe reads", func(m map[string]float64) bool { return sum(m, "tapwatch_probe_capture_packets_total") > 1000 })

	faults := map[string]int{}
	fault := func(i int) {
		switch i % 4 {
		case 0:
			faults["reload"]++
			if err := os.WriteFile(filepath.Join(dir, "probe.yaml"), []byte(yaml(limits[i/4%len(limits)])), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = p.cmd.Process.Signal(syscall.SIGHUP)
		case 1:
			faults["kafka away"]++
			_ = kafka.Close()
			time.Sleep(every / 4)
			if kafka, err = local.StartKafka(context.WithoutCancel(t.Context()), broker, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
		case 2:
			faults["pause"]++
			_ = p.cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(every / 10)
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
		default:
			faults["strangers"]++
			for _, text := range []string{"", "GET /", "\x16\x03\x01", "GET /metrics HTTP/1.1\r\nContent-Length: 99\r\n\r\n"} {
				if c, err := net.Dial("tcp", metricsPort); err == nil {
					fmt.Fprint(c, text)
					c.Close()
				}
			}
		}
	}
	var all []gauge
	began := time.Now()
	for i := 0; time.Since(began) < length; i++ {
		fault(i)
		select {
		case <-time.After(every):
		case err := <-fed:
			t.Fatalf("the probe reads no more: %v\n%s", err, last(p.log(), 4000))
		}
		if m := p.metrics(); m != nil {
			all = append(all, p.gauge(time.Since(began), m))
		}
	}
	traffic.stop.Store(true)
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	select { // all is read, published, and the process ends
	case err := <-p.ended:
		if err != nil {
			t.Fatalf("the probe: %v\n%s", err, last(p.log(), 4000))
		}
	case <-time.After(2 * time.Minute):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.ended
		t.Fatalf("the probe does not end\n%s", last(p.log(), 8000))
	}
	if strings.Contains(p.log(), "DATA RACE") || strings.Contains(p.log(), "panic") {
		t.Errorf("%s", last(p.log(), 4000))
	}
	if len(all) < 8 {
		t.Fatalf("%d measurements", len(all))
	}
	level(t, all, faults, traffic.sent.Load())
}

// level compares the second and the last quarter of the time: the first is for
// tables to find their size. The median forgives a fault under way.
func level(t *testing.T, all []gauge, faults map[string]int, packets uint64) {
	t.Helper()
	median := func(part []gauge, of func(gauge) int) int {
		n := make([]int, len(part))
		for i, g := range part {
			n[i] = of(g)
		}
		slices.Sort(n)
		return n[len(n)/2]
	}
	q := len(all) / 4
	early, late := all[q:2*q+1], all[len(all)-q-1:]
	hours := (late[len(late)/2].at - early[len(early)/2].at).Hours()
	for name, c := range map[string]struct {
		of   func(gauge) int
		some int // that may be more at any moment
	}{
		// The short form is over before pools and buffers have their size.
		"octets resident": {func(g gauge) int { return g.rss }, 128 << 20},
		"goroutines":      {func(g gauge) int { return g.routines }, 6},
		"descriptors":     {func(g gauge) int { return g.files }, 6},
		"threads":         {func(g gauge) int { return g.threads }, 6},
	} {
		was, is := median(early, c.of), median(late, c.of)
		t.Logf("%s: %d, later %d", name, was, is)
		if was == 0 {
			t.Errorf("%s: not measured", name)
		}
		allowed := c.some
		if name == "octets resident" && full() {
			allowed = int(float64(was)*0.01*hours) + 1<<20
		}
		if is > was+allowed {
			t.Errorf("%s: %d, and %.2f h later %d", name, was, hours, is)
		}
	}
	for _, g := range all {
		t.Logf("%v: %d MiB, heap %d MiB", g.at.Round(time.Second), g.rss>>20, g.heap>>20)
	}
	t.Logf("%d packets, faults %v, %.2f h between", packets, faults, hours)
}
