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
// behind VLAN and other tags, MPLS, PPPoE, GRE (NVGRE, ERSPAN, transparent
// Ethernet), VXLAN(-GPE), GENEVE, GTP-U, L2TP, Teredo, IP in IP, 6in4 and rarer
// ones. What package decode opens and this does not is hashed by its ends. Ports are left out on purpose: only
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
	if link == LinkEthernet && len(data) >= 34 && data[12] == 8 && data[13] == 0 && data[14] == 0x45 &&
		binary.BigEndian.Uint16(data[20:])&0x3fff == 0 && nothingWithin(data) {
		return pairHash(uint64(binary.BigEndian.Uint32(data[26:])), uint64(binary.BigEndian.Uint32(data[30:])))
	}
	next, at := linkHeader(link, data)
	return layersHash(next, at, data)
}

// nothingWithin reports, of Ethernet and IPv4 without options and whole, that
// there is no tunnel to look into; false if that takes a closer look.
func nothingWithin(data []byte) bool {
	switch data[23] {
	case protoTCP:
		return true
	case protoUDP:
		return len(data) < 50 || data[42]>>4 != 6 &&
			!tunnelPort(binary.BigEndian.Uint16(data[34:])) && !tunnelPort(binary.BigEndian.Uint16(data[36:]))
	}
	return false
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
	nextUnder = 0x20003 // what lies under the last MPLS label
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
	etherSGT        = 0x8909
	etherVNTag      = 0x8926
	etherHSR        = 0x892f
	etherBridgePort = 0x893f
	etherPBB        = 0x88e7
	etherNSH        = 0x894f
	etherARP        = 0x0806
	etherRARP       = 0x8035
	etherWCCP       = 0x883e // in GRE only
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
	protoEtherIP  = 97
	protoMobility = 135
	protoMPLS     = 137
	protoHIP      = 139
	protoShim6    = 140
	protoEthernet = 143

	portL2TP     = 1701
	portGTPU     = 2152
	portTeredo   = 3544
	portLISP     = 4341
	portGRE      = 4754
	portVXLAN    = 4789
	portVXLANGPE = 4790
	portAYIYA    = 5072
	portGENEVE   = 6081
	portMPLS     = 6635
	portVXLANOld = 8472
)

// vlanLen is the length of a VLAN tag, and what a ring reserves for it before
// each frame. Source: IEEE 802.1Q.
const vlanLen = 4

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
		case etherHSR, etherVNTag:
			if len(b) < 6 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[4:])), 6
		case etherSGT, etherBridgePort:
			if len(b) < 8 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[6:])), 8
		case etherPBB: // flags and service, then a frame
			next, n = etherTEB, 4
		case etherNSH:
			if len(b) < 8 || b[0]&0xe0 != 0 || b[1]&0x3f < 2 { // RFC 8300
				return hash
			}
			next, n = nextProtocol(b[3]), int(b[1]&0x3f)*4
		case etherMPLS, etherMPLSUp:
			if len(b) < 4 {
				return hash
			}
			if n = 4; b[2]&1 != 0 { // the bottom of the stack (RFC 3032)
				next = nextUnder
			}
		case nextUnder:
			next, n = underLabels(b)
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
		case nextUpper + protoEtherIP:
			if len(b) < 2 || b[0]>>4 != 3 { // RFC 3378
				return hash
			}
			next, n = etherTEB, 2
		case nextUpper + protoEthernet:
			next = etherTEB
		case nextUpper + protoMPLS:
			next = etherMPLS
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
