package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// traffic is synthetic: TCP connections, each with the same number of packets,
// of which the first of all come first, then the second, and so on: the order
// in which flows are farthest apart.
type traffic struct {
	flows, packets int
	payload        int    // octets in every packet after the handshake
	tunnel         string // "", vlan, gre or vxlan
}

func (t traffic) String() string {
	s := fmt.Sprintf("%s flows, %d octets of payload", count(float64(t.flows)), t.payload)
	if t.tunnel != "" {
		s += ", " + t.tunnel
	}
	return s
}

func write(path string, t traffic) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := generate(f, t); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// generate writes t as a pcap file, one packet a microsecond.
func generate(out io.Writer, t traffic) error {
	w := bufio.NewWriterSize(out, 1<<18)
	le := binary.LittleEndian
	header := le.AppendUint32(nil, 0xa1b2c3d4)
	header = le.AppendUint32(header, 2|4<<16)
	header = append(header, make([]byte, 8)...)
	header = le.AppendUint32(header, 1<<18)
	header = le.AppendUint32(header, 1) // Ethernet
	if _, err := w.Write(header); err != nil {
		return err
	}
	var record, frame []byte
	at := uint64(1_700_000_000_000_000) // microseconds
	for n := range t.packets {
		for i := range t.flows {
			frame = t.frame(frame[:0], i, n)
			record = le.AppendUint32(record[:0], uint32(at/1_000_000))
			record = le.AppendUint32(record, uint32(at%1_000_000))
			record = le.AppendUint32(record, uint32(len(frame)))
			record = le.AppendUint32(record, uint32(len(frame)))
			w.Write(record)
			if _, err := w.Write(frame); err != nil {
				return err
			}
			at++
		}
	}
	return w.Flush()
}

// frame appends packet n of flow i: SYN, SYN-ACK, then data from either side.
func (t traffic) frame(b []byte, i, n int) []byte {
	be := binary.BigEndian
	mac := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	payload := 0
	if n > 1 {
		payload = t.payload
	}
	inner := 40 + payload
	b = append(b, mac...)
	switch t.tunnel {
	case "vlan":
		b = append(b, 0x81, 0, 0, 7)
	case "gre":
		b = append(b, 8, 0)
		b = ipv4(b, 20+4+inner, 47, 0xc0a80001, 0xc0a80002)
		b = append(b, 0, 0, 8, 0)
	case "vxlan":
		b = append(b, 8, 0)
		b = ipv4(b, 20+8+8+14+inner, 17, 0xc0a80001, 0xc0a80002)
		b = be.AppendUint16(b, 49152)
		b = be.AppendUint16(b, 4789)
		b = be.AppendUint16(b, uint16(8+8+14+inner))
		b = append(b, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0)
		b = append(b, mac...)
	}
	if t.tunnel != "gre" {
		b = append(b, 8, 0)
	}
	client, server := uint32(10<<24|i>>14), uint32(172<<24|16<<16|i&0xff)
	ports := [2]uint16{uint16(1024 + i&0x3fff), 443}
	flags := byte(0x10)
	answer := n%2 == 1
	switch n {
	case 0:
		flags = 0x02
	case 1:
		flags = 0x12
	}
	mine, theirs := n/2, (n+1)/2 // packets of this side and of the other so far
	seq, ack := sequence(mine, t.payload), sequence(theirs, t.payload)
	if answer {
		client, server = server, client
		ports[0], ports[1] = ports[1], ports[0]
	}
	b = ipv4(b, inner, 6, client, server)
	b = be.AppendUint16(b, ports[0])
	b = be.AppendUint16(b, ports[1])
	b = be.AppendUint32(b, seq)
	if n == 0 {
		ack = 0
	}
	b = be.AppendUint32(b, ack)
	b = append(b, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	for range payload {
		b = append(b, 0x17)
	}
	return b
}

// sequence is where a side is that has sent so many packets, its SYN included.
func sequence(packets, payload int) uint32 {
	if packets == 0 {
		return 1000
	}
	return uint32(1001 + (packets-1)*payload)
}

func ipv4(b []byte, length int, proto byte, src, dst uint32) []byte {
	be := binary.BigEndian
	b = append(b, 0x45, 0)
	b = be.AppendUint16(b, uint16(length))
	b = append(b, 0, 1, 0x40, 0, 64, proto, 0, 0)
	b = be.AppendUint32(b, src)
	return be.AppendUint32(b, dst)
}
