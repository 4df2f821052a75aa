package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// SMTP (RFC 5321) with AUTH (RFC 4954), STARTTLS (RFC 3207) and BDAT (RFC
// 3030). Of a message only the program that wrote it is read.
func smtpProtocol() protocol {
	return protocol{app: "smtp", tcp: []uint16{25, 587, 2525}, anyOctet: true, stream: looksSMTP, parse: (*Inspector).smtpStream}
}

// looksSMTP takes a greeting on the port or one that says SMTP; elsewhere the
// client's greeting.
func looksSMTP(b []byte, h *hint) verdict {
	if !h.onPort && !firstOf(b, "2ehlmansr") {
		return no
	}
	if v := looksReply(b, "220", "421", "554"); v != no {
		if v == undecided || h.onPort {
			return v
		}
		i := bytes.IndexByte(b, '\n')
		switch {
		case i < 0 && len(b) < maxLine:
			return undecided
		case b[0] != '2' || !plain(bytes.TrimRight(b[:max(i, 0)], "\r\n")):
			return no
		case containsFold(b[:min(len(b), maxLine)], "SMTP"):
			return yes
		}
		return undecided // FTP greets in the same way
	}
	v := startsWord(b, "EHLO", "HELO", "LHLO")
	if v == no && (h.onPort || looksReply(h.other, "220") == yes) {
		return startsWord(b, "MAIL", "AUTH", "NOOP", "HELP", "STARTTLS", "RSET", "RCPT")
	}
	return v
}

// State.phase of a client.
const (
	smtpCommands = iota
	smtpHeaders  // of a message
	smtpBody
	smtpLogin    // the next line is a user name
	smtpPassword // the next line is secret
	smtpPlain    // the next line is user and password
)

func (in *Inspector) smtpStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
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
	if st.role(d, line) {
		return in.smtpReply(st, d, line, n, rec)
	}
	if st.phase[d] == smtpHeaders {
		in.smtpHeader(st, d, line, rec)
		return n
	}
	if in.saslLine(st, d, line, rec) {
		return n
	}
	verb, arg := word(line)
	switch {
	case len(verb) < 3 || len(verb) > 10 || !plain(verb):
		return n
	case isFold(verb, "EHLO"), isFold(verb, "HELO"), isFold(verb, "LHLO"):
		in.setOnce(&rec.AppHost, arg, rec)
	case isFold(verb, "STARTTLS"):
		st.flags |= mailStartTLS
	case isFold(verb, "DATA"):
		st.phase[d] = smtpHeaders
	case isFold(verb, "BDAT"):
		size, _ := word(arg)
		if k := number(size); k > 0 {
			st.half[d].skip = uint64(n) + uint64(k)
			in.addRequest(st, in.upper(verb, arg), rec)
			return skipped(&st.half[d], len(b))
		}
	case isFold(verb, "AUTH"):
		mechanism, first := word(arg)
		rec.Risks |= flow.RiskClearTextCredentials
		switch {
		case isFold(mechanism, "PLAIN") && len(first) > 1:
			in.saslPlain(in.base64Text(first), rec)
		case isFold(mechanism, "PLAIN"):
			st.phase[d] = smtpPlain
		case isFold(mechanism, "LOGIN") && len(first) > 1:
			in.setOnce(&rec.User, in.base64Text(first), rec)
			st.phase[d] = smtpPassword
		case isFold(mechanism, "LOGIN"):
			st.phase[d] = smtpLogin
		default: // a challenge, not the password
			rec.Risks &^= flow.RiskClearTextCredentials
			st.phase[d] = smtpPassword
		}
		arg = mechanism
	}
	in.addRequest(st, in.upper(verb, arg), rec)
	return n
}

// smtpContent steps over a message up to the line that is a dot. word holds the
// last four octets of what came before.
func (st *State) smtpContent(d side, b []byte) int {
	const end = 0x0a2e0d0a
	w := uint32(st.word[d])
	for i, c := range b[:min(len(b), 3)] { // across the border of two segments
		if w = w<<8 | uint32(c); w == end {
			st.phase[d], st.word[d] = smtpCommands, 0
			return i + 1
		}
	}
	if i := bytes.Index(b, []byte("\n.\r\n")); i >= 0 {
		st.phase[d], st.word[d] = smtpCommands, 0
		return i + 4
	}
	w = uint32(st.word[d])
	for _, c := range b[max(0, len(b)-4):] {
		w = w<<8 | uint32(c)
	}
	st.word[d] = uint64(w)
	return len(b)
}

// smtpHeader looks for the writer's name in a message's header.
func (in *Inspector) smtpHeader(st *State, d side, line []byte, rec *flow.Record) {
	switch {
	case len(line) == 0:
		st.phase[d], st.word[d] = smtpBody, '\n'
	case len(line) == 1 && line[0] == '.':
		st.phase[d] = smtpCommands
	case startsFold(line, "USER-AGENT:"):
		in.software(sideSrc, bytes.TrimSpace(line[len("USER-AGENT:"):]), rec)
	case startsFold(line, "X-MAILER:"):
		in.software(sideSrc, bytes.TrimSpace(line[len("X-MAILER:"):]), rec)
	}
}

func (in *Inspector) smtpReply(st *State, d side, line []byte, n int, rec *flow.Record) int {
	code, more, text := replyLine(line)
	if code == 0 || more {
		if st.flags&mailGreeted == 0 && code == 220 {
			in.software(sideDst, bytes.TrimSpace(text), rec)
		}
		return n
	}
	if st.flags&mailGreeted == 0 {
		st.flags |= mailGreeted
		if code == 220 {
			in.software(sideDst, bytes.TrimSpace(text), rec)
			return n
		}
	}
	client := d.other()
	if code >= 400 {
		rec.AppErrors++
		if st.phase[client] != smtpBody { // DATA or AUTH was refused
			st.phase[client] = smtpCommands
		}
	}
	if code/100 == 2 && st.phase[client] >= smtpLogin { // and done
		st.phase[client] = smtpCommands
	}
	in.addResponse(st, appendInt(in.scratch[:0], code), rec)
	if code == 220 && st.flags&mailStartTLS != 0 {
		in.become(st, "tls")
	}
	return n
}
