package capture

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxWorkers is what one fanout group takes. Source: PACKET_FANOUT_MAX was 256
// before Linux 5.10.
const maxWorkers = 256

// ringFrame is tp_frame_size. In TPACKET_V3 frames lie packed in their block,
// it only has to divide the block.
const ringFrame = 2048

// OpenLive opens one ring per worker on an interface and returns one Source
// for each, all of which must be read. With several workers a program in the
// kernel spreads the frames by PairHash of their innermost addresses; where it cannot be loaded (it needs
// Linux 5.3, CAP_BPF and CAP_PERFMON), the kernel's own hash of the outer
// addresses does (see Info). Frames that leave the host
// are captured too, except on the loopback interface, where each would come
// twice. The rings of all workers start together. Errors wrap ErrNoInterface,
// ErrPermission, ErrFilter, ErrNoLibpcap or the system's error.
func OpenLive(iface string, opt LiveOptions) ([]Source, error) {
	s, err := openLive(iface, opt.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", iface, err)
	}
	return s, nil
}

func openLive(iface string, opt LiveOptions) (_ []Source, err error) {
	if err := checkRing(opt); err != nil {
		return nil, err
	}
	nic, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("%w; there %s", ErrNoInterface, existing())
	}
	rings := make([]*ring, 0, opt.Workers)
	defer func() {
		if err != nil {
			for _, r := range rings {
				r.Close()
			}
		}
	}()
	for range opt.Workers {
		r, err := openRing(nic, opt)
		if err != nil {
			return nil, err
		}
		rings = append(rings, r)
	}
	setup := LiveInfo{Interface: iface}
	if setup.Clock, setup.ClockReason, err = chooseClock(rings, iface, opt.Clock, opt.Log); err != nil {
		return nil, err
	}
	if setup.Fanout, setup.FanoutReason, err = spread(rings, opt); err != nil {
		return nil, err
	}
	setup.Offloads = mergingOffloads(rings[0].fd, iface)
	rings[0].drops = openHostDrops(statisticsDir(iface))
	sources := make([]Source, len(rings))
	for i, r := range rings {
		r.setup = setup
		sources[i] = r
	}
	// Until here each socket refuses every frame. Once a worker's program is
	// set its ring fills.
	if err := setFilters(rings, opt.Filter, opt.Snaplen, opt.UserFilter); err != nil {
		return nil, err
	}
	if opt.Log != nil {
		setup.log(opt.Log, nic.Flags&net.FlagUp != 0)
	}
	return sources, nil
}

// log says what an operator should know about the set-up.
func (i LiveInfo) log(log *slog.Logger, up bool) {
	if !up {
		log.Warn("interface is down, nothing will be captured until it is up", "interface", i.Interface)
	}
	for _, name := range i.Offloads {
		log.Warn("the kernel or card merges packets before they are captured, so packet counts and sizes are of merged ones",
			"interface", i.Interface, "offload", name, "hint", "ethtool -K "+i.Interface+" "+name+" off")
	}
	if i.Fanout == FanoutKernel {
		log.Warn("frames are spread over the workers by the kernel's hash of the outer addresses: tunnelled and fragmented flows may be cut in two",
			"interface", i.Interface, "reason", i.FanoutReason)
	}
	log.Info("capture is open", "interface", i.Interface, "fanout", i.Fanout, "clock", i.Clock.String(), "clock_reason", i.ClockReason)
}

// spread joins the rings of several workers in a fanout group.
func spread(rings []*ring, opt LiveOptions) (how, reason string, err error) {
	if len(rings) == 1 {
		return FanoutNone, "", nil
	}
	if opt.KernelHash {
		reason = "chosen by configuration"
	} else if program, err := loadFanout(rings[0].link); err != nil {
		if reason = err.Error(); !errors.Is(err, errNoFanoutProgram) {
			reason += "; it needs Linux 5.3, CAP_BPF and CAP_PERFMON"
		}
	} else {
		defer program.Close()
		if err := join(rings, unix.PACKET_FANOUT_EBPF); err != nil {
			return "", "", err
		}
		return FanoutFlow, "", setFanout(rings[0].fd, program)
	}
	return FanoutKernel, reason, join(rings, unix.PACKET_FANOUT_HASH)
}

func join(rings []*ring, how int) (err error) {
	group := newGroup
	for _, r := range rings {
		if group, err = joinFanout(r.fd, how, group); err != nil {
			return fmt.Errorf("join the fanout group: %w", err)
		}
	}
	return nil
}

// checkRing refuses what the kernel would refuse with only EINVAL.
func checkRing(opt LiveOptions) error {
	switch {
	case opt.Workers > maxWorkers:
		return fmt.Errorf("%d workers: at most %d are possible", opt.Workers, maxWorkers)
	case opt.BlockSize < 4096 || bits.OnesCount(uint(opt.BlockSize)) != 1 || opt.BlockSize > 1<<30 || opt.BlockSize%os.Getpagesize() != 0:
		return fmt.Errorf("block size %d: a power of two from %d to 1 GiB is needed", opt.BlockSize, max(4096, os.Getpagesize()))
	case int64(opt.BlockSize)*int64(opt.Blocks) >= 1<<32 || opt.Blocks < 2:
		return fmt.Errorf("%d blocks of %d bytes: at least 2, and less than 4 GiB together, are possible", opt.Blocks, opt.BlockSize)
	case opt.Snaplen < minSnaplen || opt.Snaplen > FullFrame:
		return fmt.Errorf("snap length %d: %d to %d bytes are possible", opt.Snaplen, minSnaplen, FullFrame)
	case opt.BlockTime < time.Millisecond || opt.BlockTime > time.Minute:
		return fmt.Errorf("block time %s: 1 ms to 1 min is possible", opt.BlockTime)
	}
	return nil
}

// minSnaplen keeps Ethernet, a VLAN tag, IPv6 and TCP with a few options.
const minSnaplen = 96

// existing lists the interfaces there are, for the hint.
func existing() string {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		return "are none"
	}
	names := make([]string, len(all))
	for i, n := range all {
		names[i] = n.Name
	}
	return "are " + strings.Join(names, ", ")
}

// openRing makes a bound socket with its ring that refuses all frames so far.
func openRing(nic *net.Interface, opt LiveOptions) (r *ring, err error) {
	// Protocol 0: nothing is received before the bind.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, permission(err)
	}
	r = &ring{iface: nic.Name, names: []string{nic.Name}, fd: fd, block: opt.BlockSize, blocks: opt.Blocks,
		wait: int(opt.BlockTime / time.Millisecond)}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	for _, o := range [][2]int{
		{unix.PACKET_VERSION, unix.TPACKET_V3},
		{unix.PACKET_RESERVE, vlanLen},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("set packet socket option %d: %w", o[0], err)
		}
	}
	req := unix.TpacketReq3{
		Block_size: uint32(opt.BlockSize), Block_nr: uint32(opt.Blocks),
		Frame_size: ringFrame, Frame_nr: uint32(opt.BlockSize / ringFrame * opt.Blocks),
		Retire_blk_tov: uint32(opt.BlockTime / time.Millisecond),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, ringMemory(err, opt)
	}
	if r.mem, err = unix.Mmap(fd, 0, opt.BlockSize*opt.Blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, ringMemory(err, opt)
	}
	if err := setProgram(fd, []bpf.RawInstruction{{Op: opRet}}); err != nil {
		return nil, fmt.Errorf("attach the filter: %w", err)
	}
	if nic.Flags&net.FlagLoopback != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return nil, fmt.Errorf("ignore outgoing frames: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bits.ReverseBytes16(unix.ETH_P_ALL), Ifindex: nic.Index}); err != nil {
		return nil, fmt.Errorf("bind the packet socket: %w", err)
	}
	if r.link, err = linkOf(fd); err != nil {
		return nil, err
	}
	if !opt.NoPromisc {
		m := unix.PacketMreq{Ifindex: int32(nic.Index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return nil, fmt.Errorf("enter promiscuous mode: %w", err)
		}
	}
	return r, nil
}

func permission(err error) error {
	if err != unix.EPERM && err != unix.EACCES {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	exe, e := os.Executable()
	if e != nil {
		exe = "FILE"
	}
	return fmt.Errorf("%w: capturing needs CAP_NET_RAW: run as root, or once: sudo setcap cap_net_raw+ep %s", ErrPermission, exe)
}

func ringMemory(err error, opt LiveOptions) error {
	return fmt.Errorf("get a ring of %d MiB: %w: choose fewer or smaller blocks", opt.BlockSize>>10*opt.Blocks>>10, err)
}

// linkOf maps the ARP hardware type of the bound interface to a LINKTYPE.
// Source: linux/if_arp.h.
func linkOf(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("ask for the link type: %w", err)
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	if !ok {
		return 0, errors.New("ask for the link type: not a packet socket")
	}
	switch ll.Hatype {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return LinkEthernet, nil
	case unix.ARPHRD_IEEE80211:
		return LinkIEEE80211, nil
	case unix.ARPHRD_IEEE80211_RADIOTAP:
		return LinkRadiotap, nil
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT,
		unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE, unix.ARPHRD_VOID:
		return LinkRaw, nil
	}
	return 0, fmt.Errorf("its hardware type %d is not supported", ll.Hatype)
}
