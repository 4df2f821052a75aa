package capture

import (
	"encoding/binary"
	"math/bits"
)

// hashLayers bounds the headers the fanout program looks at: link layer, tags, labels,
// IP, extension headers and tunnels, each one.
const hashLayers = 24

// PairHash spreads packets over workers so that what belongs together meets:
// those between two innermost addresses go to worker PairHash % workers, in
// files as in a live fanout group, where an eBPF program finds the addresses
// and computes the same value. What package decode opens and that program does
// not is hashed by its ends.
//
// It is symmetric. Ports are left out on purpose: only the first piece of a
// fragmented datagram has any, so a flow that fragments some of its packets
// (DNS answers, Kerberos, IKE) would be cut in two; nor would a host's ICMP
// errors and a protocol's second connections (FTP, SIP) reach the worker that
// knows the first. A tunnel whose packets are themselves fragments is hashed
// by its ends, as the decoder takes it.
//
// IPv4 addresses are mapped into IPv6. The value is the same on every machine
// and in every release that says nothing else. All 32 bits are mixed: whoever
// samples flows should take a part other than the low bits, or mix again.
func PairHash(a, b *[16]byte) uint32 { return pairHash(pairPart(a), pairPart(b)) }

func pairPart(a *[16]byte) uint64 {
	if binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff {
		return uint64(binary.BigEndian.Uint32(a[12:]))
	}
	return fold6(a[:])
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

// vlanLen is the length of a VLAN tag, and what a ring reserves for it before
// each frame. Source: IEEE 802.1Q.
const vlanLen = 4
