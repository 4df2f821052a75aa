package keep

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// packetWriter writes a capture file. The head goes out with the first packet.
type packetWriter interface {
	write(*pending) error
	size(*pending) uint64 // of the file with this packet
	written() uint64      // octets so far
	flush() error
}

// pcapWriter writes pcap with nanoseconds (draft-ietf-opsawg-pcap section 4).
type pcapWriter struct {
	out   *bufio.Writer
	kind  uint16
	n     uint64
	head  [24]byte
	begun bool
}

func newPcap(out io.Writer, kind uint16) *pcapWriter {
	return &pcapWriter{out: bufio.NewWriterSize(out, 1<<16), kind: kind}
}

const (
	pcapHead   = 24
	pcapRecord = 16
)

func (w *pcapWriter) size(p *pending) uint64 {
	n := w.n + pcapRecord + uint64(len(p.data))
	if !w.begun {
		n += pcapHead
	}
	return n
}

func (w *pcapWriter) write(p *pending) error {
	if p.link.kind != w.kind {
		return fmt.Errorf("%w: ask for pcapng", ErrLinkTypes)
	}
	le, h := binary.LittleEndian, w.head[:]
	if !w.begun {
		w.begun = true
		le.PutUint32(h, 0xa1b23c4d)
		le.PutUint16(h[4:], 2)
		le.PutUint16(h[6:], 4)
		le.PutUint64(h[8:], 0)
		le.PutUint32(h[16:], maxKept)
		le.PutUint32(h[20:], uint32(w.kind))
		if err := w.put(h[:pcapHead]); err != nil {
			return err
		}
	}
	sec, ns := p.time/1e9, p.time%1e9
	if ns < 0 {
		sec, ns = sec-1, ns+1e9
	}
	le.PutUint32(h, uint32(sec))
	le.PutUint32(h[4:], uint32(ns))
	le.PutUint32(h[8:], uint32(len(p.data)))
	le.PutUint32(h[12:], p.length)
	if err := w.put(h[:pcapRecord]); err != nil {
		return err
	}
	return w.put(p.data)
}

func (w *pcapWriter) put(b []byte) error {
	n, err := w.out.Write(b)
	w.n += uint64(n)
	return err
}

func (w *pcapWriter) written() uint64 { return w.n }
func (w *pcapWriter) flush() error    { return w.out.Flush() }

// pcapngWriter writes pcapng (draft-ietf-opsawg-pcapng): one interface for each
// pair of name and link type, nanoseconds.
type pcapngWriter struct {
	out   *bufio.Writer
	links map[link]uint32
	n     uint64
	buf   []byte
}

func newPcapng(out io.Writer) *pcapngWriter {
	return &pcapngWriter{out: bufio.NewWriterSize(out, 1<<16), links: make(map[link]uint32)}
}

// Blocks and options of pcapng.
const (
	sectionHeader  = 0x0a0d0d0a
	interfaceBlock = 1
	enhancedPacket = 6
	optName        = 2
	optResolution  = 9
	sectionBytes   = 28
	packetBytes    = 32
)

func padded(n int) int { return (n + 3) &^ 3 }

func interfaceBytes(l link) int { return 20 + 4 + padded(len(l.name)) + 8 + 4 }

func (w *pcapngWriter) size(p *pending) uint64 {
	n := w.n + packetBytes + uint64(padded(len(p.data)))
	if w.n == 0 {
		n += sectionBytes
	}
	if _, known := w.links[p.link]; !known {
		n += uint64(interfaceBytes(p.link))
	}
	return n
}

func (w *pcapngWriter) write(p *pending) error {
	le, b := binary.LittleEndian, w.buf[:0]
	if w.n == 0 {
		b = le.AppendUint32(b, sectionHeader)
		b = le.AppendUint32(b, sectionBytes)
		b = le.AppendUint32(b, 0x1a2b3c4d)
		b = le.AppendUint16(b, 1)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint64(b, 1<<64-1) // length of the section: not said
		b = le.AppendUint32(b, sectionBytes)
	}
	id, known := w.links[p.link]
	if !known {
		id = uint32(len(w.links))
		w.links[p.link] = id
		n := uint32(interfaceBytes(p.link))
		b = le.AppendUint32(b, interfaceBlock)
		b = le.AppendUint32(b, n)
		b = le.AppendUint16(b, p.link.kind)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint32(b, maxKept)
		b = le.AppendUint16(b, optName)
		b = le.AppendUint16(b, uint16(len(p.link.name)))
		b = append(b, p.link.name...)
		b = append(b, make([]byte, padded(len(p.link.name))-len(p.link.name))...)
		b = le.AppendUint16(b, optResolution)
		b = le.AppendUint16(b, 1)
		b = append(b, 9, 0, 0, 0)
		b = le.AppendUint32(b, 0) // end of options
		b = le.AppendUint32(b, n)
	}
	n := uint32(packetBytes + padded(len(p.data)))
	b = le.AppendUint32(b, enhancedPacket)
	b = le.AppendUint32(b, n)
	b = le.AppendUint32(b, id)
	b = le.AppendUint32(b, uint32(uint64(p.time)>>32))
	b = le.AppendUint32(b, uint32(p.time))
	b = le.AppendUint32(b, uint32(len(p.data)))
	b = le.AppendUint32(b, p.length)
	b = append(b, p.data...)
	b = append(b, make([]byte, padded(len(p.data))-len(p.data))...)
	b = le.AppendUint32(b, n)
	w.buf = b
	wrote, err := w.out.Write(b)
	w.n += uint64(wrote)
	return err
}

func (w *pcapngWriter) written() uint64 { return w.n }
func (w *pcapngWriter) flush() error    { return w.out.Flush() }
