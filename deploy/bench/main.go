// Command bench measures the chain and prints one markdown table: packets per
// CPU second of the probe, octets per flow on the wire in two shapes, rows per
// second from Kafka into ClickHouse, and octets per row on disk. In come the
// binaries in ../bin and a capture; all else is made in a temporary directory,
// which is removed. Figures of one run may be compared with each other; across
// machines and loads, only ratios may.
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

	"github.com/tapwatch/tapwatch/proto/local"
)

func main() {
	local.RunChildIfAsked()
	var o options
	flag.IntVar(&o.copies, "copies", 24, "copies of each packet of the shared mix in the capture")
	flag.IntVar(&o.runs, "runs", 5, "runs of each program on the capture; the best counts")
	flag.IntVar(&o.rows, "rows", 300_000, "rows from Kafka into ClickHouse")
	flag.StringVar(&o.probe, "probe", "../bin/probe", "the probe's program")
	flag.StringVar(&o.capture, "capture", "", "another capture to measure on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

type options struct {
	copies, runs, rows int
	probe, capture     string
}

// line is one row of the table.
type line struct{ what, value, how string }

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.runs < 1 || o.rows < 1 || o.copies < 1 {
		return errors.New("runs, rows and copies must be at least 1")
	}
	if o.probe, err = filepath.Abs(o.probe); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tapwatch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(out, "%s, %d cores, %s/%s, %s\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format("2006-01-02"))
	fmt.Fprint(out, "| measure | value | how |\n| --- | ---: | --- |\n")
	files, plain, told, err := captures(ctx, o, dir)
	if err != nil {
		return err
	}
	section := func(lines []line, err error) error {
		for _, l := range lines {
			fmt.Fprintf(out, "| %s | %s | %s |\n", l.what, l.value, l.how)
		}
		return err
	}
	if err := section(packets(ctx, o, files, told)); err != nil {
		return err
	}
	// Copies of a flow compress too well to say anything about the wire.
	batches, err := readBatches(ctx, o, dir, plain)
	if err != nil {
		return err
	}
	if err := section(wire(batches)); err != nil {
		return err
	}
	if batches, err = readBatches(ctx, o, dir, files); err != nil {
		return err
	}
	if err := section(storage(ctx, o, dir, batches)); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(shared, "bench/peers.sh")); err == nil {
		fmt.Fprintln(out, "\nOther flow meters on the same capture: ../shared/bench/peers.sh CAPTURE")
	}
	return nil
}

// shared holds captures and tools that are not part of the tree.
const shared = "../../shared"

// captures makes the capture to measure on, and says what it is; plain is what
// it was made from, without copies.
func captures(ctx context.Context, o options, dir string) (files, plain []string, told string, err error) {
	if o.capture != "" {
		files = []string{o.capture}
		return files, files, filepath.Base(o.capture), nil
	}
	mix, scale := filepath.Join(shared, "captures/bench/mix.pcap"), filepath.Join(shared, "bench/mixscale.go")
	_, noMix := os.Stat(mix)
	_, noScale := os.Stat(scale)
	if noMix != nil || noScale != nil {
		files, err = filepath.Glob("demo/captures/*.pcap.gz")
		if err == nil && len(files) == 0 {
			err = errors.New("no captures in demo/captures: run it in deploy")
		}
		return files, files, "demo/captures", err
	}
	to := filepath.Join(dir, "mix.pcap")
	cmd := exec.CommandContext(ctx, "go", "run", scale, "-k", strconv.Itoa(o.copies), "-o", to, mix)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, "", fmt.Errorf("make capture: %w: %s", err, text)
	}
	return []string{to}, []string{mix}, fmt.Sprintf("mix.pcap x %d", o.copies), nil
}

// count writes a number in thousands, for people: 1 234 567.
func count(n float64) string {
	digits := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
