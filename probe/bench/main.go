// Command bench measures the probe and prints markdown tables: its CPU time per
// packet next to other flow meters, where that time goes, allocations, memory
// per flow, and the cost against number of flows, packet size, tunnels and
// workers. In come the probe's program and a capture (-capture; without one the
// shared mix is scaled up); what else it needs it makes in a temporary
// directory. Compare figures of one run only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

type options struct {
	probe, capture, shared string
	copies, runs, flows    int
	dir                    string
}

func main() {
	var o options
	flag.StringVar(&o.probe, "probe", "../bin/probe", "the probe's program")
	flag.StringVar(&o.capture, "capture", "", "capture to measure on")
	flag.StringVar(&o.shared, "shared", "../../shared", "where captures and the other meters' script are")
	flag.IntVar(&o.copies, "copies", 24, "copies of each packet of the shared mix")
	flag.IntVar(&o.runs, "runs", 3, "runs of each measurement; the best counts")
	flag.IntVar(&o.flows, "flows", 10_000_000, "most flows open at once, of the memory table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.runs < 1 || o.copies < 1 || o.flows < 1000 {
		return errors.New("runs and copies must be at least 1, flows at least 1000")
	}
	if o.probe, err = filepath.Abs(o.probe); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "tapwatch-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	fmt.Fprintf(out, "%s, %d cores (%s), %s/%s, %s\n", runtime.Version(), runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format("2006-01-02"))
	if o.capture == "" {
		if o.capture, err = scale(ctx, o); err != nil {
			return err
		}
	}
	for _, section := range []func(context.Context, options, io.Writer) error{
		// profile and allocations grow this process, which a child's resident set would start from.
		peers, workers, shapes, memory, live, profile, allocations} {
		if err := section(ctx, o, out); err != nil {
			return err
		}
	}
	return nil
}

// scale makes the large capture from the shared mix.
func scale(ctx context.Context, o options) (string, error) {
	to := filepath.Join(o.dir, "mix.pcap")
	cmd := exec.CommandContext(ctx, "go", "run", filepath.Join(o.shared, "bench/mixscale.go"), "-k", strconv.Itoa(o.copies), "-o", to,
		filepath.Join(o.shared, "captures/bench/mix.pcap"))
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a capture (or give one: -capture FILE): %w: %s", err, text)
	}
	return to, nil
}
