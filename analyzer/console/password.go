package console

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: the second recommended option of RFC 9106, section
// 4 (64 MiB, three passes), with one lane, since checks are few.
const (
	hashTime   = 3
	hashMemory = 64 << 10 // KiB
	hashLanes  = 1
	hashLength = 32
	saltLength = 16
	// minPassword is the shortest password of NIST SP 800-63B-4 that may stand alone.
	minPassword = 15
	maxPassword = 1024
)

// HashPassword returns the Argon2id hash of a password in the PHC form
// "$argon2id$v=19$m=65536,t=3,p=1$salt$hash", for Config.PasswordHash.
func HashPassword(password string) (string, error) {
	if n := len([]rune(password)); n < minPassword {
		return "", fmt.Errorf("password of %d characters: at least %d are needed", n, minPassword)
	}
	if len(password) > maxPassword {
		return "", fmt.Errorf("password of %d octets: at most %d are taken", len(password), maxPassword)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails (crypto/rand)
	sum := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashLength)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

// hash is a parsed Argon2id hash.
type hash struct {
	time, memory uint32
	lanes        uint8
	salt, sum    []byte
}

// parseHash reads the PHC form. Its bounds keep one login from taking more than
// 1 GiB or 20 passes. The error never shows the text.
func parseHash(text string) (hash, error) {
	var h hash
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errors.New("not an Argon2id hash in PHC form")
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errors.New("not version 19 of Argon2")
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.lanes); n != 3 || err != nil {
		return h, errors.New("parameters of the Argon2id hash are not m=,t=,p=")
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return h, errors.New("salt of the Argon2id hash is not base64")
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return h, errors.New("sum of the Argon2id hash is not base64")
	}
	if h.memory < 8 || h.memory > 1<<20 || h.time < 1 || h.time > 20 || h.lanes < 1 || len(h.salt) < 8 || len(h.salt) > 64 ||
		len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errors.New("parameters of the Argon2id hash are out of bounds")
	}
	return h, nil
}

// match says whether password is the one that was hashed, in a time that does
// not depend on it.
func (h hash) match(password string) bool {
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}
