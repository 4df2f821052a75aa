package decode

import "encoding/binary"

// The builders below make packets layer by layer, each around its payload.

func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func ether(et uint16, payload []byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, be16(et), payload)
}

func tag(id, et uint16, payload []byte) []byte { return cat(be16(id), be16(et), payload) }

// ip4 goes from 10.0.0.1 to 10.0.0.2.
func ip4(proto byte, payload []byte) []byte { return ip4frag(proto, 7, 0, nil, payload) }

// ip4frag sets identification and the flags and offset field.
func ip4frag(proto byte, id, offset uint16, options, payload []byte) []byte {
	header := 20 + len(options)
	return cat([]byte{0x40 | byte(header/4), 0xb8}, be16(uint16(header+len(payload))), be16(id), be16(offset),
		[]byte{64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, options, payload)
}

// ip6 goes from fd00::1 to fd00::2.
func ip6(next byte, payload []byte) []byte {
	a := make([]byte, 32)
	a[0], a[15], a[16], a[31] = 0xfd, 1, 0xfd, 2
	return cat([]byte{0x60, 0, 0, 0}, be16(uint16(len(payload))), []byte{next, 63}, a, payload)
}

func tcpSegment(src, dst uint16, seq, ack uint32, flags byte, options, payload []byte) []byte {
	return cat(be16(src), be16(dst), be32(seq), be32(ack), []byte{byte(20+len(options)) << 2, flags}, be16(512), []byte{0, 0, 0, 0}, options, payload)
}

func udpDatagram(src, dst uint16, payload []byte) []byte {
	return cat(be16(src), be16(dst), be16(uint16(8+len(payload))), []byte{0, 0}, payload)
}

func echo(typ byte, id uint16) []byte {
	return cat([]byte{typ, 0, 0, 0}, be16(id), be16(1), []byte("ping"))
}
