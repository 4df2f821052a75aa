package contract

import (
	"encoding/binary"
	"io"
)

const (
	second = int64(1e9)
	// base is when made traffic begins: 2026-01-01, in ns.
	base = 1767225600 * second

	fin, syn, rst, psh, ack = 1, 2, 4, 8, 16
)

// wire writes a capture: pcap with nanoseconds, Ethernet.
type wire struct {
	w               io.Writer
	head            [16]byte
	frame           []byte
	packets, octets uint64
	err             error
}

func newWire(w io.Writer, linkType uint32) *wire {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 1<<18)
	_, err := w.Write(binary.LittleEndian.AppendUint32(b, linkType))
	return &wire{w: w, err: err}
}

// put writes a frame that was length octets long on the wire.
func (w *wire) put(at int64, frame []byte, length uint32) {
	if w.err != nil {
		return
	}
	binary.LittleEndian.PutUint32(w.head[0:], uint32(at/second))
	binary.LittleEndian.PutUint32(w.head[4:], uint32(at%second))
	binary.LittleEndian.PutUint32(w.head[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(w.head[12:], length)
	if _, w.err = w.w.Write(w.head[:]); w.err == nil {
		_, w.err = w.w.Write(frame)
	}
	w.packets++
	w.octets += uint64(length)
}

// host is an IPv4 address.
type host uint32

// ip begins the frame of an IPv4 packet with so many octets of payload.
func (w *wire) ip(src, dst host, protocol byte, id, offset uint16, payload int) {
	w.frame = append(w.frame[:0], 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0)
	w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(20+payload))
	w.frame = binary.BigEndian.AppendUint16(w.frame, id)
	w.frame = binary.BigEndian.AppendUint16(w.frame, offset)
	w.frame = append(w.frame, 64, protocol, 0, 0)
	w.frame = binary.BigEndian.AppendUint32(w.frame, uint32(src))
	w.frame = binary.BigEndian.AppendUint32(w.frame, uint32(dst))
}

func (w *wire) ports(src, dst uint16) {
	w.frame = binary.BigEndian.AppendUint16(w.frame, src)
	w.frame = binary.BigEndian.AppendUint16(w.frame, dst)
}

// tcp puts a segment on the wire.
func (w *wire) tcp(at int64, src, dst host, srcPort, dstPort uint16, flags byte, seq, acked uint32, payload []byte) {
	w.ip(src, dst, 6, 0, 0, 20+len(payload))
	w.ports(srcPort, dstPort)
	w.frame = binary.BigEndian.AppendUint32(w.frame, seq)
	w.frame = binary.BigEndian.AppendUint32(w.frame, acked)
	w.frame = append(w.frame, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	w.end(at, payload)
}

// udp puts a datagram on the wire.
func (w *wire) udp(at int64, src, dst host, srcPort, dstPort uint16, payload []byte) {
	w.ip(src, dst, 17, 0, 0, 8+len(payload))
	w.ports(srcPort, dstPort)
	w.frame = binary.BigEndian.AppendUint16(w.frame, uint16(8+len(payload)))
	w.frame = append(w.frame, 0, 0)
	w.end(at, payload)
}

// fragment puts a piece of a datagram on the wire; offset counts octets.
func (w *wire) fragment(at int64, src, dst host, id uint16, offset int, more bool, payload []byte) {
	field := uint16(offset / 8)
	if more {
		field |= 0x2000
	}
	w.ip(src, dst, 17, id, field, len(payload))
	w.end(at, payload)
}

func (w *wire) end(at int64, payload []byte) {
	w.frame = append(w.frame, payload...)
	w.put(at, w.frame, uint32(len(w.frame)))
}
