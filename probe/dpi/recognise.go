package dpi

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// verdict says whether octets begin a message of a protocol.
type verdict uint8

const (
	no        verdict = iota
	undecided         // too few octets to tell
	yes
)

// recognise looks for the protocol of a TCP stream in the octets that begin
// it, or that begin a packet of a connection met in its middle, and hands the
// flow to that parser. One line per protocol.
func (in *Inspector) recognise(st *State, d side, b []byte, rec *flow.Record) verdict {
	open := no
	for _, c := range [...]struct {
		is   func([]byte) verdict
		kind kind
		app  string
	}{
		{looksTLS, kindTLS, "tls"},
		{looksHTTP, kindHTTP, "http"},
		{looksSSH, kindSSH, "ssh"},
		{looksDNSStream, kindDNS, "dns"},
	} {
		switch c.is(b) {
		case yes:
			in.recognised(st, c.kind, rec, c.app, flow.AppDPI)
			in.forgetStranger(&st.half[d.other()])
			return yes
		case undecided:
			open = undecided
		}
	}
	if looksHTTP2(b) == yes {
		in.recognised(st, kindNone, rec, "http2", flow.AppDPI)
		st.finished = true
		return yes
	}
	return open
}

// forgetStranger drops what the other side said before the protocol began, as
// with RDP, which agrees on TLS first.
func (in *Inspector) forgetStranger(s *stream) {
	if s.n > 0 && !s.used && recogniseStream(s.buf[s.off:s.off+s.n]) == no {
		in.drop(s)
		*s = stream{}
	}
}

// recogniseStream is the same question without consequences.
func recogniseStream(b []byte) verdict {
	best := no
	for _, is := range [...]func([]byte) verdict{looksTLS, looksHTTP, looksSSH, looksDNSStream} {
		best = max(best, is(b))
	}
	return best
}

// recogniseMessage tells whether b begins a message of protocol k: where a
// parser that lost its place may start again.
func recogniseMessage(k kind, b []byte) verdict {
	switch k {
	case kindHTTP:
		return looksHTTP(b)
	case kindDNS:
		return looksDNSStream(b)
	}
	return no
}

// serverPort is the port that names the service: the responder's, or the
// initiator's where only that one is well known.
func serverPort(rec *flow.Record) uint16 {
	if rec.DstPort >= 1024 && rec.SrcPort < 1024 {
		return rec.SrcPort
	}
	return rec.DstPort
}

// portApp names the application that a well-known port stands for (IANA
// Service Name and Port Number Registry). The list holds only what is hardly
// ever anything else and is not recognised from content yet; "" is no guess.
func portApp(proto uint8, port uint16) string {
	if proto == protoUDP {
		switch port {
		case 53:
			return "dns"
		case 67, 68:
			return "dhcp"
		case 88:
			return "kerberos"
		case 123:
			return "ntp"
		case 137:
			return "nbns"
		case 138:
			return "nbdgm"
		case 161, 162:
			return "snmp"
		case 389:
			return "cldap"
		case 443:
			return "quic" // met after its handshake
		case 500, 4500:
			return "ipsec"
		case 514:
			return "syslog"
		case 546, 547:
			return "dhcpv6"
		case 1812, 1813:
			return "radius"
		case 1900:
			return "ssdp"
		case 3478:
			return "stun"
		case 5060:
			return "sip"
		case 5353:
			return "mdns"
		case 5355:
			return "llmnr"
		}
		return ""
	}
	switch port {
	case 21:
		return "ftp"
	case 22:
		return "ssh"
	case 23:
		return "telnet"
	case 25, 587:
		return "smtp"
	case 53:
		return "dns"
	case 80:
		return "http"
	case 88:
		return "kerberos"
	case 110:
		return "pop3"
	case 143:
		return "imap"
	case 389:
		return "ldap"
	case 443:
		return "tls"
	case 445:
		return "smb"
	case 502:
		return "modbus"
	case 1883:
		return "mqtt"
	case 3306:
		return "mysql"
	case 3389:
		return "rdp"
	case 5432:
		return "postgresql"
	case 6379:
		return "redis"
	}
	return ""
}
