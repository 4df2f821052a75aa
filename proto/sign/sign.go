// Package sign binds a batch to the probe that made it: the probe signs each
// message with a key of its own, the collector knows the public keys and which
// names each may use.
//
// Kafka tells a consumer nothing of who produced a message, so a login of the
// probe at the broker cannot prove the name inside the batch; a signature does,
// also across a mirror of the topic. Signing is Ed25519 (RFC 8032) over the
// message as it is stored. The signature follows it as a skippable frame of zstd
// (RFC 8878, section 3.1.2), so readers that know nothing of it read the batch
// as before.
package sign

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// ErrSignature: the message is not by the probe that it names, or is not signed
// although it has to be. It is the reason that the dead-letter topic names.
var ErrSignature = errors.New("signature")

// The trailer: the magic number of a skippable frame and its length, both little
// endian, the mark, the signature.
const (
	frameMagic = 0x184D2A5E // the last of the sixteen but one: others are seen in the wild
	mark       = "TWS1"
	frameBytes = len(mark) + ed25519.SignatureSize

	// Bytes is what a signature adds to a message.
	Bytes = 8 + frameBytes
)

// domain keeps a signature of a batch from being one of anything else.
const domain = "tapwatch flow batch 1\x00"

// Signer signs for one probe. It may be used by several goroutines.
type Signer struct{ key ed25519.PrivateKey }

// Open reads the private key, 32 random octets in a file as seal.ReadFile wants it.
func Open(path string) (*Signer, error) {
	secret, err := seal.ReadFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(secret[:])
	return &Signer{ed25519.NewKeyFromSeed(secret[:])}, nil
}

// Public is the public key in base64, as it stands in the collector's file.
func (s *Signer) Public() string {
	return base64.StdEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
}

// Sign appends the signature to message and returns it, as append does.
func (s *Signer) Sign(message []byte) []byte {
	signature := ed25519.Sign(s.key, signed(message))
	message = binary.LittleEndian.AppendUint32(message, frameMagic)
	message = binary.LittleEndian.AppendUint32(message, uint32(frameBytes))
	message = append(message, mark...)
	return append(message, signature...)
}

func signed(message []byte) []byte { return append([]byte(domain), message...) }

// split returns the message without its trailer, and the signature; nil where
// there is none.
func split(message []byte) (body, signature []byte) {
	at := len(message) - Bytes
	if at < 0 {
		return message, nil
	}
	t := message[at:]
	if binary.LittleEndian.Uint32(t) != frameMagic || binary.LittleEndian.Uint32(t[4:]) != uint32(frameBytes) || string(t[8:8+len(mark)]) != mark {
		return message, nil
	}
	return message[:at], t[8+len(mark):]
}

// Verify says whether message is signed by a key that may use this probe's name,
// or ErrSignature, wrapped with what is wrong.
func (k *Keys) Verify(probe string, message []byte) error {
	body, signature := split(message)
	keys := k.of[probe]
	switch {
	case len(keys) == 0 && !k.required:
		return nil // a probe that nobody has spoken for
	case len(keys) == 0:
		return fmt.Errorf("%w: probe %q has no key here", ErrSignature, probe)
	case signature == nil:
		return fmt.Errorf("%w: a batch of probe %q is not signed", ErrSignature, probe)
	}
	text := signed(body)
	for _, key := range keys {
		if ed25519.Verify(key, text, signature) {
			return nil
		}
	}
	return fmt.Errorf("%w: a batch that names probe %q is not signed with its key, or was altered", ErrSignature, probe)
}
