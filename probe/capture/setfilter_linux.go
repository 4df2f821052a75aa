package capture

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// userFilter is a filter that a ring runs itself, on the frames that the kernel
// let through.
type userFilter struct {
	filter *Filter
	// blocks is how many blocks are still to be filtered here, for a filter
	// that runs in the kernel by now; negative: all.
	blocks int
}

// blockDone counts a block. Once the ring has gone round, every frame in it has
// passed the kernel's program, and the filter is not needed here.
func (u *userFilter) blockDone(wanted *atomic.Pointer[userFilter]) {
	if u.blocks > 0 {
		if u.blocks--; u.blocks == 0 {
			wanted.CompareAndSwap(u, nil)
		}
	}
}

// SetFilter gives the running sources of one or more OpenLive another filter
// and snap length, while they are read; expr and snaplen are as in LiveOptions.
// No frame is lost or counted twice: each that the kernel saw is either handed
// out or in Stats.Filtered, by the old filter or the new one. Which of them,
// changes for all sources within the block being filled. All sources keep what they have
// if there is an error before the first was changed, which wraps ErrFilter,
// ErrNoLibpcap or ErrUnsupported, for sources not of OpenLive. Calls must not
// overlap; they may come from another goroutine than Next's.
func SetFilter(sources []Source, expr string, snaplen int) error {
	if snaplen <= 0 {
		snaplen = FullFrame
	}
	if snaplen < minSnaplen || snaplen > FullFrame {
		return fmt.Errorf("set the capture filter: snap length %d: %d to %d bytes are possible", snaplen, minSnaplen, FullFrame)
	}
	rings := make([]*ring, len(sources))
	for i, s := range sources {
		r, ok := s.(*ring)
		if !ok {
			return fmt.Errorf("set the capture filter: not of an interface: %w", ErrUnsupported)
		}
		rings[i] = r
	}
	if err := setFilters(rings, expr, snaplen, false); err != nil {
		return fmt.Errorf("set the capture filter: %w", err)
	}
	return nil
}

// plan is a filter as it is set on rings of one link type.
type plan struct {
	program []bpf.RawInstruction // for the kernel
	filter  *Filter              // nil: all pass
	kernel  bool                 // the program does what the filter does
}

func planFilter(expr string, link uint16, snaplen int, here bool) (plan, error) {
	all := []bpf.RawInstruction{{Op: opRet, K: uint32(snaplen)}}
	if expr == "" {
		return plan{program: all, kernel: true}, nil
	}
	f, err := CompileFilter(expr, link, snaplen)
	if err != nil {
		return plan{}, err
	}
	if program, ok := counting(f.Raw()); ok && !f.NeedsVLAN() && !here {
		return plan{program: program, filter: f, kernel: true}, nil
	}
	return plan{program: all, filter: f}, nil
}

// setFilters changes the filter of rings, of which any number may be running.
func setFilters(rings []*ring, expr string, snaplen int, here bool) error {
	plans := make(map[uint16]plan)
	for _, r := range rings {
		if _, ok := plans[r.link]; !ok {
			p, err := planFilter(expr, r.link, snaplen, here)
			if err != nil {
				return err
			}
			plans[r.link] = p
		}
	}
	var failed error
	for _, r := range rings {
		failed = errors.Join(failed, r.setFilter(plans[r.link]))
	}
	return failed
}

// setFilter first sees to it that blocks handed over from now on are filtered
// here, then changes the kernel's program. A filter that moves into the kernel
// is run here, too, until the frames that came before the change are through.
func (r *ring) setFilter(p plan) error {
	switch old := r.wanted.Load(); {
	case p.filter == nil: // what waits in the ring passes, too
		r.wanted.Store(nil)
	case !p.kernel:
		r.wanted.Store(&userFilter{filter: p.filter, blocks: -1})
	case old != nil:
		r.wanted.Store(&userFilter{filter: p.filter, blocks: r.blocks + 1})
	}
	if err := setProgram(r.fd, p.program); err != nil {
		return fmt.Errorf("attach the filter to %s: %w", r.iface, err)
	}
	return nil
}

// setProgram attaches a program, replacing the one before in one step.
func setProgram(fd int, p []bpf.RawInstruction) error {
	filters := make([]unix.SockFilter, len(p))
	for i, r := range p {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
}
