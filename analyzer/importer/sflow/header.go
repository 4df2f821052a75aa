package sflow

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Header protocols of sFlow.
const (
	ethernet = 1
	ipv4     = 11
	ipv6     = 12
)

// header reads the first octets of a sampled packet into h; false: no IP in them.
func header(protocol uint32, b []byte, h *biflow.Half) bool {
	kind := uint16(0)
	switch protocol {
	case ethernet:
		if len(b) < 14 {
			return false
		}
		h.DstMAC, h.SrcMAC = flow.MACFrom(b), flow.MACFrom(b[6:])
		kind, b = binary.BigEndian.Uint16(b[12:]), b[14:]
		for (kind == 0x8100 || kind == 0x88a8) && len(b) >= 4 {
			if h.VLAN == 0 {
				h.VLAN = binary.BigEndian.Uint16(b) & 0xfff
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		}
		for kind == 0x8847 && len(b) >= 4 { // MPLS: behind the label at the bottom
			bottom := b[2]&1 != 0
			b = b[4:]
			if bottom {
				kind = 0
				if len(b) > 0 && b[0]>>4 == 4 {
					kind = 0x0800
				} else if len(b) > 0 && b[0]>>4 == 6 {
					kind = 0x86dd
				}
			}
		}
	case ipv4:
		kind = 0x0800
	case ipv6:
		kind = 0x86dd
	}
	switch kind {
	case 0x0800:
		return internet4(b, h)
	case 0x86dd:
		return internet6(b, h)
	}
	return false
}

func internet4(b []byte, h *biflow.Half) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	n := int(b[0]&15) * 4
	h.Src, h.Dst = address(b[12:16]), address(b[16:20])
	h.Protocol, h.TTL, h.DSCP = b[9], b[8], b[1]>>2
	length := binary.BigEndian.Uint16(b[2:])
	h.MinSize, h.MaxSize = length, length
	h.Bytes = uint64(length) * h.Packets
	if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 && n >= 20 && len(b) > n { // a later fragment has no ports
		transport(b[n:], h)
	}
	return true
}

func internet6(b []byte, h *biflow.Half) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	h.Src, h.Dst = address(b[8:24]), address(b[24:40])
	h.TTL, h.DSCP = b[7], uint8(binary.BigEndian.Uint16(b)>>6)&0x3f
	length := min(uint32(binary.BigEndian.Uint16(b[4:]))+40, 65535)
	h.MinSize, h.MaxSize = uint16(length), uint16(length)
	h.Bytes = uint64(length) * h.Packets
	next, b := b[6], b[40:]
	for range 4 { // hop-by-hop, routing, destination options
		if next != 0 && next != 43 && next != 60 || len(b) < 8 {
			break
		}
		n := 8 + int(b[1])*8
		next = b[0]
		b = b[min(n, len(b)):]
	}
	h.Protocol = next
	transport(b, h)
	return true
}

func transport(b []byte, h *biflow.Half) {
	switch h.Protocol {
	case 6:
		if len(b) >= 14 {
			h.Flags = b[13]
		}
	case 1, 58:
		if len(b) >= 2 {
			h.ICMPType, h.ICMPCode = b[0], b[1]
		}
		return
	case 17, 132:
	default:
		return
	}
	if len(b) >= 4 {
		h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
}
