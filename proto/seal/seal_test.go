package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
)

// testKey is as random as a test needs.
func testKey(t testing.TB, first byte) *Key {
	t.Helper()
	var secret [KeyBytes]byte
	for i := range secret {
		secret[i] = first + byte(i)*37
	}
	k, err := New(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The vectors of c2sp.org/XAES-256-GCM: one for each value of the bit that the doubling shifts out.
func TestVectors(t *testing.T) {
	for _, v := range []struct {
		key       byte
		aad, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		k, err := New(bytes.Repeat([]byte{v.key}, KeyBytes))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		box := k.seal(nil, nonce, []byte("XAES-256-GCM"), []byte(v.aad))
		if got := hex.EncodeToString(box); got != v.want {
			t.Errorf("key %d: sealed (-got +want)\n-%s\n+%s", v.key, got, v.want)
		}
		plain, err := k.Open(nil, append(nonce, box...), []byte(v.aad))
		if err != nil || string(plain) != "XAES-256-GCM" {
			t.Errorf("key %d: opened %q, %v", v.key, plain, err)
		}
	}
}

func TestOpenOnlyWhatWasSealed(t *testing.T) {
	k, other := testKey(t, 1), testKey(t, 2)
	plain, aad := []byte("a batch of flow records"), []byte("spool 1/2")
	box := k.Seal([]byte("head"), plain, aad)[4:]
	if len(box) != len(plain)+Overhead {
		t.Errorf("box of %d octets, want %d", len(box), len(plain)+Overhead)
	}
	got, err := k.Open([]byte("head "), box, aad)
	if err != nil || string(got) != "head "+string(plain) {
		t.Fatalf("opened %q, %v", got, err)
	}
	refused := func(what string, k *Key, box, aad []byte) {
		t.Helper()
		if got, err := k.Open(nil, box, aad); !errors.Is(err, ErrNotAuthentic) || got != nil {
			t.Errorf("%s: opened %q, %v", what, got, err)
		}
	}
	refused("another key", other, box, aad)
	refused("another place", k, box, []byte("spool 1/3"))
	for i := range box {
		hit := bytes.Clone(box)
		hit[i] ^= 1 << (i % 8)
		refused(fmt.Sprintf("octet %d flipped", i), k, hit, aad)
		refused(fmt.Sprintf("cut at %d", i), k, box[:i], aad)
	}
	if bytes.Equal(box, k.Seal(nil, plain, aad)) {
		t.Error("sealing twice gives the same box")
	}
	if k.ID() == other.ID() || k.ID() != testKey(t, 1).ID() {
		t.Error("ID does not tell keys apart")
	}
}

func TestNewWantsTheRightLength(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := New(make([]byte, n)); err == nil {
			t.Errorf("key of %d octets accepted", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := testKey(f, 1)
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, Overhead), []byte("x"))
	f.Add(k.Seal(nil, []byte("plain"), nil), []byte("y"))
	f.Fuzz(func(t *testing.T, box, aad []byte) {
		if got, err := k.Open(nil, box, append([]byte("never sealed "), aad...)); err == nil {
			t.Fatalf("opened %q", got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := testKey(b, 1)
	for _, n := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			plain, dst := make([]byte, n), make([]byte, 0, n+Overhead)
			b.SetBytes(int64(n))
			for b.Loop() {
				dst = k.Seal(dst[:0], plain, nil)
			}
		})
	}
}
