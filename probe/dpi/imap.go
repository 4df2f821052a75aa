package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// IMAP 4rev1 and 4rev2 (RFC 3501, RFC 9051).
func imapProtocol() protocol {
	return protocol{app: "imap", tcp: []uint16{143}, risks: flow.RiskUnsafeProtocol, anyOctet: true, stream: looksIMAP, parse: (*Inspector).imapStream}
}

// looksIMAP takes the greeting, or a command with a tag before it.
func looksIMAP(b []byte, h *hint) verdict {
	for _, s := range []string{"* OK ", "* PREAUTH ", "* BYE "} {
		switch prefixOf(b, s) {
		case undecided:
			return undecided
		case yes:
			if h.onPort || containsFold(b[:min(len(b), maxLine)], "IMAP") {
				return yes
			}
			return undecided
		}
	}
	if len(b) == 0 || !alphanumeric(b[0]) {
		return no
	}
	i := 0
	for i < len(b) && i < 20 && (alphanumeric(b[i]) || b[i] == '.') {
		i++
	}
	if i == len(b) {
		if i < 20 && (h.onPort || prefixOf(h.other, "* OK") == yes) {
			return undecided
		}
		return no
	}
	if b[i] != ' ' {
		return no
	}
	v := startsWord(b[i+1:], "CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS", "ID", "NAMESPACE", "LOGOUT", "NOOP")
	if v == undecided && !h.onPort && len(h.other) == 0 && len(b) < i+3 {
		return no
	}
	if v == yes && !h.onPort && prefixOf(h.other, "* ") != yes && !alphanumeric(b[0]) {
		return no
	}
	return v
}

func alphanumeric(c byte) bool { return c >= '0' && c <= '9' || c|32 >= 'a' && c|32 <= 'z' }

func (in *Inspector) imapStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	line, n := st.line(d, b)
	if n == 0 || line == nil {
		return n
	}
	if bytes.HasSuffix(line, []byte("}")) { // a literal follows (RFC 3501, section 4.3)
		if i := bytes.LastIndexByte(line, '{'); i >= 0 {
			size := bytes.TrimSuffix(line[i+1:len(line)-1], []byte("+"))
			if k := number(size); k > 0 {
				st.half[d].skip = uint64(n) + uint64(k)
			}
		}
	}
	in.imapLine(st, d, line, rec)
	if st.half[d].skip > 0 {
		return skipped(&st.half[d], len(b))
	}
	return n
}

func (in *Inspector) imapLine(st *State, d side, line []byte, rec *flow.Record) {
	if len(line) == 0 {
		return
	}
	switch line[0] {
	case '*':
		if st.flags&mailGreeted == 0 {
			st.flags |= mailGreeted
			st.count[d], st.count[d.other()] = 2, 1
			if bytes.HasPrefix(line, []byte("* OK")) {
				in.software(sideDst, bytes.TrimSpace(line[4:]), rec)
			}
		}
		return
	case '+', ' ', '(', ')':
		return
	}
	if in.saslLine(st, d, line, rec) {
		return
	}
	tag, rest := word(line)
	verb, arg := word(rest)
	if len(verb) == 0 || len(tag) > 40 || len(verb) > 16 || !plain(verb) {
		return
	}
	if st.count[d] != 1 && (isFold(verb, "OK") || isFold(verb, "NO") || isFold(verb, "BAD")) {
		in.imapReply(st, verb, rec)
		return
	}
	if st.count[d] == 2 {
		return
	}
	st.count[d], st.count[d.other()] = 1, 2
	switch {
	case isFold(verb, "LOGIN"):
		user, _ := word(arg)
		if len(user) > 1 && user[0] == '"' {
			user = user[1:]
			if i := bytes.IndexByte(user, '"'); i >= 0 {
				user = user[:i]
			}
		}
		rec.Risks |= flow.RiskClearTextCredentials
		if arg = nil; !bytes.HasPrefix(user, []byte("{")) {
			rec.User = in.printable(user, rec)
			arg = user
		}
	case isFold(verb, "AUTHENTICATE"):
		mechanism, first := word(arg)
		switch {
		case isFold(mechanism, "PLAIN") && len(first) > 1:
			in.saslPlain(in.base64Text(first), rec)
		case isFold(mechanism, "PLAIN"):
			st.phase[d] = smtpPlain
		case isFold(mechanism, "LOGIN"):
			rec.Risks |= flow.RiskClearTextCredentials
			st.phase[d] = smtpLogin
		default:
			st.phase[d] = smtpPassword
		}
		arg = mechanism
	case isFold(verb, "STARTTLS"):
		st.flags |= mailStartTLS
	case isFold(verb, "ID"):
		in.software(sideSrc, bytes.Trim(arg, "()"), rec)
	}
	in.addRequest(st, in.upper(verb, arg), rec)
}

func (in *Inspector) imapReply(st *State, verb []byte, rec *flow.Record) {
	in.addResponse(st, append(in.scratch[:0], verb...), rec)
	if !isFold(verb, "OK") {
		rec.AppErrors++
		st.phase = [2]uint8{}
		return
	}
	if st.flags&mailStartTLS != 0 {
		in.become(st, "tls")
	}
}
