package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/probe/capture"
)

// receiver is a program that listens on the far end of a veth pair and says at
// its end what it got and what it knows to have missed.
type receiver struct {
	name      string
	args      []string
	got, lost *regexp.Regexp // in what it said; got counts lost packets too where withLost
	withLost  bool
}

const (
	liveNear, liveFar = "twbench0", "twbench1"
	liveSettle        = 1500 * time.Millisecond // to start listening, and to count the last packets
	liveSending       = time.Second
)

// live finds the highest rate that each program takes without loss on a veth
// pair, and what it declares at twice that. It needs root.
func live(ctx context.Context, o options, out io.Writer) error {
	if os.Geteuid() != 0 {
		fmt.Fprint(out, "\nLive: not measured, a veth pair needs root.\n")
		return nil
	}
	frames, err := load(o.capture, 50_000)
	if err != nil {
		return err
	}
	if err := ip(ctx, "link", "add", liveNear, "type", "veth", "peer", "name", liveFar); err != nil {
		fmt.Fprintf(out, "\nLive: not measured: %v\n", err)
		return nil
	}
	defer ip(context.WithoutCancel(ctx), "link", "del", liveNear)
	for _, name := range []string{liveNear, liveFar} { // nothing but our frames
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644)
		if err := ip(ctx, "link", "set", name, "up"); err != nil {
			return err
		}
	}
	rate, sent, err := sendMost(frames)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n## Live on a veth pair\n\nThe sender alone reaches %s packets/s (%s in %s).\n\n", count(rate), count(sent), liveSending)
	fmt.Fprint(out, "| program | highest rate without loss | sent at twice that, or the most | got | declared lost | neither |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	seen, ring := regexp.MustCompile(`(\d+) packets, `), regexp.MustCompile(`(\d+) ring`)
	for _, r := range []receiver{
		{"probe flows -i --format none", []string{o.probe, "flows", "-i", liveFar, "--format", "none"}, seen, ring, true},
		{"probe, 2 workers", []string{o.probe, "flows", "-i", liveFar, "--format", "none", "--workers", "2"}, seen, ring, true},
		{"tcpdump -w /dev/null", []string{"tcpdump", "-n", "-i", liveFar, "-w", "/dev/null"}, regexp.MustCompile(`(\d+) packets captured`), regexp.MustCompile(`(\d+) packets dropped by kernel`), false},
		{"suricata --af-packet", []string{"suricata", "-l", o.dir, "--af-packet=" + liveFar}, regexp.MustCompile(`packets: (\d+)`), regexp.MustCompile(`drops: (\d+)`), false},
	} {
		if _, err := exec.LookPath(r.args[0]); err != nil {
			fmt.Fprintf(out, "| %s | not installed | | | | |\n", r.name)
			continue
		}
		best := 0.0
		for low, high, step := 0.0, rate, 0; step < 6; step++ {
			try := high
			if step > 0 {
				try = (low + high) / 2
			}
			sent, got, lost, err := listen(ctx, r, frames, try)
			if err != nil {
				return err
			}
			if lost == 0 && got >= sent {
				low, best = try, try
			} else {
				high = try
			}
			if low == high {
				break
			}
		}
		sent, got, lost, err := listen(ctx, r, frames, min(2*best, rate))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %.3f %% |\n", r.name, count(best), count(sent), count(got), count(lost), 100*(sent-got-lost)/sent)
	}
	return nil
}

// load reads frames that fit through an interface.
func load(path string, most int) ([][]byte, error) {
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	var frames [][]byte
	for f := (capture.Frame{}); len(frames) < most && src.Next(&f) == nil; {
		if len(f.Data) >= 14 && len(f.Data) <= 1514 {
			frames = append(frames, bytes.Clone(f.Data))
		}
	}
	if len(frames) == 0 {
		return nil, fmt.Errorf("read capture %s: no frame that fits through an interface", path)
	}
	return frames, nil
}

func ip(ctx context.Context, args ...string) error {
	if text, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(text))
	}
	return nil
}

// listen starts r, sends, and asks r what came.
func listen(ctx context.Context, r receiver, frames [][]byte, rate float64) (sent, got, lost float64, err error) {
	cmd := exec.CommandContext(ctx, r.args[0], r.args[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return 0, 0, 0, err
	}
	time.Sleep(liveSettle)
	sent, sendErr := send(frames, rate)
	time.Sleep(liveSettle)
	err = errors.Join(sendErr, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait() // tcpdump and others end with a code of their own
	number := func(re *regexp.Regexp) (n float64) {
		if all := re.FindAllStringSubmatch(said.String(), -1); len(all) > 0 {
			n, _ = strconv.ParseFloat(all[len(all)-1][1], 64)
		}
		return n
	}
	if r.got.FindString(said.String()) == "" {
		return 0, 0, 0, errors.Join(err, fmt.Errorf("run %s: it does not say what it got: %s", r.name, said.String()))
	}
	got, lost = number(r.got), number(r.lost)
	if r.withLost {
		got -= lost
	}
	return sent, got, lost, err
}

// sendMost sends as fast as it goes, to nobody.
func sendMost(frames [][]byte) (rate, sent float64, err error) {
	sent, err = send(frames, 1e9)
	return sent / liveSending.Seconds(), sent, err
}

// send sends frames at a rate a second, a millisecond's worth at a time, and
// returns how many went out.
func send(frames [][]byte, rate float64) (sent float64, err error) {
	nic, err := os.ReadFile("/sys/class/net/" + liveNear + "/ifindex")
	if err != nil {
		return 0, err
	}
	index, err := strconv.Atoi(strings.TrimSpace(string(nic)))
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return 0, fmt.Errorf("open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	to := &unix.SockaddrLinklayer{Ifindex: index}
	start, n := time.Now(), 0
	for {
		passed := time.Since(start)
		if passed >= liveSending {
			return float64(n), nil
		}
		for due := min(int(rate*passed.Seconds()), n+256); n < due; n++ {
			for {
				err := unix.Sendto(fd, frames[n%len(frames)], 0, to)
				if err == nil {
					break
				}
				if err != unix.ENOBUFS && err != unix.EAGAIN && err != unix.EINTR {
					return float64(n), fmt.Errorf("send on %s: %w", liveNear, err)
				}
			}
		}
	}
}
