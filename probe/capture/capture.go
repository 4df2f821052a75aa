// Package capture delivers frames, one at a time and in order, from capture
// files and from network interfaces.
//
// In come pcap and pcapng files (plain, gzip or zstd, or standard input) and
// AF_PACKET TPACKET_V3 rings. Out come Frames: the bytes as they were on the
// wire, with the time and the original length, and the counts that tell what
// was lost on the way. Frames are not copied: Frame.Data points into the file's
// buffer or map or the kernel's ring, is owned by the Source, and
// is valid until the next call of Next or Close. Nothing is allocated per frame.
//
// A Source belongs to one goroutine: Next, Stats and Close are called from it,
// or after it has ended.
package capture

import (
	"errors"
	"fmt"
)

// LINKTYPE values that Tapwatch itself names; a Frame may carry any other, and
// the decoder decides about it.
// Source: https://www.tcpdump.org/linktypes.html
const (
	LinkNull       uint16 = 0
	LinkEthernet   uint16 = 1
	LinkPPP        uint16 = 9
	LinkRaw        uint16 = 101
	LinkIEEE80211  uint16 = 105
	LinkLoop       uint16 = 108
	LinkLinuxSLL   uint16 = 113
	LinkRadiotap   uint16 = 127
	LinkIPv4       uint16 = 228
	LinkIPv6       uint16 = 229
	LinkNFLog      uint16 = 239
	LinkNetlink    uint16 = 253
	LinkLinuxSLL2  uint16 = 276
	linkATMRFC1483 uint16 = 100
)

// MaxFrame is the largest number of captured bytes a record of a file may
// claim. libpcap stops at 256 KiB; USB and D-Bus captures exceed that. A larger
// claim is taken for damage, so that a stream's buffer stays bounded.
const MaxFrame = 8 << 20

// Frame is one captured frame.
type Frame struct {
	// Time is when the frame was seen, in nanoseconds since the Unix epoch,
	// UTC. It may go backwards from one frame to the next. A pcapng Simple
	// Packet carries no time and gets that of the packet before it, or 0.
	// Times beyond 1677 or 2262 are held at the limits of int64.
	Time int64
	// Data holds the captured bytes, link-layer header first. VLAN tags that a
	// network card stripped are back in their place. Valid until the next Next.
	Data []byte
	// Len is the original length on the wire in bytes, a restored VLAN tag
	// included. From a file it is what the file says: larger than len(Data)
	// where the capture cut the frame, and smaller only where the file
	// contradicts itself; neither is corrected here.
	Len uint32
	// LinkType is the LINKTYPE_ value of Data. 12 and 14, which some systems
	// wrote for raw IP, are given as LinkRaw.
	LinkType uint16
	// Interface is an index into Source.Interfaces.
	Interface uint32
}

// Source delivers frames until its end.
type Source interface {
	// Next fills f. It returns io.EOF at the end, also when a file ends in the
	// middle of a packet (see Stats.TruncatedFile); ErrTimeout when a live
	// source was idle for its block time, so that the caller can run timeouts
	// and look at its context; an error wrapping ErrCorrupt when a file cannot
	// be read on. After io.EOF or another error f is unchanged or undefined
	// and every further call returns the same.
	Next(f *Frame) error
	// Stats returns the counts since the source was opened.
	Stats() Stats
	// Interfaces names the interfaces met so far; a pcapng file may add to it
	// while it is read. The slice belongs to the Source.
	Interfaces() []string
	// Close releases the map, ring and descriptors. Frames become invalid.
	Close() error
}

// A BlockSource is a Source that hands out several frames at a call.
type BlockSource interface {
	Source
	// NextBlock fills the first n of frames, which must not be empty, and
	// returns n, at least 1. It waits for the first frame only. The frames are
	// valid until the next call of NextBlock, Next or Close. The errors are
	// those of Next, and n is 0 with them.
	NextBlock(frames []Frame) (n int, err error)
}

// NextBlock is src.NextBlock, or one frame of Next where src has no blocks.
func NextBlock(src Source, frames []Frame) (n int, err error) {
	if b, ok := src.(BlockSource); ok {
		return b.NextBlock(frames)
	}
	if err := src.Next(&frames[0]); err != nil {
		return 0, err
	}
	return 1, nil
}

// Stats counts since the source was opened. Packets seen by the kernel for a
// live source = Received + Filtered + RingDropped + those still in the ring.
type Stats struct {
	Received      uint64 // frames handed out by Next
	ReceivedBytes uint64 // their Frame.Len
	Filtered      uint64 // frames the filter turned away
	FilteredBytes uint64 // their Frame.Len

	KernelSeen  uint64 // live: frames that reached this ring's socket, dropped ones included (tp_packets)
	RingDropped uint64 // live: dropped because the ring was full (tp_drops)
	FreezeCount uint64 // live: times the ring was full and the queue frozen (tp_freeze_q_cnt)

	// The next three are of the interface and of the host, not of one worker's
	// ring: the first Source of OpenLive reports them, the others report 0, so
	// that sums are right.
	InterfaceDropped uint64 // live: the card or driver had no buffer (the larger of rx_missed_errors and rx_fifo_errors)
	// InterfaceRefused is rx_dropped. Besides drops of some drivers it counts
	// frames that we have received and the host's own stack then had no use
	// for: on a mirror port every frame of a foreign VLAN. So it is no loss in
	// the ledger, only a hint.
	InterfaceRefused uint64
	SoftnetDropped   uint64 // live: dropped by the kernel's backlog queues, all interfaces together

	RecordedDropped uint64 // file: drops that the file itself declares (pcapng statistics, old packet blocks)
	TruncatedFile   bool   // file: it ended in the middle of a packet or shrank while it was read
	Truncation      error  // file: nil, or one line for the operator, wrapping ErrTruncatedFile
}

// What callers tell apart with errors.Is.
var (
	// ErrTimeout is returned by Next when nothing came within the block time.
	ErrTimeout = errors.New("no frame within the block time")
	// ErrNotCapture is in errors of OpenFile: neither pcap nor pcapng.
	ErrNotCapture = errors.New("not a capture file")
	// ErrEmptyFile is in errors of OpenFile: 0 bytes.
	ErrEmptyFile = errors.New("the file is empty")
	// ErrTruncatedFile is in Stats.Truncation, and in errors of OpenFile when
	// the cut is already in the file's header.
	ErrTruncatedFile = errors.New("the file is cut")
	// ErrCorrupt is in errors of Next: a length or version that cannot be true.
	ErrCorrupt = errors.New("the file is damaged")
	// ErrNoInterface is in errors of OpenLive.
	ErrNoInterface = errors.New("no such interface")
	// ErrPermission is in errors of OpenLive.
	ErrPermission = errors.New("permission denied")
	// ErrUnsupported is in errors of OpenLive on systems other than Linux.
	ErrUnsupported = errors.New("live capture needs Linux")
	// ErrNoLibpcap is in errors of CompileFilter: the library is not installed.
	ErrNoLibpcap = errors.New("libpcap is not installed")
	// ErrFilter is in errors of CompileFilter: the expression is refused.
	ErrFilter = errors.New("filter refused")
)

// corrupt makes the error for a record at byte offset off that cannot be true.
func corrupt(off int64, format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s: %w", off, fmt.Sprintf(format, args...), ErrCorrupt)
}
