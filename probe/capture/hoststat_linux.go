package capture

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostDrops reads the drops that happen before the ring, of the interface and
// of the kernel's per-CPU backlog, as differences since it was opened. Its files
// stay open, so that it works on in a process that has given up the right to
// open them.
type hostDrops struct{ missed, fifo, dropped, softnet counter }

// counter is one cumulative number in a file.
type counter struct {
	file   *os.File // nil: not available, 0 is reported
	parse  func([]byte) (uint64, error)
	start  uint64
	latest uint64
}

// statisticsDir is where the kernel shows an interface's counters. Source:
// Documentation/ABI/testing/sysfs-class-net-statistics.
func statisticsDir(iface string) string { return "/sys/class/net/" + iface + "/statistics" }

func openHostDrops(dir string) *hostDrops {
	h := newHostDrops()
	h.missed.open(dir + "/rx_missed_errors")
	h.fifo.open(dir + "/rx_fifo_errors")
	h.dropped.open(dir + "/rx_dropped")
	h.softnet.open("/proc/net/softnet_stat")
	return h
}

// newHostDrops returns counters that are not open yet, and count nothing.
func newHostDrops() *hostDrops {
	return &hostDrops{missed: counter{parse: decimal}, fifo: counter{parse: decimal}, dropped: counter{parse: decimal},
		softnet: counter{parse: func(b []byte) (uint64, error) { return softnetDrops(b), nil }}}
}

func (h *hostDrops) all() [4]*counter {
	return [4]*counter{&h.missed, &h.fifo, &h.dropped, &h.softnet}
}

// since returns the counts since openHostDrops. lost is what the card and the
// driver had no buffer for; drivers show it under either of two names, or both.
// refused is rx_dropped, where the driver's own drops are mixed with frames
// that the host's stack had no use for after the tap had seen them.
func (h *hostDrops) since() (lost, refused, softnet uint64) {
	return max(h.missed.since(), h.fifo.since()), h.dropped.since(), h.softnet.since()
}

func (h *hostDrops) close() {
	for _, c := range h.all() {
		if c.file != nil {
			c.file.Close()
			c.file = nil
		}
	}
}

// open begins to count from what the file at path says; without it, 0.
func (c *counter) open(path string) {
	c.file, _ = os.Open(path)
	c.start = c.read()
}

// since counts a counter that went backwards, because a driver was loaded
// anew, from there.
func (c *counter) since() uint64 {
	v := c.read()
	if v < c.start {
		c.start = 0
	}
	return v - c.start
}

// maxStatistics bounds what is read of a file: softnet_stat has a line of some
// 150 bytes per CPU.
const maxStatistics = 1 << 20

// read returns the counter; when it cannot be read, its last value.
func (c *counter) read() uint64 {
	if c.file == nil {
		return c.latest
	}
	b, err := io.ReadAll(io.NewSectionReader(c.file, 0, maxStatistics))
	if err != nil {
		return c.latest
	}
	if v, err := c.parse(b); err == nil {
		c.latest = v
	}
	return c.latest
}

func decimal(b []byte) (uint64, error) {
	return strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
}

// softnetDrops sums the second column, hexadecimal, over all CPUs. Source:
// softnet_seq_show in net/core/net-procfs.c.
func softnetDrops(b []byte) (sum uint64) {
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 {
			v, _ := strconv.ParseUint(string(f[1]), 16, 64)
			sum += v
		}
	}
	return sum
}

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq with ifr_data.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// mergingOffloads names the switched-on features that merge received packets,
// as "ethtool -K" spells them.
func mergingOffloads(fd int, iface string) (on []string) {
	const lroFlag = 1 << 15 // ETH_FLAG_LRO
	if v, ok := ethtool(fd, iface, unix.ETHTOOL_GGRO); ok && v != 0 {
		on = append(on, "gro")
	}
	if v, ok := ethtool(fd, iface, unix.ETHTOOL_GFLAGS); ok && v&lroFlag != 0 {
		on = append(on, "lro")
	}
	return on
}

func ethtool(fd int, iface string, cmd uint32) (uint32, bool) {
	if len(iface) >= unix.IFNAMSIZ {
		return 0, false
	}
	v := ethtoolValue{cmd: cmd}
	r := ethtoolRequest{data: unsafe.Pointer(&v)}
	copy(r.name[:], iface)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	return v.data, e == 0
}
