package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Syslog of RFC 3164 and RFC 5424, over UDP (RFC 5426) and TCP (RFC 6587). Of a
// flow the first message tells: severity and facility, host, program.
func syslogProtocol() protocol {
	return protocol{app: "syslog", udp: []uint16{514}, tcp: []uint16{514, 601}, stream: looksSyslogStream, datagram: func(b []byte, h *hint) bool {
		return looksSyslog(b, h) == yes
	}, parse: (*Inspector).syslogStream, message: (*Inspector).syslogMessage}
}

var (
	syslogFacilities = [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
		"audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	syslogSeverities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

const syslogMonths = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "

// syslogPriority cuts "<n>" off, n up to 191; -1 is none.
func syslogPriority(b []byte) (n int, rest []byte) {
	i := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if i < 2 || b[0] != '<' {
		return -1, b
	}
	p := number(b[1:i])
	if p < 0 || p > 191 {
		return -1, b
	}
	return int(p), b[i+1:]
}

// looksSyslog wants a priority and, where the port says nothing, a timestamp or
// version behind it.
func looksSyslog(b []byte, h *hint) verdict {
	for i, c := range b[:min(len(b), 5)] {
		if i == 0 && c != '<' || i > 0 && c != '>' && (c < '0' || c > '9') {
			return no
		}
		if c == '>' {
			break
		}
	}
	if len(b) < 5 {
		return undecided
	}
	p, rest := syslogPriority(b)
	if p < 0 {
		return no
	}
	if syslogStamp(rest) > 0 {
		return yes
	}
	if h.onPort && len(rest) > 0 && plain(rest[:min(len(rest), 16)]) {
		return yes
	}
	return no
}

// syslogStamp is the length of a timestamp, with the version before it if it
// has one; 0 is none.
func syslogStamp(b []byte) int {
	if len(b) >= 16 && bytes.Contains([]byte(syslogMonths), b[:4]) && b[6] == ' ' && b[9] == ':' {
		return 16
	}
	if len(b) > 12 && b[0] >= '1' && b[0] <= '9' && b[1] == ' ' && (b[2] == '-' || b[6] == '-' && b[9] == '-') {
		if i := bytes.IndexByte(b[2:min(len(b), 60)], ' '); i > 0 {
			return 2 + i + 1
		}
	}
	return 0
}

func looksSyslogStream(b []byte, h *hint) verdict {
	if i := bytes.IndexByte(b[:min(len(b), 6)], ' '); i > 0 && digits(b[:i]) && b[0] != '0' { // octet counting (RFC 6587, section 3.4.1)
		b = b[i+1:]
	} else if digits(b) && len(b) < 6 {
		return undecided
	}
	return looksSyslog(b, h)
}

func (in *Inspector) syslogStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	m, enough := b, 256 // octets in which host and program stand
	if i := bytes.IndexByte(b[:min(len(b), 6)], ' '); i > 0 && digits(b[:i]) {
		m, enough = b[i+1:], min(enough, int(number(b[:i])))
	}
	if len(m) < enough && bytes.IndexByte(m, '\n') < 0 {
		return 0
	}
	in.syslogMessage(st, d, m, rec, now)
	st.finished = true // there may be millions
	return len(b)
}

func (in *Inspector) syslogMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	p, rest := syslogPriority(b)
	if p < 0 {
		in.stats.Malformed++
		return
	}
	st.finished = true
	in.scratch = append(append(append(in.scratch[:0], syslogFacilities[p>>3]...), '.'), syslogSeverities[p&7]...)
	in.addRequest(st, in.scratch, rec)
	n := syslogStamp(rest)
	if n == 0 {
		return
	}
	rec.AppVersion = "RFC3164"
	if rest[1] == ' ' {
		rec.AppVersion = "RFC5424"
	}
	host, rest := word(rest[n:])
	if bytes.HasSuffix(host, []byte(":")) { // no host was given: it is the program
		in.software(sideSrc, host[:len(host)-1], rec)
		return
	}
	if string(host) != "-" && plain(host) {
		in.setOnce(&rec.AppHost, host, rec)
	}
	program, _ := word(rest)
	if i := bytes.IndexAny(program, "[:"); i >= 0 {
		program = program[:i]
	}
	if string(program) != "-" && len(program) < 64 && plain(program) {
		in.software(sideSrc, program, rec)
	}
}
