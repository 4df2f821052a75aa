package capture

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layout of a TPACKET_V3 ring, in bytes from the start of a block or frame.
// Source: linux/if_packet.h, struct tpacket_hdr_v1 and tpacket3_hdr.
const (
	blockStatus   = 8
	blockPackets  = 12
	blockFirst    = 16
	frameNext     = 0
	frameSec      = 4
	frameNsec     = 8
	frameSnap     = 12
	frameLen      = 16
	frameStatus   = 20
	frameMac      = 24
	frameVlanTci  = 32
	frameVlanTpid = 36
	frameHeader   = 48
)

// ring is a Source: one AF_PACKET socket with its TPACKET_V3 ring, which is
// shared with the kernel block by block. The blocks that Next walks are ours.
type ring struct {
	iface   string
	names   []string
	link    uint16
	fd      int
	mem     []byte
	block   int // size of one
	blocks  int
	current int                        // block being walked or waited for
	left    uint32                     // frames still to come of it; 0: it is the kernel's
	held    bool                       // it is ours
	at      unsafe.Pointer             // the next frame
	wait    int                        // milliseconds
	wanted  atomic.Pointer[userFilter] // set from outside, taken over at the next block
	user    *userFilter                // nil: none, or the filter runs in the kernel
	setup   LiveInfo
	card    *cardClock // nil: not watched
	drops   *hostDrops // nil: another ring reports them
	stats   Stats
	err     error // what Next returns from now on
}

func (r *ring) Next(f *Frame) error {
	for {
		if r.left == 0 {
			if err := r.advance(); err != nil {
				return err
			}
		}
		if r.frame(f) {
			return nil
		}
	}
}

// NextBlock ends where the kernel's block ends: the frames of one are valid
// until it is given back.
func (r *ring) NextBlock(frames []Frame) (n int, err error) {
	if err := r.Next(&frames[0]); err != nil {
		return 0, err
	}
	for n = 1; n < len(frames) && r.left > 0; {
		if r.frame(&frames[n]) {
			n++
		}
	}
	return n, nil
}

// frame takes the next one of the current block and reports whether the filter
// lets it through.
func (r *ring) frame(f *Frame) bool {
	h := r.at
	r.left--
	if r.left > 0 {
		r.at = unsafe.Add(h, field32(h, frameNext))
	}
	if field32(h, frameSnap) == rejected && field32(h, frameLen) > rejected {
		r.filtered(wireLen(h))
		return false
	}
	r.fill(f, h)
	if r.user != nil && !r.user.filter.Match(f.Data, f.Len) {
		r.filtered(f.Len)
		return false
	}
	r.stats.Received++
	r.stats.ReceivedBytes += uint64(f.Len)
	return true
}

func (r *ring) filtered(wire uint32) {
	r.stats.Filtered++
	r.stats.FilteredBytes += uint64(wire)
}

// advance gives the finished block back and waits for the next.
func (r *ring) advance() error {
	if r.err != nil {
		return r.err
	}
	r.giveBack()
	if r.take() {
		return nil
	}
	if err := r.poll(); err != nil {
		return err
	}
	if r.take() {
		return nil
	}
	return ErrTimeout
}

// take makes the current block ours if the kernel has handed it over.
func (r *ring) take() bool {
	for atomic.LoadUint32(r.status())&unix.TP_STATUS_USER != 0 {
		b := unsafe.Pointer(&r.mem[r.current*r.block])
		r.left = field32(b, blockPackets)
		r.at = unsafe.Add(b, field32(b, blockFirst))
		r.held = true
		r.user = r.wanted.Load()
		if r.left > 0 {
			return true
		}
		r.giveBack()
	}
	return false
}

// giveBack lets the kernel have the current block again.
func (r *ring) giveBack() {
	if r.held {
		atomic.StoreUint32(r.status(), unix.TP_STATUS_KERNEL)
		r.held = false
		r.current = (r.current + 1) % r.blocks
		if r.user != nil {
			r.user.blockDone(&r.wanted)
		}
	}
}

func (r *ring) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[r.current*r.block+blockStatus]))
}

// poll returns nil when a block may be ready.
func (r *ring) poll() error {
	p := [1]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], r.wait)
	switch {
	case err == unix.EINTR, err == nil && n == 0:
		return ErrTimeout
	case err != nil:
		return r.fail(err)
	case p[0].Revents&unix.POLLERR != 0:
		code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return r.fail(err)
		}
		switch e := unix.Errno(code); e {
		case 0:
		case unix.ENETDOWN:
			return r.down()
		default:
			return r.fail(e)
		}
	}
	return nil
}

// down decides what ENETDOWN means: an interface that is down may come up
// again, one that is gone will not.
func (r *ring) down() error {
	if !bound(r.fd) {
		return r.fail(fmt.Errorf("the interface has disappeared: %w", unix.ENODEV))
	}
	return ErrTimeout
}

// bound says whether the socket is still bound to an interface.
func bound(fd int) bool {
	sa, err := unix.Getsockname(fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && ll.Ifindex > 0
}

func (r *ring) fail(err error) error {
	r.err = fmt.Errorf("capture on %s: %w", r.iface, err)
	return r.err
}

// fill makes f of the frame at h, and puts a stripped VLAN tag back between
// the addresses and the EtherType, into the room reserved before the frame.
func (r *ring) fill(f *Frame, h unsafe.Pointer) {
	mac, snap := uintptr(field16(h, frameMac)), field32(h, frameSnap)
	f.Time = int64(field32(h, frameSec))*int64(time.Second) + int64(field32(h, frameNsec))
	f.Len = field32(h, frameLen)
	f.LinkType = r.link
	f.Interface = 0
	f.Data = unsafe.Slice((*byte)(unsafe.Add(h, mac)), snap)
	if field32(h, frameStatus)&unix.TP_STATUS_VLAN_VALID == 0 || r.link != LinkEthernet || snap < 12 {
		return
	}
	tpid := uint16(unix.ETH_P_8021Q)
	if field32(h, frameStatus)&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = field16(h, frameVlanTpid)
	}
	tci := field32(h, frameVlanTci)
	d := unsafe.Slice((*byte)(unsafe.Add(h, mac-vlanLen)), snap+vlanLen)
	copy(d[:12], d[vlanLen:])
	d[12], d[13], d[14], d[15] = byte(tpid>>8), byte(tpid), byte(tci>>8), byte(tci)
	f.Data = d
	f.Len += vlanLen
}

// wireLen is the length on the wire of the frame at h, with its VLAN tag.
func wireLen(h unsafe.Pointer) uint32 {
	n := field32(h, frameLen)
	if field32(h, frameStatus)&unix.TP_STATUS_VLAN_VALID != 0 {
		n += vlanLen
	}
	return n
}

func field32(p unsafe.Pointer, at uintptr) uint32 { return *(*uint32)(unsafe.Add(p, at)) }
func field16(p unsafe.Pointer, at uintptr) uint16 { return *(*uint16)(unsafe.Add(p, at)) }

// Stats asks the kernel, which counts from zero at each question.
func (r *ring) Stats() Stats {
	if r.mem == nil {
		return r.stats
	}
	if st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.stats.KernelSeen += uint64(st.Packets)
		r.stats.RingDropped += uint64(st.Drops)
		r.stats.FreezeCount += uint64(st.Freeze_q_cnt)
	}
	if r.drops != nil {
		r.card.check()
		r.stats.InterfaceDropped, r.stats.InterfaceRefused, r.stats.SoftnetDropped = r.drops.since()
	}
	return r.stats
}

func (r *ring) Interfaces() []string { return r.names }

func (r *ring) info() LiveInfo {
	i := r.setup
	if r.card != nil && r.card.left.Load() {
		i.Clock, i.ClockReason = ClockSystem, "the card's clock is off the system's"
	}
	return i
}

// Close may be called more than once; Stats keeps its last answer.
func (r *ring) Close() error {
	if r.mem == nil && r.fd < 0 {
		return nil
	}
	var errs []error
	if r.mem != nil {
		r.Stats()
		errs = append(errs, unix.Munmap(r.mem))
	}
	errs = append(errs, unix.Close(r.fd))
	if r.drops != nil {
		r.drops.close()
		r.card.close()
	}
	r.mem, r.fd, r.left, r.held = nil, -1, 0, false
	if r.err == nil {
		r.err = io.EOF
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close capture on %s: %w", r.iface, err)
	}
	return nil
}
