package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// httpMessage holds the parts of a header; slices point into it.
type httpMessage struct {
	method, target []byte // of a request
	status         uint16 // of a response, 0 for a request
	host, agent    []byte
	contentType    []byte
	server         []byte
	authorization  []byte
	upgrade        []byte
	length         int64 // Content-Length, -1 not given or not usable
	chunked        bool
}

// parseHTTP reads a header, complete or cut short. Lines that continue the one
// before (obs-fold, RFC 9112, section 5.2) are left out.
func parseHTTP(b []byte) httpMessage {
	m := httpMessage{length: -1}
	line, rest := cutLine(b)
	if bytes.HasPrefix(line, []byte("HTTP/")) {
		_, code, _ := bytes.Cut(line, []byte{' '})
		for i := 0; i < len(code) && i < 3 && code[i] >= '0' && code[i] <= '9'; i++ {
			m.status = m.status*10 + uint16(code[i]-'0')
		}
	} else {
		m.method, m.target, _ = bytes.Cut(line, []byte{' '})
		if k := bytes.LastIndexByte(m.target, ' '); k >= 0 && bytes.HasPrefix([]byte("HTTP/1.1"), m.target[k+1:min(k+8, len(m.target))]) {
			m.target = m.target[:k]
		}
	}
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		switch line[0] | 0x20 { // of the names that field knows
		case 'h', 's', 'u', 'a', 'c', 't':
			if n := bytes.IndexByte(line[:min(len(line), maxField+1)], ':'); n > 0 {
				m.field(line[:n], line[n+1:])
			}
		}
	}
	return m
}

func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// maxField is the length of the longest name that field knows.
const maxField = 17

func (m *httpMessage) field(name, value []byte) {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	first := func(v *[]byte) {
		if *v == nil {
			*v = bytes.Trim(value, " \t")
		}
	}
	switch len(name) {
	case 4:
		if is("host") {
			first(&m.host)
		}
	case 6:
		if is("server") {
			first(&m.server)
		}
	case 7:
		if is("upgrade") {
			first(&m.upgrade)
		}
	case 10:
		if is("user-agent") {
			first(&m.agent)
		}
	case 12:
		if is("content-type") {
			first(&m.contentType)
		}
	case 13:
		if is("authorization") {
			first(&m.authorization)
		}
	case 14:
		if is("content-length") {
			m.length = decimal(bytes.Trim(value, " \t"))
		}
	case maxField:
		if is("transfer-encoding") {
			if value = bytes.Trim(value, " \t"); len(value) >= 7 && bytes.EqualFold(value[len(value)-7:], []byte("chunked")) {
				m.chunked = true
			}
		}
	}
}

// decimal reads a number; -1 when it is none or beyond 2^50.
func decimal(b []byte) int64 {
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' || n >= 1<<50 {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	if len(b) == 0 {
		return -1
	}
	return n
}

// noteRequest lists a request, and describes it where it is the record's first.
func (in *Inspector) noteRequest(m *httpMessage, rec *flow.Record) {
	host, path := m.host, m.target
	if k := bytes.Index(path, []byte("://")); k > 0 && k < 8 { // absolute-form, to a proxy
		path = path[k+3:]
		if host == nil {
			host, _, _ = bytes.Cut(path, []byte{'/'})
		}
	} else if len(path) > 0 && (path[0] == '/' || path[0] == '*') {
		path = nil
	}
	if rec.HTTPMethod == "" || len(rec.HTTPRequests) == 0 {
		rec.HTTPMethod = in.printable(m.method, rec)
		rec.HTTPHost = in.printable(host, rec)
		in.named(rec.HTTPHost, rec)
		rec.HTTPURI = in.printable(m.target, rec)
		rec.HTTPUserAgent = in.printable(m.agent, rec)
		rec.Risks |= in.agentRisks(rec.HTTPUserAgent)
		if numericHost(host) {
			rec.Risks |= flow.RiskNumericIPHost
		}
	}
	in.httpUser(m.authorization, rec)
	rec.Risks |= urlRisks(m.target)
	b := append(append(in.scratch[:0], m.method...), ' ')
	switch {
	case path != nil:
		b = append(b, path...)
	case len(m.target) > 0 && m.target[0] == '*':
		b = append(append(append(b, host...), '/'), m.target...)
	default:
		b = append(append(b, host...), m.target...)
	}
	in.scratch = b
	rec.HTTPRequests = append(rec.HTTPRequests, in.printable(b, rec))
}

// noteResponse does the same for a response. latency is in microseconds.
func (in *Inspector) noteResponse(m *httpMessage, rec *flow.Record, latency uint32) {
	if len(rec.HTTPStatuses) == 0 {
		rec.HTTPStatus = m.status
		rec.HTTPContentType = in.printable(m.contentType, rec)
	}
	rec.HTTPStatuses = append(rec.HTTPStatuses, m.status)
	rec.HTTPLatencies = append(rec.HTTPLatencies, latency)
	if m.status >= 400 {
		rec.Risks |= flow.RiskErrorCodeDetected
		rec.AppErrors++
	}
	if rec.ServerSoftware == "" && len(m.server) > 0 {
		rec.ServerSoftware = in.printable(m.server, rec)
		rec.Risks |= obsoleteServer(rec.ServerSoftware)
	}
}
