// Package datagram finds the export datagrams of routers in files: UDP payload
// in pcap and pcapng, and NetFlow v5, v9 and IPFIX messages one behind the
// other (RFC 5655, or a socket's bytes written down). In comes an unpacked file, out go
// payloads with the exporter's address and the time, both 0 where a file has
// none. Payload is valid until the callback returns.
package datagram

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Datagram is what an exporter sent.
type Datagram struct {
	From    flow.Addr
	Time    int64 // captured, ns since the epoch; 0 unknown
	Number  int64 // of the packet or message in the file, from 1
	Payload []byte
}

// Errors of files.
var (
	ErrFormat    = errors.New("neither pcap, pcapng, NetFlow nor IPFIX")
	ErrTruncated = errors.New("the file ends within a packet")
	ErrSize      = errors.New("a packet is larger than a packet can be")
)

// maxPacket is the largest packet read from a file.
const maxPacket = 256 << 10

// Read hands the datagrams of a file to do, in their order; its error ends the
// reading. other is told of packets that are no whole UDP datagram over IP.
func Read(r io.Reader, do func(Datagram) error, other func(number int64)) error {
	b := bufio.NewReaderSize(r, maxPacket)
	head, err := b.Peek(4)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) == 0 {
			return nil
		}
		return ErrFormat
	}
	switch magic := binary.BigEndian.Uint32(head); {
	case magic == 0xa1b2c3d4, magic == 0xa1b23c4d:
		return readPcap(b, binary.BigEndian, magic == 0xa1b23c4d, do, other)
	case magic == 0xd4c3b2a1, magic == 0x4d3cb2a1:
		return readPcap(b, binary.LittleEndian, magic == 0x4d3cb2a1, do, other)
	case magic == 0x0a0d0d0a:
		return readPcapng(b, do, other)
	case magic>>16 == 5 || magic>>16 == 9 || magic>>16 == 10:
		return readMessages(b, do)
	}
	return ErrFormat
}

func full(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

func readPcap(r io.Reader, order binary.ByteOrder, nano bool, do func(Datagram) error, other func(int64)) error {
	var head [24]byte
	if err := full(r, head[:]); err != nil {
		return ErrTruncated
	}
	link := order.Uint32(head[20:]) & 0xffff
	unit := int64(1000)
	if nano {
		unit = 1
	}
	buf := make([]byte, 0, 2048)
	for number := int64(1); ; number++ {
		if err := full(r, head[:16]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		n := order.Uint32(head[8:])
		if n > maxPacket {
			return fmt.Errorf("packet %d: %w: %d octets", number, ErrSize, n)
		}
		buf = append(buf[:0], make([]byte, n)...)
		if err := full(r, buf); err != nil {
			return ErrTruncated
		}
		at := int64(order.Uint32(head[0:]))*1e9 + int64(order.Uint32(head[4:]))*unit
		if err := packet(link, buf, Datagram{Time: at, Number: number}, do, other); err != nil {
			return err
		}
	}
}

// iface is an interface of a pcapng section.
type iface struct {
	link uint32
	unit uint64 // of time, in a second
}

func readPcapng(r io.Reader, do func(Datagram) error, other func(int64)) error {
	var order binary.ByteOrder = binary.LittleEndian
	var ifaces []iface
	var head [12]byte
	var number int64
	buf := make([]byte, 0, 2048)
	for {
		if err := full(r, head[:8]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		have := 8
		if binary.BigEndian.Uint32(head[:]) == 0x0a0d0d0a {
			if err := full(r, head[8:12]); err != nil {
				return ErrTruncated
			}
			have, ifaces = 12, ifaces[:0]
			if order = binary.LittleEndian; binary.BigEndian.Uint32(head[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		kind, n := order.Uint32(head[:]), order.Uint32(head[4:])
		if n < uint32(have)+4 || n > maxPacket || n%4 != 0 {
			return fmt.Errorf("block behind packet %d: %w: %d octets", number, ErrSize, n)
		}
		buf = append(buf[:0], make([]byte, n-uint32(have))...)
		if err := full(r, buf); err != nil {
			return ErrTruncated
		}
		body := buf[:len(buf)-4]
		switch {
		case kind == 1 && len(body) >= 8 && len(ifaces) < 1024:
			ifaces = append(ifaces, iface{link: uint32(order.Uint16(body)), unit: resolution(order, body[8:])})
		case kind == 6 && len(body) >= 20:
			number++
			i, n := order.Uint32(body), order.Uint32(body[12:])
			if int(i) >= len(ifaces) || uint64(n) > uint64(len(body)-20) {
				other(number)
				continue
			}
			ticks := uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))
			u := ifaces[i].unit
			at := int64(ticks/u)*1e9 + int64(float64(ticks%u)/float64(u)*1e9)
			if err := packet(ifaces[i].link, body[20:20+n], Datagram{Time: at, Number: number}, do, other); err != nil {
				return err
			}
		}
	}
}

// resolution reads the option if_tsresol; microseconds without one.
func resolution(order binary.ByteOrder, options []byte) uint64 {
	for len(options) >= 4 {
		code, n := order.Uint16(options), int(order.Uint16(options[2:]))
		if len(options) < 4+n || code == 0 {
			break
		}
		if code == 9 && n >= 1 {
			v := options[4]
			if v&0x80 != 0 && v&0x7f < 63 {
				return 1 << (v & 0x7f)
			}
			u := uint64(1)
			for range min(v, 18) {
				u *= 10
			}
			return u
		}
		options = options[min(4+(n+3)/4*4, len(options)):]
	}
	return 1e6
}

// packet finds the UDP payload of a frame.
func packet(link uint32, b []byte, d Datagram, do func(Datagram) error, other func(int64)) error {
	if !udp(network(link, b), &d) {
		other(d.Number)
		return nil
	}
	return do(d)
}

// network is the IP packet of a frame, by its link type; nil: none.
func network(link uint32, b []byte) []byte {
	skip := func(n int) []byte {
		if len(b) < n {
			return nil
		}
		return b[n:]
	}
	switch link {
	case 1: // Ethernet
		if len(b) < 14 {
			return nil
		}
		at := 12
		for at+4 <= len(b) {
			switch binary.BigEndian.Uint16(b[at:]) {
			case 0x8100, 0x88a8:
				at += 4
				continue
			case 0x0800, 0x86dd:
				return b[at+2:]
			}
			return nil
		}
		return nil
	case 101, 12, 14, 228, 229: // raw IP
		return b
	case 0, 108: // loopback
		return skip(4)
	case 113: // Linux cooked
		return skip(16)
	case 276:
		return skip(20)
	}
	return nil
}

// udp sets the address and the payload of d from an IP packet that is a whole UDP datagram.
func udp(b []byte, d *Datagram) bool {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if b[9] != 17 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || n < 20 || total < n+8 || total > len(b) {
			return false
		}
		copy(d.From[10:], []byte{0xff, 0xff, b[12], b[13], b[14], b[15]})
		b = b[n:total]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 17:
		total := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) || total < 48 {
			return false
		}
		copy(d.From[:], b[8:24])
		b = b[40:total]
	default:
		return false
	}
	if n := int(binary.BigEndian.Uint16(b[4:])); n >= 8 && n <= len(b) {
		d.Payload = b[8:n]
		return true
	}
	return false
}

// readMessages splits messages that stand one behind the other.
func readMessages(r *bufio.Reader, do func(Datagram) error) error {
	for number := int64(1); ; number++ {
		n, err := messageLength(r)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("message %d: %w", number, err)
		}
		b, err := r.Peek(n)
		if err != nil {
			return ErrTruncated
		}
		if err := do(Datagram{Number: number, Payload: b}); err != nil {
			return err
		}
		if _, err := r.Discard(n); err != nil {
			return err
		}
	}
}

// messageLength is that of the message at the reader's place.
func messageLength(r *bufio.Reader) (int, error) {
	head, err := r.Peek(4)
	if err != nil {
		if len(head) == 0 {
			return 0, io.EOF
		}
		return 0, ErrTruncated
	}
	second := int(binary.BigEndian.Uint16(head[2:]))
	switch binary.BigEndian.Uint16(head) {
	case 5:
		return 24 + 48*second, nil
	case 10:
		if second < 16 {
			return 0, ErrFormat
		}
		return second, nil
	case 9: // has no length: sets follow until another message begins, and no set is numbered 9
		n := 20
		for n < 64<<10 {
			set, err := r.Peek(n + 4)
			if err != nil || len(set) < n+4 {
				break
			}
			id, length := binary.BigEndian.Uint16(set[n:]), int(binary.BigEndian.Uint16(set[n+2:]))
			if id > 1 && id < 256 || length < 4 {
				break
			}
			n += length
		}
		return n, nil
	}
	return 0, ErrFormat
}
