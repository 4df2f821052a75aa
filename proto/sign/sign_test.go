package sign

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func signer(t testing.TB, fill byte) *Signer {
	t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = fill ^ byte(i*i*7+i)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keys(t testing.TB, required bool, lines ...string) (*Keys, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probes")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadKeys(path, required)
}

func message(t testing.TB, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll([]byte(text), nil)
}

// Two probes with a key each: what is not by the probe that it names is refused.
func TestForgeries(t *testing.T) {
	a, b := signer(t, 1), signer(t, 2)
	k, err := keys(t, true, "# ours", "edge a\t"+a.Public(), "b "+b.Public()+"  # new", "b "+signer(t, 3).Public())
	if err != nil {
		t.Fatal(err)
	}
	if k.Len() != 2 {
		t.Fatalf("%d probes, want 2", k.Len())
	}
	body := message(t, "some flows")
	good := a.Sign(bytes.Clone(body))
	altered := bytes.Clone(good)
	altered[len(body)-1] ^= 1
	spoilt := bytes.Clone(good)
	spoilt[len(spoilt)-1] ^= 1
	for name, c := range map[string]struct {
		probe   string
		message []byte
		good    bool
	}{
		"its own":                  {"edge a", good, true},
		"the other's":              {"b", b.Sign(bytes.Clone(body)), true},
		"not signed":               {"edge a", body, false},
		"under the other's name":   {"b", good, false},
		"altered":                  {"edge a", altered, false},
		"with a spoilt signature":  {"edge a", spoilt, false},
		"signature cut off":        {"edge a", good[:len(good)-1], false},
		"of a probe without a key": {"c", good, false},
		"another body before it":   {"edge a", append(message(t, "other flows"), good[len(body):]...), false},
		"empty":                    {"edge a", nil, false},
	} {
		if err := k.Verify(c.probe, c.message); (err == nil) != c.good || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.required = false
	if err := k.Verify("c", body); err != nil {
		t.Errorf("a probe without a key, where keys are not required: %v", err)
	}
	if err := k.Verify("edge a", body); err == nil {
		t.Error("a probe with a key need not sign, where keys are not required")
	}
}

// A reader that knows nothing of signatures reads what was signed.
func TestOldReaders(t *testing.T) {
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := signer(t, 1).Sign(message(t, "some flows"))
	got, err := r.DecodeAll(m, nil)
	if err != nil || string(got) != "some flows" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestKeysFile(t *testing.T) {
	good := signer(t, 1).Public()
	for _, bad := range []string{"a", "a " + good[1:], "a " + good + "=", good} {
		if _, err := keys(t, false, "", bad); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ReadKeys(filepath.Join(t.TempDir(), "none"), false); err == nil {
		t.Error("no file, and no error")
	}
}

func FuzzVerify(f *testing.F) {
	s := signer(f, 1)
	k, err := keys(f, true, "a "+s.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Sign(message(f, "x")), byte(0))
	f.Add([]byte(nil), byte(1))
	f.Fuzz(func(t *testing.T, m []byte, flip byte) {
		if err := k.Verify("a", m); err == nil {
			body, _ := split(m)
			if !bytes.Equal(s.Sign(bytes.Clone(body)), m) { // Ed25519 is deterministic
				t.Fatal("accepted what was not signed")
			}
		}
		signed := s.Sign(bytes.Clone(m))
		if err := k.Verify("a", signed); err != nil {
			t.Fatal(err)
		}
		signed[int(flip)%len(signed)] ^= 0x40
		if err := k.Verify("a", signed); err == nil {
			t.Fatal(fmt.Errorf("accepted an altered message"))
		}
	})
}
