package dpi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Salts of the Initial secret: RFC 9001 section 5.2, RFC 9369 section 3.3.1, and
// the drafts that were widely deployed.
const (
	saltV1      = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
	saltV2      = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"
	saltDraft29 = "\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
	saltDraft23 = "\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02"
)

// quicSalt returns the salt of a version, nil when the version is not known.
func quicSalt(version uint32) []byte {
	switch draft := version & 0xff; {
	case version == quicV1:
		return []byte(saltV1)
	case version == quicV2:
		return []byte(saltV2)
	case version == quicMVFST27:
		return []byte(saltDraft23)
	case version&0xffffff00 != quicDraft:
		return nil
	case draft >= 33 && draft <= 34:
		return []byte(saltV1)
	case draft >= 29 && draft <= 32:
		return []byte(saltDraft29)
	case draft >= 23 && draft <= 28:
		return []byte(saltDraft23)
	}
	return nil
}

// initialKeys are the keys of Initial packets of one direction (RFC 9001, section 5.1).
type initialKeys struct {
	key, iv, header []byte
}

func deriveInitial(version uint32, dcid []byte, client bool) (k initialKeys, err error) {
	secret, err := hkdf.Extract(sha256.New, dcid, quicSalt(version))
	if err != nil {
		return k, err
	}
	label := "server in"
	if client {
		label = "client in"
	}
	prefix := "quic "
	if version == quicV2 {
		prefix = "quicv2 "
	}
	if secret, err = expandLabel(secret, label, 32); err != nil {
		return k, err
	}
	if k.key, err = expandLabel(secret, prefix+"key", 16); err != nil {
		return k, err
	}
	if k.iv, err = expandLabel(secret, prefix+"iv", 12); err != nil {
		return k, err
	}
	k.header, err = expandLabel(secret, prefix+"hp", 16)
	return k, err
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
func expandLabel(secret []byte, label string, size int) ([]byte, error) {
	info := string([]byte{byte(size >> 8), byte(size), byte(6 + len(label))}) + "tls13 " + label + "\x00"
	return hkdf.Expand(sha256.New, secret, info, size)
}

// openInitial removes header protection and encryption from the Initial packet
// b and returns its frames, nil when the keys of dcid do not fit. b stays as it
// is; the frames are valid until the next call.
func (in *Inspector) openInitial(b []byte, h *longHeader, dcid []byte, client bool) []byte {
	if len(b) < h.number+4+16 {
		return nil
	}
	k, err := deriveInitial(h.version, dcid, client)
	if err != nil {
		return nil
	}
	hp, err := aes.NewCipher(k.header)
	if err != nil {
		return nil
	}
	var mask [16]byte
	hp.Encrypt(mask[:], b[h.number+4:h.number+20]) // RFC 9001, section 5.4.2
	in.quic.packet = append(in.quic.packet[:0], b...)
	p := in.quic.packet
	p[0] ^= mask[0] & 0x0f
	size := int(p[0]&3) + 1
	var number uint32 // the first packets of a connection: the truncated number is the number
	for i := range size {
		p[h.number+i] ^= mask[1+i]
		number = number<<8 | uint32(p[h.number+i])
	}
	binary.BigEndian.PutUint32(k.iv[8:], binary.BigEndian.Uint32(k.iv[8:])^number)
	block, err := aes.NewCipher(k.key)
	if err != nil {
		return nil
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	sealed := p[h.number+size:]
	plain, err := gcm.Open(sealed[:0], k.iv, sealed, p[:h.number+size])
	if err != nil {
		return nil
	}
	return plain
}
