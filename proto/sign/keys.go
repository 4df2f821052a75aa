package sign

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// maxKeysBytes bounds the file of public keys: some 50 000 probes.
const maxKeysBytes = 8 << 20

// Keys are the public keys of probes, by name. They do not change.
type Keys struct {
	of       map[string][]ed25519.PublicKey
	required bool
}

// ReadKeys reads a file with a line "NAME PUBLIC-KEY" for each probe; # begins
// a comment. A name may have several lines, while its key is being replaced.
// A probe that stands there has to sign; with required all have to.
func ReadKeys(path string, required bool) (*Keys, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("open probes' keys: %w", err), "`probe identity` prints a probe's line for it")
	}
	defer f.Close()
	k := &Keys{of: map[string][]ed25519.PublicKey{}, required: required}
	lines := bufio.NewScanner(io.LimitReader(f, maxKeysBytes))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		at := strings.LastIndexAny(text, " \t") // names may hold blanks
		if at < 0 {
			return nil, kit.Hint(fmt.Errorf("read probes' keys %s: line %d: no key", path, n), "a line is: NAME PUBLIC-KEY")
		}
		key, err := base64.StdEncoding.DecodeString(text[at+1:])
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, kit.Hint(fmt.Errorf("read probes' keys %s: line %d: not a public key", path, n), "`probe identity` prints the line")
		}
		name := strings.TrimSpace(text[:at])
		k.of[name] = append(k.of[name], key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read probes' keys %s: %w", path, err)
	}
	return k, nil
}

// Len is the number of probes that have a key.
func (k *Keys) Len() int { return len(k.of) }
