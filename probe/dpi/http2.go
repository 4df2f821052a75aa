package dpi

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// HTTP/2 in clear text (RFC 9113), by prior knowledge or by an upgrade of
// HTTP/1, and gRPC in it. Requests and responses go into the columns of HTTP/1.
func http2Protocol() protocol {
	return protocol{app: "http2", tcp: []uint16{80, 8080, 50051}, anyOctet: true, stream: looksHTTP2, parse: (*Inspector).http2Stream}
}

// grpcProtocol is HTTP/2 with a content type; it has no beginning of its own.
func grpcProtocol() protocol { return protocol{app: "grpc"} }

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	// Frame types and flags (RFC 9113, section 6).
	http2Headers      = 1
	http2Settings     = 4
	http2PushPromise  = 5
	http2Continuation = 9
	http2EndHeaders   = 0x4
	http2Padded       = 0x8
	http2Priority     = 0x20

	// maxBlock bounds the field block of one message, with its continuations.
	maxBlock = 8 << 10
	// maxTable is the dynamic table that is kept per direction: what SETTINGS
	// allow by default (RFC 9113, section 6.5.2).
	maxTable = 4096
	// maxAsked is how many streams may wait for their response.
	maxAsked = 32
)

// looksHTTP2 recognises the client's preface (section 3.4), or the SETTINGS
// with which the server begins.
func looksHTTP2(b []byte, h *hint) verdict {
	if len(b) > 0 && b[0] == 'P' {
		return prefixOf(b, http2Preface)
	}
	if h.d == sideDst && len(h.other) >= len(http2Preface) && string(h.other[:len(http2Preface)]) == http2Preface {
		return yes
	}
	return no
}

// http2State is what an HTTP/2 connection needs to remember.
type http2State struct {
	half  [2]http2Half
	asked [maxAsked]http2Asked
	n     int
}

type http2Half struct {
	started bool
	hpack   *hpack.Decoder
	broken  bool   // the table is not known any more
	stream  uint32 // of the field block that continues, in stream.message
}

type http2Asked struct {
	stream uint32
	at     int64
}

// http2Fields are the fields of one message.
type http2Fields struct {
	method, authority, path, agent, status, contentType, server, grpcStatus string
}

func (in *Inspector) http2Stream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	x, _ := st.extra.(*http2State)
	if x == nil {
		x = new(http2State)
		st.extra = x
	}
	h := &x.half[d]
	if !h.started {
		v := prefixOf(b, http2Preface)
		if v == undecided {
			return 0
		}
		h.started = true
		if v == yes {
			return len(http2Preface)
		}
	}
	if len(b) < 9 {
		return 0
	}
	size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	kind, flags, stream := b[3], b[4], binary.BigEndian.Uint32(b[5:])&^(1<<31)
	if kind > 0x20 || size > 1<<20 {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if kind != http2Headers && kind != http2Continuation && kind != http2PushPromise || h.broken {
		return st.stepOver(d, 9+size, b)
	}
	if 9+size > maxBlock {
		h.broken = true
		in.cutStream(rec)
		return 0
	}
	if len(b) < 9+size {
		return 0
	}
	if len(rec.HTTPRequests) >= flow.MaxList || len(rec.HTTPStatuses) >= flow.MaxList {
		st.blocked = true
		return 0
	}
	in.http2Block(st, x, d, kind, flags, stream, b[9:9+size], rec, now)
	return 9 + size
}

// http2Block takes the payload of a frame that carries fields.
func (in *Inspector) http2Block(st *State, x *http2State, d side, kind, flags byte, stream uint32, p []byte, rec *flow.Record, now int64) {
	h, s := &x.half[d], &st.half[d]
	if kind != http2Continuation {
		if flags&http2Padded != 0 && len(p) > 0 {
			pad := int(p[0])
			p = p[1:max(len(p)-pad, 1)]
		}
		if flags&http2Priority != 0 && kind == http2Headers {
			p = p[min(5, len(p)):]
		}
		if kind == http2PushPromise {
			p = p[min(4, len(p)):]
		}
		in.pool.put(&s.message)
		h.stream = stream
	}
	ends := flags&http2EndHeaders != 0
	if len(s.message)+len(p) > maxBlock || (!ends || len(s.message) > 0) && !in.tlsKeep(st, s, p) || h.hpack == nil && !in.newTable(st, h) {
		h.broken = true
		in.pool.put(&s.message)
		in.cutStream(rec)
		return
	}
	if !ends {
		return
	}
	if len(s.message) > 0 {
		p = s.message
		defer in.pool.put(&s.message)
	}
	var f http2Fields
	h.hpack.SetEmitFunc(f.take)
	if _, err := h.hpack.Write(p); err != nil || h.hpack.Close() != nil {
		// Met in the middle, or hostile: without the table nothing is certain.
		h.broken = true
		in.malformed(rec)
		return
	}
	if kind == http2PushPromise {
		return
	}
	in.http2Message(x, h.stream, &f, rec, now)
}

// newTable makes the decoder of a direction, whose table counts as the flow's.
func (in *Inspector) newTable(st *State, h *http2Half) bool {
	if !in.reserve(st, maxTable) {
		return false
	}
	h.hpack = hpack.NewDecoder(maxTable, nil)
	h.hpack.SetMaxStringLength(maxBlock)
	return true
}

func (f *http2Fields) take(h hpack.HeaderField) {
	switch h.Name {
	case ":method":
		f.method = h.Value
	case ":authority":
		f.authority = h.Value
	case "host":
		if f.authority == "" {
			f.authority = h.Value
		}
	case ":path":
		f.path = h.Value
	case ":status":
		f.status = h.Value
	case "user-agent":
		f.agent = h.Value
	case "content-type":
		f.contentType = h.Value
	case "server":
		f.server = h.Value
	case "grpc-status":
		f.grpcStatus = h.Value
	}
}

// http2Message notes a request or a response; trailers have neither.
func (in *Inspector) http2Message(x *http2State, stream uint32, f *http2Fields, rec *flow.Record, now int64) {
	m := httpMessage{method: []byte(f.method), target: []byte(f.path), host: []byte(f.authority), agent: []byte(f.agent),
		contentType: []byte(f.contentType), server: []byte(f.server), length: -1}
	switch {
	case f.method != "":
		in.noteRequest(&m, rec)
		if x.n < maxAsked {
			x.asked[x.n] = http2Asked{stream, now}
			x.n++
		}
	case f.status != "":
		code, err := strconv.ParseUint(f.status, 10, 16)
		if err != nil {
			in.malformed(rec)
			return
		}
		m.status = uint16(code)
		latency := uint32(0)
		for i := range x.asked[:x.n] {
			if x.asked[i].stream == stream {
				latency = microseconds(now - x.asked[i].at)
				if code >= 200 {
					x.n--
					x.asked[i] = x.asked[x.n]
				}
				break
			}
		}
		in.noteResponse(&m, rec, latency)
	}
	if bytes.HasPrefix(m.contentType, []byte("application/grpc")) {
		rec.App, rec.AppSource = "grpc", flow.AppDPI
	}
	if f.grpcStatus != "" && f.grpcStatus != "0" {
		rec.AppErrors++
	}
}
