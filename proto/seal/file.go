package seal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// makeHint is how to get a good key.
const makeHint = "make one with: (umask 077; head -c 32 /dev/urandom > FILE)"

// Open reads the key in a file, see ReadFile.
func Open(path string) (*Key, error) {
	secret, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := New(secret[:])
	clear(secret[:])
	return k, err
}

// ReadFile reads the KeyBytes octets of a key file: raw, or as hexadecimal digits with white space around them. The file must be
// readable by its owner alone (files of systemd credentials are as systemd makes them); a text, and octets that repeat, are
// refused, since they cannot be random. The error has a hint and never shows anything of the content.
func ReadFile(path string) ([KeyBytes]byte, error) {
	var key [KeyBytes]byte
	f, err := os.Open(path)
	if err != nil {
		return key, kit.Hint(fmt.Errorf("open key file: %w", err), makeHint)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("open key file: %w", err)
	}
	if !st.Mode().IsRegular() {
		return key, kit.Hint(fmt.Errorf("open key file %s: not a regular file", path), makeHint)
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" && !credential(path) {
		return key, kit.Hint(fmt.Errorf("open key file %s: mode %#o lets others at it", path, perm), "chmod 600 "+path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return key, fmt.Errorf("read key file: %w", err)
	}
	if err := parse(&key, data); err != nil {
		return key, kit.Hint(fmt.Errorf("read key file %s: %w", path, err), makeHint)
	}
	return key, nil
}

// credential says whether path is one that systemd handed to this service; it may be group readable, by an access list.
func credential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func parse(key *[KeyBytes]byte, data []byte) error {
	if text := strings.TrimSpace(string(data)); len(data) != KeyBytes && len(text) == hex.EncodedLen(KeyBytes) {
		if _, err := hex.Decode(key[:], []byte(text)); err != nil {
			return errors.New("64 characters that are not all hexadecimal digits")
		}
	} else if len(data) != KeyBytes {
		return fmt.Errorf("%d octets, where %d octets or %d hexadecimal digits are needed", len(data), KeyBytes, hex.EncodedLen(KeyBytes))
	} else if printable(data) {
		return fmt.Errorf("a text of %d characters is not a random key", KeyBytes)
	} else {
		copy(key[:], data)
	}
	// 32 random octets have fewer than 16 different ones with a probability below 2^-60.
	var seen [256]bool
	different := 0
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			different++
		}
	}
	if different < KeyBytes/2 {
		return errors.New("its octets repeat: not a random key")
	}
	return nil
}

func printable(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
