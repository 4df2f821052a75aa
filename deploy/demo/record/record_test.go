package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	out, err := message.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name, ask string
		kind      dnsmessage.Type
		limit     int
		code      dnsmessage.RCode
		answers   int
		truncated bool
	}{
		{"address", "mail.example.", dnsmessage.TypeA, 1232, dnsmessage.RCodeSuccess, 1, false},
		{"upper case", "MAIL.example.", dnsmessage.TypeA, 1232, dnsmessage.RCodeSuccess, 1, false},
		{"no such type", "mail.example.", dnsmessage.TypeAAAA, 1232, dnsmessage.RCodeSuccess, 0, false},
		{"alias followed", "www.example.com.", dnsmessage.TypeAAAA, 1232, dnsmessage.RCodeSuccess, 2, false},
		{"alias itself", "www.example.com.", dnsmessage.TypeCNAME, 1232, dnsmessage.RCodeSuccess, 1, false},
		{"unknown", "nobody.example.", dnsmessage.TypeA, 1232, dnsmessage.RCodeNameError, 0, false},
		{"too large for UDP", "large.corp.test.", dnsmessage.TypeTXT, 1232, dnsmessage.RCodeSuccess, 0, true},
		{"large over TCP", "large.corp.test.", dnsmessage.TypeTXT, 65535, dnsmessage.RCodeSuccess, 30, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := answer(zone(), query(t, c.ask, c.kind), c.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got dnsmessage.Message
			if err := got.Unpack(out); err != nil {
				t.Fatal(err)
			}
			if got.ID != 7 || !got.Response || got.RCode != c.code || len(got.Answers) != c.answers || got.Truncated != c.truncated {
				t.Errorf("got %s", got.GoString())
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "www.example.com.", dnsmessage.TypeAAAA))
	f.Add(query(f, "large.corp.test.", dnsmessage.TypeTXT))
	f.Add([]byte{0, 1, 2})
	z := zone()
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := answer(z, b, 1232)
		if err != nil {
			return
		}
		var got dnsmessage.Message
		if err := got.Unpack(out); err != nil || len(got.Questions) != 1 {
			t.Fatalf("the answer does not parse: %v", err)
		}
	})
}

func TestSYNPacket(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.200:1234"), netip.MustParseAddrPort(victimAddress)
	p := synPacket(from, to, 0xfffefdfc)
	h, ok := trace.Parse(append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, p...))
	if !ok || h.Src != from || h.Dst != to || h.Flags != trace.SYN || h.Size != 0 || h.IPLength != len(p) {
		t.Errorf("parsed as %+v", h)
	}
	if sum := checksum(p[:20], 0); sum != 0 {
		t.Errorf("IP checksum is off by %#x", sum)
	}
	pseudo := uint32(6+24) + 0xc000 + 0x02c8 + 0x0a14 + 0x0051
	if sum := checksum(p[20:], pseudo); sum != 0 {
		t.Errorf("TCP checksum is off by %#x", sum)
	}
}

func TestWebsite(t *testing.T) {
	for _, c := range []struct {
		name, method, url, body string
		status, size            int
	}{
		{"page", "GET", "/?bytes=70000", "", 200, 70000},
		{"head", "HEAD", "/?bytes=70000", "", 200, 0},
		{"missing", "GET", "/?status=404&bytes=10", "", 404, 10},
		{"not modified", "GET", "/?status=304", "", 304, 0},
		{"upload", "PUT", "/", "12345", 201, len("5 octets received\n")},
		{"nonsense", "GET", "/?status=9999&bytes=-1", "", 200, 1200},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			website(w, httptest.NewRequest(c.method, c.url, bytes.NewBufferString(c.body)))
			if w.Code != c.status || w.Body.Len() != c.size {
				t.Errorf("status %d with %d octets, want %d with %d", w.Code, w.Body.Len(), c.status, c.size)
			}
			if n := w.Header().Get("Content-Length"); c.method == http.MethodGet && c.size > 0 && n != strconv.Itoa(c.size) {
				t.Errorf("content length %q, want %d", n, c.size)
			}
		})
	}
}

// TestBuildRefuses: what is missing is named, and nothing is written over the captures at hand.
func TestBuildRefuses(t *testing.T) {
	raw, out := t.TempDir(), t.TempDir()
	if err := build(raw, out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without raw captures: %v", err)
	}
	if err := os.WriteFile(filepath.Join(raw, "zoo.pcap"), []byte("no capture, a text as long as a header"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := build(raw, out); !errors.Is(err, trace.ErrNotPcap) {
		t.Errorf("with a text for a capture: %v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("%d files written, %v", len(left), err)
	}
}
