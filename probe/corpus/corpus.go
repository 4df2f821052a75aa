// Package corpus opens the reference captures for tests: other projects'
// captures with what their own tools make of them. They lie in shared/captures
// beside the repository, and a test that needs them is skipped where they are
// missing. Only tests import it, and it imports no other package of the probe.
// What it returns belongs to the caller.
package corpus

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// list is the file that lists the captures.
const list = "captures.tsv"

// Dir returns the folder of the captures, absolute, or skips the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		captures := filepath.Join(dir, "shared", "captures")
		if _, err := os.Stat(filepath.Join(captures, list)); err == nil {
			return captures
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no shared/captures beside the repository: the reference captures are missing")
		}
		dir = up
	}
}

// Path returns the path of one of the captures or its results, or skips the
// test. The name is relative to Dir.
func Path(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Dir(t), name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("a reference capture is missing: %v", err)
	}
	return path
}

// Capture is one of the listed captures.
type Capture struct {
	Name           string // relative to Dir
	Path           string
	Tier           string // "core" or how else it is used
	Packets, Bytes uint64 // of the whole file; octets on the wire
	Oracle         string // what tshark says of it, relative to Dir; empty: not asked
}

// Captures returns the listed captures in their order, or skips the test.
func Captures(t testing.TB) (all []Capture) {
	t.Helper()
	dir := Dir(t)
	text, err := os.ReadFile(filepath.Join(dir, list))
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if fields == nil {
			fields = columns
			continue
		}
		column := func(name string) string { return columns[slices.Index(fields, name)] }
		number := func(name string) uint64 {
			n, err := strconv.ParseUint(column(name), 10, 64)
			if err != nil {
				t.Fatalf("%s: %s: %v", list, columns[0], err)
			}
			return n
		}
		all = append(all, Capture{
			Name: column("path"), Path: filepath.Join(dir, column("path")), Tier: column("tier"),
			Packets: number("packets"), Bytes: number("bytes"), Oracle: column("oracle"),
		})
	}
	if len(all) < 100 {
		t.Fatalf("%s lists %d captures", list, len(all))
	}
	return all
}

// IsCapture reports whether a file is a capture, by its name.
func IsCapture(name string) bool {
	switch filepath.Ext(strings.TrimSuffix(name, ".gz")) {
	case ".pcap", ".pcapng", ".cap", ".trace", ".dump":
		return true
	}
	return false
}

// Archives are the wider corpora, by name: captures of which many are
// malformed, with what else came with them.
var Archives = []string{"arkime", "ndpi", "tcpdump-malformed", "zeek"}

// Each calls f with every file of one of the Archives, or skips the test. The
// name is the one in the archive; data belongs to f.
func Each(t testing.TB, archive string, f func(name string, data []byte)) {
	t.Helper()
	file, err := os.Open(Path(t, "corpus/"+archive+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		f(strings.TrimPrefix(h.Name, "./"), data)
	}
}

// EachCapture calls f with every capture of all Archives, or skips the test;
// the name begins with that of the archive.
func EachCapture(t testing.TB, f func(name string, data []byte)) {
	t.Helper()
	n := 0
	for _, archive := range Archives {
		Each(t, archive, func(name string, data []byte) {
			if IsCapture(name) {
				f(archive+"/"+name, data)
				n++
			}
		})
	}
	if n < 861 {
		t.Errorf("%d captures in the corpora, 861 were there", n)
	}
}

// Unpack writes one of the Archives into a folder that lasts as long as the
// test, or skips the test.
func Unpack(t testing.TB, archive string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	Each(t, archive, func(name string, data []byte) {
		path := filepath.Join(dir, filepath.Clean("/"+name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	return dir
}
