package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// handed is what a program that takes over a ring has to know of it. The ring
// itself, the kernel's filter, the fanout group and the promiscuous membership
// belong to the descriptor.
type handed struct {
	FD, Block, Blocks, Wait int
	Link                    uint16
	Card                    int // descriptor of the card's clock, 0: none is watched
	Info                    LiveInfo
	Expr                    string               `json:",omitempty"`
	Filter                  []bpf.RawInstruction `json:",omitempty"` // run by the ring itself
	Counters                []handedCounter      `json:",omitempty"` // in the order of hostDrops.all
}

// handedCounter is an open counter; FD -1: not available.
type handedCounter struct {
	FD    int
	Start uint64
}

// Handover prepares sources of OpenLive, none of which was read yet, to be
// taken over by the program that this process executes next: state is for
// Inherit there, and the descriptors must stay open under their numbers. What
// arrives meanwhile waits in the rings. The sources stay usable if nothing is
// executed.
func Handover(sources []Source) (state []byte, descriptors []int, err error) {
	all := make([]handed, len(sources))
	for i, s := range sources {
		r, ok := s.(*ring)
		if !ok || r.mem == nil {
			return nil, nil, errors.New("hand over a source: only open interfaces can be")
		}
		if r.held || r.current != 0 {
			return nil, nil, fmt.Errorf("hand over the capture on %s: it has been read", r.iface)
		}
		h := handed{FD: r.fd, Block: r.block, Blocks: r.blocks, Wait: r.wait, Link: r.link, Info: r.setup}
		if u := r.wanted.Load(); u != nil {
			h.Expr, h.Filter = u.filter.expr, u.filter.raw
		}
		descriptors = append(descriptors, r.fd)
		if r.drops != nil {
			if r.card != nil {
				h.Card = int(r.card.file.Fd())
				descriptors = append(descriptors, h.Card)
			}
			for _, c := range r.drops.all() {
				fd := -1
				if c.file != nil {
					fd = int(c.file.Fd())
					descriptors = append(descriptors, fd)
				}
				h.Counters = append(h.Counters, handedCounter{fd, c.start})
			}
		}
		all[i] = h
	}
	state, err = json.Marshal(all)
	return state, descriptors, err
}

// Inherit takes over what Handover prepared in this process before it executed
// this program, in the same order. log gets what it gets in OpenLive; nil: nothing.
func Inherit(state []byte, log *slog.Logger) (_ []Source, err error) {
	var all []handed
	if err := json.Unmarshal(state, &all); err != nil {
		return nil, fmt.Errorf("take over captures: %w", err)
	}
	var sources []Source
	defer func() {
		if err != nil {
			for _, s := range sources {
				s.Close()
			}
		}
	}()
	for i := range all {
		r, err := all[i].ring()
		if err != nil {
			return nil, fmt.Errorf("take over the capture on %s: %w", all[i].Info.Interface, err)
		}
		sources = append(sources, r)
	}
	for i := range all {
		if all[i].Card > 0 {
			unix.CloseOnExec(all[i].Card)
			watchCard(os.NewFile(uintptr(all[i].Card), "clock"), ofInterface(sources, all[i].Info.Interface), log)
		}
	}
	return sources, nil
}

func ofInterface(sources []Source, iface string) (rings []*ring) {
	for _, s := range sources {
		if r, ok := s.(*ring); ok && r.iface == iface {
			rings = append(rings, r)
		}
	}
	return rings
}

func (h *handed) ring() (r *ring, err error) {
	if h.Block <= 0 || h.Blocks <= 0 || h.Block > 1<<30 || int64(h.Block)*int64(h.Blocks) >= 1<<32 {
		return nil, fmt.Errorf("a ring of %d blocks of %d bytes cannot be", h.Blocks, h.Block)
	}
	if !bound(h.FD) {
		return nil, fmt.Errorf("descriptor %d is no open capture", h.FD)
	}
	r = &ring{iface: h.Info.Interface, names: []string{h.Info.Interface}, fd: h.FD, link: h.Link, block: h.Block, blocks: h.Blocks,
		wait: h.Wait, setup: h.Info}
	unix.CloseOnExec(h.FD)
	if len(h.Filter) > 0 {
		f, err := newFilter(h.Expr, h.Filter)
		if err != nil {
			return nil, err
		}
		r.wanted.Store(&userFilter{filter: f, blocks: -1})
	}
	if r.mem, err = unix.Mmap(h.FD, 0, h.Block*h.Blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the ring: %w", err)
	}
	if len(h.Counters) > 0 {
		r.drops = newHostDrops()
		for i, c := range r.drops.all() {
			if i < len(h.Counters) && h.Counters[i].FD >= 0 {
				unix.CloseOnExec(h.Counters[i].FD)
				c.file = os.NewFile(uintptr(h.Counters[i].FD), "counter")
				c.start = h.Counters[i].Start
				c.latest = c.start
			}
		}
	}
	return r, nil
}
