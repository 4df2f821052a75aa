package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServiceIsConfined is S2 for the service as it is started: once its rings
// are open no thread has a capability, none can gain one, and all are under a
// filter of system calls; capture, spool, metrics and reloads go on. What the
// confined process cannot do any more is tried in probe/confine's TestConfined.
func TestServiceIsConfined(t *testing.T) {
	c := newCable(t)
	dir := t.TempDir()
	yaml := func(more string) string {
		return fmt.Sprintf(`
name: contract
capture: {interfaces: [tap], workers: 2, block_size: 65536, blocks: 16, block_time: 20ms}
spool: {dir: %s/spool, drain: 100ms}
kafka: {brokers: ["127.0.0.1:1"]}
ops: {listen: "%s"}
%s`, dir, metricsPort, more)
	}
	program := os.Args[0]
	if full() { // the real one: what it does by default is what counts
		program = filepath.Join(dir, "probe")
		if out, err := exec.Command("go", "build", "-o", program, "../cmd/probe").CombinedOutput(); err != nil {
			t.Fatalf("build the probe: %v\n%s", err, out)
		}
	}
	p := startService(t, program, dir, yaml(""), nil)
	p.until(30*time.Second, "the probe is ready", func(map[string]float64) bool { return ringsOpen(p.cmd.Process.Pid) == 2 })
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(tasks) < 4 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", path, want)
			}
		}
	}
	frames := sendable(t)
	for i := range 500 {
		c.send(frames[i])
	}
	seen := func(n uint64) func(map[string]float64) bool {
		return func(m map[string]float64) bool { return sum(m, "tapwatch_probe_capture_packets_total") >= float64(n) }
	}
	p.until(30*time.Second, "packets are counted", seen(c.sent))
	if err := os.WriteFile(filepath.Join(dir, "probe.yaml"), []byte(yaml("meter: {idle_timeout: 1s}\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.until(30*time.Second, "the configuration is read again", func(map[string]float64) bool { return strings.Contains(p.log(), "meter.idle_timeout") })
	for i := range 500 {
		c.send(frames[i])
	}
	p.until(30*time.Second, "packets are counted", seen(c.sent))
	p.stop()
	if a := spooled(t, spoolIn(dir), nil); a.seen != c.sent || a.inRecords != a.inFlows {
		t.Errorf("%d sent, %+v", c.sent, a)
	}
}
