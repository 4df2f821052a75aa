// Package seal encrypts what Tapwatch leaves on a disk (records of the spool, blocks of the packet ring) and reads the key files
// for it.
//
// In come plain octets and the place they belong to (additional data); out goes a box that opens only with the same key and at
// the same place. The cipher is XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM under a key derived for each box from the first
// half of a random 192-bit nonce. So nothing has to be counted or remembered for a nonce never to repeat: over restarts, copied
// key files and several programs under one key, 2^80 boxes are safe, where 96 random bits would end at 2^32.
//
// The caller owns all slices; nothing is kept.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

const (
	// KeyBytes is the length of a key.
	KeyBytes = 32
	// Overhead is by how many octets a box is longer than what is in it: nonce and tag.
	Overhead = nonceBytes + tagBytes

	nonceBytes = 24
	tagBytes   = 16
)

// ErrNotAuthentic is returned by Open for a box that was damaged, cut, moved to another place, or sealed with another key. Compare
// IDs to tell the last from the others.
var ErrNotAuthentic = errors.New("not authentic: damaged, moved, or sealed with another key")

// ID tells keys apart without telling anything about them. It may be stored beside the boxes.
type ID [16]byte

func (id ID) String() string { return fmt.Sprintf("%x", id[:4]) }

// Key seals and opens boxes. It can be used by several goroutines at once.
type Key struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC subkey (NIST SP 800-38B)
	id    ID
}

// New makes a Key of KeyBytes random octets, which are copied.
func New(secret []byte) (*Key, error) {
	if len(secret) != KeyBytes {
		return nil, fmt.Errorf("make encryption key: %d octets given, %d are needed", len(secret), KeyBytes)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("make encryption key: %w", err)
	}
	k := &Key{block: block}
	block.Encrypt(k.k1[:], k.k1[:])
	carry := byte(0)
	for i := len(k.k1) - 1; i >= 0; i-- {
		next := k.k1[i] >> 7
		k.k1[i] = k.k1[i]<<1 | carry
		carry = next
	}
	k.k1[len(k.k1)-1] ^= 0x87 * carry
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("tapwatch key id v1"))
	copy(k.id[:], mac.Sum(nil))
	return k, nil
}

// ID identifies the key.
func (k *Key) ID() ID { return k.id }

// Seal appends to dst a box of plain, and returns the extended slice. aad names the place of the box, and is needed to open it; it
// should begin with what kind of thing is sealed, since several kinds may share a key. plain must not overlap the room
// behind dst.
func (k *Key) Seal(dst, plain, aad []byte) []byte {
	var nonce [nonceBytes]byte
	rand.Read(nonce[:]) // never fails since Go 1.24
	return k.seal(append(dst, nonce[:]...), nonce[:], plain, aad)
}

func (k *Key) seal(dst, nonce, plain, aad []byte) []byte {
	return k.derive(nonce).Seal(dst, nonce[nonceBytes/2:], plain, aad)
}

// Open appends to dst what is in box, and returns the extended slice; on ErrNotAuthentic nothing of it. box must not overlap the
// room behind dst.
func (k *Key) Open(dst, box, aad []byte) ([]byte, error) {
	if len(box) < Overhead {
		return nil, ErrNotAuthentic
	}
	out, err := k.derive(box[:nonceBytes]).Open(dst, box[nonceBytes/2:nonceBytes], box[nonceBytes:], aad)
	if err != nil {
		return nil, ErrNotAuthentic
	}
	return out, nil
}

// derive makes the cipher of one box: NIST SP 800-108r1 counter mode with AES-CMAC, of two blocks.
func (k *Key) derive(nonce []byte) cipher.AEAD {
	var key [KeyBytes]byte
	for i := range 2 {
		b := key[i*aes.BlockSize:][:aes.BlockSize]
		b[1], b[2] = byte(i+1), 'X'
		copy(b[4:], nonce[:nonceBytes/2])
		subtle.XORBytes(b, b, k.k1[:])
		k.block.Encrypt(b, b)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block size is right
	}
	return aead
}
