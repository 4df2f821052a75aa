package dpi

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// h2 writes frames with the library's own framer.
type h2 struct {
	buf    bytes.Buffer
	block  bytes.Buffer
	framer *http2.Framer
	table  *hpack.Encoder
}

func newH2() *h2 {
	h := &h2{}
	h.framer = http2.NewFramer(&h.buf, nil)
	h.table = hpack.NewEncoder(&h.block)
	return h
}

func (h *h2) headers(stream uint32, split int, fields ...string) {
	h.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		h.table.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	b := h.block.Bytes()
	k := min(split, len(b))
	h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b[:k], EndHeaders: k == len(b), PadLength: 3})
	if k < len(b) {
		h.framer.WriteContinuation(stream, true, b[k:])
	}
}

func (h *h2) take() string {
	s := h.buf.String()
	h.buf.Reset()
	return s
}

func TestHTTP2(t *testing.T) {
	for name, size := range map[string]int{"whole": 1 << 20, "7 octets": 7, "13 octets": 13} {
		t.Run(name, func(t *testing.T) {
			k := newTalk(t, protoTCP, 8080)
			say := func(d side, s string) {
				for len(s) > 0 {
					n := min(size, len(s))
					k.send(d, s[:n])
					s = s[n:]
				}
			}
			c, s := newH2(), newH2()
			c.framer.WriteSettings()
			c.headers(1, 1<<20, ":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/x", "user-agent", "curl/8")
			c.headers(3, 2, ":method", "POST", ":scheme", "http", ":authority", "a.example", ":path", "/y", "user-agent", "curl/8")
			c.framer.WriteData(3, true, bytes.Repeat([]byte{1}, 3000))
			say(sideSrc, http2Preface+c.take())
			s.framer.WriteSettings()
			s.headers(3, 1<<20, ":status", "404", "content-type", "text/plain", "server", "nginx/1.10.0")
			s.headers(1, 1<<20, ":status", "200", "content-type", "text/html")
			s.framer.WriteData(1, true, bytes.Repeat([]byte{2}, 5000))
			say(sideDst, s.take())
			r := k.end()
			if r.App != "http2" || !slices.Equal(r.HTTPRequests, []string{"GET a.example/x", "POST a.example/y"}) || !slices.Equal(r.HTTPStatuses, []uint16{404, 200}) ||
				r.HTTPUserAgent != "curl/8" || r.HTTPContentType != "text/plain" || r.ServerSoftware != "nginx/1.10.0" || r.AppErrors != 1 || r.Cut != 0 {
				t.Errorf("%q %q %v %q %q %q, %d errors, cut %b", r.App, r.HTTPRequests, r.HTTPStatuses, r.HTTPUserAgent, r.HTTPContentType, r.ServerSoftware, r.AppErrors, r.Cut)
			}
			if len(r.HTTPLatencies) != 2 || r.HTTPLatencies[0] == 0 {
				t.Errorf("latencies %v", r.HTTPLatencies)
			}
		})
	}
}

func TestGRPCAndUpgrade(t *testing.T) {
	k := newTalk(t, protoTCP, 8080)
	k.send(sideSrc, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	s, c := newH2(), newH2()
	s.framer.WriteSettings()
	s.headers(1, 1<<20, ":status", "200", "content-type", "text/html")
	k.send(sideDst, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"+s.take())
	c.framer.WriteSettings()
	c.headers(3, 1<<20, ":method", "POST", ":path", "/pkg.Service/Do", ":authority", "h", "content-type", "application/grpc+proto")
	k.send(sideSrc, http2Preface+c.take())
	s.headers(3, 1<<20, ":status", "200", "content-type", "application/grpc+proto")
	s.headers(3, 1<<20, "grpc-status", "5")
	k.send(sideDst, s.take())
	r := k.end()
	if r.App != "grpc" || !slices.Equal(r.HTTPRequests, []string{"GET h/", "POST h/pkg.Service/Do"}) || !slices.Equal(r.HTTPStatuses, []uint16{101, 200, 200}) || r.AppErrors != 1 {
		t.Errorf("%q %q %v, %d errors", r.App, r.HTTPRequests, r.HTTPStatuses, r.AppErrors)
	}
}

// A flood of CONTINUATION frames (CVE-2024-27316 and its kin) is given up.
func TestContinuationFlood(t *testing.T) {
	k := newTalk(t, protoTCP, 8080)
	k.send(sideSrc, http2Preface+"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88")
	for range 10000 {
		k.send(sideSrc, "\x00\x01\x00\x09\x00\x00\x00\x00\x01"+strings.Repeat("\x88", 256))
	}
	if held := k.in.Stats().BufferBytes; held > streamLimit {
		t.Errorf("%d octets are held", held)
	}
	if r := k.end(); r.Cut&flow.CutStream == 0 {
		t.Error("not marked as cut")
	}
}
