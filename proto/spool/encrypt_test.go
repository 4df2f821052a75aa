package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/seal"
)

const (
	testSecret  = "8f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978123456789abcdef0"
	otherSecret = "011e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978123456789abcdef0"
)

func testKey(t testing.TB, secret string) *seal.Key {
	t.Helper()
	b, err := hex.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := seal.New(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writeKey(t testing.TB, dir, secret string) string {
	t.Helper()
	path := filepath.Join(dir, "key-"+secret[:2])
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inBothModes runs a test on a spool without encryption (key is nil) and with it.
func inBothModes(t *testing.T, test func(*testing.T, *seal.Key)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, nil) })
	t.Run("encrypted", func(t *testing.T) { test(t, testKey(t, testSecret)) })
}

// onDisk says in which files beneath dir the text stands.
func onDisk(t testing.TB, dir, text string) (in []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			in = append(in, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// A search of the disk for a name that went through finds it in a plain spool, and nowhere in an encrypted one: neither in a segment
// nor among what Kafka rejected.
func TestNothingReadableOnDisk(t *testing.T) {
	inBothModes(t, func(t *testing.T, key *seal.Key) {
		const name, partner = "intranet.example.org", "probe-berlin"
		dir := t.TempDir()
		s := mustOpen(t, Config{Dir: dir, Key: key})
		rec := Record{Key: []byte(partner), Value: []byte("tls_sni " + name + " …"), Meta: Meta{Epoch: s.Epoch()}}
		mustAppend(t, s, rec)
		s.reject(&rec, errors.New("too large"))
		files, want := onDisk(t, dir, name), 0
		if key == nil {
			want = 2
		}
		if len(files) != want || len(onDisk(t, dir, partner)) != want/2 {
			t.Errorf("the name is in %v, the key in %v", files, onDisk(t, dir, partner))
		}
		rejected, _ := filepath.Glob(filepath.Join(dir, "rejected", "*"))
		if len(rejected) != 1 {
			t.Fatalf("rejected/ has %v", rejected)
		}
		if b, err := ReadRejected(rejected[0], key); err != nil || string(b) != string(rec.Value) {
			t.Errorf("rejected batch: %q, %v", b, err)
		}
		if key != nil {
			if _, err := ReadRejected(rejected[0], nil); !errors.Is(err, ErrWrongKey) {
				t.Errorf("rejected batch without a key: %v", err)
			}
			if _, err := ReadRejected(rejected[0], testKey(t, otherSecret)); !errors.Is(err, seal.ErrNotAuthentic) {
				t.Errorf("rejected batch with another key: %v", err)
			}
		}
		got, _, _, err := s.tryNext()
		if err != nil || !same(got, rec) {
			t.Errorf("came out %+v, %v", got, err)
		}
		s.Close()
	})
}

// A wrong key, or none, is an error with a hint, not damage: nothing is lost, and the right key gets everything.
func TestWrongKey(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	cfg := Config{Dir: dir, MaxBytes: 8 << 20, SegmentBytes: minSegmentBytes, KeyFile: writeKey(t, keys, testSecret)}
	s := mustOpen(t, cfg)
	const n = 150 // several segments
	for seq := range uint64(n) {
		mustAppend(t, s, testRecord(1, 0, seq))
	}
	s.Close()
	// Damage must not hide it.
	file := segmentFiles(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := onDisk(t, dir, "")
	for _, c := range []struct{ what, keyFile, want string }{
		{"another key", writeKey(t, keys, otherSecret), "the configured key is"},
		{"no key", "", "no key is configured"},
	} {
		cfg := cfg
		cfg.KeyFile = c.keyFile
		_, err := Open(cfg, nil, nil)
		if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), c.want) || kit.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", c.what, err, kit.HintOf(err))
		}
	}
	if after := onDisk(t, dir, ""); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("files (-got +want)\n-%v\n+%v", after, before)
	}
	s = mustOpen(t, cfg)
	if got := drain(t, s); len(got) != n-1 {
		t.Errorf("%d records came out with the right key, want %d", len(got), n-1)
	}
	s.Close()
	// An empty queue has no key: it may change.
	cfg.KeyFile = writeKey(t, keys, otherSecret)
	mustOpen(t, cfg).Close()
	if err := os.Chmod(cfg.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg, nil, nil); err == nil || kit.HintOf(err) == "" {
		t.Errorf("key file that all can read: %v", err)
	}
}

// Encryption may be turned on while plain records wait, and the order holds.
func TestPlainRecordsAreReadAfterTurningOn(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	for seq := range uint64(20) {
		mustAppend(t, s, testRecord(1, 0, seq))
	}
	s.Close()
	key := testKey(t, testSecret)
	s = mustOpen(t, Config{Dir: dir, Key: key})
	for seq := range uint64(20) {
		mustAppend(t, s, testRecord(2, 0, seq))
	}
	s.Close()
	if files := segmentFiles(t, dir); len(files) != 2 || filepath.Ext(files[0]) != ".tws" || filepath.Ext(files[1]) != ".twe" {
		t.Errorf("segments %v", files)
	}
	s = mustOpen(t, Config{Dir: dir, Key: key})
	defer s.Close()
	got := drain(t, s)
	for i, m := range got {
		if m.Epoch != uint64(1+i/20) || m.Seq != uint64(i%20) {
			t.Fatalf("record %d is %+v", i, m)
		}
	}
	if len(got) != 40 || len(s.Dropped()) > 0 {
		t.Errorf("%d records, dropped %v", len(got), s.Dropped())
	}
}

// Whoever can write to the disk, and sets the CRCs right, can still neither alter a record nor let one stand in another's place: such
// records are lost and declared, as damaged ones are.
func TestTamperedRecordsDoNotComeOut(t *testing.T) {
	key := testKey(t, testSecret)
	fix := func(rec []byte) {
		binary.LittleEndian.PutUint32(rec[payloadCRCOffset:], crc32.Checksum(rec[headerBytes:], castagnoli))
		binary.LittleEndian.PutUint32(rec[crcOffset:], crc32.Checksum(rec[:crcOffset], castagnoli))
	}
	for _, c := range []struct {
		what   string
		tamper func(a, b []byte) // two records of the same length
	}{
		{"payload", func(a, _ []byte) { a[headerBytes+40] ^= 1; fix(a) }},
		{"identity", func(a, _ []byte) { a[48] ^= 1; fix(a) }},
		{"rows", func(a, _ []byte) { a[80] ^= 1; fix(a) }},
		{"partition", func(a, _ []byte) { a[28] ^= 1; fix(a) }},
		{"payload of another", func(a, b []byte) { copy(a[headerBytes:], b[headerBytes:]); fix(a) }},
		{"another, renumbered", func(a, b []byte) {
			index := bytes.Clone(a[24:28])
			copy(a, b)
			copy(a[24:], index)
			fix(a)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, Config{Dir: dir, Key: key})
			for seq := range uint64(3) {
				mustAppend(t, s, Record{Value: fmt.Appendf(nil, "value %d", seq), Meta: Meta{Epoch: 1, Seq: seq, Rows: 1}})
			}
			tamper := func() {
				file := segmentFiles(t, dir)[0]
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				n := len(b) / 3
				c.tamper(b[n:2*n], b[2*n:])
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			check := func(s *Spool) {
				t.Helper()
				for _, want := range []string{"value 0", "value 2", ""} {
					r, _, ok, err := s.tryNext()
					if err != nil || ok != (want != "") || string(r.Value) != want {
						t.Errorf("came out %q, %v, want %q", r.Value, err, want)
					}
				}
				n := uint64(0)
				for _, d := range s.Dropped() {
					n += d.Records
				}
				if n != 1 {
					t.Errorf("declared %+v", s.Dropped())
				}
			}
			tamper() // while it runs
			check(s)
			s.Close()
			s = mustOpen(t, Config{Dir: dir, Key: key}) // and as found at the start
			defer s.Close()
			check(s)
		})
	}
}
