package flow

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
)

// IP protocol numbers that the flow key treats specially.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// CommunityID returns the Community ID version 1 with seed 0
// (github.com/corelight/community-id-spec), "1:" and base64 of the SHA-1. It is
// the same for both directions.
func CommunityID(src, dst Addr, srcPort, dstPort uint16, protocol uint8) string {
	sum := communitySum(src, dst, srcPort, dstPort, protocol)
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}

// CommunityHash is the first 8 octets of the Community ID's SHA-1, big endian:
// what is stored and indexed. `community_id` is computed from the key.
func CommunityHash(src, dst Addr, srcPort, dstPort uint16, protocol uint8) uint64 {
	sum := communitySum(src, dst, srcPort, dstPort, protocol)
	return binary.BigEndian.Uint64(sum[:8])
}

func communitySum(src, dst Addr, srcPort, dstPort uint16, protocol uint8) [sha1.Size]byte {
	var oneWay bool
	switch protocol {
	case ProtoICMP:
		srcPort, dstPort, oneWay = icmpPorts(icmp4Pairs[:], srcPort, dstPort)
	case ProtoICMPv6:
		srcPort, dstPort, oneWay = icmpPorts(icmp6Pairs[:], srcPort, dstPort)
	}
	if !oneWay && !ordered(&src, &dst, srcPort, dstPort) {
		src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
	}
	var b [2 + 16 + 16 + 2 + 4]byte
	n := 2 // seed 0
	for _, a := range [...]*Addr{&src, &dst} {
		if a.Is4() {
			n += copy(b[n:], a[12:])
		} else {
			n += copy(b[n:], a[:])
		}
	}
	b[n] = protocol
	n += 2
	switch protocol {
	case ProtoICMP, ProtoICMPv6, ProtoTCP, ProtoUDP, ProtoSCTP:
		binary.BigEndian.PutUint16(b[n:], srcPort)
		binary.BigEndian.PutUint16(b[n+2:], dstPort)
		n += 4
	}
	return sha1.Sum(b[:n])
}

func ordered(src, dst *Addr, srcPort, dstPort uint16) bool {
	for i := range src {
		if src[i] != dst[i] {
			return src[i] < dst[i]
		}
	}
	return srcPort <= dstPort
}

// Message types that are each other's answer (the spec's icmp4_mtypes and
// icmp6_mtypes).
var (
	icmp4Pairs = [...][2]uint16{{8, 0}, {13, 14}, {15, 16}, {17, 18}, {10, 9}}
	icmp6Pairs = [...][2]uint16{{128, 129}, {133, 134}, {135, 136}, {130, 131}, {144, 145}, {139, 140}}
)

// icmpPorts turns type and code into the spec's port equivalents; oneWay is
// true for types without a counterpart.
func icmpPorts(pairs [][2]uint16, typ, code uint16) (src, dst uint16, oneWay bool) {
	for _, p := range pairs {
		switch typ {
		case p[0]:
			return p[0], p[1], false
		case p[1]:
			return p[1], p[0], false
		}
	}
	return typ, code, true
}

// ICMPReply returns the type that answers typ, and whether typ is a request;
// ok is false for types that come alone (errors, redirects).
func ICMPReply(protocol uint8, typ uint8) (reply uint8, request, ok bool) {
	pairs := icmp4Pairs[:]
	if protocol == ProtoICMPv6 {
		pairs = icmp6Pairs[:]
	}
	for _, p := range pairs {
		switch uint16(typ) {
		case p[0]:
			return uint8(p[1]), true, true
		case p[1]:
			return uint8(p[0]), false, true
		}
	}
	return 0, false, false
}
