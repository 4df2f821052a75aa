package dpi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: h\r\nUser-Agent: ua/1\r\n\r\n"
}

func TestHTTP(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"
	tests := []struct {
		name     string
		play     func(*talk)
		requests []string
		statuses []uint16
		cut      flow.Cut
	}{
		{"one", func(k *talk) { k.send(0, get("/a")); k.send(1, ok) }, []string{"GET h/a"}, []uint16{200}, 0},
		{"pipelined", func(k *talk) { k.send(0, get("/a")+get("/b")+get("/c")); k.send(1, ok+ok+ok) },
			[]string{"GET h/a", "GET h/b", "GET h/c"}, []uint16{200, 200, 200}, 0},
		{"octet by octet", func(k *talk) {
			for _, c := range []byte(get("/a") + get("/b")) {
				k.send(0, string([]byte{c}))
			}
		}, []string{"GET h/a", "GET h/b"}, nil, 0},
		{"a body of 1 GB that is mostly not captured", func(k *talk) {
			k.send(0, get("/a"))
			k.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nabc")
			k.seq[1] += 1_000_000_000 - 3 - 60_000_000*16
			k.at(1, k.seq[1]-4, "zzzz", 4)
			for range 16 {
				k.at(1, k.seq[1]+60_000_000-4, "zzzz", 4)
				k.seq[1] += 60_000_000
			}
			k.send(0, get("/b"))
			k.send(1, ok)
		}, []string{"GET h/a", "GET h/b"}, []uint16{200, 200}, 0},
		{"chunks", func(k *talk) {
			k.send(0, get("/a"))
			k.send(1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhel")
			k.send(1, "lo\r\n1F;x=y\r\n"+strings.Repeat("y", 31)+"\r\n0\r\nTrailer: x\r\n\r\n"+ok)
		}, []string{"GET h/a"}, []uint16{200, 200}, 0},
		{"no bodies for HEAD, 204, 304, 100", func(k *talk) {
			k.send(0, "HEAD /a HTTP/1.1\r\n\r\n"+get("/b")+get("/c")+"POST /d HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"+get("/e"))
			k.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+"HTTP/1.1 204 No\r\n\r\n"+"HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n"+"HTTP/1.1 100 Continue\r\n\r\n"+ok+ok)
		}, []string{"HEAD /a", "GET h/b", "GET h/c", "POST /d", "GET h/e"}, []uint16{200, 204, 304, 100, 200, 200}, 0},
		{"other methods and targets", func(k *talk) {
			k.send(0, "PROPFIND /dav HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\nGET http://x.y/z HTTP/1.1\r\nHost: h\r\n\r\nCONNECT q:443 HTTP/1.1\r\nHost: q:443\r\n\r\n")
			k.send(1, "HTTP/1.1 207 Multi\r\nContent-Length: 0\r\n\r\n"+ok+ok+"HTTP/1.1 200 Connected\r\n\r\n")
			k.send(1, get("/in-the-tunnel"))
		}, []string{"PROPFIND h/dav", "OPTIONS h/*", "GET x.y/z", "CONNECT q:443", "GET h/in-the-tunnel"}, []uint16{207, 200, 200, 200}, 0},
		{"upgrade", func(k *talk) {
			k.send(0, get("/ws"))
			k.send(1, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			k.send(0, get("/not-http"))
		}, []string{"GET h/ws"}, []uint16{101}, 0},
		{"a lost segment, then the next request", func(k *talk) {
			k.send(0, get("/a"))
			k.seq[0] += 100
			for i := range 4 {
				k.send(0, get(fmt.Sprint("/", i)))
			}
		}, []string{"GET h/a", "GET h/0", "GET h/1", "GET h/2", "GET h/3"}, nil, flow.CutStream},
		{"a lost segment at the end", func(k *talk) {
			k.send(0, get("/a"))
			k.seq[0] += 100
			k.send(0, get("/b"))
		}, []string{"GET h/a", "GET h/b"}, nil, flow.CutStream},
		{"header of more than is held", func(k *talk) {
			k.send(0, "GET /a HTTP/1.1\r\nHost: h\r\n")
			for range 20 {
				k.send(0, "X: "+strings.Repeat("x", 1000)+"\r\n")
			}
			k.send(0, get("/b"))
		}, []string{"GET h/a", "GET h/b"}, nil, flow.CutStream},
		{"captured short", func(k *talk) {
			a := get("/a")
			k.at(0, k.seq[0], a[:20], len(a))
			k.seq[0] += uint32(len(a))
			k.send(0, get("/b"))
		}, []string{"GET /a", "GET h/b"}, nil, flow.CutStream | flow.CutSnaplen},
		{"without a version", func(k *talk) { k.send(0, "GET /old\r\n") }, []string{"GET /old"}, nil, flow.CutStream},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk(t, protoTCP, 8080)
			tt.play(k)
			r := k.end()
			if got := k.requests(); !slices.Equal(got, tt.requests) {
				t.Errorf("requests (-got +want)\n-%q\n+%q", got, tt.requests)
			}
			if got := k.statuses(); !slices.Equal(got, tt.statuses) {
				t.Errorf("statuses (-got +want)\n-%v\n+%v", got, tt.statuses)
			}
			if r.App != "http" || r.Cut != tt.cut {
				t.Errorf("app %q cut %b, want http and %b", r.App, r.Cut, tt.cut)
			}
		})
	}
}

// TestHTTPSegments pipelines more requests than a record holds: none is lost,
// no record holds more than it may.
func TestHTTPSegments(t *testing.T) {
	k := newTalk(t, protoTCP, 80)
	var want []string
	var all strings.Builder
	for i := range 200 {
		want = append(want, fmt.Sprintf("GET h/%d", i))
		all.WriteString(get(fmt.Sprint("/", i)))
	}
	for s := all.String(); len(s) > 0; {
		n := min(len(s), 1400)
		k.send(0, s[:n])
		s = s[n:]
	}
	k.end()
	if got := k.requests(); !slices.Equal(got, want) {
		t.Errorf("%d requests in order, want %d: %q", len(got), len(want), got)
	}
	for _, r := range append(k.cuts, k.rec) {
		if len(r.HTTPRequests) > flow.MaxList || r.Cut != 0 {
			t.Errorf("segment of %d requests, cut %b", len(r.HTTPRequests), r.Cut)
		}
	}
	if first := k.cuts[1].HTTPURI; first != strings.TrimPrefix(k.cuts[1].HTTPRequests[0], "GET h") {
		t.Errorf("the second segment describes %q, lists %q first", first, k.cuts[1].HTTPRequests[0])
	}
}

func TestLongStringsAndControls(t *testing.T) {
	k := newTalk(t, protoTCP, 80)
	k.send(0, "GET /"+strings.Repeat("ü", 800)+" HTTP/1.1\r\nHost: a\x00b\xff\r\nUser-Agent: \x1b[31m\r\n\r\n")
	r := k.end()
	if len(r.HTTPURI) > flow.MaxString || len(r.HTTPURI) < flow.MaxString-2 || r.Cut&flow.CutString == 0 {
		t.Errorf("uri of %d octets, cut %b", len(r.HTTPURI), r.Cut)
	}
	if r.HTTPHost != `a\x00b\xff` || r.HTTPUserAgent != `\x1b[31m` {
		t.Errorf("host %q agent %q", r.HTTPHost, r.HTTPUserAgent)
	}
}
