package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// TestDamage hits a spool at random positions in the ways a disk does. Open must succeed, what comes out must be what went in, no
// record may be lost that was not hit, and every lost one must be declared: by name or, where its name went with it, by number.
func TestDamage(t *testing.T) {
	t.Parallel()
	inBothModes(t, func(t *testing.T, key *seal.Key) {
		t.Parallel()
		testDamage(t, key)
	})
}

func testDamage(t *testing.T, key *seal.Key) {
	const records = 120
	origin := t.TempDir()
	cfg := Config{Dir: origin, MaxBytes: 8 << 20, SegmentBytes: minSegmentBytes, Key: key}
	s := mustOpen(t, cfg)
	epoch := s.Epoch()
	metas := map[Meta]bool{}
	var written account
	for seq := range uint64(records / 2) {
		for w := range uint32(2) {
			r := testRecord(epoch, w, seq)
			mustAppend(t, s, r)
			metas[r.Meta] = true
			written.meta(r.Meta)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := segmentFiles(t, origin)
	if len(files) < 2 {
		t.Fatalf("%d segments, want several", len(files))
	}
	type place struct {
		from, to int
		m        Meta
	}
	content := make([][]byte, len(files))
	layout := make([][]place, len(files))
	for i, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		content[i] = b
		id, _ := parseName(filepath.Base(f))
		found, tail := scan(b, id, key)
		if tail != 0 {
			t.Fatalf("%d bytes at the end of a whole segment", tail)
		}
		for _, e := range found {
			layout[i] = append(layout[i], place{int(e.off), int(e.off) + e.len(), e.meta})
		}
	}

	rounds := 3_000
	if os.Getenv("TAPWATCH_E2E") == "full" {
		rounds = 10_000
	}
	dir := filepath.Join(t.TempDir(), "spool")
	copyDir(t, origin, dir)
	cfg.Dir = dir
	state, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	lostByKind := map[string]int{}
	unnamed := 0
	before := -1
	for round := range rounds {
		for i, f := range files { // what the round before has hit
			name := filepath.Join(dir, filepath.Base(f))
			if _, err := os.Stat(name); err != nil || i == before {
				if err := os.WriteFile(name, content[i], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		resetState(t, dir, state)
		i := rnd.IntN(len(files))
		before = i
		b := bytes.Clone(content[i])
		at := rnd.IntN(len(b))
		to := at + 1
		name := filepath.Join(dir, filepath.Base(files[i]))
		kind := []string{"bit", "truncate", "zero page", "duplicate", "cut out", "insert"}[rnd.IntN(6)]
		last := i == len(files)-1
		switch kind {
		case "bit":
			b[at] ^= 1 << rnd.IntN(8)
		case "truncate":
			b, to = b[:at], len(b)
		case "zero page":
			at = at / 4096 * 4096
			to = min(at+4096, len(b))
			clear(b[at:to])
		case "duplicate":
			to = at
			name = filepath.Join(dir, segmentID{uint64(100 + rnd.IntN(5)), rnd.Uint64(), key != nil}.name())
		case "cut out":
			to = min(at+rnd.IntN(2000), len(b))
			b = append(b[:at:at], b[to:]...)
		case "insert":
			from := rnd.IntN(len(b))
			b = append(append(b[:at:at], content[i][from:min(from+5000, len(b))]...), content[i][at:]...)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		hit := map[Meta]bool{}
		for _, p := range layout[i] {
			if p.from < to && at < p.to {
				hit[p.m] = true
			}
		}
		where := fmt.Sprintf("round %d: %s at %d of segment %d", round, kind, at, i)

		s, err := Open(cfg, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		ranges := s.Dropped()
		if round%10 == 0 { // opened again, nothing is declared a second time
			s.Close()
			if s, err = Open(cfg, nil, nil); err != nil {
				t.Fatalf("%s: again: %v", where, err)
			}
			if again := s.Dropped(); fmt.Sprint(again) != fmt.Sprint(ranges) {
				t.Fatalf("%s: opened again (-got +want)\n-%+v\n+%+v", where, again, ranges)
			}
		}
		got := map[Meta]bool{}
		for _, m := range take(t, s, false) {
			if got[m] {
				t.Fatalf("%s: %+v twice", where, m)
			}
			got[m] = true
		}
		s.Close()
		var lost, declared account
		for m := range metas {
			if !got[m] {
				if !hit[m] {
					t.Fatalf("%s: %+v is lost and was not hit", where, m)
				}
				lost.meta(m)
				lostByKind[kind]++
			}
		}
		declared.add(ranges)
		blind := false // some names are gone: only the number is known
		for _, r := range ranges {
			if r.Epoch == 0 {
				blind = true
				continue
			}
			for seq := r.From; seq <= r.To; seq++ {
				if got[testRecord(r.Epoch, r.Worker, seq).Meta] {
					t.Fatalf("%s: %+v declared, but seq %d is here", where, r, seq)
				}
			}
		}
		if blind {
			unnamed++
		}
		switch {
		case last && (kind != "bit" || to == len(content[i])):
			// The end of the newest segment: what was there, nobody can tell from a write that was never confirmed.
			// Bytes that were added behind it look like one record whose header is gone.
			more := uint64(0)
			if kind == "insert" {
				more = 1
			}
			if declared.records > lost.records+more {
				t.Fatalf("%s: lost %d, declared %d: %+v", where, lost.records, declared.records, ranges)
			}
		case blind && declared.records != lost.records, !blind && declared != lost:
			t.Fatalf("%s: lost %+v, declared %+v: %+v", where, lost, declared, ranges)
		}
	}
	t.Logf("%d rounds; records lost by kind %v; rounds with unnamed records %d", rounds, lostByKind, unnamed)
	if lostByKind["bit"] == 0 || lostByKind["duplicate"] > 0 {
		t.Errorf("lost by kind %v", lostByKind)
	}
}

// resetState puts back what the state file was, as far as a round may have changed it.
func resetState(t *testing.T, dir string, state []byte) {
	f, err := os.OpenFile(filepath.Join(dir, "state"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 2 {
		f.WriteAt(state[i*slotBytes:i*slotBytes+16<<10], int64(i)*slotBytes)
	}
}

func TestDamageWhileRunning(t *testing.T) { inBothModes(t, testDamageWhileRunning) }

func testDamageWhileRunning(t *testing.T, key *seal.Key) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir, MaxBytes: 8 << 20, Key: key})
	defer s.Close()
	for seq := range uint64(20) {
		mustAppend(t, s, testRecord(1, 0, seq))
	}
	file := segmentFiles(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := parseName(filepath.Base(file))
	found, _ := scan(b, id, key)
	for _, i := range []int{4, 11} {
		b[found[i].off+headerBytes+3] ^= 4
	}
	b[found[15].off+20] ^= 1 // in a header
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := len(drain(t, s)); got != 17 {
		t.Errorf("%d records came out, want 17", got)
	}
	var want []DropRange
	for _, seq := range []uint64{4, 11, 15} {
		want = append(want, rangeOf(testRecord(1, 0, seq).Meta, ReasonCorrupt))
	}
	got := s.Dropped()
	if len(got) != 3 {
		t.Fatalf("declared %+v, want %+v", got, want)
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g == w
		}
		if !found {
			t.Errorf("%+v is not declared: %+v", w, got)
		}
	}
}

// A record that carries the bytes of another record, as an attacker could send them, must not become one when the disk is damaged.
func TestForgedRecord(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir, MaxBytes: 8 << 20})
	h := header{segment: 1, salt: 12345, index: 7, valueLen: 4, meta: Meta{Epoch: 66}}
	forged := make([]byte, headerBytes)
	h.encode(forged)
	mustAppend(t, s, Record{Value: append(forged, "evil"...), Meta: Meta{Epoch: 1}})
	s.Close()
	file := segmentFiles(t, dir)[0]
	b, _ := os.ReadFile(file)
	b[headerBytes+headerBytes+1] ^= 1
	os.WriteFile(file, b, 0o600)
	s = mustOpen(t, Config{Dir: dir})
	defer s.Close()
	if _, _, ok, err := s.tryNext(); ok || err != nil {
		t.Errorf("a record came out, error %v", err)
	}
	if d := s.Dropped(); len(d) != 1 || d[0].Epoch != 1 {
		t.Errorf("declared %+v", d)
	}
}

func TestDamagedState(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, MaxBytes: 1 << 20}
	s := mustOpen(t, cfg)
	mustAppend(t, s, testRecord(s.Epoch(), 0, 0))
	s.Close()
	path := filepath.Join(dir, "state")
	for _, b := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{0xff}, 2*slotBytes+5)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, cfg)
		if n := s.Stats().Records; n != 1 {
			t.Errorf("%d records with a state of %d bytes", n, len(b))
		}
		s.Close()
	}
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s := mustOpen(f, Config{Dir: dir, MaxBytes: 1 << 20})
	for seq := range uint64(3) {
		mustAppend(f, s, testRecord(1, 0, seq))
	}
	s.Close()
	file := segmentFiles(f, dir)[0]
	b, _ := os.ReadFile(file)
	id, _ := parseName(filepath.Base(file))
	b2 := bytes.ReplaceAll(b, nil, nil)
	for _, old := range [][]byte{b, b2[:len(b)/2], b2[len(b)/3:], append(bytes.Clone(b), b...), nil} {
		f.Add(old, id.id, id.salt)
	}
	key := testKey(f, testSecret)
	dir = f.TempDir()
	s = mustOpen(f, Config{Dir: dir, MaxBytes: 1 << 20, Key: key})
	mustAppend(f, s, testRecord(1, 0, 0), testRecord(1, 0, 1))
	s.Close()
	file = segmentFiles(f, dir)[0]
	b, _ = os.ReadFile(file)
	id, _ = parseName(filepath.Base(file))
	f.Add(b, id.id, id.salt)
	f.Fuzz(func(t *testing.T, data []byte, id, salt uint64) {
		for _, encrypted := range []bool{false, true} {
			fuzzScan(t, data, segmentID{id, salt, encrypted}, key)
		}
	})
}

func fuzzScan(t *testing.T, data []byte, id segmentID, key *seal.Key) {
	found, tail := scan(data, id, key)
	if tail < 0 || tail > len(data) {
		t.Fatalf("tail %d of %d bytes", tail, len(data))
	}
	for i, e := range found {
		if i > 0 && found[i-1].index >= e.index {
			t.Fatal("not in the order of the index")
		}
		if !e.good {
			continue
		}
		payload, ok := e.open(nil, data[e.off:int(e.off)+e.len()], key)
		if !ok {
			t.Fatal("a good record does not open")
		}
		if r := e.record(payload); len(r.Key) != int(e.keyLen) || len(r.Value) != int(e.valueLen) {
			t.Fatal("key or value cut")
		}
	}
	missing(found, nil, &neighbour{})
}

func FuzzState(f *testing.F) {
	f.Add([]byte("TWST\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, data []byte) { decodeState(data) })
}

// A stray header that is cut within its last octets, which no CRC covers, must not hide the header behind it.
func TestHeaderBehindACutOne(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir, MaxBytes: 8 << 20})
	for seq := range uint64(4) {
		mustAppend(t, s, testRecord(1, 0, seq))
	}
	s.Close()
	file := segmentFiles(t, dir)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := parseName(filepath.Base(file))
	all, _ := scan(content, id, nil)
	for cut := range headerBytes - ackOffset + 1 {
		at := int(all[2].off) - 1 // the last octet of record 1
		stray := content[all[3].off : int(all[3].off)+headerBytes-cut]
		b := slices.Concat(content[:at], stray, content[at:])
		found, _ := scan(b, id, nil)
		if len(found) != 4 || !found[0].good || found[1].good || !found[2].good || !found[3].good {
			t.Errorf("cut by %d octets: %+v", cut, found)
		}
	}
}
