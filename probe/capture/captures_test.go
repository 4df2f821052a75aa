package capture

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// sharedDir is where the recorded captures of other projects lie.
const sharedDir = "../../../shared/captures"

// endsInARecord is the one recorded capture with a byte after its last packet.
const endsInARecord = "otrf/covenant_ldap_searchrequest_domainuser.cap"

type recorded struct {
	path           string
	packets, bytes uint64
}

// recordedCaptures reads captures.tsv, or skips the test.
func recordedCaptures(t testing.TB) []recorded {
	t.Helper()
	f, err := os.Open(filepath.Join(sharedDir, "captures.tsv"))
	if err != nil {
		t.Skipf("the captures of ../shared are missing: %v", err)
	}
	defer f.Close()
	var all []recorded
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		c := strings.Split(sc.Text(), "\t")
		if c[0] == "path" {
			continue
		}
		p, err := strconv.ParseUint(c[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		b, err := strconv.ParseUint(c[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recorded{filepath.Join(sharedDir, c[0]), p, b})
	}
	if err := sc.Err(); err != nil || len(all) < 100 {
		t.Fatalf("captures.tsv: %d lines, %v", len(all), err)
	}
	return all
}

// drain reads src to its end, and checks what must hold for every frame.
func drain(t testing.TB, src Source) (Stats, error) {
	t.Helper()
	var f Frame
	var n, wire uint64
	for {
		err := src.Next(&f)
		if err != nil {
			st := src.Stats()
			if st.Received != n || st.ReceivedBytes != wire {
				t.Fatalf("stats say %d packets, %d bytes; delivered were %d, %d", st.Received, st.ReceivedBytes, n, wire)
			}
			if again := src.Next(&f); again != err {
				t.Fatalf("after %v Next returned %v", err, again)
			}
			return st, err
		}
		if int(f.Interface) >= len(src.Interfaces()) {
			t.Fatalf("frame %d: interface %d of %d", n, f.Interface, len(src.Interfaces()))
		}
		if len(f.Data) > MaxFrame {
			t.Fatalf("frame %d: %d bytes", n, len(f.Data))
		}
		n++
		wire += uint64(f.Len)
	}
}

func TestRecordedCaptures(t *testing.T) {
	for _, c := range recordedCaptures(t) {
		t.Run(strings.TrimPrefix(c.path, sharedDir+"/"), func(t *testing.T) {
			for _, mapped := range []bool{false, true} {
				src, err := OpenFile(c.path, FileOptions{Map: mapped})
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				st, err := drain(t, src)
				if err != io.EOF || st.TruncatedFile != strings.HasSuffix(c.path, endsInARecord) {
					t.Fatalf("ended with %v, %v", err, st.Truncation)
				}
				if st.Received != c.packets || st.ReceivedBytes != c.bytes {
					t.Fatalf("mapped %t: %d packets, %d bytes (want %d, %d)", mapped, st.Received, st.ReceivedBytes, c.packets, c.bytes)
				}
			}
		})
	}
}

func TestListRecorded(t *testing.T) {
	recordedCaptures(t)
	got, err := ListCaptures(filepath.Join(sharedDir, "community-id"))
	if err != nil {
		t.Fatal(err)
	}
	last, n := int64(0), 0
	for _, p := range got {
		if !strings.HasSuffix(p, ".pcap") {
			t.Errorf("%s is listed", p)
		}
		at, ok := firstTime(p)
		if !ok || at < last {
			t.Errorf("%s: time %d after %d", p, at, last)
		}
		last = at
		n++
	}
	if n != 8 {
		t.Errorf("%d captures (want 8): %v", n, got)
	}
}

// memorySource reads b as a file that is mapped, or streamed.
func memorySource(b []byte, r io.Reader) (*fileSource, error) {
	s := &fileSource{path: "memory"}
	if s.win = (window{buf: b}); r != nil {
		s.win = window{r: r}
	}
	return s, s.detect()
}

// TestCorpora reads the wide corpora: malformed traffic in sound files, and a
// file whose packet claims too much.
func TestCorpora(t *testing.T) {
	recordedCaptures(t)
	for _, name := range []string{"arkime", "ndpi", "tcpdump-malformed", "zeek"} {
		t.Run(name, func(t *testing.T) {
			index, files := readCorpus(t, filepath.Join(sharedDir, "corpus", name+".tar.gz"))
			for _, line := range index {
				c := strings.Split(line, "\t")
				if len(c) < 6 || c[0] == "file" {
					continue
				}
				damaged := len(c) > 6 && c[6] != ""
				for _, r := range []io.Reader{nil, strings.NewReader(string(files[c[0]]))} {
					src, err := memorySource(files[c[0]], r)
					if strings.HasSuffix(c[0], ".gz") {
						src, err = openFile(writeFile(t, filepath.Base(c[0]), files[c[0]]), FileOptions{})
					}
					if err != nil {
						t.Fatalf("%s: %v", c[0], err)
					}
					st, err := drain(t, src)
					if bad := err != io.EOF || st.TruncatedFile; bad && !damaged {
						t.Errorf("%s: %v %v", c[0], err, st.Truncation)
					}
					got := strconv.FormatUint(st.Received, 10) + " " + strconv.FormatUint(st.ReceivedBytes, 10)
					if want := c[1] + " " + c[2]; got != want && !damaged {
						t.Errorf("%s: packets and bytes %s (want %s)", c[0], got, want)
					}
				}
			}
		})
	}
}

// writeFile writes b under name into the test's folder.
func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readCorpus(t *testing.T, path string) (index []string, files map[string][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files = make(map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = b
	}
	return strings.Split(string(files["INDEX.tsv"]), "\n"), files
}
