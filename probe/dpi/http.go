package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// httpState is the state of one HTTP/1 connection (RFC 9112).
type httpState struct {
	half [2]httpHalf
	// Methods of the requests whose response has not come, oldest first. Beyond
	// the bound, requests count as ordinary ones.
	asked  [32]asked
	nasked uint8
}

// asked is a request that waits for its response.
type asked struct {
	method askedMethod
	at     int64 // time of its first octet, ns
}

type httpHalf struct {
	mode httpMode
	scan int   // octets of the header that were searched for its end
	at   int64 // time of the header's first octet, ns
}

type httpMode uint8

const (
	httpHeader  httpMode = iota
	httpChunk            // at the line with a chunk's size
	httpTrailer          // after the last chunk
)

type askedMethod uint8

const (
	askedOther   askedMethod = iota
	askedHead                // its response has no body
	askedConnect             // after success the connection is a tunnel
)

// maxLine bounds the line with a chunk's size and the name of a method.
const (
	maxChunkLine = 1024
	maxMethod    = 24
)

func httpProtocol() protocol {
	return protocol{app: "http", kind: kindHTTP, tcp: []uint16{80, 81, 591, 3128, 8000, 8008, 8080, 8081, 8088, 8888},
		stream: func(b []byte, _ *hint) verdict { return looksHTTP(b) }, parse: (*Inspector).httpStream, resume: looksHTTP}
}

// looksHTTP recognises the first line of a request or a response.
func looksHTTP(b []byte) verdict {
	const response = "HTTP/1."
	if len(b) > 0 && b[0] == 'H' {
		if n := min(len(b), len(response)); string(b[:n]) == response[:n] {
			switch {
			case n < len(response):
				return undecided
			case len(b) < 9:
				return undecided
			case b[8] == ' ' && (b[7] == '0' || b[7] == '1'):
				return yes
			}
			return no
		}
	}
	return looksRequest(b)
}

func looksRequest(b []byte) verdict {
	n := 0
	for n < len(b) && n <= maxMethod && (b[n] >= 'A' && b[n] <= 'Z' || b[n] == '-' || b[n] == '_') {
		n++
	}
	if n == len(b) && n <= maxMethod {
		return undecided
	}
	if n < 3 || n > maxMethod || b[n] != ' ' {
		return no
	}
	rest := b[n+1:]
	if len(rest) == 0 {
		return undecided
	}
	if rest[0] == '/' && knownMethod(b[:n]) { // also without a version: HTTP/0.9, and scanners
		return yes
	}
	line, _, complete := bytes.Cut(rest[:min(len(rest), streamLimit)], []byte{'\n'})
	if complete {
		line = bytes.TrimSuffix(line, []byte{'\r'})
		k := len(line) - len(" HTTP/1.x")
		if k > 0 && string(line[k:k+8]) == " HTTP/1." {
			return yes
		}
		return no
	}
	for _, c := range line[:min(len(line), 64)] {
		if c < ' ' || c == 0x7f {
			return no
		}
	}
	if len(rest) >= 4 && bytes.EqualFold(rest[:4], []byte("http")) && knownMethod(b[:n]) {
		return yes
	}
	return undecided
}

// knownMethod tells the methods in use: RFC 9110, WebDAV (RFC 4918), and what
// proxies meet.
func knownMethod(b []byte) bool {
	switch string(b) {
	case "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "PROPFIND", "PROPPATCH",
		"MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "MERGE", "CHECKOUT":
		return true
	}
	return false
}

// httpStream parses headers and steps over bodies without looking at them.
func (in *Inspector) httpStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if st.http == nil {
		st.http = in.newHTTP()
	}
	s, h := &st.half[d], &st.http.half[d]
	switch h.mode {
	case httpChunk:
		return in.httpChunkSize(st, d, b, rec)
	case httpTrailer:
		n := bytes.IndexByte(b, '\n')
		if n < 0 {
			return 0
		}
		if n == 0 || n == 1 && b[0] == '\r' {
			h.mode = httpHeader
		}
		return n + 1
	}
	if b[0] == '\r' || b[0] == '\n' { // RFC 9112, section 2.2
		return 1
	}
	if h.at == 0 {
		h.at = now
	}
	if h.scan == 0 {
		switch looksHTTP(b) {
		case no:
			in.httpLost(st, d, rec)
			return len(b)
		case undecided:
			return 0
		}
	}
	end := headerEnd(b, &h.scan)
	if end == 0 {
		return 0
	}
	response := b[0] == 'H' && looksHTTP(b) == yes && string(b[:5]) == "HTTP/"
	if response && len(rec.HTTPStatuses) >= flow.MaxList || !response && len(rec.HTTPRequests) >= flow.MaxList {
		st.blocked = true
		return 0
	}
	at := h.at
	h.scan, h.at = 0, 0
	m := parseHTTP(b[:end])
	if response {
		in.httpResponse(st, d, &m, rec, at, b[end:])
	} else {
		in.httpRequest(st, d, &m, rec, at)
	}
	if s.dead {
		return len(b)
	}
	return end
}

// headerEnd returns the length of the header with its empty line, 0 when it is
// not complete. scan keeps the work linear over several calls.
func headerEnd(b []byte, scan *int) int {
	for i := *scan; i < len(b); {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			*scan = len(b)
			return 0
		}
		i += n
		switch rest := b[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 3
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			*scan = i
			return 0
		}
		i++
	}
	*scan = len(b)
	return 0
}

func (in *Inspector) httpRequest(st *State, d side, m *httpMessage, rec *flow.Record, at int64) {
	in.noteRequest(m, rec)
	x := st.http
	kind := askedOther
	switch string(m.method) {
	case "HEAD":
		kind = askedHead
	case "CONNECT":
		kind = askedConnect
	}
	if int(x.nasked) < len(x.asked) {
		x.asked[x.nasked] = asked{kind, at}
		x.nasked++
	}
	switch {
	case m.chunked:
		x.half[d].mode = httpChunk
	case m.length > 0:
		st.half[d].skip = uint64(m.length)
	}
}

func (in *Inspector) httpResponse(st *State, d side, m *httpMessage, rec *flow.Record, at int64, body []byte) {
	x, s := st.http, &st.half[d]
	latency := uint32(0)
	if x.nasked > 0 {
		latency = microseconds(at - x.asked[0].at)
	}
	in.noteResponse(m, rec, latency)
	if m.status == 101 {
		in.httpUpgrade(st, m, rec)
		return
	}
	if m.status >= 100 && m.status < 200 {
		return // the final response follows
	}
	kind := askedOther
	if x.nasked > 0 {
		kind = x.asked[0].method
		copy(x.asked[:], x.asked[1:x.nasked])
		x.nasked--
	}
	if m.status >= 200 && m.status < 300 {
		rec.Risks |= binaryTransfer(m, body)
	}
	switch {
	case kind == askedConnect && m.status >= 200 && m.status < 300:
		in.startAnew(st)
	case kind == askedHead || m.status == 204 || m.status == 304:
	case m.chunked:
		x.half[d].mode = httpChunk
	case m.length > 0:
		s.skip = uint64(m.length)
	case m.length < 0: // the body ends with the connection
		s.dead = true
		in.checkDone(st)
	}
}

// httpChunkSize reads a line like "1a;ext" and steps over the chunk (RFC 9112,
// section 7.1).
func (in *Inspector) httpChunkSize(st *State, d side, b []byte, rec *flow.Record) int {
	n := bytes.IndexByte(b[:min(len(b), maxChunkLine)], '\n')
	if n < 0 {
		if len(b) >= maxChunkLine {
			in.httpLost(st, d, rec)
			return len(b)
		}
		return 0
	}
	size, digits := uint64(0), 0
	for ; digits < n && digits < 12; digits++ {
		v := unhex(b[digits])
		if v > 15 {
			break
		}
		size = size<<4 | uint64(v)
	}
	if digits == 0 || digits == 12 {
		in.httpLost(st, d, rec)
		return len(b)
	}
	if size == 0 {
		st.http.half[d].mode = httpTrailer
	} else {
		st.half[d].skip = size + 2
	}
	return n + 1
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// httpLost gives up the place in the stream: the next packet that begins a
// message is where it goes on.
func (in *Inspector) httpLost(st *State, d side, rec *flow.Record) {
	in.cutStream(rec)
	if st.half[d].used { // or else it was met in its middle
		in.malformed(rec)
	}
	st.http.half[d] = httpHalf{}
	st.half[d].lost = true
	st.half[d].skip = 0
}

// httpCut takes what it can from a header whose end does not come.
func (in *Inspector) httpCut(st *State, d side, b []byte, rec *flow.Record) {
	if st.http == nil {
		return
	}
	h := &st.http.half[d]
	mode := h.mode
	*h = httpHalf{}
	if mode != httpHeader || looksHTTP(b) != yes {
		return
	}
	m := parseHTTP(b)
	switch {
	case m.status != 0 && len(rec.HTTPStatuses) < flow.MaxList:
		in.noteResponse(&m, rec, 0)
	case len(m.method) > 0 && len(rec.HTTPRequests) < flow.MaxList:
		in.noteRequest(&m, rec)
	}
}

func (in *Inspector) newHTTP() *httpState {
	if n := len(in.freeX); n > 0 {
		x := in.freeX[n-1]
		in.freeX = in.freeX[:n-1]
		return x
	}
	return new(httpState)
}
