package capture

import "encoding/binary"

// PairHash is the FlowHash of every frame whose innermost packet goes between
// these two addresses, IPv4 ones being mapped into IPv6.
func PairHash(a, b *[16]byte) uint32 { return pairHash(pairPart(a), pairPart(b)) }

func pairPart(a *[16]byte) uint64 {
	if binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff {
		return uint64(binary.BigEndian.Uint32(a[12:]))
	}
	return fold6(a[:])
}
