package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/tapwatch/tapwatch/probe"
)

// profile says where the time of metering goes.
func profile(ctx context.Context, o options, out io.Writer) error {
	path := filepath.Join(o.dir, "cpu.pprof")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	_, err = meter(ctx, o.capture)
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	s, err := flows(ctx, o, o.capture, nil, "--format", "none")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## Where it goes, --format none: %.0f ns of CPU per packet", s.nsPerPacket())
	if mhz := megahertz(); mhz > 0 {
		fmt.Fprintf(out, ", about %.0f cycles at the %.0f MHz that the system tells", s.nsPerPacket()*mhz/1000, mhz)
	}
	text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=25", path).Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	fmt.Fprintf(out, "\n\n```\n%s\n```\n", strings.TrimSpace(string(text)))
	return nil
}

// meter runs the probe's chain in this process and returns its packets.
func meter(ctx context.Context, path string) (float64, error) {
	cfg := probe.DefaultConfig()
	cfg.Capture.Files = []string{path}
	t, err := probe.Flows(ctx, cfg, probe.FormatNone, io.Discard, slog.New(slog.DiscardHandler))
	return float64(t.SeenPackets), err
}

// allocations counts what more packets of the same flows allocate.
func allocations(ctx context.Context, o options, out io.Writer) error {
	var packets, mallocs [2]float64
	for i, n := range []int{20, 220} {
		path := filepath.Join(o.dir, "long.pcap")
		if err := write(path, traffic{flows: 1000, packets: n, payload: 400}); err != nil {
			return err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		seen, err := meter(ctx, path)
		if err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		packets[i], mallocs[i] = seen, float64(after.Mallocs-before.Mallocs)
	}
	fmt.Fprintf(out, "\n## Allocations\n\n%.4f per packet: %.0f for %s packets of 1000 flows, %.0f for %s.\n", (mallocs[1]-mallocs[0])/(packets[1]-packets[0]),
		mallocs[0], count(packets[0]), mallocs[1], count(packets[1]))
	return nil
}
