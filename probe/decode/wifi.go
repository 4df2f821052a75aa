package decode

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// Frame control field of 802.11 (IEEE 802.11-2020 section 9.2.4.1), read little endian.
const (
	wifiType      = 0x000c
	wifiData      = 0x0008
	wifiNoBody    = 0x0040 // subtypes "null"
	wifiQoS       = 0x0080
	wifiToDS      = 0x0100
	wifiFromDS    = 0x0200
	wifiProtected = 0x4000
	wifiOrder     = 0x8000 // with QoS: an HT control field follows
)

const wifiCheck = 4 // octets of the frame check sequence

// wifi reads an 802.11 frame without check sequence. Only data in the clear
// has flows: management, control and protected frames are NonIP. Of an A-MSDU
// the first packet is read, the others are not seen.
func (d *Decoder) wifi(l *layer, p *Packet) Verdict {
	return d.wifiPadded(false, l, p)
}

// wifiPadded is wifi for adapters that pad the header to words.
func (d *Decoder) wifiPadded(padded bool, l *layer, p *Packet) Verdict {
	b := l.b
	if len(b) < 2 {
		return short(2, l.wire)
	}
	fc := binary.LittleEndian.Uint16(b)
	if fc&3 != 0 || fc&wifiType != wifiData || fc&(wifiNoBody|wifiProtected) != 0 {
		return NonIP
	}
	n := 24
	if fc&(wifiToDS|wifiFromDS) == wifiToDS|wifiFromDS {
		n += 6
	}
	qos := n
	if fc&wifiQoS != 0 {
		n += 2
		if fc&wifiOrder != 0 {
			n += 4
		}
	}
	if padded {
		n = (n + 3) &^ 3
	}
	if len(b) < n {
		return short(n, l.wire)
	}
	if b[22]&15 != 0 { // a later fragment of a frame
		return NonIP
	}
	// Table 9-30: which address is whose.
	dst, src := b[4:], b[10:]
	switch fc & (wifiToDS | wifiFromDS) {
	case wifiToDS:
		dst, src = b[16:], b[10:]
	case wifiFromDS:
		dst, src = b[4:], b[16:]
	case wifiToDS | wifiFromDS:
		dst, src = b[16:], b[24:]
	}
	aggregated := fc&wifiQoS != 0 && b[qos]&0x80 != 0
	if aggregated {
		if len(b) < n+etherHeader {
			return short(n+etherHeader, l.wire)
		}
		dst, src = b[n:], b[n+6:]
	}
	if p.Tunnel == flow.TunnelNone {
		p.DstMAC, p.SrcMAC = flow.MACFrom(dst), flow.MACFrom(src)
	}
	l.skip(n)
	if aggregated {
		size := int(binary.BigEndian.Uint16(l.b[12:]))
		l.skip(etherHeader)
		l.trim(size)
	}
	et, v := llc(l)
	if v != OK {
		return v
	}
	return d.ether(et, l, p)
}

// Radiotap (radiotap.org): version, pad, length, one or more words that say
// which fields follow, of which only the first two matter.
const (
	radiotapHeader = 8
	radiotapTSFT   = 1 << 0
	radiotapFlags  = 1 << 1
	radiotapMore   = 1 << 31

	radiotapHasCheck = 0x10
	radiotapPadded   = 0x20
	radiotapBadCheck = 0x40
)

// radiotap reads a frame with the radio's own header before it. A frame that
// the radio received damaged is Malformed: its addresses are not to be trusted.
func (d *Decoder) radiotap(l *layer, p *Packet) Verdict {
	if len(l.b) < radiotapHeader {
		return short(radiotapHeader, l.wire)
	}
	le := binary.LittleEndian
	n := int(le.Uint16(l.b[2:]))
	if l.b[0] != 0 || n < radiotapHeader {
		return Malformed
	}
	if len(l.b) < n {
		return short(n, l.wire)
	}
	present, at := le.Uint32(l.b[4:]), radiotapHeader
	for word := present; word&radiotapMore != 0; at += 4 {
		if at+4 > n {
			return Malformed
		}
		word = le.Uint32(l.b[at:])
	}
	flags := byte(0)
	if present&radiotapFlags != 0 {
		if present&radiotapTSFT != 0 {
			at = (at+7)&^7 + 8
		}
		if at >= n {
			return Malformed
		}
		flags = l.b[at]
	}
	l.skip(n)
	if flags&radiotapBadCheck != 0 {
		return Malformed
	}
	if flags&radiotapHasCheck != 0 {
		l.trim(l.wire - wifiCheck)
	}
	return d.wifiPadded(flags&radiotapPadded != 0, l, p)
}

// prism reads a frame behind the header of Prism II drivers (code, length,
// in the order of the machine) or the AVS header that took its place (magic,
// length, big endian).
func (d *Decoder) prism(l *layer, p *Packet) Verdict {
	if len(l.b) < 8 {
		return short(8, l.wire)
	}
	n := binary.LittleEndian.Uint32(l.b[4:])
	if m := binary.BigEndian.Uint32(l.b[4:]); m < n {
		n = m
	}
	if n < 8 || n > 1<<12 {
		return Malformed
	}
	if len(l.b) < int(n) {
		return short(int(n), l.wire)
	}
	l.skip(int(n))
	return d.wifi(l, p)
}

// ppi reads CACE's Per-Packet Information: version, flags, length, link type,
// then fields of type, length and content.
func (d *Decoder) ppi(l *layer, p *Packet) Verdict {
	const (
		header  = 8
		common  = 2 // 802.11-Common: 8 octets of time, then flags
		hasFCS  = 1
		badFCS  = 4
		aligned = 1
	)
	if len(l.b) < header {
		return short(header, l.wire)
	}
	le := binary.LittleEndian
	n, typ := int(le.Uint16(l.b[2:])), le.Uint32(l.b[4:])
	if n < header || typ > 1<<15 || typ == linkPPI {
		return Malformed
	}
	if len(l.b) < n {
		return short(n, l.wire)
	}
	flags := uint16(0)
	fields, pad := l.b[header:n], l.b[1]&aligned != 0
	for len(fields) >= 4 {
		size := int(le.Uint16(fields[2:]))
		if le.Uint16(fields) == common && size >= 10 && len(fields) >= 14 {
			flags = le.Uint16(fields[12:])
		}
		if size += 4; pad {
			size = (size + 3) &^ 3
		}
		fields = fields[min(size, len(fields)):]
	}
	l.skip(n)
	if uint16(typ) != capture.LinkIEEE80211 {
		return d.link(uint16(typ), l, p)
	}
	if flags&badFCS != 0 {
		return Malformed
	}
	if flags&hasFCS != 0 {
		l.trim(l.wire - wifiCheck)
	}
	return d.wifi(l, p)
}
