package privacy

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// macs replaces hardware addresses by a keyed permutation rather than a truncated hash: so no two can become one, not even among the 2^24
// of one vendor. It is a Feistel network whose round function is AES (Luby and Rackoff 1988; NIST SP 800-38G uses ten rounds too).
type macs struct {
	block   cipher.Block
	in, out [16]byte
}

const feistelRounds = 10

func newMACs(key []byte) (*macs, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return &macs{block: block}, nil
}

const (
	groupBit  = 1 << 40 // addressed to a group
	localBit  = 1 << 41 // not assigned by a vendor
	vendorBit = 24
	halfMAC   = 1<<vendorBit - 1
	broadcast = 1<<48 - 1
)

// translate returns the pseudonym of m, or with back what it stands for. Unicast stays unicast, and locally assigned stays so. Group
// addresses stay, but for those of IPv6 solicited-node multicast, which end as an address does. With vendor the first three octets stay.
func (t *macs) translate(m flow.MAC, vendor, back bool) flow.MAC {
	switch {
	case m == 0 || m == broadcast:
		return m
	case m&groupBit != 0:
		if m>>24 != 0x3333ff { // RFC 2464, section 7
			return m
		}
		return m&^halfMAC | flow.MAC(t.feistel(uint64(m&halfMAC), 12, 1, back))
	case vendor:
		high := m &^ halfMAC
		for {
			m = high | flow.MAC(t.feistel(uint64(m&halfMAC), 12, uint64(high), back))
			if m != 0 { // 0 is no address: walk on until there is one
				return m
			}
		}
	}
	kept := m & (groupBit | localBit)
	for {
		// 46 bits: six before the two that stay, forty behind them.
		x := uint64(m)>>42<<40 | uint64(m)&(1<<40-1)
		x = t.feistel(x, 23, 0, back)
		m = flow.MAC(x>>40<<42|x&(1<<40-1)) | kept
		if m != 0 {
			return m
		}
	}
}

// feistel permutes the numbers of 2*half bits; each tweak gives another permutation.
func (t *macs) feistel(x uint64, half uint, tweak uint64, back bool) uint64 {
	mask := uint64(1)<<half - 1
	l, r := x>>half, x&mask
	for i := range uint64(feistelRounds) {
		if back {
			l, r = r^t.round(feistelRounds-1-i, tweak, half, l)&mask, l
		} else {
			l, r = r, l^t.round(i, tweak, half, r)&mask
		}
	}
	return l<<half | r
}

func (t *macs) round(i, tweak uint64, half uint, x uint64) uint64 {
	binary.BigEndian.PutUint64(t.in[:], i<<56|uint64(half)<<48|tweak)
	binary.BigEndian.PutUint64(t.in[8:], x|uint64(1)<<63)
	t.block.Encrypt(t.out[:], t.in[:])
	return binary.BigEndian.Uint64(t.out[:])
}
