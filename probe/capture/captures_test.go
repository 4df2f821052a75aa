package capture

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
)

// endsInARecord is the one recorded capture with a byte after its last packet.
const endsInARecord = "otrf/covenant_ldap_searchrequest_domainuser.cap"

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
	for _, c := range corpus.Captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			for _, opt := range ways() {
				src, err := OpenFile(c.Path, opt)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				st, err := drain(t, src)
				if err != io.EOF || st.TruncatedFile != strings.HasSuffix(c.Path, endsInARecord) {
					t.Fatalf("ended with %v, %v", err, st.Truncation)
				}
				if st.Received != c.Packets || st.ReceivedBytes != c.Bytes {
					t.Fatalf("%+v: %d packets, %d bytes (want %d, %d)", opt, st.Received, st.ReceivedBytes, c.Packets, c.Bytes)
				}
			}
		})
	}
}

func TestListRecorded(t *testing.T) {
	got, err := ListCaptures(corpus.Path(t, "community-id"))
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

// memorySource reads b as a file that is there at once (r is nil), or through r.
func memorySource(b []byte, r io.Reader) (*fileSource, error) {
	s := &fileSource{path: "memory"}
	if s.win = (window{buf: b, ended: io.EOF}); r != nil {
		s.win = window{r: r}
	}
	return s, s.detect()
}

// TestCorpora reads the wide corpora: malformed traffic in sound files, and a
// file whose packet claims too much.
func TestCorpora(t *testing.T) {
	for _, name := range corpus.Archives {
		t.Run(name, func(t *testing.T) {
			files := make(map[string][]byte)
			corpus.Each(t, name, func(name string, data []byte) { files[name] = data })
			for line := range strings.Lines(string(files["INDEX.tsv"])) {
				c := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
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
