package dpi

import (
	"bytes"
	"net/netip"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// FTP (RFC 959; extensions RFC 2228, 2428, 3659, 4217). The connections it
// announces for data become ftp_data.
func ftpProtocol() protocol {
	return protocol{app: "ftp", tcp: []uint16{21}, risks: flow.RiskUnsafeProtocol, anyOctet: true, stream: looksFTP, parse: (*Inspector).ftpStream}
}

func ftpDataProtocol() protocol {
	return protocol{app: "ftp_data", anyOctet: true, stream: func(_ []byte, h *hint) verdict {
		if h.expected == "ftp_data" || h.ports[0] == ftpDataPort || h.ports[1] == ftpDataPort {
			return yes
		}
		return no
	}}
}

// ftpDataPort is the server's in active mode.
const ftpDataPort = 20

// replyLine reads "nnn text" or "nnn-text" (RFC 959, section 4.2), which SMTP
// has, too. code 0: it is none; more: the reply goes on.
func replyLine(b []byte) (code int, more bool, text []byte) {
	if len(b) < 3 || b[0] < '1' || b[0] > '6' || !digits(b[:3]) || len(b) > 3 && b[3] != ' ' && b[3] != '-' {
		return 0, false, nil
	}
	code = int(number(b[:3]))
	if len(b) == 3 {
		return code, false, nil
	}
	return code, b[3] == '-', b[4:]
}

// looksReply tells whether b begins with one of these reply codes.
func looksReply(b []byte, codes ...string) verdict {
	best := no
	for _, c := range codes {
		switch prefixOf(b, c) {
		case yes:
			if len(b) == 3 {
				return undecided
			}
			if b[3] == ' ' || b[3] == '-' || b[3] == '\r' {
				return yes
			}
		case undecided:
			best = undecided
		}
	}
	return best
}

// looksFTP takes a greeting on the port or one that says FTP; elsewhere it
// waits for what the client answers.
func looksFTP(b []byte, h *hint) verdict {
	if !h.onPort && !firstOf(b, "2uafsho") {
		return no
	}
	if v := looksReply(b, "220", "120", "421", "530", "550", "500"); v != no {
		if v == undecided || h.onPort {
			return v
		}
		i := bytes.IndexByte(b, '\n')
		switch {
		case i < 0 && len(b) < maxLine:
			return undecided
		case b[0] != '2' || !plain(bytes.TrimRight(b[:max(i, 0)], "\r\n")):
			return no
		case containsFold(b, "FTP") && !containsFold(b, "SMTP"):
			return yes
		}
		return undecided // SMTP greets in the same way
	}
	if h.onPort { // of a connection met in its middle
		if code, _, text := replyLine(b[:max(bytes.IndexByte(b, '\n'), 0)]); code != 0 && plain(bytes.TrimSuffix(text, []byte{'\r'})) {
			return yes
		}
		return startsWord(b, "USER", "AUTH", "FEAT", "SYST", "HOST", "OPTS", "PASS", "PASV", "EPSV", "PORT", "EPRT", "RETR", "STOR", "LIST", "NLST", "MLSD",
			"CWD", "CDUP", "PWD", "TYPE", "SIZE", "MDTM", "DELE", "QUIT", "NOOP", "PBSZ", "PROT", "REST")
	}
	v := startsWord(b, "USER", "AUTH", "FEAT", "SYST", "HOST", "OPTS")
	if v != yes {
		return v
	}
	if looksReply(h.other, "220") == yes && !containsFold(h.other, "SMTP") {
		return yes
	}
	if len(h.other) == 0 && bytes.IndexByte(b, '\n') >= 0 && plain(bytes.TrimRight(b[:bytes.IndexByte(b, '\n')], "\r")) && !startsFold(b, "AUTH") {
		return undecided // the server may still speak up
	}
	return no
}

// State.flags of FTP, SMTP, POP3 and IMAP.
const (
	mailStartTLS = 1 << iota // asked for
	mailGreeted              // the banner was read
	mailMore                 // the reply goes on in the next line
)

func (in *Inspector) ftpStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	line, n := st.line(d, b)
	if n == 0 || line == nil {
		return n
	}
	if st.role(d, line) {
		return in.ftpReply(st, line, n, rec, now)
	}
	for len(line) > 0 && line[0] >= 0x80 { // Telnet's interrupt before ABOR
		line = line[1:]
	}
	verb, arg := word(line)
	if len(verb) < 3 || len(verb) > 8 || !plain(verb) {
		return n
	}
	switch {
	case isFold(verb, "USER"):
		rec.User = in.printable(arg, rec)          // the last one who tries
		rec.Risks |= flow.RiskClearTextCredentials // as nDPI has it: the name is enough
	case isFold(verb, "PASS"), isFold(verb, "ACCT"):
		rec.Risks |= flow.RiskClearTextCredentials
		arg = nil
	case isFold(verb, "AUTH"):
		if startsFold(arg, "TLS") || startsFold(arg, "SSL") {
			st.flags |= mailStartTLS
		}
	case isFold(verb, "PORT"):
		if a, ok := ftpAddress(arg); ok {
			in.expectFTP(a, now)
		}
	case isFold(verb, "EPRT"):
		if f := bytes.Split(arg[:min(len(arg), 80)], []byte{'|'}); len(f) == 5 {
			a, err := netip.ParseAddr(string(f[2]))
			if port := number(f[3]); err == nil && port > 0 && port < 1<<16 {
				in.expectFTP(netip.AddrPortFrom(a, uint16(port)), now)
			}
		}
	case isFold(verb, "CLNT"):
		in.software(sideSrc, arg, rec)
	}
	in.addRequest(st, in.upper(verb, arg), rec)
	return n
}

// upper is verb in capital letters.
func (in *Inspector) upper(verb, arg []byte) []byte {
	in.scratch = in.scratch[:0]
	for _, c := range verb[:min(len(verb), 32)] {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		in.scratch = append(in.scratch, c)
	}
	if len(arg) > 0 {
		in.scratch = append(append(in.scratch, ' '), arg...)
	}
	return in.scratch
}

func (in *Inspector) ftpReply(st *State, line []byte, n int, rec *flow.Record, now int64) int {
	code, more, text := replyLine(line)
	if code == 0 {
		return n
	}
	if st.flags&mailMore != 0 { // until the code comes without a hyphen
		if !more {
			st.flags &^= mailMore
		}
		return n
	}
	if more {
		st.flags |= mailMore
	}
	if st.flags&mailGreeted == 0 {
		st.flags |= mailGreeted
		if code == 220 {
			in.software(sideDst, bytes.TrimSpace(text), rec)
			return n
		}
	}
	if code >= 400 {
		rec.AppErrors++
	}
	in.addResponse(st, appendInt(in.scratch[:0], code), rec)
	switch {
	case code == 227:
		if i := bytes.IndexAny(text, "0123456789"); i >= 0 {
			if a, ok := ftpAddress(text[i:]); ok {
				in.expectFTP(a, now)
				in.expectFTP(netip.AddrPortFrom(rec.DstIP.Netip(), a.Port()), now) // it may be translated
			}
		}
	case code == 229: // (|||port|), RFC 2428, section 3
		if i := bytes.Index(text, []byte("|||")); i >= 0 {
			port := text[i+3:]
			if j := bytes.IndexByte(port, '|'); j > 0 {
				if k := number(port[:j]); k > 0 && k < 1<<16 {
					in.expectFTP(netip.AddrPortFrom(rec.DstIP.Netip(), uint16(k)), now)
				}
			}
		}
	case code == 234 && st.flags&mailStartTLS != 0:
		in.become(st, "tls")
	}
	return n
}

// ftpAddress reads h1,h2,h3,h4,p1,p2 (RFC 959, section 4.1.2).
func ftpAddress(b []byte) (a netip.AddrPort, ok bool) {
	var f [6]byte
	for i := range f {
		n := 0
		for n < len(b) && n < 3 && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		v := number(b[:n])
		if v < 0 || v > 255 || i < 5 && (n >= len(b) || b[n] != ',') {
			return a, false
		}
		f[i] = byte(v)
		b = b[min(n+1, len(b)):]
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(f[:4])), uint16(f[4])<<8|uint16(f[5])), true
}

func (in *Inspector) expectFTP(a netip.AddrPort, now int64) {
	in.expected.add(expectation{addr: flow.AddrFrom(a.Addr()), port: a.Port(), proto: protoTCP, until: now + expectFor, app: "ftp_data"})
}

// role tells whether d is the server of a protocol with numbered replies, by
// the first line of the two.
func (st *State) role(d side, line []byte) bool {
	if st.count[d] == 0 {
		st.count[d], st.count[d.other()] = 1, 2
		if code, _, _ := replyLine(line); code != 0 {
			st.count[d], st.count[d.other()] = 2, 1
		}
	}
	return st.count[d] == 2
}
