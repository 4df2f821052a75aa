package capture

import (
	"fmt"
	"log/slog"
	"time"
)

// LiveOptions adjusts OpenLive. Zero fields take the value named in their
// comment; DefaultLiveOptions is what a probe uses.
type LiveOptions struct {
	Workers int // Sources to open, 1 to 256; 0: 1
	// BlockSize is the bytes of one ring block, a power of two from 4 KiB; 0:
	// 1 MiB. A frame larger than a block is cut.
	BlockSize int
	Blocks    int // blocks of one ring; 0: 32
	// BlockTime is after how long the kernel hands over a block that is not
	// full, and an idle Next returns ErrTimeout; 0: 50 ms; at least 1 ms.
	BlockTime time.Duration
	Snaplen   int  // bytes kept of a frame; 0: FullFrame
	NoPromisc bool // leave the interface out of promiscuous mode
	// Filter is a BPF expression; empty lets all through.
	Filter string
	// UserFilter runs the filter here instead of in the kernel. In the kernel
	// it keeps the bytes of unwanted frames out of the ring; both ways count
	// the same frames. A filter on VLAN tags always runs here.
	UserFilter bool
	// Clock says whose time frames get.
	Clock Clock
	// KernelHash spreads frames over workers by the kernel's own hash of the
	// outer addresses, also where the program for the innermost ones could be loaded.
	KernelHash bool
	// Log gets warnings about the interface's settings, and what was chosen;
	// nil: none are given.
	Log *slog.Logger
}

// Clock is where the times of frames come from.
type Clock uint8

const (
	// ClockAuto takes the card's clock when it stamps every frame and as long as
	// it shows the system's time to within 10 ms, otherwise the system's. It
	// tells the card to stamp all frames that arrive.
	ClockAuto Clock = iota
	// ClockSystem takes the system's clock, read when the kernel gets the
	// frame from the driver.
	ClockSystem
	// ClockHardware takes the card's clock whatever time it shows, and is an
	// error where there is none.
	ClockHardware
)

// String returns "auto", "system" or "hardware".
func (c Clock) String() string {
	switch c {
	case ClockSystem:
		return "system"
	case ClockHardware:
		return "hardware"
	}
	return "auto"
}

// ParseClock is the opposite of String; "" is ClockAuto.
func ParseClock(s string) (Clock, error) {
	for _, c := range []Clock{ClockAuto, ClockSystem, ClockHardware} {
		if s == c.String() {
			return c, nil
		}
	}
	if s == "" {
		return ClockAuto, nil
	}
	return ClockAuto, fmt.Errorf("clock %q: auto, system or hardware is possible", s)
}

// How frames are spread over the workers of an interface.
const (
	// FanoutNone: there is one worker.
	FanoutNone = "none"
	// FanoutFlow: by PairHash of the innermost addresses; what belongs together meets, through tunnels
	// and fragmentation.
	FanoutFlow = "flow"
	// FanoutKernel: by the kernel's symmetric hash of the outer addresses and
	// ports. Fragments may reach another worker than their flow's other
	// packets, and the two directions of a tunnelled flow two workers.
	FanoutKernel = "kernel"
)

// LiveInfo tells how a live source was set up.
type LiveInfo struct {
	Interface string
	Fanout    string // FanoutNone, FanoutFlow or FanoutKernel
	// FanoutReason says, in one line, why it is FanoutKernel; "" otherwise.
	FanoutReason string
	Clock        Clock // ClockSystem or ClockHardware
	// ClockReason says why the card's clock is not taken; "" if it is, or was
	// not asked for.
	ClockReason string
	// Offloads that merge packets before they are captured, as "ethtool -K"
	// spells them.
	Offloads []string
}

// Info returns how a source of OpenLive was set up; ok is false for others.
func Info(s Source) (info LiveInfo, ok bool) {
	l, ok := s.(interface{ info() LiveInfo })
	if !ok {
		return LiveInfo{}, false
	}
	return l.info(), true
}

// DefaultLiveOptions returns what a probe uses: one worker with a ring of 32
// blocks of 1 MiB, promiscuous, whole frames.
func DefaultLiveOptions() LiveOptions {
	return LiveOptions{Workers: 1, BlockSize: 1 << 20, Blocks: 32, BlockTime: 50 * time.Millisecond, Snaplen: FullFrame}
}

// withDefaults fills the zero fields in.
func (o LiveOptions) withDefaults() LiveOptions {
	d := DefaultLiveOptions()
	o.Workers = orDefault(o.Workers, d.Workers)
	o.BlockSize = orDefault(o.BlockSize, d.BlockSize)
	o.Blocks = orDefault(o.Blocks, d.Blocks)
	o.Snaplen = orDefault(o.Snaplen, d.Snaplen)
	if o.BlockTime <= 0 {
		o.BlockTime = d.BlockTime
	}
	return o
}

func orDefault(v, d int) int {
	if v <= 0 {
		return d
	}
	return v
}
