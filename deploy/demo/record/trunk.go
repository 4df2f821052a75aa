package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

const vlanID = 30

// trunk is a switch of two access ports in VLAN 30 with the trunk between them inside this program: a
// frame from one machine is tagged (IEEE 802.1Q), recorded as it would pass the trunk, untagged and handed to the other.
// It exists because not every kernel has VLAN devices. The record is written to vlan.pcap in folder keys at the end.
func trunk(ctx context.Context, keys string) error {
	var mu sync.Mutex
	var packets []trace.Packet
	ports := make([]*os.File, 2)
	for i, side := range []struct{ ns, address string }{{"usr", "10.20.30.11/24"}, {"srv", "10.20.30.80/24"}} {
		port, err := openTap("trunk" + side.ns)
		if err != nil {
			return err
		}
		defer port.Close()
		ports[i] = port
		for _, line := range []string{
			"ip link set trunk" + side.ns + " netns tw-" + side.ns,
			"ip -n tw-" + side.ns + " addr add " + side.address + " dev trunk" + side.ns,
			"ip -n tw-" + side.ns + " link set trunk" + side.ns + " up",
		} {
			args := strings.Fields(line)
			if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("run %s: %s: %w", line, strings.TrimSpace(string(out)), err)
			}
		}
	}
	done := make(chan error, 2)
	for i := range ports {
		go func() {
			buf := make([]byte, 65536)
			for {
				n, err := ports[i].Read(buf)
				if err != nil {
					done <- err
					return
				}
				if n < 14 {
					continue
				}
				tagged := slices.Concat(buf[:12], []byte{0x81, 0}, binary.BigEndian.AppendUint16(nil, vlanID), buf[12:n])
				mu.Lock()
				if len(packets) < 20000 {
					packets = append(packets, trace.Packet{Time: time.Now().UnixMicro(), Length: len(tagged), Data: tagged})
				}
				mu.Unlock()
				ports[1-i].Write(buf[:n]) // a full queue loses the frame, as a switch does
			}
		}()
	}
	select {
	case <-ctx.Done():
	case err := <-done:
		return fmt.Errorf("read trunk: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	f, err := os.Create(filepath.Join(keys, "vlan.pcap"))
	if err != nil {
		return fmt.Errorf("write trunk's record: %w", err)
	}
	defer f.Close()
	return trace.Write(f, packets)
}

// openTap makes a TAP device: frames that the machine sends come out of Read, and Write hands it one.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
