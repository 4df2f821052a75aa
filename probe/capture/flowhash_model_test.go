package capture

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/iana"
)

// FlowHash is the model of the fanout program, which the kernel's own is held
// against frame by frame: the PairHash of the innermost addresses of a frame,
// found behind VLAN and other tags, MPLS, PPPoE, GRE (NVGRE, ERSPAN,
// transparent Ethernet), VXLAN(-GPE), GENEVE, GTP-U, L2TP, Teredo, IP in IP,
// 6in4 and rarer ones. data begins with the link-layer header of LINKTYPE link
// and may be cut. 0 stands for frames without IP.
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
	case iana.ProtoTCP:
		return true
	case iana.ProtoUDP:
		return len(data) < 50 || data[42]>>4 != 6 &&
			!tunnelPort(binary.BigEndian.Uint16(data[34:])) && !tunnelPort(binary.BigEndian.Uint16(data[36:]))
	}
	return false
}

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
		case iana.EtherIPv4:
			if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
				return hash
			}
			hash = pairHash(uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:])))
			if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // a fragment
				return hash
			}
			next, n = nextUpper+uint32(b[9]), int(b[0]&15)*4
		case iana.EtherIPv6:
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
		case iana.EtherVLAN, iana.EtherQinQ, iana.EtherQinQOld:
			if len(b) < 4 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[2:])), 4
		case iana.EtherTEB:
			if len(b) < 14 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[12:])), 14
		case iana.EtherFabricPath: // two octets of tag, then a frame
			next, n = iana.EtherTEB, 2
		case iana.EtherHSR, iana.EtherVNTag:
			if len(b) < 6 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[4:])), 6
		case iana.EtherSGT, iana.EtherBridgePort:
			if len(b) < 8 {
				return hash
			}
			next, n = uint32(binary.BigEndian.Uint16(b[6:])), 8
		case iana.EtherPBB: // flags and service, then a frame
			next, n = iana.EtherTEB, 4
		case iana.EtherNSH:
			if len(b) < 8 || b[0]&0xe0 != 0 || b[1]&0x3f < 2 { // RFC 8300
				return hash
			}
			next, n = nextProtocol(b[3]), int(b[1]&0x3f)*4
		case iana.EtherMPLS, iana.EtherMPLSUp:
			if len(b) < 4 {
				return hash
			}
			if n = 4; b[2]&1 != 0 { // the bottom of the stack (RFC 3032)
				next = nextUnder
			}
		case nextUnder:
			next, n = underLabels(b)
		case iana.EtherPPPoE:
			if len(b) < 8 || b[0] != 0x11 || b[1] != 0 {
				return hash
			}
			next, n = iana.EtherPPP, 6
		case iana.EtherPPP:
			next, n = pppNext(b)
		case nextGTP:
			if len(b) < 1 || b[0] == 0 || len(b) < int(b[0])*4 {
				return hash
			}
			n = int(b[0]) * 4
			if b[n-1] == 0 {
				next = nextRaw
			}
		case nextUpper + iana.ProtoHopByHop, nextUpper + iana.ProtoRouting, nextUpper + iana.ProtoDstOpts, nextUpper + iana.ProtoMobility,
			nextUpper + iana.ProtoHIP, nextUpper + iana.ProtoShim6:
			if len(b) < 2 {
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8+int(b[1])*8
		case nextUpper + iana.ProtoAH:
			if len(b) < 2 {
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8+int(b[1])*4
		case nextUpper + iana.ProtoFragment:
			if len(b) < 8 || binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 { // an atomic one is whole (RFC 6946)
				return hash
			}
			next, n = nextUpper+uint32(b[0]), 8
		case nextUpper + iana.ProtoIPv4:
			next = iana.EtherIPv4
		case nextUpper + iana.ProtoIPv6:
			next = iana.EtherIPv6
		case nextUpper + iana.ProtoEtherIP:
			if len(b) < 2 || b[0]>>4 != 3 { // RFC 3378
				return hash
			}
			next, n = iana.EtherTEB, 2
		case nextUpper + iana.ProtoEthernet:
			next = iana.EtherTEB
		case nextUpper + iana.ProtoMPLS:
			next = iana.EtherMPLS
		case nextUpper + iana.ProtoGRE:
			next, n = greNext(b)
		case nextUpper + iana.ProtoUDP:
			next, n = udpNext(b)
		default:
			if next > iana.EtherMaxLength || len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 { // no SNAP (RFC 1042)
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
		return iana.EtherIPv4
	case 6:
		return iana.EtherIPv6
	}
	return nextEnd
}
