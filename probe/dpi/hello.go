package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Extension types (IANA TLS ExtensionType Values).
const (
	extServerName          = 0
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extSupportedVersions   = 43
	extECH                 = 0xfe0d
	extESNI                = 0xffce
)

// hello holds the parts of a ClientHello or ServerHello (RFC 8446, section
// 4.1.2 and 4.1.3; RFC 5246, section 7.4.1). Slices point into the message.
// Lists of numbers are still two octets each, big endian.
type hello struct {
	version    uint16 // legacy_version
	random     []byte
	ciphers    []byte // ClientHello: all; ServerHello: the chosen one
	extensions []byte // type, length, body …
	hasSNI     bool
	hidden     bool // the server name is in an encrypted hello (ESNI, ECH: RFC 9849)
	sni        []byte
	alpn       []byte // ProtocolNameList without its length
	groups     []byte
	formats    []byte // one octet each
	signatures []byte
	versions   []byte // ServerHello: the chosen one
}

// reader takes lengths-prefixed fields off a message; bad says that one of
// them was longer than what was left.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() int {
	if v := r.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (r *reader) u16() int {
	if v := r.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

// parseHello reads the body of a ClientHello or ServerHello of TLS, or of DTLS
// over datagrams. False: it
// contradicts itself.
func parseHello(b []byte, server, datagram bool) (h hello, ok bool) {
	r := reader{b: b}
	h.version = uint16(r.u16())
	h.random = r.take(32)
	r.take(r.u8()) // session id
	if datagram && !server {
		r.take(r.u8()) // cookie (RFC 6347, section 4.2.1)
	}
	if server {
		h.ciphers = r.take(2)
		r.take(1) // compression
	} else {
		h.ciphers = r.take(r.u16())
		r.take(r.u8())
	}
	if r.bad || len(h.ciphers)%2 != 0 {
		return h, false
	}
	if len(r.b) == 0 {
		return h, true // extensions came with RFC 4366
	}
	h.extensions = r.take(r.u16())
	if r.bad {
		return h, false
	}
	for e := (reader{b: h.extensions}); len(e.b) > 0; {
		kind, body := e.u16(), reader{}
		body.b = e.take(e.u16())
		if e.bad {
			return h, false
		}
		switch kind {
		case extServerName:
			h.hasSNI = true
			if names := (reader{b: body.take(body.u16())}); len(names.b) > 3 && names.u8() == 0 {
				h.sni = names.take(names.u16())
			}
		case extESNI, extECH:
			h.hidden = true
		case extALPN:
			h.alpn = body.take(body.u16())
		case extSupportedGroups:
			h.groups = even(body.take(body.u16()))
		case extPointFormats:
			h.formats = body.take(body.u8())
		case extSignatureAlgorithms:
			h.signatures = even(body.take(body.u16()))
		case extSupportedVersions:
			if server {
				h.versions = even(body.b)
			} else {
				h.versions = even(body.take(body.u8()))
			}
		}
	}
	return h, true
}

func even(b []byte) []byte { return b[:len(b)&^1] }

// grease tells the reserved values that clients mix in to keep servers
// tolerant (RFC 8701): they say nothing about the client.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// extensionTypes appends the types of all extensions but GREASE, in order.
func (h *hello) extensionTypes(dst []uint16) []uint16 {
	for e := (reader{b: h.extensions}); len(e.b) > 0; {
		kind := uint16(e.u16())
		e.take(e.u16())
		if !grease(kind) {
			dst = append(dst, kind)
		}
	}
	return dst
}

// greatestVersion is the greatest version that a client offers, as JA4 takes
// it: drafts (0x7fxx) count as numbers.
func (h *hello) greatestVersion() uint16 {
	best := uint16(0)
	for v := h.versions; len(v) >= 2; v = v[2:] {
		switch n := binary.BigEndian.Uint16(v); {
		case grease(n):
		case best > 0xfe00 && n > 0xfe00: // DTLS counts down
			best = min(best, n)
		default:
			best = max(best, n)
		}
	}
	if best == 0 {
		return h.version
	}
	return best
}

// clientHello writes what a ClientHello says; transport is JA4's letter: 't'
// for TCP, 'q' for QUIC, 'd' for DTLS. The first hello of a flow counts.
func (in *Inspector) clientHello(body []byte, transport byte, rec *flow.Record) {
	if rec.JA3 != "" {
		return
	}
	h, ok := parseHello(body, false, transport == 'd')
	if !ok {
		in.malformed(rec)
		return
	}
	if rec.TLSVersion == 0 {
		rec.TLSVersion = h.greatestVersion()
	}
	rec.TLSSNI = in.printable(h.sni, rec)
	in.named(rec.TLSSNI, rec)
	if transport == 't' && rec.App == "tls" && torHello(&h, rec) {
		rec.App = "tor"
	}
	rec.TLSALPN = in.alpnList(h.alpn, rec)
	rec.JA3 = in.ja3(&h)
	rec.JA4 = in.ja4(&h, transport)
	rec.Risks |= helloRisks(&h, transport)
}

// helloRetry is the random of a ServerHello that is a HelloRetryRequest (RFC
// 8446, section 4.1.3).
const helloRetry = "\xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91\xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C"

// serverHello writes what a ServerHello says. True: it was a HelloRetryRequest
// and the real one follows.
func (in *Inspector) serverHello(body []byte, rec *flow.Record) (again bool) {
	h, ok := parseHello(body, true, false)
	if !ok {
		in.malformed(rec)
		return false
	}
	rec.TLSVersion = h.version
	if len(h.versions) >= 2 {
		rec.TLSVersion = binary.BigEndian.Uint16(h.versions)
	}
	rec.TLSCipher = binary.BigEndian.Uint16(h.ciphers)
	rec.JA3S = in.ja3s(&h)
	rec.Risks |= serverRisks(rec.TLSVersion, h.ciphers)
	return string(h.random) == helloRetry
}

// alpnList joins the offered protocols with commas.
func (in *Inspector) alpnList(b []byte, rec *flow.Record) string {
	if len(b) == 0 {
		return ""
	}
	out := in.scratch[:0]
	for r := (reader{b: b}); len(r.b) > 0 && len(out) <= flow.MaxString; {
		name := r.take(r.u8())
		if r.bad {
			break
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = append(out, name...)
	}
	in.scratch = out
	return in.printable(out, rec)
}
