package capture

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostDrops reads the drops that happen before the ring: of the interface and
// of the kernel's per-CPU backlog. Its files stay open, so that it works on in
// a process that has given up the right to open them.
type hostDrops struct {
	iface                   string
	dev, softnet            *os.File // nil: not available, 0 is reported
	devStart, softnetStart  uint64
	devLatest, softnetTotal uint64
}

func openHostDrops(iface string) *hostDrops {
	h := &hostDrops{iface: iface}
	// Of this thread, because the network namespace is a thread's.
	h.dev, _ = os.Open("/proc/thread-self/net/dev")
	h.softnet, _ = os.Open("/proc/thread-self/net/softnet_stat")
	h.devStart, h.softnetStart = h.read()
	return h
}

// since returns the drops since openHostDrops. Counters that went backwards,
// because a driver was loaded anew, count from there.
func (h *hostDrops) since() (iface, softnet uint64) {
	dev, soft := h.read()
	if dev < h.devStart {
		h.devStart = 0
	}
	if soft < h.softnetStart {
		h.softnetStart = 0
	}
	return dev - h.devStart, soft - h.softnetStart
}

// read returns the counters; what cannot be read keeps its last value.
func (h *hostDrops) read() (dev, softnet uint64) {
	if b := content(h.dev); b != nil {
		if v, ok := devDrops(b, h.iface); ok {
			h.devLatest = v
		}
	}
	if b := content(h.softnet); b != nil {
		h.softnetTotal = softnetDrops(b)
	}
	return h.devLatest, h.softnetTotal
}

func (h *hostDrops) close() {
	for _, f := range []*os.File{h.dev, h.softnet} {
		if f != nil {
			f.Close()
		}
	}
	h.dev, h.softnet = nil, nil
}

// maxStatistics bounds what is read of a file in /proc: a host with thousands
// of interfaces needs some hundred kilobytes.
const maxStatistics = 1 << 20

func content(f *os.File) []byte {
	if f == nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxStatistics))
	if err != nil {
		return nil
	}
	return b
}

// devDrops finds the receive drops of iface in /proc/net/dev, whose "drop" is
// rx_dropped + rx_missed_errors. Source: dev_seq_printf_stats in
// net/core/net-procfs.c.
func devDrops(b []byte, iface string) (uint64, bool) {
	for line := range bytes.Lines(b) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(bytes.TrimSpace(name)) != iface {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) < 4 {
			return 0, false
		}
		v, err := strconv.ParseUint(string(f[3]), 10, 64)
		return v, err == nil
	}
	return 0, false
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
