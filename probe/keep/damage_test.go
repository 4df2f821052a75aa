package keep

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// blocksOf lists the blocks of a segment's file.
func blocksOf(t testing.TB, path string) (list []entry) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, ok := parseName(filepath.Base(path))
	if !ok {
		t.Fatal(path)
	}
	s := segment{id: id}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.directory(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	for len(dir) > 0 {
		e, rest, err := readEntry(dir)
		if err != nil {
			t.Fatal(err)
		}
		list, dir = append(list, e), rest
	}
	return list
}

func filesOf(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "packets-*.twp"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// numbered are n frames whose ports tell them apart.
func numbered(n, size int) (list []frame) {
	for i := range n {
		f := datagram("10.1.0.1", "10.2.0.2", uint16(i), 53, size, noon.Add(time.Duration(i)*time.Millisecond))
		// What cannot be compressed, so that blocks are of equal size.
		for j := 42; j < len(f.Data); j++ {
			f.Data[j] = byte(rand.Uint32())
		}
		list = append(list, f)
	}
	return list
}

// oneSegment keeps frames in a single segment of several blocks.
func oneSegment(t testing.TB, frames []frame) (Config, string, []entry) {
	t.Helper()
	cfg := testConfig(t)
	cfg.SegmentBytes = 64 << 20
	fill(t, cfg, frames)
	files := filesOf(t, cfg.Dir)
	if len(files) != 1 {
		t.Fatalf("%d segments", len(files))
	}
	blocks := blocksOf(t, files[0])
	if len(blocks) < 4 {
		t.Fatalf("%d blocks", len(blocks))
	}
	return cfg, files[0], blocks
}

// without is frames without those of a block.
func without(frames []frame, e entry) (list []frame) {
	for _, f := range frames {
		if f.Time < e.h.first || f.Time > e.h.last {
			list = append(list, f)
		}
	}
	return list
}

// TestFlips changes a bit somewhere: a block is lost with it, or nothing.
func TestFlips(t *testing.T) {
	frames := numbered(600, 400)
	cfg, path, blocks := oneSegment(t, frames)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := blocks[len(blocks)-1]
	end := last.off + last.h.size()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name     string
		from, to int64
		loses    *entry
		trailer  bool // the trailer is cut off: the segment was not completed
	}{
		{"body", blocks[1].off + headerBytes + int64(blocks[1].h.meta), blocks[1].off + blocks[1].h.size(), &blocks[1], false},
		{"header, the directory has a copy", blocks[1].off, blocks[1].off + headerBytes, nil, false},
		{"directory", end, int64(len(whole)) - trailerBytes, nil, false},
		{"trailer", int64(len(whole)) - trailerBytes, int64(len(whole)), nil, false},
		{"body of a segment without directory", blocks[2].off + headerBytes, blocks[2].off + blocks[2].h.size(), &blocks[2], true},
		{"header of a segment without directory", blocks[2].off, blocks[2].off + headerBytes, &blocks[2], true},
		{"first header of such a segment", blocks[0].off, blocks[0].off + headerBytes, &blocks[0], true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 8 {
				b := slices.Clone(whole)
				b[c.from+rng.Int64N(c.to-c.from)] ^= 1 << rng.IntN(8)
				if c.trailer {
					b = b[:end]
				}
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				want := frames
				if c.loses != nil {
					want = without(frames, *c.loses)
				}
				r := openRing(t, cfg)
				same(t, "what is whole", found(t, r, Query{}), want)
				if got := r.Stats().DamagedBlocks; c.loses != nil && got == 0 {
					t.Error("no damage is counted")
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestTorn cuts a segment at any place: the blocks before it are there, and the ring
// goes on.
func TestTorn(t *testing.T) {
	frames := numbered(600, 400)
	cfg, path, blocks := oneSegment(t, frames)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	more := numbered(50, 100)
	for i := range more {
		more[i].Time += int64(time.Hour)
	}
	cuts := []int64{0, 1, headerBytes - 1, headerBytes, blocks[0].h.size() - 1, blocks[0].h.size(), blocks[2].off + 10, blocks[3].off,
		int64(len(whole)) - trailerBytes - 1, int64(len(whole)) - 1}
	for range 10 {
		cuts = append(cuts, rand.Int64N(int64(len(whole))))
	}
	for _, cut := range cuts {
		for _, file := range filesOf(t, cfg.Dir) {
			os.Remove(file)
		}
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var want []frame
		for _, e := range blocks {
			if e.off+e.h.size() <= cut {
				for _, f := range frames {
					if f.Time >= e.h.first && f.Time <= e.h.last {
						want = append(want, f)
					}
				}
			}
		}
		s := fill(t, cfg, more)
		if s.TornBytes == 0 && cut != 0 && cut != blocks[0].h.size() && cut != blocks[3].off {
			t.Errorf("cut at %d: no torn bytes are counted", cut)
		}
		r := openRing(t, cfg)
		same(t, "before the cut, and after", found(t, r, Query{}), append(want, more...))
		if s := r.Stats(); s.TornBytes != 0 || s.DamagedBlocks != 0 {
			t.Errorf("cut at %d: recovered twice: %+v", cut, s)
		}
		r.Close()
	}
}

// TestDiskCut loses what a closed segment had and says so, without failing.
func TestDiskCut(t *testing.T) {
	frames := numbered(600, 400)
	cfg, path, blocks := oneSegment(t, frames)
	r := openRing(t, cfg)
	if err := os.Truncate(path, blocks[2].off); err != nil {
		t.Fatal(err)
	}
	want := []frame{}
	for _, f := range frames {
		if f.Time <= blocks[1].h.last {
			want = append(want, f)
		}
	}
	same(t, "cut while it is open", found(t, r, Query{}), want)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := found(t, r, Query{}); got != nil {
		t.Errorf("%d packets of a file that is gone", len(got))
	}
}

// FuzzRead reads anything as a block, an index, a directory and a body.
func FuzzRead(f *testing.F) {
	p, err := newPacker("fastest", nil)
	if err != nil {
		f.Fatal(err)
	}
	b := &block{links: []link{{"eth0", 1}, {"eth1", 101}}}
	w := &Writer{ring: &Ring{}, room: 1 << 16, snap: 1 << 15, span: 1e9, cur: b, cut: newCutoff(DefaultConfig())}
	b.buf = make([]byte, 0, 1<<17)
	for _, x := range numbered(20, 50) {
		x.add(w)
	}
	head, rest := p.pack(b, header{segment: 1}, false)
	whole := append(slices.Clone(head), rest...)
	f.Add(whole)
	f.Add(head)
	f.Add(appendEntry(nil, 0, head))
	f.Add(b.buf)
	f.Add(whole[headerBytes:])
	f.Add((&segment{id: 1}).trailer(nil))
	u, err := newUnpacker(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer u.close()
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := readMeta(in); err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
		walk := func(b body, links int) {
			for i := range b.flowCount() {
				b.flow(i)
			}
			for n := 0; ; n++ {
				r, ok, err := b.next(links)
				if err != nil || !ok {
					break
				}
				if n > len(in)*1000 || len(r.data) > maxRawBody {
					t.Fatal("a body without end")
				}
			}
		}
		if b, err := readBody(in); err == nil {
			walk(b, 3)
		}
		for dir := in; len(dir) > 0; {
			e, rest, err := readEntry(dir)
			if err != nil {
				break
			}
			if len(rest) >= len(dir) || len(e.meta) != int(e.h.meta) {
				t.Fatal("a directory without end")
			}
			dir = rest
		}
		h, err := readHeader(in)
		if err == nil {
			if again, err := readHeader(h.append(nil)); err != nil || again != h {
				t.Fatalf("%+v is read back as %+v: %v", h, again, err)
			}
		}
		// What a fuzzer cannot make is a checksum.
		h = header{flags: flagZstd, raw: uint32(min(len(in)*4, maxRawBody)), bodyCRC: 0}
		h.bodyCRC = crc(in)
		if b, err := u.unpack(&h, in); err == nil {
			walk(b, 1)
		}
		s, err := scan(bytes.NewReader(in), int64(len(in)), 1)
		if err != nil {
			t.Fatal(err)
		}
		if s.end > int64(len(in)) || s.blocks > 0 && !bytes.Contains(in, head[:4]) {
			t.Fatalf("%+v", s)
		}
		if _, err := (&segment{id: 1}).directory(bytes.NewReader(in), int64(len(in))); err != nil {
			t.Fatal(err)
		}
	})
}

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
