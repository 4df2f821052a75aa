package seal

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit"
)

func TestReadFile(t *testing.T) {
	raw := make([]byte, KeyBytes)
	rand.Read(raw)
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		wrong         string // part of the error; "": none
	}{
		{"raw", string(raw), 0o600, ""},
		{"read only", string(raw), 0o400, ""},
		{"hex", hex.EncodeToString(raw), 0o600, ""},
		{"hex with line ends", "\n" + strings.ToUpper(hex.EncodeToString(raw)) + "\r\n", 0o600, ""},
		{"group may read", string(raw), 0o640, "mode 0640 lets others at it"},
		{"all may read", string(raw), 0o604, "mode 0604 lets others at it"},
		{"empty", "", 0o600, "0 octets, where 32 octets"},
		{"short", string(raw[:31]), 0o600, "31 octets"},
		{"raw and a line end", string(raw) + "\n", 0o600, "33 octets"},
		{"huge", strings.Repeat("x", 1<<20), 0o600, "4096 octets"},
		{"not hex", strings.Repeat("xyzw", 16), 0o600, "not all hexadecimal digits"},
		{"pass phrase", "correct horse battery staple, ok", 0o600, "not a random key"},
		{"zero", strings.Repeat("\x00", KeyBytes), 0o600, "octets repeat"},
		{"zero in hex", strings.Repeat("0", 64), 0o600, "octets repeat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS == "windows" && c.mode&0o077 != 0 {
				t.Skip("windows has no such modes")
			}
			got, err := ReadFile(path)
			if c.wrong == "" {
				if err != nil || string(got[:]) != string(raw) {
					t.Fatalf("ReadFile: %x, %v", got, err)
				}
				if k, err := Open(path); err != nil || k == nil {
					t.Fatalf("Open: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.wrong) || kit.HintOf(err) == "" {
				t.Fatalf("ReadFile: %v (hint %q), want %q and a hint", err, kit.HintOf(err), c.wrong)
			}
			if c.content != "" && strings.Contains(err.Error(), c.content[:min(len(c.content), 8)]) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || kit.HintOf(err) == "" {
		t.Errorf("no such file: %v", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

func TestCredentialOfSystemd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	raw := make([]byte, KeyBytes)
	rand.Read(raw)
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, raw, 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err != nil {
		t.Errorf("credential with an access list: %v", err)
	}
}
