package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

func zstded(t testing.TB, b []byte, opt ...zstd.EOption) []byte {
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, opt...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	w.Close()
	return z.Bytes()
}

// threePackets is a sound file; it can be cut.
func threePackets() []byte {
	return pcapFile{binary.LittleEndian, magicMicro, 1, []pcapRecord{
		{1, 0, 60, bytes.Repeat([]byte{1}, 60)}, {2, 0, 60, bytes.Repeat([]byte{2}, 60)}, {3, 0, 60, bytes.Repeat([]byte{3}, 60)}}}.bytes()
}

func threeBlocks() []byte {
	g := new(ngFile)
	g.section(binary.LittleEndian).face(1, 0)
	for i := range 3 {
		g.enhanced(0, uint64(i), 60, bytes.Repeat([]byte{byte(i)}, 60))
	}
	return g.Bytes()
}

func TestCompressed(t *testing.T) {
	for name, b := range map[string][]byte{"pcap": threePackets(), "pcapng": threeBlocks()} {
		src, err := memorySource(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := frames(t, src)
		for i := range want {
			want[i].face = strings.Replace(want[i].face, "memory", "f", 1)
		}
		for how, z := range map[string][]byte{"plain": b, "gzip": gzipped(b), "zstd": zstded(t, b)} {
			src, err := OpenFile(writeFile(t, "f", z), FileOptions{})
			if err != nil {
				t.Fatalf("%s %s: %v", name, how, err)
			}
			if all := frames(t, src); !reflect.DeepEqual(all, want) {
				t.Errorf("%s %s (-got +want):\n-%+v\n+%+v", name, how, all, want)
			}
			if err := src.Close(); err != nil {
				t.Error(err)
			}
			if err := src.Close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
			if err := src.Next(new(Frame)); err != io.EOF {
				t.Errorf("Next after Close: %v", err)
			}
		}
	}
}

// TestCut cuts a file at every byte: what is whole before the cut comes, the
// cut is told, and nothing else happens.
func TestCut(t *testing.T) {
	for name, b := range map[string][]byte{"pcap": threePackets(), "pcapng": threeBlocks()} {
		var whole map[int]int // length at a boundary -> packets
		if name == "pcap" {
			whole = map[int]int{24: 0, 24 + 76: 1, 24 + 152: 2, 24 + 228: 3}
		} else {
			whole = map[int]int{28: 0, 48: 0, 48 + 92: 1, 48 + 184: 2, 48 + 276: 3}
		}
		packets := 0
		for n := 5; n <= len(b); n++ {
			count, boundary := whole[n]
			if boundary {
				packets = count
			}
			for _, r := range []io.Reader{nil, bytes.NewReader(b[:n])} {
				src, err := memorySource(b[:n], r)
				if err != nil {
					if name == "pcap" && n < pcapHeaderLen && errors.Is(err, ErrTruncatedFile) {
						continue
					}
					t.Fatalf("%s cut at %d: %v", name, n, err)
				}
				st, err := drain(t, src)
				if err != io.EOF || int(st.Received) != packets || st.TruncatedFile == boundary || (st.Truncation == nil) != boundary {
					t.Fatalf("%s cut at %d: %d packets (want %d), truncated %t, %v, %v", name, n, st.Received, packets, st.TruncatedFile, st.Truncation, err)
				}
				if !boundary && !errors.Is(st.Truncation, ErrTruncatedFile) {
					t.Fatalf("%s cut at %d: %v", name, n, st.Truncation)
				}
			}
		}
		z := gzipped(b)
		src, err := OpenFile(writeFile(t, "f.gz", z[:len(z)-9]), FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if st, err := drain(t, src); err != io.EOF || !st.TruncatedFile {
			t.Errorf("%s: cut gzip: %v, truncated %t", name, err, st.TruncatedFile)
		}
		src.Close()
	}
}

func TestOpenErrors(t *testing.T) {
	big := bytes.Repeat([]byte{0x5a}, 1<<20)
	for _, c := range []struct {
		name string
		data []byte
		is   error
		text string
	}{
		{"empty", nil, ErrEmptyFile, "0 bytes"},
		{"emptygz", gzipped(nil), ErrEmptyFile, "0 bytes"},
		{"three", []byte("abc"), ErrNotCapture, "3 bytes"},
		{"text", []byte("GET / HTTP/1.1\r\n"), ErrNotCapture, "47 45 54 20"},
		{"zip", append([]byte("PK\x03\x04"), big...), ErrNotCapture, "zip archive"},
		{"gzoftext", gzipped(big), ErrNotCapture, "5a 5a 5a 5a"},
		{"version", pcapFile{binary.LittleEndian, magicMicro, 1, nil}.bytes()[:20], ErrTruncatedFile, "24 byte header"},
		{"version9", append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 9, 0}, make([]byte, 18)...), ErrCorrupt, "version 9.0"},
		{"badgz", append([]byte{0x1f, 0x8b, 0x63}, big...), nil, "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, "f", c.data)
			for _, opt := range ways() {
				_, err := OpenFile(path, opt)
				if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) ||
					!strings.HasPrefix(err.Error(), "open capture "+path+": ") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v (want %v with %q)", err, c.is, c.text)
				}
			}
		})
	}
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none"), FileOptions{}); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "open") != 1 {
		t.Errorf("missing file: %v", err)
	}
	if _, err := OpenFile(t.TempDir(), FileOptions{}); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	if _, err := OpenFile(writeFile(t, "f.zst", zstded(t, big, zstd.WithWindowSize(32<<20), zstd.WithSingleSegment(false))), FileOptions{}); err == nil {
		t.Error("a zstd window of 32 MiB is accepted")
	}
}

// bombs are files whose length fields lie. The first two are as short as a
// reader that trusts them can be made to allocate gigabytes with.
func bombs() map[string][]byte {
	claim := func(size uint32) []byte {
		b := pcapFile{binary.LittleEndian, magicMicro, 1, []pcapRecord{{1, 1, 5, []byte("12345")}}}.bytes()
		binary.LittleEndian.PutUint32(b[32:], size)
		return b
	}
	g := new(ngFile)
	g.section(binary.LittleEndian).face(1, 0).enhanced(0, 1, 1, []byte("1"))
	ng := g.Bytes()
	at := func(off int, v uint32) []byte {
		b := bytes.Clone(ng)
		binary.LittleEndian.PutUint32(b[off:], v)
		return b
	}
	faces := new(ngFile)
	faces.section(binary.LittleEndian)
	for range 2 * maxInterfaces {
		faces.face(1, 0)
	}
	return map[string][]byte{
		"pcap 45 bytes":    claim(1_900_000_000),
		"pcap most":        claim(0xffffffff),
		"pcap frame":       claim(MaxFrame),
		"pcap frame+1":     claim(MaxFrame + 1),
		"pcapng 77 bytes":  append(at(28+20+20, 0x7fffff00), 0)[:77],
		"pcapng block":     at(28+20+4, 0xfffffffc),
		"pcapng block odd": at(28+20+4, 33),
		"pcapng interface": at(28+4, 0xfffffff0),
		"pcapng section":   at(4, 0xfffffff0),
		"pcapng no face":   at(28+20+8, 1),
		"pcapng faces":     faces.Bytes(),
		"pcapng trailer":   at(len(ng)-4, 40),
	}
}

func TestBombs(t *testing.T) {
	for name, b := range bombs() {
		t.Run(name, func(t *testing.T) {
			for _, z := range [][]byte{b, gzipped(b), zstded(t, b)} {
				path := writeFile(t, "f", z)
				for _, opt := range ways() {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					src, err := OpenFile(path, opt)
					if err != nil {
						t.Fatal(err)
					}
					st, err := drain(t, src)
					runtime.ReadMemStats(&after)
					src.Close()
					if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
						t.Errorf("%d bytes allocated", used)
					}
					if err == io.EOF && !st.TruncatedFile {
						t.Error("read as if nothing was wrong")
					}
					if err != io.EOF && (!errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path)) {
						t.Errorf("error %v", err)
					}
				}
			}
		})
	}
}

// TestMutatedLengths sets every 32-bit field to values that lie.
func TestMutatedLengths(t *testing.T) {
	for _, b := range [][]byte{threePackets(), threeBlocks()} {
		for off := 0; off+4 <= len(b); off += 4 {
			for _, v := range []uint32{0, 1, 4, 11, 12, 28, 61, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff} {
				m := bytes.Clone(b)
				binary.LittleEndian.PutUint32(m[off:], v)
				var ends [2]string
				for i, r := range []io.Reader{nil, &dribble{b: m}} {
					src, err := memorySource(m, r)
					if err == nil {
						var st Stats
						st, err = drain(t, src)
						ends[i] = fmt.Sprint(st.Received, st.Truncation)
					}
					ends[i] += err.Error()
				}
				if ends[0] != ends[1] {
					t.Errorf("offset %d = %#x: at once %q, streamed %q", off, v, ends[0], ends[1])
				}
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	recs := make([]pcapRecord, 3000)
	g := new(ngFile)
	g.section(binary.LittleEndian).face(1, 0)
	for i := range recs {
		recs[i] = pcapRecord{uint32(i), 0, 60, bytes.Repeat([]byte{byte(i)}, 60)}
		g.enhanced(0, uint64(i), 60, recs[i].data)
	}
	for name, b := range map[string][]byte{"pcap": pcapFile{binary.LittleEndian, magicMicro, 1, recs}.bytes(), "pcapng": g.Bytes()} {
		for _, opt := range ways() {
			src, err := OpenFile(writeFile(t, "f", b), opt)
			if err != nil {
				t.Fatal(err)
			}
			var f Frame
			if n := testing.AllocsPerRun(2000, func() {
				if err := src.Next(&f); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %+v: %v allocations per frame", name, opt, n)
			}
			src.Close()
		}
	}
}

// TestShrinks truncates a file while it is read.
func TestShrinks(t *testing.T) {
	recs := make([]pcapRecord, 2000)
	for i := range recs {
		recs[i] = pcapRecord{uint32(i), 0, 1000, make([]byte, 1000)}
	}
	for _, opt := range ways() {
		path := writeFile(t, "f", pcapFile{binary.LittleEndian, magicMicro, 1, recs}.bytes())
		src, err := OpenFile(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		var f Frame
		for range 5 {
			if err := src.Next(&f); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
		st, err := drainMore(src)
		if err != io.EOF || !st.TruncatedFile || !errors.Is(st.Truncation, ErrTruncatedFile) || st.Received >= 2000 {
			t.Errorf("after the file shrank: %d frames, %v, %v", st.Received, err, st.Truncation)
		}
	}
}

// drainMore reads on from where a test stopped.
func drainMore(src Source) (Stats, error) {
	var f Frame
	for {
		if err := src.Next(&f); err != nil {
			return src.Stats(), err
		}
	}
}

func TestListCaptures(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, sec uint32) {
		recs := []pcapRecord{{sec, 0, 1, []byte("x")}}
		if sec == 0 {
			recs = nil
		}
		b := pcapFile{binary.BigEndian, magicNano, 1, recs}.bytes()
		if strings.HasSuffix(name, ".gz") {
			b = gzipped(b)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at("a", 30)
	at("sub/b.gz", 10)
	at("c.pcap", 20)
	at("d-nothing", 0)
	at(".hidden", 1)
	os.WriteFile(filepath.Join(dir, "README"), []byte("text about it"), 0o600)
	got, err := ListCaptures(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sub/b.gz", "c.pcap", "a", "d-nothing"}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("(-got +want)\n-%q\n+%q", got, want)
	}
	if got, err := ListCaptures(want[0]); err != nil || len(got) != 1 || got[0] != want[0] {
		t.Errorf("a file: %q, %v", got, err)
	}
	if _, err := ListCaptures(t.TempDir()); !errors.Is(err, ErrNotCapture) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := ListCaptures(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// TestPipe reads a pipe that pauses in the middle of a packet.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := &fileSource{path: "pipe", closers: []func() error{r.Close}}
	defer s.Close()
	b := threePackets()
	if _, err := w.Write(b[:24+76+30]); err != nil {
		t.Fatal(err)
	}
	if err := s.start(r, FileOptions{BlockTime: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var f Frame
	if err := s.Next(&f); err != nil || f.Time != 1e9 {
		t.Fatalf("first: %v at %d", err, f.Time)
	}
	for range 2 {
		if err := s.Next(&f); err != ErrTimeout {
			t.Fatalf("while the pipe pauses: %v", err)
		}
	}
	if _, err := w.Write(b[24+76+30:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for i := range int64(2) {
		if err := s.Next(&f); err != nil || f.Time != (i+2)*1e9 || f.Data[0] != byte(i+2) {
			t.Fatalf("later: %v at %d", err, f.Time)
		}
	}
	if err := s.Next(&f); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

// TestStandardInput reads "-" from a file, from a pipe, and from a packed pipe.
func TestStandardInput(t *testing.T) {
	old := os.Stdin
	defer func() { os.Stdin = old }()
	read := func(in *os.File) {
		t.Helper()
		os.Stdin = in
		src, err := OpenFile("-", FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if n := len(frames(t, src)); n != 3 || src.Interfaces()[0] != "stdin" {
			t.Errorf("%d frames (want 3) of %q", n, src.Interfaces())
		}
	}
	f, err := os.Open(writeFile(t, "f", threePackets()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read(f)
	for _, b := range [][]byte{threePackets(), gzipped(threePackets())} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		w.Close()
		read(r)
	}
	os.Stdin = f
	if _, err := OpenFile("-", FileOptions{}); err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("from a closed file: %v", err)
	}
}
