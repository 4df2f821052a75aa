package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// commonALPN are the protocols that clients offer every day (IANA TLS ALPN
// Protocol IDs, and the drafts of those in use).
var commonALPN = map[string]bool{
	"http/0.9": true, "http/1.0": true, "http/1.1": true, "spdy/1": true, "spdy/2": true, "spdy/3": true, "spdy/3.1": true,
	"stun.turn": true, "stun.nat-discovery": true, "h2": true, "h2c": true, "h2-16": true, "h2-15": true, "h2-14": true, "h2-fb": true,
	"webrtc": true, "c-webrtc": true, "ftp": true, "imap": true, "pop3": true, "managesieve": true, "coap": true, "xmpp-client": true, "xmpp-server": true,
	"acme-tls/1": true, "mqtt": true, "dot": true, "doq": true, "ntske/1": true, "sunrpc": true, "h3": true, "smb": true, "irc": true, "nntp": true, "nnsp": true,
	"h3-T051": true, "h3-T050": true, "h3-32": true, "h3-30": true, "h3-29": true, "h3-28": true, "h3-27": true, "h3-24": true, "h3-22": true,
	"hq-interop": true, "hq-30": true, "hq-29": true, "hq-28": true, "hq-27": true, "h3-fb-05": true, "h1q-fb": true, "doq-i00": true,
	"apns-security-v3": true, "apns-pack-v1": true, "grpc-exp": true, "postgresql": true, "tds/8.0": true, "perfd": true,
}

// helloRisks judges a ClientHello.
func helloRisks(h *hello, transport byte) (r flow.Risk) {
	web := false
	for names := (reader{b: h.alpn}); len(names.b) > 0; {
		name := names.take(names.u8())
		if names.bad {
			break
		}
		if len(name) == 2 && name[0]&0x0f == 0x0a && name[0] == name[1] {
			continue // GREASE
		}
		if !commonALPN[string(name)] {
			r |= flow.RiskTLSUncommonALPN
		}
		web = web || bytes.HasPrefix(name, []byte("h2")) || bytes.HasPrefix(name, []byte("http/"))
	}
	if numericHost(h.sni) {
		r |= flow.RiskNumericIPHost
	}
	if len(h.alpn) == 0 && transport == 't' {
		r |= flow.RiskTLSNotCarryingHTTPS
	}
	if v := h.greatestVersion(); v < 0x0303 || v == 0xfeff {
		r |= flow.RiskTLSObsoleteVersion
	}
	if len(h.sni) == 0 && !h.hidden {
		r |= flow.RiskTLSMissingSNI
		if web {
			r |= flow.RiskTLSALPNSNIMismatch
		}
	}
	return r
}

// serverRisks judges what a server chose.
func serverRisks(version uint16, cipher []byte) (r flow.Risk) {
	if version < 0x0303 && version != 0 || version == 0xfeff {
		r |= flow.RiskTLSObsoleteVersion
	}
	if len(cipher) == 2 && weakCipher(binary.BigEndian.Uint16(cipher)) {
		r |= flow.RiskTLSWeakCipher
	}
	return r
}

// weakCipher tells the cipher suites that are broken (IANA TLS Cipher Suites):
// no encryption or authentication, export, RC2, RC4, DES, 3DES, MD5.
func weakCipher(c uint16) bool {
	switch {
	case c <= 0x002e: // SSL 3.0 and TLS 1.0 (RFC 2246), Kerberos aside: NULL, export, RC4, RC2, DES, 3DES, anonymous
		return c != 0x0007 && c != 0x001c && c != 0x001d // IDEA; FORTEZZA
	case c == 0x0034, c == 0x003a, c == 0x003b, c == 0x0046, c == 0x006c, c == 0x006d, c == 0x0089, c == 0x009b, c == 0x00a6, c == 0x00a7, c == 0x00bf, c == 0x00c5: // anonymous, NULL
		return true
	case c >= 0x0060 && c <= 0x0066, c == 0x008a, c == 0x008b, c == 0x008e, c == 0x008f, c == 0x0092, c == 0x0093: // export, RC4, 3DES of PSK
		return true
	case c == 0x00b0, c == 0x00b1, c == 0x00b4, c == 0x00b5, c == 0x00b8, c == 0x00b9: // NULL of PSK
		return true
	case c >= 0xc001 && c <= 0xc01c: // elliptic curves: NULL, RC4, 3DES, anonymous
		switch c {
		case 0xc001, 0xc002, 0xc003, 0xc006, 0xc007, 0xc008, 0xc00b, 0xc00c, 0xc00d, 0xc010, 0xc011, 0xc012, 0xc015, 0xc016, 0xc017, 0xc018, 0xc019, 0xc01a, 0xc01b, 0xc01c:
			return true
		}
	case c >= 0xc033 && c <= 0xc034, c >= 0xc039 && c <= 0xc03b: // RC4, 3DES, NULL of ECDHE_PSK
		return true
	}
	return false
}
