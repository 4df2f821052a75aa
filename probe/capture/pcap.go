package capture

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Magic numbers of the pcap format, as a reader of the writer's endianness sees
// them. Source: draft-ietf-opsawg-pcap section 4; the modified one is
// A. Kuznetsov's patch of libpcap (Linux, 1990s), whose record header has 8
// bytes more: interface, protocol, packet type.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34
)

const (
	pcapHeaderLen         = 24
	pcapRecordLen         = 16
	pcapModifiedRecordLen = 24
)

// pcapReader reads the records of a pcap file out of a window.
type pcapReader struct {
	win    *window
	swap   bool  // the file's endianness is big
	frac   int64 // nanoseconds in one unit of a record's second time field
	header int   // bytes of a record's header
	link   uint16
	snap   uint32
	name   []string
}

// isPcap says whether the four bytes of b are a pcap magic, and whether the
// file is big endian.
func isPcap(b []byte) (magic uint32, big, ok bool) {
	m := binary.LittleEndian.Uint32(b)
	for _, v := range [...]uint32{magicMicro, magicNano, magicModified} {
		if m == v {
			return v, false, true
		}
		if m == bits.ReverseBytes32(v) {
			return v, true, true
		}
	}
	return 0, false, false
}

// newPcapReader reads the file header, whose magic has been recognised.
func newPcapReader(w *window, name string) (*pcapReader, error) {
	if err := w.need(pcapHeaderLen); err != nil {
		return nil, fmt.Errorf("in its %d byte header: %w", pcapHeaderLen, asTruncated(err))
	}
	h := w.buf[w.pos : w.pos+pcapHeaderLen]
	magic, big, _ := isPcap(h)
	p := &pcapReader{win: w, swap: big, frac: 1000, header: pcapRecordLen, name: []string{name}}
	switch magic {
	case magicNano:
		p.frac = 1
	case magicModified:
		p.header = pcapModifiedRecordLen
	}
	if major := p.u16(h[4:]); major != 2 {
		return nil, corrupt(4, "pcap version %d.%d is not known (2.4 is)", major, p.u16(h[6:]))
	}
	p.snap = p.u32(h[16:])
	// The upper half holds the length of the frame check sequence.
	p.link = normalLink(uint16(p.u32(h[20:])))
	w.pos += pcapHeaderLen
	return p, nil
}

func (p *pcapReader) u16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if p.swap {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (p *pcapReader) u32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if p.swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

// run fills frames with the records that lie whole in the window, and counts
// them: what next does, without its questions. It stops where next is needed.
func (p *pcapReader) run(frames []Frame, count *Stats) (n int) {
	w := p.win
	if p.swap || w.debt > 0 {
		return 0
	}
	b, octets := w.buf[w.pos:len(w.buf):len(w.buf)], uint64(0)
	for n < len(frames) && len(b) >= pcapRecordLen {
		end := uint64(p.header) + uint64(binary.LittleEndian.Uint32(b[8:]))
		if end > MaxFrame || end > uint64(len(b)) {
			break
		}
		f := &frames[n]
		f.Time = int64(binary.LittleEndian.Uint32(b))*1e9 + int64(binary.LittleEndian.Uint32(b[4:]))*p.frac
		f.Len = binary.LittleEndian.Uint32(b[12:])
		f.Data = b[p.header:end:end]
		f.LinkType, f.Interface = p.link, 0
		octets += uint64(f.Len)
		b = b[end:]
		n++
	}
	w.pos = len(w.buf) - len(b)
	count.Received += uint64(n)
	count.ReceivedBytes += octets
	return n
}

func (p *pcapReader) next(f *Frame) error {
	w := p.win
	if err := w.need(p.header); err != nil {
		return err
	}
	h := w.buf[w.pos : w.pos+pcapRecordLen]
	size := p.u32(h[8:])
	if size > MaxFrame {
		return corrupt(w.offset(), "a packet claims %d captured bytes", size)
	}
	n := p.header + int(size)
	if err := w.need(n); err != nil {
		return unexpected(err)
	}
	h = w.buf[w.pos : w.pos+n : w.pos+n] // need may have moved the buffer
	f.Time = int64(p.u32(h))*1e9 + int64(p.u32(h[4:]))*p.frac
	f.Len = p.u32(h[12:])
	f.Data = h[p.header:]
	f.LinkType = p.link
	f.Interface = 0
	w.pos += n
	return nil
}

func (p *pcapReader) interfaces() []string    { return p.name }
func (p *pcapReader) recordedDropped() uint64 { return 0 }
