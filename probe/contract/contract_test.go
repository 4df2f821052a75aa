// Package contract holds the promises of the probe as a whole, each with a test
// that can fail: bounded memory under floods (R17) and hostile streams (R18),
// hostile packets (R19) and files (R20), loss that is told truthfully (R21), no
// leaks (R22), least privilege (S2), and nothing personal leaving the process
// (S12). README.md says which test, here or in the package concerned, holds
// which part.
//
// The tests drive whole processes: this test binary started again as the probe
// (probe.Flows, or the service with its command line), so that memory, panics
// and descriptors are the process's own. The traffic is made here or comes from
// the recorded captures. TAPWATCH_CONTRACT=full makes every test as long as the
// promise says; otherwise they are short enough for each change.
package contract

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/ledger"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/service"
)

// childKey makes the test binary be the probe.
const childKey = "TAPWATCH_CONTRACT_CHILD"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(childKey); kind {
	case "":
		os.Exit(m.Run())
	case "service": // what cmd/probe is
		os.Exit(service.Main(service.Service[probe.Config]{Name: "probe", Short: "the probe under test", Default: serviceConfig,
			File: func(cfg *probe.Config, path string) {
				cfg.Confine.Read = append(cfg.Confine.Read, filepath.Dir(path))
			}, Check: probe.Config.Check, RunReloading: probe.RunReloading}.Command()))
	default:
		if err := childFlows(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// serviceConfig is the default of cmd/probe, which gives its privileges up.
func serviceConfig() probe.Config {
	cfg := probe.DefaultConfig()
	cfg.Confine.Enabled = true
	return cfg
}

// full says whether the promises are tested at their full length.
func full() bool { return os.Getenv("TAPWATCH_CONTRACT") == "full" }

// job is what a child does: probe.Flows of files.
type job struct {
	Files    []string
	Format   string
	MaxFlows int
	MaxBytes int // of the flow table
	Workers  int
	Limit    int // octets, GOMEMLIMIT of the process; 0: as it comes
}

// outcome is the child's last line on standard error.
type outcome struct {
	Totals   ledger.Totals
	PeakRSS  int // octets, VmHWM; 0: not known on this system
	Err      string
	CPU      time.Duration // user and system
	Routines int           // left at the end
}

func childFlows(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	cfg := probe.DefaultConfig()
	cfg.Capture.Files = j.Files
	cfg.Capture.Workers = max(j.Workers, 1)
	if j.MaxFlows > 0 {
		cfg.Meter.MaxFlows = j.MaxFlows
	}
	if j.MaxBytes > 0 {
		cfg.Meter.MaxBytes = kit.Bytes(j.MaxBytes)
	}
	var o outcome
	var err error
	o.Totals, err = probe.Flows(context.Background(), cfg, j.Format, os.Stdout, slog.New(slog.DiscardHandler))
	if err != nil {
		o.Err = err.Error()
	}
	o.PeakRSS, o.CPU, o.Routines = status("self", "VmHWM:")<<10, cpuTime(), runtime.NumGoroutine()
	return json.NewEncoder(os.Stderr).Encode(o)
}

// status is a number of /proc/PID/status, or 0.
func status(pid, field string) (n int) {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	if _, rest, ok := bytes.Cut(b, []byte(field)); ok {
		fmt.Sscan(string(rest), &n)
	}
	return n
}

// flowsProcess runs the job as a process of its own, writes its standard input
// with feed (nil: none) and reads what it writes with take (nil: not at all).
func flowsProcess(t *testing.T, j job, feed func(io.Writer) error, take func(io.Reader) error) outcome {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childKey+"="+string(text))
	if j.Limit > 0 {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.Itoa(j.Limit))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() {
		defer in.Close()
		if feed == nil {
			fed <- nil
			return
		}
		w := bufio.NewWriterSize(in, 1<<20)
		fed <- errors.Join(feed(w), w.Flush())
	}()
	if take == nil {
		take = func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	}
	took := take(out)
	_, _ = io.Copy(io.Discard, out) // what take has left, so that the child ends
	feedErr := <-fed
	if err := errors.Join(cmd.Wait(), took, feedErr); err != nil {
		t.Fatalf("the probe: %v\n%s", err, last(stderr.String(), 4000))
	}
	var o outcome
	if err := json.Unmarshal(stderr.Bytes(), &o); err != nil {
		t.Fatalf("the probe said: %s", last(stderr.String(), 4000))
	}
	return o
}

// last is the end of what a process said, or from where it fell.
func last(s string, n int) string {
	for _, sign := range []string{"panic: ", "fatal error: ", "unexpected fault", "SIGQUIT"} {
		if i := strings.Index(s, sign); i >= 0 {
			return s[max(0, i-500):min(len(s), i+n)]
		}
	}
	return s[max(0, len(s)-n):]
}

// records reads messages of FormatBatch and gives their records to f.
func records(f func(*flow.Record)) func(io.Reader) error {
	return func(r io.Reader) error {
		reader, in := flow.NewReader(), bufio.NewReaderSize(r, 1<<20)
		var length [4]byte
		var message []byte
		var rec flow.Record
		for {
			if _, err := io.ReadFull(in, length[:]); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			n := int(binary.BigEndian.Uint32(length[:]))
			if cap(message) < n {
				message = make([]byte, n)
			}
			message = message[:n]
			if _, err := io.ReadFull(in, message); err != nil {
				return err
			}
			b, err := reader.Read(message)
			if err != nil {
				return err
			}
			for i := range b.Len() {
				b.Record(i, &rec)
				f(&rec)
			}
		}
	}
}

// closed says whether seen = in flows + each named loss, in packets and octets.
func closed(n ledger.Totals) error {
	packets, octets := n.FlowPackets, n.FlowFrameBytes
	for _, l := range n.Losses {
		packets += l.Packets
		octets += l.FrameBytes
	}
	if packets != n.SeenPackets || octets != n.SeenFrameBytes || n.FlowsStarted != n.FlowsEnded {
		return fmt.Errorf("the ledger does not close: %+v", n)
	}
	return nil
}

// recorded returns the paths of the recorded captures, or skips.
func recorded(t *testing.T) (paths []string) {
	t.Helper()
	for _, c := range corpus.Captures(t) {
		paths = append(paths, c.Path)
	}
	return paths
}
