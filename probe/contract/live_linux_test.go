package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// cable is a veth pair in a network namespace of its own: what is sent into one
// end comes out of "tap".
type cable struct {
	t    *testing.T
	fd   int
	peer unix.SockaddrLinklayer
	sent uint64 // frames that the kernel took
}

// newCable moves the test's goroutine, with its thread, into a new namespace;
// the thread ends with the goroutine. Processes started from it are in the
// namespace, too.
func newCable(t *testing.T) *cable {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("live capture in a network namespace is tested as root only")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	c := &cable{t: t}
	for _, args := range []string{"link add tap type veth peer name out", "link set tap addrgenmode none arp off up",
		"link set out addrgenmode none arp off up", "link set lo up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", args, err, out)
		}
	}
	nic, err := net.InterfaceByName("out")
	if err != nil {
		t.Fatal(err)
	}
	c.peer = unix.SockaddrLinklayer{Ifindex: nic.Index}
	if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// send puts a frame on the cable.
func (c *cable) send(b []byte) {
	for {
		switch err := unix.Sendto(c.fd, b, 0, &c.peer); err {
		case nil:
			c.sent++
			return
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR: // the sender's own queue is full: not sent
		default:
			c.t.Fatal(err)
		}
	}
}

// running is the service as a process.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // spool, configuration
	ended  chan error
	mu     sync.Mutex
	stderr bytes.Buffer
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stderr.Write(b)
}

func (r *running) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stderr.String()
}

// metricsPort is where services under test answer, each in its own namespace or
// with a port of its own.
const metricsPort = "127.0.0.1:19611"

// serviceProcess starts the service with the configuration, in dir.
func serviceProcess(t *testing.T, dir, yaml string, in io.Reader) *running {
	t.Helper()
	return startService(t, os.Args[0], dir, yaml, in)
}

// startService starts the program as serviceProcess does.
func startService(t *testing.T, program, dir, yaml string, in io.Reader) *running {
	t.Helper()
	path := filepath.Join(dir, "probe.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: dir, ended: make(chan error, 1)}
	r.cmd = exec.Command(program, "-c", path)
	r.cmd.Env = append(os.Environ(), childKey+"=service")
	r.cmd.Stderr, r.cmd.Stdin = r, in
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// stop ends the service in order.
func (r *running) stop() {
	r.t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Fatalf("the probe: %v\n%s", err, last(r.log(), 4000))
		}
	case <-time.After(30 * time.Second):
		_ = r.cmd.Process.Signal(syscall.SIGQUIT)
		<-r.ended
		r.t.Fatalf("the probe does not end\n%s", last(r.log(), 8000))
	}
}

// metrics asks the service, from the calling thread's namespace; nil: it does
// not answer yet.
func (r *running) metrics() map[string]float64 {
	text := r.page()
	if text == "" {
		return nil
	}
	m := map[string]float64{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.Contains(name, "_") && line[0] != '#' {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				m[name] = v
			}
		}
	}
	return m
}

// page is what the service answers to those who ask for its metrics.
func (r *running) page() string {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		r.t.Fatalf("the probe has ended: %v\n%s", err, last(r.log(), 4000))
	default:
	}
	c, err := net.DialTimeout("tcp", metricsPort, time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "GET /metrics HTTP/1.0\r\nHost: probe\r\n\r\n")
	text, err := io.ReadAll(c)
	if err != nil {
		return ""
	}
	return string(text)
}

// sum adds up the metric of all workers and reasons.
func sum(m map[string]float64, name string) (n float64) {
	for k, v := range m {
		if k == name || strings.HasPrefix(k, name+"{") {
			n += v
		}
	}
	return n
}

// until asks for the metrics until ok, or until time is up.
func (r *running) until(limit time.Duration, what string, ok func(map[string]float64) bool) map[string]float64 {
	r.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		m := r.metrics()
		if m != nil && ok(m) {
			return m
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not after %v: %d packets seen\n%s", what, limit, int(sum(m, "tapwatch_probe_capture_packets_total")), last(r.log(), 4000))
		}
		runtime.Gosched()
		time.Sleep(20 * time.Millisecond)
	}
}

// account is what the batches in a spool say.
type account struct {
	seen, inFlows, inRecords uint64
	records                  uint64
	losses                   map[string]uint64
	batches                  int
	ended                    map[uint32]bool // workers that said so
}

// spooled reads all batches that a probe left behind.
func spooled(t *testing.T, cfg spool.Config, each func(*flow.Record)) (a account) {
	t.Helper()
	a.losses, a.ended = map[string]uint64{}, map[uint32]bool{}
	sp, err := spool.Open(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reader := flow.NewReader()
	var rec flow.Record
	for sp.Stats().Records > 0 {
		r, at, err := sp.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		b, err := reader.Read(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		h := b.Header()
		for _, s := range h.Ledger {
			a.seen += s.SeenPackets
			a.inFlows += s.FlowPackets
			a.records += s.Records
			for _, l := range s.Losses {
				a.losses[l.Reason] += l.Packets
			}
		}
		a.ended[h.Worker] = h.EndOfStream
		for i := range b.Len() {
			b.Record(i, &rec)
			a.inRecords += rec.Packets()
			if each != nil {
				each(&rec)
			}
		}
		a.batches++
		if err := sp.Ack(at); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func spoolIn(dir string) spool.Config {
	cfg := spool.DefaultConfig()
	cfg.Dir = filepath.Join(dir, "spool")
	return cfg
}

// TestLossIsTold is R21: a live probe gets more than it can take; what was sent
// is what is in flows and in the named losses, to the packet, in the batches that
// leave it and in its metrics.
func TestLossIsTold(t *testing.T) {
	c := newCable(t)
	dir := t.TempDir()
	const workers = 2
	p := serviceProcess(t, dir, fmt.Sprintf(`
name: contract
capture: {interfaces: [tap], workers: %d, block_size: 65536, blocks: 4, block_time: 20ms}
spool: {dir: %s/spool, drain: 100ms}
kafka: {brokers: ["127.0.0.1:1"]}
ops: {listen: "%s"}
`, workers, dir, metricsPort), nil)
	p.until(30*time.Second, "the probe is ready", func(m map[string]float64) bool { return ringsOpen(p.cmd.Process.Pid) == workers })
	frames := sendable(t)
	rounds := 6
	if full() {
		rounds = 100
	}
	malformed := uint64(0)
	for range rounds {
		for i := range 10_000 { // as fast as one can send
			c.send(frames[i%len(frames)])
		}
		_ = p.cmd.Process.Signal(syscall.SIGSTOP) // and half as many again while it cannot take any
		for i := range 5_000 {
			c.send(frames[i%len(frames)])
		}
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		c.send([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00"))
		malformed++
	}
	m := p.until(30*time.Second, "all packets are accounted for", func(m map[string]float64) bool {
		return sum(m, "tapwatch_probe_capture_packets_total") >= float64(c.sent)
	})
	p.stop()
	a := spooled(t, spoolIn(dir), nil)
	lost := uint64(0)
	for _, n := range a.losses {
		lost += n
	}
	t.Logf("%d sent: %d in flows, %v", c.sent, a.inFlows, a.losses)
	if a.seen != c.sent || a.inFlows+lost != c.sent || a.inRecords != a.inFlows {
		t.Errorf("%d sent, %d seen, %d in flows, %d in records, lost %v", c.sent, a.seen, a.inFlows, a.inRecords, a.losses)
	}
	if got := sum(m, "tapwatch_probe_capture_packets_total"); got != float64(c.sent) {
		t.Errorf("%d sent, the metrics say %v", c.sent, got)
	}
	if a.losses[flow.LossRing] < c.sent/20 {
		t.Errorf("the rings were not overrun: %v of %d", a.losses, c.sent)
	}
	if len(a.ended) != workers {
		t.Errorf("workers that ended in order: %v", slices.Collect(maps.Keys(a.ended)))
	}
}

// sendable are frames of real captures that a veth takes, of 60 to 1514 octets.
func sendable(t *testing.T) (frames [][]byte) {
	t.Helper()
	for _, c := range samples(t, 20) {
		for _, s := range c {
			if s.link == 1 && len(s.data) >= 60 && len(s.data) <= 1514 {
				frames = append(frames, s.data)
			}
		}
	}
	if len(frames) < 1000 {
		t.Fatalf("%d frames", len(frames))
	}
	return frames
}

// ringsOpen counts the packet sockets in the process's namespace that listen to
// all protocols: rings, not senders.
func ringsOpen(pid int) (n int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/packet", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 5 && f[3] == "0003" && f[5] == "1" {
			n++
		}
	}
	return n
}

// TestLossBeforeTheProbe is R21's estimate, of the whole process: of connections
// that acknowledge what they get one packet in 100 is withheld; the share of
// acknowledged octets that were never seen is within 0.2 points of those
// withheld. probe/mirror's TestLossEstimate does the same with real captures.
func TestLossBeforeTheProbe(t *testing.T) {
	dir := t.TempDir()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := serviceProcess(t, dir, fmt.Sprintf(`
name: contract
capture: {files: ["-"]}
spool: {dir: %s/spool, drain: 100ms}
kafka: {brokers: ["127.0.0.1:1"]}
ops: {listen: "%s"}
`, dir, metricsPort), in)
	in.Close()
	w, rng := newWire(out, 1), rand.New(rand.NewPCG(21, 21))
	const connections, segments = 200, 100
	var octets, withheld uint64
	at := base
	data := make([]byte, 1460)
	some := func(payload int, put func()) {
		at += 100_000
		octets += uint64(payload)
		if rng.IntN(100) == 0 {
			withheld += uint64(payload)
			return
		}
		put()
	}
	for k := range segments { // all at the same time
		for i := range connections {
			c, port := clients+host(i), uint16(20_000+i)
			if k == 0 {
				w.tcp(at, c, victim, port, 9999, syn, 99, 0, nil)
				w.tcp(at, victim, c, 9999, port, syn|ack, 499, 100, nil)
				w.tcp(at, c, victim, port, 9999, ack, 100, 500, nil)
			}
			n := 200 + rng.IntN(1260)
			from := 100 + 1460*uint32(k)
			some(n, func() { w.tcp(at, c, victim, port, 9999, psh|ack, from, 500, data[:n]) })
			some(1460-n, func() { w.tcp(at, c, victim, port, 9999, psh|ack, from+uint32(n), 500, data[n:]) })
			some(0, func() { w.tcp(at, victim, c, 9999, port, ack, 500, from+1460, nil) })
		}
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	for i := range connections { // what was acknowledged last
		w.tcp(at, victim, clients+host(i), 9999, uint16(20_000+i), ack, 500, 100+1460*segments, nil)
	}
	// A pipe is read on as soon as something comes: what is counted is brought up to date once a second.
	m := p.until(30*time.Second, "all packets are read", func(m map[string]float64) bool {
		return sum(m, "tapwatch_probe_capture_packets_total") >= float64(w.packets)
	})
	truth, estimate := 100*float64(withheld)/float64(octets), math.NaN()
	for name, v := range m {
		if strings.HasPrefix(name, "tapwatch_probe_mirror_share{") && strings.Contains(name, `state="acknowledged_unseen"`) {
			estimate = 100 * v
		}
	}
	t.Logf("%d packets, %d octets: withheld %.3f %%, estimated %.3f %%", w.packets, octets, truth, estimate)
	if !(math.Abs(truth-estimate) <= 0.2) || truth < 0.8 {
		t.Errorf("withheld %.3f %%, estimated %.3f %%", truth, estimate)
	}
	p.stop()
	out.Close()
}
