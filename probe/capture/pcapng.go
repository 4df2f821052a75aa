package capture

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Block types and options. Source: draft-ietf-opsawg-pcapng sections 4 and 3.5;
// the Packet Block is its appendix A.
const (
	blockInterface  = 0x00000001
	blockPacket     = 0x00000002
	blockSimple     = 0x00000003
	blockStatistics = 0x00000005
	blockEnhanced   = 0x00000006
	blockSection    = 0x0a0d0d0a

	byteOrderMagic = 0x1a2b3c4d

	optionName     = 2
	optionTsResol  = 9
	optionTsOffset = 14
	optionIfDrop   = 5
	optionOsDrop   = 7
)

// Bounds against files that are all interfaces: per section, and names in the
// whole file.
const (
	maxInterfaces = 16384
	maxNameLen    = 255
	maxMetaBlock  = 1 << 20 // interface and statistics blocks
)

// pcapngReader reads the packets of all sections of a pcapng file.
type pcapngReader struct {
	win     *window
	swap    bool
	section []ngInterface     // the interfaces of the current section
	names   []string          // all interfaces, the same name once
	index   map[string]uint32 // of names
	last    int64             // time of the packet before, for Simple Packet Blocks
	dropped uint64            // declared by sections that are over, and by Packet Blocks
}

type ngInterface struct {
	link    uint16
	snap    uint32 // 0: unlimited
	name    uint32 // index into names
	clock   tsClock
	dropped uint64 // cumulative, from the newest statistics block
}

func newPcapngReader(w *window) *pcapngReader {
	return &pcapngReader{win: w, index: make(map[string]uint32)}
}

func (p *pcapngReader) u16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if p.swap {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (p *pcapngReader) u32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if p.swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (p *pcapngReader) u64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if p.swap {
		v = bits.ReverseBytes64(v)
	}
	return v
}

func (p *pcapngReader) next(f *Frame) error {
	w := p.win
	for {
		if err := w.need(8); err != nil {
			return err
		}
		kind := p.u32(w.buf[w.pos:])
		if kind == blockSection { // the same in both byte orders
			if err := p.startSection(); err != nil {
				return err
			}
			continue
		}
		size := p.u32(w.buf[w.pos+4:])
		if size < 12 || size%4 != 0 {
			return corrupt(w.offset(), "a block of type %#x claims %d bytes", kind, size)
		}
		switch kind {
		case blockEnhanced, blockPacket, blockSimple:
			body, err := p.block(size, streamMax)
			if err != nil {
				return err
			}
			switch kind {
			case blockEnhanced:
				err = p.enhanced(body, f)
			case blockPacket:
				err = p.packet(body, f)
			default:
				err = p.simple(body, f)
			}
			if err != nil {
				return err
			}
			w.pos += int(size)
			return nil
		case blockInterface, blockStatistics:
			body, err := p.block(size, maxMetaBlock)
			if err != nil {
				return err
			}
			if kind == blockInterface {
				err = p.addInterface(body)
			} else {
				err = p.statistics(body)
			}
			if err != nil {
				return err
			}
			w.pos += int(size)
		default:
			w.skip(int64(size))
		}
	}
}

// block makes a whole block available and returns its body, between the two
// length fields, which must agree.
func (p *pcapngReader) block(size, most uint32) ([]byte, error) {
	w := p.win
	if size > most {
		return nil, corrupt(w.offset(), "a block of type %#x claims %d bytes", p.u32(w.buf[w.pos:]), size)
	}
	if err := w.need(int(size)); err != nil {
		return nil, unexpected(err)
	}
	b := w.buf[w.pos : w.pos+int(size)]
	if again := p.u32(b[size-4:]); again != size {
		return nil, corrupt(w.offset(), "a block is %d bytes long at its start and %d at its end", size, again)
	}
	return b[8 : size-4 : size-4], nil
}

func (p *pcapngReader) startSection() error {
	w := p.win
	if err := w.need(16); err != nil {
		return unexpected(err)
	}
	h := w.buf[w.pos : w.pos+16]
	switch order := binary.LittleEndian.Uint32(h[8:]); order {
	case byteOrderMagic:
		p.swap = false
	case bits.ReverseBytes32(byteOrderMagic):
		p.swap = true
	default:
		return corrupt(w.offset(), "a section has the byte order mark %#x", order)
	}
	size := p.u32(h[4:])
	if size < 28 || size%4 != 0 {
		return corrupt(w.offset(), "a section header claims %d bytes", size)
	}
	if major := p.u16(h[12:]); major != 1 {
		return corrupt(w.offset(), "pcapng version %d.%d is not known (1.0 is)", major, p.u16(h[14:]))
	}
	p.dropped = p.recordedDropped()
	p.section = p.section[:0]
	w.skip(int64(size))
	return nil
}

// addInterface reads an Interface Description Block.
func (p *pcapngReader) addInterface(b []byte) error {
	if len(b) < 8 {
		return corrupt(p.win.offset(), "an interface block of %d bytes", len(b))
	}
	if len(p.section) >= maxInterfaces {
		return corrupt(p.win.offset(), "more than %d interfaces", maxInterfaces)
	}
	i := ngInterface{link: normalLink(p.u16(b)), snap: p.u32(b[4:]), clock: newTsClock(6, 0)}
	resol, offset := byte(6), int64(0)
	name := fmt.Sprintf("if%d", len(p.section))
	p.options(b[8:], func(code uint16, v []byte) {
		switch {
		case code == optionName && len(v) > 0:
			name = string(v[:min(len(v), maxNameLen)])
		case code == optionTsResol && len(v) >= 1:
			resol = v[0]
		case code == optionTsOffset && len(v) >= 8:
			offset = int64(p.u64(v))
		}
	})
	i.clock = newTsClock(resol, offset)
	n, known := p.index[name]
	if !known {
		if len(p.names) >= maxInterfaces {
			return corrupt(p.win.offset(), "more than %d interfaces", maxInterfaces)
		}
		n = uint32(len(p.names))
		p.index[name] = n
		p.names = append(p.names, name)
	}
	i.name = n
	p.section = append(p.section, i)
	return nil
}

// options calls each for every option until the end mark or the first one that
// does not fit: options are advice, a damaged list does not end the file.
func (p *pcapngReader) options(b []byte, each func(code uint16, v []byte)) {
	for len(b) >= 4 {
		code, n := p.u16(b), int(p.u16(b[2:]))
		if code == 0 || n > len(b)-4 {
			return
		}
		each(code, b[4:4+n])
		b = b[min(4+(n+3)&^3, len(b)):]
	}
}

func (p *pcapngReader) statistics(b []byte) error {
	if len(b) < 12 {
		return corrupt(p.win.offset(), "a statistics block of %d bytes", len(b))
	}
	id := p.u32(b)
	if int64(id) >= int64(len(p.section)) {
		return nil
	}
	var total uint64
	p.options(b[12:], func(code uint16, v []byte) {
		if (code == optionIfDrop || code == optionOsDrop) && len(v) >= 8 {
			total += p.u64(v)
		}
	})
	p.section[id].dropped = total
	return nil
}

// face returns the interface a packet names.
func (p *pcapngReader) face(id uint32) (*ngInterface, error) {
	if int64(id) >= int64(len(p.section)) {
		return nil, corrupt(p.win.offset(), "a packet names interface %d of %d", id, len(p.section))
	}
	return &p.section[id], nil
}

// fill sets f to the first size bytes of b, checked to be there.
func (p *pcapngReader) fill(f *Frame, i *ngInterface, b []byte, size, wire uint32, ts int64) error {
	if size > MaxFrame || int(size) > len(b) {
		return corrupt(p.win.offset(), "a packet claims %d captured bytes in a block that has room for %d", size, len(b))
	}
	p.last = ts
	f.Time, f.Len, f.LinkType, f.Interface = ts, wire, i.link, i.name
	f.Data = b[:size:size]
	return nil
}

func (p *pcapngReader) enhanced(b []byte, f *Frame) error {
	if len(b) < 20 {
		return corrupt(p.win.offset(), "a packet block of %d bytes", len(b))
	}
	i, err := p.face(p.u32(b))
	if err != nil {
		return err
	}
	ts := uint64(p.u32(b[4:]))<<32 | uint64(p.u32(b[8:]))
	return p.fill(f, i, b[20:], p.u32(b[12:]), p.u32(b[16:]), i.clock.nanos(ts))
}

func (p *pcapngReader) packet(b []byte, f *Frame) error {
	if len(b) < 20 {
		return corrupt(p.win.offset(), "a packet block of %d bytes", len(b))
	}
	i, err := p.face(uint32(p.u16(b)))
	if err != nil {
		return err
	}
	ts := uint64(p.u32(b[4:]))<<32 | uint64(p.u32(b[8:]))
	if err := p.fill(f, i, b[20:], p.u32(b[12:]), p.u32(b[16:]), i.clock.nanos(ts)); err != nil {
		return err
	}
	if drops := p.u16(b[2:]); drops != 0xffff { // 0xffff: not known
		p.dropped += uint64(drops)
	}
	return nil
}

// simple reads a Simple Packet Block: of interface 0, cut at its snap length.
func (p *pcapngReader) simple(b []byte, f *Frame) error {
	if len(b) < 4 {
		return corrupt(p.win.offset(), "a packet block of %d bytes", len(b))
	}
	i, err := p.face(0)
	if err != nil {
		return err
	}
	wire := p.u32(b)
	size := wire
	if i.snap != 0 {
		size = min(size, i.snap)
	}
	return p.fill(f, i, b[4:], size, wire, p.last)
}

func (p *pcapngReader) interfaces() []string { return p.names }

func (p *pcapngReader) recordedDropped() uint64 {
	n := p.dropped
	for i := range p.section {
		n += p.section[i].dropped
	}
	return n
}
