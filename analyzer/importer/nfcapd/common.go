package nfcapd

import (
	"encoding/binary"
	"fmt"
)

// Headers of a flow record of layout 1, octets: of the first releases of 1.6, and of the later (nfx.h).
const (
	commonHeader0 = 28
	commonHeader  = 32
)

// Flags of a flow record of layout 1.
const (
	flagIPv6      = 1
	flagPackets64 = 2
	flagBytes64   = 4
	flagEvent1    = 64
	flagSampled1  = 128
)

// Extensions that are read, by their number (nfx.h).
const (
	extensionInterface2 = 4 // of 16 bits
	extensionInterface4 = 5 // of 32
	extensionMisc       = 8
	extensionVLAN       = 13
	extensionPackets4   = 14 // of the other direction, as elementOut
	extensionPackets8   = 15
	extensionBytes4     = 16
	extensionBytes8     = 17
	extensionMAC1       = 20
	extensionMAC2       = 21
	extensionRouter4    = 23
	extensionRouter6    = 24
	extensionFirewall   = 37 // NSEL
)

// extensionSize is how many octets an extension takes in a record, by its
// number. One that is not listed makes unreadable what stands behind it.
var extensionSize = [...]int{extensionInterface2: 4, extensionInterface4: 8, 6: 4, 7: 8, extensionMisc: 4, 9: 4, 10: 16, 11: 4, 12: 16,
	extensionVLAN: 4, extensionPackets4: 4, extensionPackets8: 8, extensionBytes4: 4, extensionBytes8: 8, 18: 4, 19: 8,
	extensionMAC1: 16, extensionMAC2: 16, 22: 40, extensionRouter4: 4, extensionRouter6: 16, 25: 4, 26: 8, 27: 8,
	extensionFirewall: 20, 38: 4, 39: 8, 40: 32, 41: 24, 42: 24, 43: 72, 45: 24, 46: 12, 47: 8, 48: 8}

// extensionMap reads which extensions the records have that name the map, up to
// a 0. Maps are few and short: a map with more extensions than there are is refused.
func (d *Decoder) extensionMap(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("extension map of %d octets", len(b))
	}
	var extensions []uint16
	for rest := b[8:]; len(rest) >= 2; rest = rest[2:] {
		n := binary.LittleEndian.Uint16(rest)
		if n == 0 {
			break
		}
		if len(extensions) == len(extensionSize) {
			return fmt.Errorf("extension map with more than %d extensions", len(extensionSize))
		}
		extensions = append(extensions, n)
	}
	d.maps[binary.LittleEndian.Uint16(b[4:])] = extensions
	return nil
}

// common reads a flow record of layout 1: a header, addresses and counters
// whose sizes the flags tell, and extensions as the map lists them.
func (f *flowRecord) common(b []byte, maps map[uint16][]uint16) error {
	order := binary.LittleEndian
	header := commonHeader
	if order.Uint16(b) == recordCommon0 {
		header = commonHeader0
	}
	c := cursor{rest: b}
	h := c.take(header)
	if h == nil {
		return fmt.Errorf("flow record of %d octets", len(b))
	}
	flags := h[4]
	f.event, f.sampled = flags&flagEvent1 != 0, flags&flagSampled1 != 0
	f.first, f.last = milliseconds1(h[12:], h[8:]), milliseconds1(h[16:], h[10:])
	f.Flags, f.Protocol, f.DSCP = h[21], h[22], h[23]>>2
	f.SrcPort, f.DstPort = order.Uint16(h[24:]), order.Uint16(h[26:])
	if header == commonHeader0 {
		f.exporter = uint16(h[5])
	} else {
		f.version, f.exporter = h[5], order.Uint16(h[28:])
		f.end(h[30], h[31])
	}
	if flags&flagIPv6 != 0 {
		if a := c.take(32); a != nil {
			f.Src, f.Dst, f.addressed = v6(a), v6(a[16:]), true
		}
	} else if a := c.take(8); a != nil {
		f.Src, f.Dst, f.addressed = v4(a), v4(a[4:]), true
	}
	f.Packets = c.counter(flags&flagPackets64 != 0)
	f.Bytes = c.counter(flags&flagBytes64 != 0)
	extensions, known := maps[order.Uint16(h[6:])]
	if !known {
		return fmt.Errorf("flow record of extension map %d, which the file has not told", order.Uint16(h[6:]))
	}
	for _, n := range extensions {
		if int(n) >= len(extensionSize) || extensionSize[n] == 0 {
			break
		}
		if e := c.take(extensionSize[n]); e != nil {
			f.extension(n, e)
		}
	}
	if c.short {
		return fmt.Errorf("flow record of %d octets: shorter than its extensions", len(b))
	}
	return nil
}

// extension reads one extension of its size.
func (f *flowRecord) extension(n uint16, b []byte) {
	order := binary.LittleEndian
	switch n {
	case extensionInterface2:
		f.input = uint32(order.Uint16(b))
	case extensionInterface4:
		f.input = order.Uint32(b)
	case extensionMisc:
		f.direction(b[1])
	case extensionVLAN:
		f.vlan(uint32(order.Uint16(b)), uint32(order.Uint16(b[2:])))
	case extensionPackets4:
		f.RevPackets = uint64(order.Uint32(b))
	case extensionPackets8:
		f.RevPackets = order.Uint64(b)
	case extensionBytes4:
		f.RevBytes = uint64(order.Uint32(b))
	case extensionBytes8:
		f.RevBytes = order.Uint64(b)
	case extensionMAC1:
		f.srcMAC, f.outMAC = order.Uint64(b), order.Uint64(b[8:])
	case extensionMAC2:
		f.dstMAC = order.Uint64(b)
	case extensionRouter4:
		f.router = v4(b)
	case extensionRouter6:
		f.router = v6(b)
	case extensionFirewall:
		f.happened = order.Uint64(b)
		if f.Protocol == 1 || f.Protocol == 58 {
			f.DstPort = order.Uint16(b[12:]) // type and code
		}
	}
}

// milliseconds1 is a time of layout 1, ms since the epoch: seconds, and the milliseconds beyond them.
func milliseconds1(seconds, beyond []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(seconds))*1000 + uint64(binary.LittleEndian.Uint16(beyond))
}

// cursor takes octets off the front of a record.
type cursor struct {
	rest  []byte
	short bool // more was asked for than there was
}

// take returns the next n octets, or nil where there are fewer.
func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.rest, c.short = nil, true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// counter returns the next counter, of 64 or 32 bits.
func (c *cursor) counter(wide bool) uint64 {
	if wide {
		if b := c.take(8); b != nil {
			return binary.LittleEndian.Uint64(b)
		}
	} else if b := c.take(4); b != nil {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return 0
}
