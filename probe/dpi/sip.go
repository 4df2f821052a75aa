package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// SIP (RFC 3261) over UDP and TCP.
func sipProtocol() protocol {
	return protocol{app: "sip", tcp: []uint16{5060, 5061}, udp: []uint16{5060, 5061},
		stream: func(b []byte, _ *hint) verdict { return looksSIP(b) }, resume: looksSIP,
		datagram: func(b []byte, h *hint) bool { return looksSIP(b) == yes || h.onPort && sipKeepAlive(b) },
		parse:    (*Inspector).sipStream, message: (*Inspector).sipMessage}
}

// RTSP (RFC 2326, RFC 7826), which has the same shape.
func rtspProtocol() protocol {
	return protocol{app: "rtsp", tcp: []uint16{554, 8554}, stream: func(b []byte, _ *hint) verdict { return looksRTSP(b) }, resume: looksRTSP,
		parse: (*Inspector).rtspStream}
}

// sipMethods are those of RFC 3261 and its extensions (IANA SIP Methods).
var sipMethods = []string{"INVITE ", "ACK ", "BYE ", "CANCEL ", "REGISTER ", "OPTIONS ", "PRACK ", "SUBSCRIBE ", "NOTIFY ", "PUBLISH ", "INFO ", "REFER ",
	"MESSAGE ", "UPDATE "}

var rtspMethods = []string{"OPTIONS ", "DESCRIBE ", "ANNOUNCE ", "SETUP ", "PLAY ", "PAUSE ", "TEARDOWN ", "GET_PARAMETER ", "SET_PARAMETER ", "REDIRECT ", "RECORD "}

func looksSIP(b []byte) verdict {
	if !firstOf(b, "iabcropsnmu") {
		return no
	}
	return looksStartLine(b, sipMethods, "SIP/2.0", "sip", "tel:")
}

func looksRTSP(b []byte) verdict { return looksStartLine(b, rtspMethods, "RTSP/", "rtsp", "*") }

// looksStartLine wants a method and a target of a scheme, or the version that
// begins a response.
func looksStartLine(b []byte, methods []string, version string, schemes ...string) verdict {
	best := prefixOf(b, version)
	if best == yes {
		return yes
	}
	for _, m := range methods {
		switch prefixOf(b, m) {
		case undecided:
			best = undecided
		case yes:
			for _, scheme := range schemes {
				switch v := prefixOf(b[len(m):], scheme); v {
				case yes:
					return yes
				case undecided:
					best = undecided
				}
			}
		}
	}
	return best
}

// sipKeepAlive is what user agents send to keep an address translation open
// (RFC 5626, section 3.5.1).
func sipKeepAlive(b []byte) bool {
	return len(b) > 0 && len(b) <= 8 && len(bytes.Trim(b, "\r\n\x00 ")) == 0
}

func (in *Inspector) sipStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	return in.textMessages(st, d, b, rec, looksSIP, in.sipHead)
}

func (in *Inspector) rtspStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if b[0] == '$' { // interleaved media (RFC 7826, section 14)
		if len(b) < 4 {
			return 0
		}
		st.half[d].skip = 4 + uint64(b[2])<<8 + uint64(b[3])
		return skipped(&st.half[d], len(b))
	}
	return in.textMessages(st, d, b, rec, looksRTSP, in.rtspHead)
}

func (in *Inspector) sipMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if sipKeepAlive(b) {
		return
	}
	if looksSIP(b) != yes {
		in.malformed(rec)
		return
	}
	in.sipHead(st, d, b, rec)
}

// textMessages takes one message of the shape of mail (start line, fields, an
// empty line, a body of Content-Length octets) off a stream.
func (in *Inspector) textMessages(st *State, d side, b []byte, rec *flow.Record, looks func([]byte) verdict,
	head func(*State, side, []byte, *flow.Record)) int {
	if b[0] == '\r' || b[0] == '\n' {
		return 1
	}
	scan := int(st.count[d])
	if scan == 0 {
		switch looks(b) {
		case no:
			in.malformed(rec)
			in.cutStream(rec)
			st.half[d].lost = true
			return len(b)
		case undecided:
			return 0
		}
	}
	end := headerEnd(b, &scan)
	if end == 0 {
		st.count[d] = uint32(scan)
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	st.count[d] = 0
	head(st, d, b[:end], rec)
	if n := fieldNumber(b[:end], "CONTENT-LENGTH", "L"); n > 0 {
		st.half[d].skip = uint64(n)
	}
	return end
}

// fieldNumber returns a number in a field, of which a short form may be given.
func fieldNumber(head []byte, name, short string) int64 { return number(field(head, name, short)) }

// maxHead is how much of a message's head is searched for fields: several
// times what user agents send, and little enough for a hostile one.
const maxHead = 8 << 10

// field returns the value of the first field of a name, in capital letters;
// nil: there is none.
func field(head []byte, name, short string) []byte {
	_, rest := cutLine(head[:min(len(head), maxHead)])
	for len(rest) > 0 {
		var line []byte
		line, rest = cutLine(rest)
		if len(line) == 0 {
			return nil
		}
		key, value, ok := bytes.Cut(line, []byte{':'})
		key = bytes.TrimRight(key, " \t")
		if ok && (isFold(key, name) || short != "" && isFold(key, short)) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// sipHead notes a request or a response.
func (in *Inspector) sipHead(st *State, d side, head []byte, rec *flow.Record) {
	line, _ := cutLine(head)
	if bytes.HasPrefix(line, []byte("SIP/2.0 ")) {
		in.statusLine(st, line, rec)
	} else {
		method, target := word(line)
		target, _ = word(target)
		in.addRequest(st, in.verb(string(method), target), rec)
		if user := sipUser(field(head, "FROM", "F")); len(user) > 0 {
			in.setOnce(&rec.User, user, rec)
		}
		if rec.Domain == "" {
			_, host, _ := bytes.Cut(target, []byte{':'})
			if i := bytes.IndexByte(host, '@'); i >= 0 {
				host = host[i+1:]
			}
			if k := bytes.IndexAny(host, ";:?>"); k >= 0 {
				host = host[:k]
			}
			in.setOnce(&rec.Domain, host, rec)
		}
	}
	in.software(d, field(head, "USER-AGENT", ""), rec)
	in.software(d, field(head, "SERVER", ""), rec)
}

// rtspHead notes a request or a response.
func (in *Inspector) rtspHead(st *State, d side, head []byte, rec *flow.Record) {
	line, _ := cutLine(head)
	if bytes.HasPrefix(line, []byte("RTSP/")) {
		in.statusLine(st, line, rec)
	} else {
		method, target := word(line)
		target, _ = word(target)
		in.addRequest(st, in.verb(string(method), target), rec)
		in.httpUser(field(head, "AUTHORIZATION", ""), rec)
	}
	in.software(d, field(head, "USER-AGENT", ""), rec)
	in.software(d, field(head, "SERVER", ""), rec)
}

// statusLine notes "SIP/2.0 404 Not Found" as "404".
func (in *Inspector) statusLine(st *State, line []byte, rec *flow.Record) {
	_, rest := word(line)
	code, _ := word(rest)
	if n := number(code); n >= 400 && n < 700 {
		rec.AppErrors++
		rec.Risks |= flow.RiskErrorCodeDetected
	}
	in.addResponse(st, code, rec)
}

// sipUser takes the user out of `"Bob" <sips:bob@b.example>;tag=x`.
func sipUser(from []byte) []byte {
	i := bytes.Index(from, []byte("sip"))
	if i < 0 {
		return nil
	}
	_, rest, ok := bytes.Cut(from[i:], []byte{':'})
	user, _, at := bytes.Cut(rest, []byte{'@'})
	if !ok || !at || bytes.ContainsAny(user, "<>; ") {
		return nil
	}
	user, _, _ = bytes.Cut(user, []byte{':'}) // a password
	return user
}
