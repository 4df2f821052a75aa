package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// program is one that reads captures; each file is added to its arguments
// after read.
type program struct {
	name string
	args []string
	read string
}

// packets runs the probe, and other programs that are installed, on the same
// capture, one after the other in every round, so that a load on the machine
// meets all of them.
func packets(ctx context.Context, o options, files []string, told string) ([]line, error) {
	total, err := countPackets(ctx, o, files)
	if err != nil {
		return nil, err
	}
	list := []program{
		{"probe flows --format none", []string{o.probe, "flows", "--quiet", "-o", "/dev/null", "--format", "none"}, "-r"},
		{"probe flows --format batch", []string{o.probe, "flows", "--quiet", "-o", "/dev/null", "--format", "batch"}, "-r"},
	}
	if len(files) == 1 && !strings.HasSuffix(files[0], ".gz") { // the others read one plain file
		for _, p := range []program{
			{"softflowd -d", []string{"softflowd", "-d"}, "-r"},
			{"tcpdump -w /dev/null", []string{"tcpdump", "-n", "-w", "/dev/null"}, "-r"},
		} {
			if _, err := exec.LookPath(p.args[0]); err == nil {
				list = append(list, p)
			}
		}
	}
	best := make([]time.Duration, len(list))
	for range o.runs {
		for i, p := range list {
			spent, err := spend(ctx, p, files)
			if err != nil {
				return nil, err
			}
			if best[i] == 0 || spent < best[i] {
				best[i] = spent
			}
		}
	}
	var lines []line
	for i, p := range list {
		l := line{"packets per CPU second, " + p.name, count(total / best[i].Seconds()),
			fmt.Sprintf("%s: %s packets, user + system %.2f s, best of %d", told, count(total), best[i].Seconds(), o.runs)}
		if i > 0 {
			l.how += fmt.Sprintf("; %.2f of --format none", best[0].Seconds()/best[i].Seconds())
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// spend runs p once and returns its CPU time.
func spend(ctx context.Context, p program, files []string) (time.Duration, error) {
	args := p.args[1:]
	for _, f := range files {
		args = append(args[:len(args):len(args)], p.read, f)
	}
	cmd := exec.CommandContext(ctx, p.args[0], args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run %s: %w: %s", p.name, err, said.Bytes())
	}
	return max(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), time.Microsecond), nil
}

// countPackets takes the number of packets from the probe's account.
func countPackets(ctx context.Context, o options, files []string) (float64, error) {
	args := []string{"flows", "-o", "/dev/null", "--format", "none"}
	for _, f := range files {
		args = append(args, "-r", f)
	}
	cmd := exec.CommandContext(ctx, o.probe, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run %s (make build makes it): %w: %s", o.probe, err, said.Bytes())
	}
	for l := range strings.Lines(said.String()) {
		if number, _, ok := strings.Cut(l, " packets, "); ok {
			return strconv.ParseFloat(number, 64)
		}
	}
	return 0, fmt.Errorf("run %s: no number of packets in %q", o.probe, said.String())
}
