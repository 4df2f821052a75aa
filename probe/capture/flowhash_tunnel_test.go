package capture

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
)

// underLabels tells by the first nibble what is under the last label, as
// routers do (RFC 4928): IP, or an Ethernet frame, with a control word before
// it (RFC 4448) or without.
func underLabels(b []byte) (next uint32, n int) {
	switch {
	case len(b) < 1:
		return nextEnd, 0
	case looksFramed(b):
		if b[0]>>4 == 0 && looksFramed(b[4:]) {
			return iana.EtherTEB, 4
		}
		return iana.EtherTEB, 0
	case b[0]>>4 == 0:
		return iana.EtherTEB, 4
	}
	return ipVersion(b[0]), 0
}

// looksFramed reports whether b can be an Ethernet frame with something that
// is looked into.
func looksFramed(b []byte) bool {
	if len(b) < 24 {
		return false
	}
	for n := 12; n <= 20; n += vlanLen {
		switch binary.BigEndian.Uint16(b[n:]) {
		case iana.EtherIPv4:
			return b[n+2] >= 0x45 && b[n+2] <= 0x4f
		case iana.EtherIPv6:
			return b[n+2]>>4 == 6
		case iana.EtherARP, iana.EtherRARP:
			return b[n+2] == 0
		case iana.EtherMPLS, iana.EtherPPPoE:
			return true
		case iana.EtherVLAN, iana.EtherQinQ, iana.EtherQinQOld:
		default:
			return false
		}
	}
	return false
}

// nextProtocol is the registry that VXLAN-GPE and NSH share (RFC 8300 section
// 9.1.4).
func nextProtocol(n byte) uint32 {
	switch n {
	case 1:
		return iana.EtherIPv4
	case 2:
		return iana.EtherIPv6
	case 3:
		return iana.EtherTEB
	case 4:
		return iana.EtherNSH
	case 5:
		return iana.EtherMPLS
	}
	return nextEnd
}

// pppNext reads a PPP header with or without address and control (RFC 1662),
// its protocol in one or two octets (RFC 1661 section 6.5).
func pppNext(b []byte) (next uint32, n int) {
	if len(b) < 4 {
		return nextEnd, 0
	}
	if b[0] == 0xff && b[1] == 3 {
		b, n = b[2:], 2
	}
	proto := uint32(b[0])
	if n++; b[0]&1 == 0 {
		proto = proto<<8 | uint32(b[1])
		n++
	}
	switch proto {
	case 0x21:
		return iana.EtherIPv4, n
	case 0x57:
		return iana.EtherIPv6, n
	case 0x281, 0x283:
		return iana.EtherMPLS, n
	}
	return nextEnd, 0
}

// greNext reads GRE (RFC 2784, RFC 2890, RFC 2637) and the ERSPAN headers.
func greNext(b []byte) (next uint32, n int) {
	if len(b) < 4 || b[0]&0x40 != 0 || b[1]&7 > 1 {
		return nextEnd, 0
	}
	n = 4 + int(b[0]>>7)*4 + int(b[0]>>5&1)*4 + int(b[0]>>4&1)*4 // checksum, key, sequence number
	if b[1]&7 == 1 {
		n += int(b[1]>>7) * 4 // acknowledgement number
	}
	if len(b) <= n {
		return nextEnd, 0
	}
	switch et := uint32(binary.BigEndian.Uint16(b[2:])); et {
	case iana.EtherERSPAN: // type II has a sequence number and a header, type I neither
		if b[0]&0x10 == 0 {
			return iana.EtherTEB, n
		}
		if b[n]>>4 != 1 {
			return nextEnd, 0
		}
		return iana.EtherTEB, n + 8
	case iana.EtherERSPAN3:
		if len(b) < n+12 {
			return nextEnd, 0
		}
		size := n + 12 + int(b[n+11]&1)*8
		if b[n+10]>>2&0x1f == 2 { // frame type: IP
			return nextRaw, size
		}
		return iana.EtherTEB, size
	case iana.EtherWCCP: // version 2 has a header of its own, of 4 octets
		if b[n]>>4 != 4 {
			n += 4
		}
		return iana.EtherIPv4, n
	default:
		return payloadType(et), n
	}
}

// payloadType is the EtherType of what GRE or GENEVE carries, if it is looked
// into.
func payloadType(et uint32) uint32 {
	switch et {
	case iana.EtherIPv4, iana.EtherIPv6, iana.EtherTEB, iana.EtherPPP, iana.EtherMPLS, iana.EtherMPLSUp, iana.EtherNSH:
		return et
	}
	return nextEnd
}

func tunnelPort(port uint16) bool {
	switch port {
	case iana.PortL2TP, iana.PortGTPU, iana.PortTeredo, iana.PortLISP, iana.PortGRE, iana.PortVXLAN, iana.PortVXLANGPE, iana.PortAYIYA, iana.PortGENEVE, iana.PortMPLS, iana.PortVXLANOld:
		return true
	}
	return false
}

// udpNext looks for a tunnel behind a UDP header, known by the port that the
// datagram was sent to, or else came from.
func udpNext(b []byte) (next uint32, n int) {
	if len(b) < 16 {
		return nextEnd, 0
	}
	port, sent := binary.BigEndian.Uint16(b[2:]), true
	if !tunnelPort(port) {
		port, sent = binary.BigEndian.Uint16(b), false
	}
	switch port {
	case iana.PortVXLAN, iana.PortVXLANGPE, iana.PortVXLANOld: // RFC 7348, draft-ietf-nvo3-vxlan-gpe
		if b[8]&0x78 != 8 || b[15] != 0 {
			break
		}
		if b[8]&4 != 0 || port == iana.PortVXLANGPE && b[11] != 0 {
			return nextProtocol(b[11]), 16
		}
		return iana.EtherTEB, 16
	case iana.PortGENEVE: // RFC 8926 section 3.4
		if b[8]&0xc0 == 0 && b[9]&0x80 == 0 && b[15] == 0 {
			return payloadType(uint32(binary.BigEndian.Uint16(b[10:]))), 16 + int(b[8])*4
		}
	case iana.PortGTPU:
		return gtpNext(b)
	case iana.PortL2TP:
		return l2tpNext(b)
	case iana.PortTeredo:
		return iana.EtherIPv6, teredoLength(b)
	case iana.PortGRE: // RFC 8086
		if sent {
			return nextUpper + iana.ProtoGRE, 8
		}
	case iana.PortMPLS: // RFC 7510
		if sent {
			return iana.EtherMPLS, 8
		}
	case iana.PortLISP: // RFC 9300
		if sent {
			return nextRaw, 16
		}
	default:
		if looksTeredo(b) {
			return iana.EtherIPv6, 8
		}
	}
	return nextEnd, 0
}

// looksTeredo reports whether a datagram is IPv6 of its very length, from or to
// an address of Teredo (2001::/32), as Teredo's clients send to each other.
func looksTeredo(b []byte) bool {
	const prefix = 0x20010000
	return b[8]>>4 == 6 && binary.BigEndian.Uint16(b[4:]) == binary.BigEndian.Uint16(b[12:])+48 && len(b) >= 36 &&
		(binary.BigEndian.Uint32(b[16:]) == prefix || binary.BigEndian.Uint32(b[32:]) == prefix)
}

// gtpNext reads a G-PDU (3GPP TS 29.281 section 5.1) behind a UDP header.
func gtpNext(b []byte) (next uint32, n int) {
	switch {
	case b[8]&0xf0 != 0x30 || b[9] != 0xff:
	case b[8]&7 == 0:
		return nextRaw, 16
	case b[8]&4 == 0:
		return nextRaw, 20
	case len(b) < 20:
	case b[19] == 0:
		return nextRaw, 20
	default:
		return nextGTP, 20
	}
	return nextEnd, 0
}

// l2tpNext reads a data message of version 2 (RFC 2661 section 3.1) behind a UDP
// header.
func l2tpNext(b []byte) (next uint32, n int) {
	const control, length, sequence, offset = 0x80, 0x40, 0x08, 0x02
	if b[8]&(control|0x34) != 0 || b[9] != 2 {
		return nextEnd, 0
	}
	n = 8 + 6
	if b[8]&length != 0 {
		n += 2
	}
	if b[8]&sequence != 0 {
		n += 4
	}
	if b[8]&offset != 0 {
		if len(b) < n+2 {
			return nextEnd, 0
		}
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	return iana.EtherPPP, n
}

// teredoLength is the length of a UDP header and the indications before the
// IPv6 packet (RFC 4380 section 5.1.1).
func teredoLength(b []byte) (n int) {
	n = 8
	if b[8] == 0 && b[9] == 1 { // authentication
		n += 13 + int(b[10]) + int(b[11])
	}
	if len(b) >= n+2 && b[n] == 0 && b[n+1] == 0 { // origin
		n += 8
	}
	return n
}
