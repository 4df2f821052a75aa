package capture

import (
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
	// Log gets warnings about the interface's settings; nil: none are given.
	Log *slog.Logger
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
