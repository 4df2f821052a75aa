package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// POP3 (RFC 1939) with AUTH (RFC 5034) and STLS (RFC 2595).
func pop3Protocol() protocol {
	return protocol{app: "pop3", tcp: []uint16{110}, risks: flow.RiskUnsafeProtocol, anyOctet: true, stream: looksPOP3, parse: (*Inspector).pop3Stream}
}

func looksPOP3(b []byte, h *hint) verdict {
	switch prefixOf(b, "+OK") {
	case undecided:
		return undecided
	case yes: // Redis and others answer so, too
		if h.onPort || containsFold(b[:min(len(b), maxLine)], "POP") {
			return yes
		}
		if startsWord(h.other, "CAPA", "USER", "APOP", "STLS", "AUTH") == yes {
			return yes
		}
		if len(b) < 8 || b[3] == ' ' && h.d == sideDst && len(h.other) == 0 {
			return undecided
		}
		return no
	}
	if h.onPort || prefixOf(h.other, "+OK") == yes {
		return startsWord(b, "CAPA", "USER", "APOP", "STLS", "AUTH", "QUIT")
	}
	if v := startsWord(b, "CAPA", "STLS", "APOP", "USER"); v != no && len(h.other) == 0 && len(b) < 128 {
		return undecided
	}
	return no
}

// State.phase of a POP3 client is that of SMTP; word[client] is the list of
// commands that wait for their answer, two bits each: 1 is one with more lines
// than one, 2 is AUTH, 3 STLS. The server's phase is 1 in a list of lines.
const (
	pop3One = iota
	pop3Many
	pop3Auth
	pop3TLS
)

func (in *Inspector) pop3Stream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	if st.phase[d] == smtpBody {
		return st.smtpContent(d, b)
	}
	line, n := st.line(d, b)
	if n == 0 || line == nil {
		return n
	}
	if bytes.HasPrefix(line, []byte("+OK")) || bytes.HasPrefix(line, []byte("-ERR")) || bytes.HasPrefix(line, []byte("+ ")) || string(line) == "+" {
		return in.pop3Reply(st, d, line, n, rec)
	}
	if in.saslLine(st, d, line, rec) {
		return n
	}
	verb, arg := word(line)
	if len(verb) < 3 || len(verb) > 5 || !plain(verb) {
		return n
	}
	kind := pop3One
	switch {
	case isFold(verb, "USER"):
		rec.User = in.printable(arg, rec)
	case isFold(verb, "PASS"):
		rec.Risks |= flow.RiskClearTextCredentials
		arg = nil
	case isFold(verb, "APOP"): // name and digest
		name, _ := word(arg)
		rec.User, arg = in.printable(name, rec), name
	case isFold(verb, "AUTH"):
		mechanism, first := word(arg)
		switch {
		case len(mechanism) == 0:
			kind = pop3Many
		case isFold(mechanism, "PLAIN") && len(first) > 1:
			in.saslPlain(in.base64Text(first), rec)
		case isFold(mechanism, "PLAIN"):
			kind, st.phase[d] = pop3Auth, smtpPlain
		case isFold(mechanism, "LOGIN"):
			rec.Risks |= flow.RiskClearTextCredentials
			kind, st.phase[d] = pop3Auth, smtpLogin
		default:
			kind, st.phase[d] = pop3Auth, smtpPassword
		}
		arg = mechanism
	case isFold(verb, "STLS"):
		kind = pop3TLS
	case isFold(verb, "CAPA"), isFold(verb, "RETR"), isFold(verb, "TOP"), (isFold(verb, "LIST") || isFold(verb, "UIDL")) && len(arg) == 0:
		kind = pop3Many
	}
	st.word[d] |= uint64(kind) << (2 * min(st.count[d], 31))
	st.count[d]++
	in.addRequest(st, in.upper(verb, arg), rec)
	return n
}

func (in *Inspector) pop3Reply(st *State, d side, line []byte, n int, rec *flow.Record) int {
	if st.flags&mailGreeted == 0 {
		st.flags |= mailGreeted
		if st.count[d.other()] == 0 {
			in.software(sideDst, bytes.TrimSpace(bytes.TrimPrefix(line, []byte("+OK"))), rec)
			return n
		}
	}
	if line[0] == '+' && (len(line) == 1 || line[1] == ' ') { // a challenge
		return n
	}
	client := d.other()
	kind := int(st.word[client] & 3)
	if st.count[client] > 0 {
		st.word[client] >>= 2
		st.count[client]--
	}
	verb, _ := word(line)
	in.addResponse(st, append(in.scratch[:0], verb...), rec)
	if line[0] == '-' {
		rec.AppErrors++
		if st.phase[client] != smtpBody {
			st.phase[client] = smtpCommands
		}
		return n
	}
	switch kind {
	case pop3Many:
		st.phase[d], st.word[d] = smtpBody, '\n'
	case pop3TLS:
		in.become(st, "tls")
	}
	return n
}
