package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// spent is what one run of a program took.
type spent struct {
	cpu, wall time.Duration
	rss       int64 // greatest resident set, octets
	packets   float64
}

func (s spent) nsPerPacket() float64 { return float64(s.cpu.Nanoseconds()) / max(s.packets, 1) }

// flows runs the probe o.runs times and returns the run with the least CPU
// time. feed, if not nil, writes the capture to the probe's standard input.
func flows(ctx context.Context, o options, path string, feed func(io.Writer) error, args ...string) (best spent, err error) {
	for range o.runs {
		s, err := flowsOnce(ctx, o, path, feed, args)
		if err != nil {
			return best, err
		}
		if best.cpu == 0 || s.cpu < best.cpu {
			best = s
		}
	}
	return best, nil
}

func flowsOnce(ctx context.Context, o options, path string, feed func(io.Writer) error, args []string) (spent, error) {
	args = append([]string{"flows", "-o", os.DevNull, "-r", path}, args...)
	cmd := exec.CommandContext(ctx, o.probe, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	var in io.WriteCloser
	if feed != nil {
		var err error
		if in, err = cmd.StdinPipe(); err != nil {
			return spent{}, err
		}
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return spent{}, fmt.Errorf("start %s (make build makes it): %w", o.probe, err)
	}
	if feed != nil {
		if err := feed(in); err != nil {
			return spent{}, fmt.Errorf("feed the probe: %w", err)
		}
		in.Close()
	}
	if err := cmd.Wait(); err != nil {
		return spent{}, fmt.Errorf("run %s %s: %w: %s", o.probe, strings.Join(args, " "), err, said.Bytes())
	}
	s := spent{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(start)}
	s.rss = peak(cmd.ProcessState)
	number, _, ok := strings.Cut(said.String(), " packets, ")
	if i := strings.LastIndexByte(number, '\n'); i >= 0 {
		number = number[i+1:]
	}
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil {
		return spent{}, fmt.Errorf("run %s: no number of packets in %q", o.probe, said.String())
	}
	s.packets = n
	return s, nil
}

// processor is the name of the processor, "" where it is not told.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	return cpuField(string(b), "model name")
}

func cpuField(info, field string) string {
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// megahertz is the clock that the system tells, 0 unknown.
func megahertz() float64 {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	mhz, err := strconv.ParseFloat(cpuField(string(b), "cpu MHz"), 64)
	if err != nil {
		return 0
	}
	return mhz
}

// count writes a number in thousands: 1 234 567.
func count(n float64) string {
	digits := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
