// Package trace holds whole captures in memory for the demo's recorder and its tests: it reads and
// writes classic pcap files, plain or gzip, and moves recorded connections in time.
//
// In: libpcap files of link type Ethernet, both endians, micro or nanosecond. Out: little-endian microsecond
// files, the dialect every tool reads. Packets own their bytes. The probe has its own, faster reader;
// this one exists so that the recorder and the check of its result do not depend on the thing they test.
package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Packet is one captured frame.
type Packet struct {
	Time   int64  // microseconds since 1970-01-01 UTC
	Length int    // octets on the wire, never less than len(Data)
	Data   []byte // the octets kept, from the Ethernet header on; owned by the packet
}

const (
	magicMicro   = 0xa1b2c3d4
	magicNano    = 0xa1b23c4d
	linkEthernet = 1
	// maxFrame bounds one record: libpcap's MAXIMUM_SNAPLEN.
	maxFrame = 262144
	// maxKept bounds what Read holds in memory, so that no compressed file can fill it.
	maxKept = 1 << 30
)

// ErrNotPcap is returned for input that does not begin with a pcap magic number.
var ErrNotPcap = errors.New("not a pcap file (expected magic a1b2c3d4 or a1b23c4d)")

// Read returns every packet of a pcap stream, which may be gzip. A stream cut in the middle of a record gives
// the packets before the cut and an error that wraps io.ErrUnexpectedEOF.
func Read(r io.Reader) ([]Packet, error) {
	br := bufio.NewReader(r)
	if head, err := br.Peek(2); err == nil && head[0] == 0x1f && head[1] == 0x8b {
		gz, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
		defer gz.Close()
		br = bufio.NewReader(gz)
	}
	var head [24]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, fmt.Errorf("read capture header: %w", ErrNotPcap)
	}
	var order binary.ByteOrder = binary.LittleEndian
	divide := int64(1)
	switch {
	case binary.LittleEndian.Uint32(head[:]) == magicMicro:
	case binary.LittleEndian.Uint32(head[:]) == magicNano:
		divide = 1000
	case binary.BigEndian.Uint32(head[:]) == magicMicro:
		order = binary.BigEndian
	case binary.BigEndian.Uint32(head[:]) == magicNano:
		order, divide = binary.BigEndian, 1000
	default:
		return nil, fmt.Errorf("read capture header: %w", ErrNotPcap)
	}
	if link := order.Uint32(head[20:]); link != linkEthernet {
		return nil, fmt.Errorf("read capture header: link type %d: only Ethernet (1) is handled here", link)
	}
	var out []Packet
	total := 0
	for {
		var rec [16]byte
		if _, err := io.ReadFull(br, rec[:]); err == io.EOF {
			return out, nil
		} else if err != nil {
			return out, fmt.Errorf("read packet %d: %w", len(out)+1, err)
		}
		kept, length := order.Uint32(rec[8:]), order.Uint32(rec[12:])
		if kept > maxFrame || kept > length || length > 1<<24 {
			return out, fmt.Errorf("read packet %d: lengths %d of %d octets are impossible", len(out)+1, kept, length)
		}
		if total += int(kept); total > maxKept {
			return out, fmt.Errorf("read packet %d: more than %d octets: split the capture", len(out)+1, maxKept)
		}
		p := Packet{
			Time:   int64(order.Uint32(rec[0:]))*1e6 + int64(order.Uint32(rec[4:]))/divide,
			Length: int(length),
			Data:   make([]byte, kept),
		}
		if _, err := io.ReadFull(br, p.Data); err != nil {
			return out, fmt.Errorf("read packet %d: %w", len(out)+1, io.ErrUnexpectedEOF)
		}
		out = append(out, p)
	}
}

// ReadFile is Read on a file.
func ReadFile(path string) ([]Packet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	defer f.Close()
	packets, err := Read(f)
	if err != nil {
		return packets, fmt.Errorf("%s: %w", path, err)
	}
	return packets, nil
}

// Write writes packets as they stand, in the order given. The snaplen field says maxFrame, because every
// packet carries its own length.
func Write(w io.Writer, packets []Packet) error {
	bw := bufio.NewWriter(w)
	var head [24]byte
	binary.LittleEndian.PutUint32(head[0:], magicMicro)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], maxFrame)
	binary.LittleEndian.PutUint32(head[20:], linkEthernet)
	bw.Write(head[:]) // bufio keeps the first error for Flush
	for _, p := range packets {
		var rec [16]byte
		binary.LittleEndian.PutUint32(rec[0:], uint32(p.Time/1e6))
		binary.LittleEndian.PutUint32(rec[4:], uint32(p.Time%1e6))
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(p.Data)))
		binary.LittleEndian.PutUint32(rec[12:], uint32(p.Length))
		bw.Write(rec[:])
		bw.Write(p.Data)
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// WriteFile writes a gzip pcap without name or time in the gzip header, so the same packets give the same file.
func WriteFile(path string, packets []Packet) error {
	var buf bytes.Buffer
	gz, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compress capture: %w", err)
	}
	if err := Write(gz, packets); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return fmt.Errorf("compress capture: %w", err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// Sort orders packets by time and keeps the order of equal times.
func Sort(packets []Packet) {
	slices.SortStableFunc(packets, func(a, b Packet) int {
		switch {
		case a.Time < b.Time:
			return -1
		case a.Time > b.Time:
			return 1
		}
		return 0
	})
}
