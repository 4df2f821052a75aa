package capture

import (
	"encoding/binary"
	"math/bits"
)

// hashLayers bounds the headers FlowHash looks at: link layer, tags, labels,
// IP, extension headers and tunnels, each one.
const hashLayers = 24

// FlowHash spreads frames over workers so that what belongs together meets:
// frame goes to worker FlowHash(link, data) % workers, in files as in a live
// fanout group, where an eBPF program computes the same value.
//
// It is a symmetric hash of the two addresses of the innermost IP packet, found
// behind VLAN tags, MPLS, PPPoE, GRE (NVGRE, ERSPAN, transparent Ethernet),
// VXLAN, GENEVE, GTP-U, IP in IP and 6in4. Ports are left out on purpose: only
// the first piece of a fragmented datagram has any, so a flow that fragments
// some of its packets (DNS answers, Kerberos, IKE) would be cut in two; nor
// would a host's ICMP errors and a protocol's second connections (FTP, SIP)
// reach the worker that knows the first. A tunnel whose packets are themselves
// fragments is hashed by its ends, as the decoder takes it.
//
// data begins with the link-layer header of LINKTYPE link and may be cut. The
// value is the same on every machine and in every release that says nothing
// else. 0 stands for frames without IP. All 32 bits are mixed: whoever samples
// flows should take a part other than the low bits, or mix again. Nothing is
// allocated and data is not kept.
func FlowHash(link uint16, data []byte) uint32 {
	// Ethernet, IPv4 without options, whole, TCP: nothing further to look into.
	if link == LinkEthernet && len(data) >= 34 && data[12] == 8 && data[13] == 0 && data[14] == 0x45 && data[23] == protoTCP &&
		binary.BigEndian.Uint16(data[20:])&0x3fff == 0 {
		return pairHash(uint64(binary.BigEndian.Uint32(data[26:])), uint64(binary.BigEndian.Uint32(data[30:])))
	}
	next, at := linkHeader(link, data)
	return layersHash(next, at, data)
}

// pairHash mixes two addresses, each folded to 64 bits, into the same value in
// either order. A sum of mixed values is used, and not XOR, which would make
// all pairs a^x, b^x equal.
func pairHash(a, b uint64) uint32 {
	s := addressHash(a) + addressHash(b)
	s ^= s >> 32
	s *= mixC
	return uint32(s >> 32)
}

// Odd constants with about half their bits set: the golden ratio's and those
// of the finaliser of splitmix64 (Steele, Lea, Flood 2014).
const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xbf58476d1ce4e5b9
	mixC = 0x94d049bb133111eb
)

func addressHash(a uint64) uint64 {
	a *= mixA
	a ^= a >> 32
	return a * mixB
}

// fold6 folds an IPv6 address.
func fold6(b []byte) uint64 {
	return bits.RotateLeft64(binary.BigEndian.Uint64(b), 32)*mixC + binary.BigEndian.Uint64(b[8:])
}

// What comes next is an EtherType, or one of these with an offset.
const (
	nextUpper = 0x10000 // + IP protocol number
	nextGTP   = 0x20000 // a GTP-U extension header
	nextRaw   = 0x20001 // IP of either version
	nextEnd   = 0x20002 // nothing that is looked into
)

// EtherTypes (IANA, IEEE 802).
const (
	etherIPv4       = 0x0800
	etherIPv6       = 0x86dd
	etherVLAN       = 0x8100
	etherQinQ       = 0x88a8
	etherQinQOld    = 0x9100
	etherTEB        = 0x6558 // an Ethernet frame (RFC 1701)
	etherMPLS       = 0x8847
	etherMPLSUp     = 0x8848
	etherPPP        = 0x880b
	etherPPPoE      = 0x8864
	etherFabricPath = 0x8903
	etherERSPAN     = 0x88be
	etherERSPAN3    = 0x22eb
	etherMaxLength  = 1500 // smaller values are the length of an 802.3 frame
)

// IP protocol numbers and ports (IANA).
const (
	protoHopByHop = 0
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoDstOpts  = 60
	protoMobility = 135
	protoHIP      = 139
	protoShim6    = 140

	portGTPU   = 2152
	portVXLAN  = 4789
	portGENEVE = 6081
)

// layersHash walks the headers from at on. The eBPF program of fanoutProgram
// takes the same steps with the same bounds; a change here is one there.
func layersHash(next uint32, at int, data []byte) (hash uint32) {
	for range hashLayers {
		if at < 0 || at > len(data) {
			return hash
		}
		b := data[at:]
		n := 0 // octets of this header
		switch next {
		case etherIPv4:
			if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
				return hash
			}
			hash = pairHash(uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:])))
			if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // a fragment
				return hash
			}
			next, n = nextUpper+uint32(b[9]), int(b[0]&15)*4
		case etherIPv6:
			if len(b) < 40 || b[0]>>4 != 6 {
				return hash
			}
			hash = pairHash(fold6(b[8:]), fold6(b[24:]))
			next, n = nextUpper+uint32(b[6]), 40
		case nextRaw:
			if len(b) < 1 {
				return hash
			}
			next = ipVersion(b[0])
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(b) < 4 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[2:])), 4
		case etherTEB:
			if len(b) < 14 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[12:])), 14
		case etherFabricPath: // two octets of tag, then a frame
			next, n = etherTEB, 2
		case etherMPLS, etherMPLSUp:
			next, n = mplsNext(b)
		case etherPPPoE:
			if len(b) < 8 || b[0] != 0x11 || b[1] != 0 {
				return hash
			}
			next, n = etherPPP, 6
		case etherPPP:
			next, n = pppNext(b)
		case nextGTP:
			if len(b) < 1 || b[0] == 0 || len(b) < int(b[0])*4 {
				return hash
			}
			n = int(b[0]) * 4
			if b[n-1] == 0 {
				next = nextRaw
			}
		case nextUpper + protoHopByHop, nextUpper + protoRouting, nextUpper + protoDstOpts, nextUpper + protoMobility,
			nextUpper + protoHIP, nextUpper + protoShim6:
			if len(b) < 2 {
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8+int(b[1])*8
		case nextUpper + protoAH:
			if len(b) < 2 {
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8+int(b[1])*4
		case nextUpper + protoFragment:
			if len(b) < 8 || binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 { // an atomic one is whole (RFC 6946)
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8
		case nextUpper + protoIPv4:
			next = etherIPv4
		case nextUpper + protoIPv6:
			next = etherIPv6
		case nextUpper + protoGRE:
			next, n = greNext(b)
		case nextUpper + protoUDP:
			next, n = udpNext(b)
		default:
			if next > etherMaxLength || len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 { // no SNAP (RFC 1042)
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[6:])), 8
		}
		at += n
	}
	return hash
}

func ipVersion(first byte) uint32 {
	switch first >> 4 {
	case 4:
		return etherIPv4
	case 6:
		return etherIPv6
	}
	return nextEnd
}

// mplsNext reads one label (RFC 3032) and tells by the first nibble what is
// under the last one, as routers do (RFC 4928).
func mplsNext(b []byte) (next uint32, n int) {
	switch {
	case len(b) < 5:
		return nextEnd, 0
	case b[2]&1 == 0:
		return etherMPLS, 4
	case b[4]>>4 == 0: // a control word, then a frame (RFC 4448)
		return etherTEB, 8
	}
	return ipVersion(b[4]), 4
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
		return etherIPv4, n
	case 0x57:
		return etherIPv6, n
	case 0x281, 0x283:
		return etherMPLS, n
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
	switch et := uint32(binary.BigEndian.Uint16(b[2:])); et {
	case etherERSPAN:
		return etherTEB, n + int(b[0]>>4&1)*8 // type II with a sequence number, type I without
	case etherERSPAN3:
		if len(b) < n+12 {
			return nextEnd, 0
		}
		return etherTEB, n + 12 + int(b[n+11]&1)*8
	default:
		return payloadType(et), n
	}
}

// payloadType is the EtherType of what GRE or GENEVE carries, if it is looked
// into.
func payloadType(et uint32) uint32 {
	switch et {
	case etherIPv4, etherIPv6, etherTEB, etherPPP, etherMPLS, etherMPLSUp:
		return et
	}
	return nextEnd
}

// udpNext looks for a tunnel behind a UDP header.
func udpNext(b []byte) (next uint32, n int) {
	if len(b) < 16 {
		return nextEnd, 0
	}
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	switch {
	case dst == portVXLAN && b[8] == 8 && b[15] == 0: // RFC 7348 section 5
		return etherTEB, 16
	case dst == portGENEVE && b[8]&0xc0 == 0 && b[9]&0x80 == 0: // RFC 8926 section 3.4
		return payloadType(uint32(binary.BigEndian.Uint16(b[10:]))), 16 + int(b[8])*4
	case (dst == portGTPU || src == portGTPU && dst != portVXLAN && dst != portGENEVE) && b[8]&0xf0 == 0x30 && b[9] == 0xff: // TS 29.281 section 5.1
		switch {
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
	}
	return nextEnd, 0
}
