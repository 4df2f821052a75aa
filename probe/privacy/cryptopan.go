package privacy

import (
	"crypto/aes"
	"crypto/cipher"
)

// pan is Crypto-PAn with AES-128: the first half of the key is the cipher's, the second is encrypted to become the padding. Its buffers
// make it one goroutine's.
type pan struct {
	block   cipher.Block
	pad     [16]byte
	in, out [16]byte
}

func newPAN(key *[32]byte) (*pan, error) {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		return nil, err
	}
	p := &pan{block: block}
	block.Encrypt(p.pad[:], key[16:])
	return p, nil
}

// apply replaces in place the bits of address from position first on; the bits before stay. Bit i changes as the cipher says about the true
// bits before it. back undoes it: then the bits before i are those that were already recovered.
func (p *pan) apply(address []byte, first int, back bool) {
	p.in = p.pad
	// The input for bit i is i true bits, then the padding: it grows by one bit a round.
	for i := 0; i < len(address)*8; i++ {
		octet, bit := i/8, byte(0x80)>>(i%8)
		was := address[octet] & bit
		is := was
		if i >= first {
			p.block.Encrypt(p.out[:], p.in[:])
			if p.out[0]&0x80 != 0 {
				is ^= bit
			}
			address[octet] = address[octet]&^bit | is
		}
		if back {
			was = is
		}
		p.in[octet] = p.in[octet]&^bit | was
	}
}
