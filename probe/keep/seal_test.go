package keep

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// keyFile makes a key.
func keyFile(t testing.TB) string {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// onDisk is every octet below dir.
func onDisk(t testing.TB, dir string) (all []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSealed looks for what is in the packets on the disk.
func TestSealed(t *testing.T) {
	secret := []byte("secret.example.org")
	f := datagram("10.9.8.7", "10.0.0.2", 1000, 53, len(secret), noon)
	copy(f.Data[42:], secret)
	f.iface = "interface-with-a-name"
	for _, c := range []struct {
		name, compression string
		sealed            bool
	}{{"plain", "none", false}, {"sealed", "none", true}, {"sealed and compressed", "fastest", true}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.Compression = c.compression
			if c.sealed {
				cfg.KeyFile = keyFile(t)
			}
			fill(t, cfg, []frame{f})
			disk := onDisk(t, cfg.Dir)
			for _, word := range [][]byte{secret, []byte(f.iface), {10, 9, 8, 7}} {
				if bytes.Contains(disk, word) == c.sealed {
					t.Errorf("%q on disk: %v", word, !c.sealed)
				}
			}
			same(t, "read back", found(t, openRing(t, cfg), Query{}), []frame{f})
		})
	}
}

// TestKeys opens rings with other keys, with none, and after the first of both.
func TestKeys(t *testing.T) {
	frames := numbered(300, 300)
	cfg := testConfig(t)
	fill(t, cfg, frames[:100])
	cfg.KeyFile = keyFile(t) // from now on; what is there stays readable
	fill(t, cfg, frames[100:])
	r := openRing(t, cfg)
	same(t, "plain and sealed", found(t, r, Query{}), frames)
	r.Close()
	for _, other := range []string{"", keyFile(t)} {
		wrong := cfg
		wrong.KeyFile = other
		if _, err := Open(wrong, quiet(), nil); !errors.Is(err, ErrWrongKey) || kit.HintOf(err) == "" {
			t.Errorf("key %q: %v", other, err)
		}
	}
	same(t, "nothing is lost by that", found(t, openRing(t, cfg), Query{}), frames)
}

// TestMoved puts a sealed block into another place: it is not taken for the one that
// belongs there.
func TestMoved(t *testing.T) {
	frames := numbered(600, 400)
	cfg := testConfig(t)
	cfg.SegmentBytes, cfg.KeyFile = 64<<20, keyFile(t)
	fill(t, cfg, frames)
	path := filesOf(t, cfg.Dir)[0]
	blocks := blocksOf(t, path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The body of block 1 under the header of block 2, checksums and all.
	one, two := blocks[1], blocks[2]
	body := b[one.off+headerBytes+int64(one.h.meta) : one.off+one.h.size()]
	h := two.h
	h.body, h.bodyCRC = one.h.body, one.h.bodyCRC
	forged := append(h.append(nil), two.meta...)
	forged = append(forged, body...)
	b = append(append(append([]byte(nil), b[:two.off]...), forged...), b[two.off+two.h.size():blocks[3].off+blocks[3].h.size()]...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := openRing(t, cfg)
	var want []frame
	for _, e := range []entry{blocks[0], blocks[1], blocks[3]} {
		for _, f := range frames {
			if f.Time >= e.h.first && f.Time <= e.h.last {
				want = append(want, f)
			}
		}
	}
	same(t, "without the forged block", found(t, r, Query{}), want)
}
