package dpi

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// What parsers of many protocols have in common: lines, numbers and names as
// text, room in the lists.

// maxLine is the longest line of a text protocol that is read whole; SMTP and
// FTP allow less (RFC 5321, section 4.5.3.1.4), IMAP servers take more.
const maxLine = 2 << 10

// longLine marks in State.flags, one bit for each side, that the octets at hand
// belong to a line too long to be read.
const longLine = 1 << 6

// line takes one line, without its end, off a stream of text. n is how many
// octets it has, 0 when its end is not there yet; of a line longer than maxLine
// only the beginning is returned, and the rest as nil lines.
func (st *State) line(d side, b []byte) (line []byte, n int) {
	mark := uint8(longLine) << d
	i := bytes.IndexByte(b, '\n')
	switch {
	case i < 0 && len(b) < maxLine && st.flags&mark == 0:
		return nil, 0
	case i < 0:
		if st.flags&mark == 0 {
			line = b[:maxLine]
		}
		st.flags |= mark
		return line, len(b)
	case st.flags&mark != 0:
		st.flags &^= mark
		return nil, i + 1
	}
	line = b[:min(i, maxLine)]
	if i > 0 && i <= maxLine && b[i-1] == '\r' {
		line = b[:i-1]
	}
	return line, i + 1
}

// firstOf tells whether b, which may be empty, begins with one of these digits
// or letters, of either case: it spares most strangers the longer look.
func firstOf(b []byte, set string) bool {
	return len(b) == 0 || strings.IndexByte(set, b[0]|0x20) >= 0
}

// word cuts the first word off a line.
func word(line []byte) (first, rest []byte) {
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return line, nil
	}
	return line[:i], bytes.TrimLeft(line[i:], " ")
}

// isFold tells whether b is s, which is in capital letters, in any case.
func isFold(b []byte, s string) bool { return len(b) == len(s) && startsFold(b, s) }

// startsFold tells whether b begins with s, which is in capital letters, in any case.
func startsFold(b []byte, s string) bool {
	if len(b) < len(s) {
		return false
	}
	for i := range len(s) {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// containsFold looks for s, in capital letters, anywhere.
func containsFold(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		if startsFold(b[i:], s) {
			return true
		}
	}
	return false
}

// prefixOf tells whether b, or as much of it as there is, is s: yes when all
// of s is there.
func prefixOf(b []byte, s string) verdict {
	n := min(len(b), len(s))
	switch {
	case string(b[:n]) != s[:n]:
		return no
	case n < len(s):
		return undecided
	}
	return yes
}

// startsWord tells whether b begins with one of the words, in capital letters,
// any case, followed by a blank or the end of a line.
func startsWord(b []byte, words ...string) verdict {
	best := no
	for _, w := range words {
		n := min(len(b), len(w))
		if !startsFold(b[:n], w[:n]) {
			continue
		}
		if len(b) <= len(w) {
			best = undecided
		} else if c := b[len(w)]; c == ' ' || c == '\r' || c == '\n' {
			return yes
		}
	}
	return best
}

func appendInt[T uint64 | int64 | int | uint32 | uint16 | uint8](dst []byte, n T) []byte {
	if n < 0 {
		return strconv.AppendInt(dst, int64(n), 10)
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// appendUTF16 appends little-endian UTF-16 as UTF-8, up to about flow.MaxString
// octets; a NUL ends it.
func appendUTF16(dst, b []byte) []byte {
	limit := len(dst) + flow.MaxString
	for len(b) >= 2 && len(dst) <= limit {
		r := rune(b[0]) | rune(b[1])<<8
		b = b[2:]
		if r == 0 {
			break
		}
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			if both := utf16.DecodeRune(r, rune(b[0])|rune(b[1])<<8); both != utf8.RuneError {
				r, b = both, b[2:]
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// wide returns little-endian UTF-16 as text for a record.
func (in *Inspector) wide(b []byte, rec *flow.Record) string {
	in.scratch = appendUTF16(in.scratch[:0], b)
	return in.printable(in.scratch, rec)
}

// verb returns "VERB object" in the scratch buffer, just VERB without object.
func (in *Inspector) verb(verb string, object []byte) []byte {
	in.scratch = append(in.scratch[:0], verb...)
	if len(object) > 0 {
		in.scratch = append(append(in.scratch, ' '), object...)
	}
	return in.scratch
}

// verbWide is verb with an object in UTF-16.
func (in *Inspector) verbWide(verb string, object []byte) []byte {
	in.scratch = append(append(in.scratch[:0], verb...), ' ')
	n := len(in.scratch)
	if in.scratch = appendUTF16(in.scratch, object); len(in.scratch) == n {
		in.scratch = in.scratch[:n-1]
	}
	return in.scratch
}

// crowded tells that one of the lists has no room for n more, and makes the
// parser of a stream wait for the next segment, as addRequest does: for
// messages that may add several.
func (in *Inspector) crowded(st *State, n int, rec *flow.Record) bool {
	if st.transport == protoUDP || len(rec.AppRequests)+n <= flow.MaxList && len(rec.AppResponses)+n <= flow.MaxList {
		return false
	}
	st.blocked = true
	return true
}

// setOnce writes the first value that is not empty.
func (in *Inspector) setOnce(s *string, b []byte, rec *flow.Record) {
	if *s == "" && len(b) > 0 {
		*s = in.printable(b, rec)
	}
}

// setWide does it with UTF-16.
func (in *Inspector) setWide(s *string, b []byte, rec *flow.Record) {
	if *s == "" && len(b) > 1 {
		*s = in.wide(b, rec)
	}
}

// base64Text decodes into the second scratch; nil: it is none.
func (in *Inspector) base64Text(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > maxLine {
		return nil
	}
	out, err := base64.StdEncoding.AppendDecode(in.scratch[:0], b)
	in.scratch = out
	if err != nil {
		return nil
	}
	return out
}

// saslLine takes a line that answers AUTH LOGIN, AUTH PLAIN or another mechanism
// of SMTP, POP3 or IMAP, whose phases are those of SMTP. False: it is none.
func (in *Inspector) saslLine(st *State, d side, line []byte, rec *flow.Record) bool {
	switch st.phase[d] {
	case smtpLogin:
		st.phase[d] = smtpPassword
		in.setOnce(&rec.User, in.base64Text(line), rec)
	case smtpPassword:
		st.phase[d] = smtpCommands
	case smtpPlain:
		st.phase[d] = smtpCommands
		in.saslPlain(in.base64Text(line), rec)
	default:
		return false
	}
	return true
}

// saslPlain notes the user of a PLAIN message (RFC 4616), which also holds the
// password.
func (in *Inspector) saslPlain(msg []byte, rec *flow.Record) {
	if i := bytes.IndexByte(msg, 0); i >= 0 {
		if j := bytes.IndexByte(msg[i+1:], 0); j >= 0 {
			in.setOnce(&rec.User, msg[i+1:i+1+j], rec)
			rec.Risks |= flow.RiskClearTextCredentials
		}
	}
}

// digits tells whether all of b is decimal digits and there is one.
func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// number reads decimal digits, up to 2^62; -1 is none.
func number(b []byte) int64 {
	if !digits(b) || len(b) > 18 {
		return -1
	}
	var n int64
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n
}

// plain tells that all of b is printable ASCII or tab.
func plain(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}
