package collector

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/sign"
)

// The file of keys is read again when it changes; a broken one changes nothing.
func TestIdentities(t *testing.T) {
	dir := t.TempDir()
	secret, keys := filepath.Join(dir, "secret"), filepath.Join(dir, "probes")
	if err := os.WriteFile(secret, []byte("\x01\x02\x03\x05\x08\x0d\x15\x22\x37\x59\x90\xe9\x79\x62\xdb\x3d\x18\x55\x6d\xc2\x2f\xf1\x20\x11\x31\x42\x73\xb5\x28\xdd\x05\xe2"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sign.Open(secret)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string, at int) {
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(keys, time.Time{}, time.Unix(1_700_000_000+int64(at), 0)); err != nil {
			t.Fatal(err)
		}
	}
	write("", 0)
	var said bytes.Buffer
	i, err := newIdentities(Probes{Keys: keys, Required: true}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	message := s.Sign([]byte("batch"))
	for step, c := range []struct {
		text string
		good bool
	}{{"a " + s.Public(), true}, {"a nonsense", true}, {"b " + s.Public(), false}} {
		write(c.text, step+1)
		i.looked = time.Time{}
		if err := i.verify("a", message); (err == nil) != c.good || err != nil && !errors.Is(err, sign.ErrSignature) {
			t.Errorf("after %q: %v", c.text, err)
		}
	}
	if !bytes.Contains(said.Bytes(), []byte("stay as they were")) {
		t.Errorf("the broken file is not spoken of: %s", &said)
	}
}
