package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The lab: a bridge in namespace tw-sw, to which workstations (usr), an attacker's machine (atk), servers (srv), a backup
// server (bak) and a gateway are plugged. Behind the gateway: the outside (ext) and a branch office (bra). The
// capture is taken on the bridge, so every frame is seen once.
var namespaces = []string{"sw", "usr", "atk", "srv", "bak", "gw", "ext", "bra"}

// plugged lists the bridge's neighbours with their addresses; the first is the primary one.
var plugged = []struct {
	ns        string
	addresses []string
}{
	{"usr", []string{"10.20.1.11/20", "10.20.1.12/20", "10.20.1.13/20", "10.20.1.14/20", "10.20.1.15/20", "10.20.1.21/20", "10.20.1.22/20", "fd00:20::1:21/64"}},
	{"atk", []string{"10.20.1.16/20", "10.20.1.17/20", "fd00:20::1:16/64"}},
	{"srv", []string{"10.20.0.80/20", "10.20.0.53/20", "10.20.0.123/20", "10.20.0.81/20", "10.20.0.84/20", "10.20.0.85/20", "10.20.0.86/20", "fd00:20::80/64", "fd00:20::53/64"}},
	{"bak", []string{"10.20.0.22/20", "fd00:20::22/64"}},
	{"gw", []string{"10.20.0.1/20", "fd00:20::1/64"}},
}

type lab struct {
	ctx  context.Context
	raw  string
	keys string
	self string
}

func recordLab(ctx context.Context, raw string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("set up namespaces: not root: run as root, or in a virtual machine")
	}
	for _, tool := range []string{"ip", "ethtool", "sysctl", "tcpdump", "curl", "openssl", "nmap", "ssh", "sshd", "ssh-keygen", "ping"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("look for %s: install it (Debian: iproute2 ethtool procps tcpdump curl openssl nmap openssh-server iputils-ping): %w", tool, err)
		}
	}
	if err := os.MkdirAll(raw, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	keys, err := os.MkdirTemp("", "tapwatch-lab-")
	if err != nil {
		return fmt.Errorf("make folder of keys: %w", err)
	}
	defer os.RemoveAll(keys)
	if err := writeCA(keys); err != nil {
		return err
	}
	// A child is told of its parent's death when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &lab{ctx: ctx, raw: raw, keys: keys, self: self}
	l.tearDown() // what an interrupted run may have left
	defer l.tearDown()
	if err := l.setUp(); err != nil {
		return err
	}
	return l.phases()
}

// command runs one program to its end, in namespace ns ("" for none), bounded by the lab's context.
func (l *lab) command(ns string, args ...string) error {
	if ns != "" {
		args = append([]string{"ip", "netns", "exec", "tw-" + ns}, args...)
	}
	out, err := exec.CommandContext(l.ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %s: %w", strings.Join(args, " "), strings.TrimSpace(string(out)), err)
	}
	return nil
}

// start runs one program beside the others; the function it returns ends it and waits.
func (l *lab) start(ns string, args ...string) (func(), error) {
	args = append([]string{"ip", "netns", "exec", "tw-" + ns}, args...)
	cmd := exec.CommandContext(l.ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	// The program must die with us, or its namespace would stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(args, " "), err)
	}
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait() // ended by our own signal: its status says nothing
	}, nil
}

func (l *lab) role(name string) []string {
	return []string{l.self, name, "-keys", l.keys}
}

func (l *lab) tearDown() {
	for _, ns := range namespaces {
		// Absent at the first start; nothing can be done at the last.
		exec.Command("ip", "netns", "del", "tw-"+ns).Run()
	}
}

func (l *lab) setUp() error {
	var err error
	do := func(line string) {
		if err == nil {
			err = l.command("", strings.Fields(line)...)
		}
	}
	in := func(ns, line string) {
		if err == nil {
			err = l.command(ns, strings.Fields(line)...)
		}
	}
	for _, ns := range namespaces {
		do("ip netns add tw-" + ns)
		in(ns, "ip link set lo up")
		// DAD would keep IPv6 addresses unusable for the first seconds.
		in(ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
	}
	in("sw", "ip link add br0 type bridge mcast_snooping 0")
	in("sw", "ip link set br0 up")
	for i, p := range plugged {
		do(fmt.Sprintf("ip link add eth0 netns tw-%s address 02:00:0a:14:00:%02x type veth peer name %s netns tw-sw", p.ns, 16+i, p.ns))
		in("sw", fmt.Sprintf("ip link set %s master br0 up", p.ns))
		in(p.ns, "ip link set eth0 up")
		for _, address := range p.addresses {
			in(p.ns, "ip addr add "+address+" dev eth0")
		}
		if p.ns != "gw" {
			in(p.ns, "ip route add default via 10.20.0.1")
			in(p.ns, "ip -6 route add default via fd00:20::1")
		}
	}
	do("ip link add out netns tw-gw address 02:00:c6:33:64:01 type veth peer name eth0 netns tw-ext address 02:00:c6:33:64:02")
	do("ip link add branch netns tw-gw address 02:00:0a:14:c8:01 type veth peer name eth0 netns tw-bra address 02:00:0a:14:c8:02")
	for _, line := range []string{
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0",
		"ip link set out up", "ip link set branch up",
		"ip addr add 198.51.100.1/30 dev out", "ip addr add 10.20.200.1/24 dev branch", "ip addr add 2001:db8:ee::1/64 dev out",
		"ip route add 198.51.100.0/24 via 198.51.100.2", "ip route add 192.0.2.0/24 via 198.51.100.2", "ip route add 203.0.113.0/24 via 198.51.100.2",
	} {
		in("gw", line)
	}
	for _, line := range []string{
		"ip link set eth0 up", "ip addr add 198.51.100.2/30 dev eth0", "ip addr add 2001:db8:ee::80/64 dev eth0",
		"ip route add default via 198.51.100.1", "ip -6 route add default via 2001:db8:ee::1",
	} {
		in("ext", line)
	}
	for _, address := range outsideAddresses {
		in("ext", "ip addr add "+address+"/32 dev lo")
	}
	in("bra", "ip link set eth0 up")
	for host := 10; host < 18; host++ {
		in("bra", fmt.Sprintf("ip addr add 10.20.200.%d/24 dev eth0", host))
	}
	in("bra", "ip route add default via 10.20.200.1")
	for _, ns := range []string{"usr", "atk", "srv", "bak", "gw", "ext", "bra"} {
		device := "eth0"
		if ns == "gw" {
			for _, device := range []string{"out", "branch"} {
				in(ns, "ethtool -K "+device+" tx off tso off gso off gro off")
			}
		}
		// Without this the frames would carry unfinished checksums and be larger than any wire allows.
		in(ns, "ethtool -K "+device+" tx off tso off gso off gro off")
	}
	return err
}

// mtu sets every link. The protocols are recorded at 1500; the calendar's sessions at 9000, which many data
// centres use, and which makes the same volume cost a sixth of the packets.
func (l *lab) mtu(size int) error {
	for _, at := range []string{"usr eth0", "atk eth0", "srv eth0", "bak eth0", "gw eth0", "gw out", "gw branch", "ext eth0", "bra eth0",
		"sw usr", "sw atk", "sw srv", "sw bak", "sw gw", "sw br0"} {
		ns, device, _ := strings.Cut(at, " ")
		if err := l.command(ns, "ip", "link", "set", device, "mtu", fmt.Sprint(size)); err != nil {
			return err
		}
	}
	return nil
}

// record captures what passes the bridge while do runs, at most snap octets of a frame (0: all). A frame that tcpdump had to
// drop is an error: the captures' lengths must be true.
func (l *lab) record(name, filter string, snap int, do func() error) error {
	file := filepath.Join(l.raw, name+".pcap")
	// A file of an earlier run would look as if tcpdump were ready.
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old capture: %w", err)
	}
	cmd := exec.CommandContext(l.ctx, "ip", "netns", "exec", "tw-sw", "tcpdump", "-n", "-i", "br0", "-s", fmt.Sprint(snap), "-B", "131072", "-U", "-Z", "root", "-w", file, filter)
	var report strings.Builder
	cmd.Stderr = &report
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start tcpdump: %w", err)
	}
	if err := wait(l.ctx, func() bool { info, err := os.Stat(file); return err == nil && info.Size() >= 24 }); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("record %s: tcpdump did not start: %s: %w", name, report.String(), err)
	}
	// tcpdump writes the file's header just before it begins to listen.
	pause(l.ctx, 500*time.Millisecond)
	err := do()
	pause(l.ctx, 1500*time.Millisecond) // libpcap hands over packets once a second
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait() // ended by our own signal: its report says how it went
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	if !strings.Contains(report.String(), "\n0 packets dropped by kernel") {
		return fmt.Errorf("record %s: packets were dropped: %s", name, report.String())
	}
	fmt.Printf("%s: %s\n", name, strings.ReplaceAll(strings.TrimSpace(report.String()), "\n", "; "))
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// wait polls for ready for at most 10 s.
func wait(ctx context.Context, ready func() bool) error {
	for range 200 {
		if ready() {
			return nil
		}
		pause(ctx, 50*time.Millisecond)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.New("not ready after 10 s")
}
