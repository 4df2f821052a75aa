package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Kerberos version 5 (RFC 4120), over UDP and, with a length before each
// message, over TCP (section 7.2.2).
func kerberosProtocol() protocol {
	return protocol{app: "kerberos", tcp: []uint16{88, 464}, udp: []uint16{88, 464, 750},
		stream: looksKerberosStream, datagram: func(b []byte, h *hint) bool { return looksKerberos(b, true) == yes || h.onPort && looksKpasswd(b) },
		parse: (*Inspector).kerberosStream, message: (*Inspector).kerberosMessage,
		resume: func(b []byte) verdict { return looksKerberosStream(b, nil) }}
}

// Message types are the numbers of application tags (RFC 4120, section 7.5.7).
func kerberosType(tag byte) string {
	switch tag {
	case 0x6a:
		return "AS-REQ"
	case 0x6b:
		return "AS-REP"
	case 0x6c:
		return "TGS-REQ"
	case 0x6d:
		return "TGS-REP"
	case 0x6e:
		return "AP-REQ"
	case 0x6f:
		return "AP-REP"
	case 0x74:
		return "KRB-SAFE"
	case 0x75:
		return "KRB-PRIV"
	case 0x76:
		return "KRB-CRED"
	case 0x7e:
		return "KRB-ERROR"
	}
	return ""
}

// kerberosErrors are the names of section 7.5.9 that occur in practice.
var kerberosErrors = map[int64]string{1: "KDC_ERR_NAME_EXP", 2: "KDC_ERR_SERVICE_EXP", 3: "KDC_ERR_BAD_PVNO", 6: "KDC_ERR_C_PRINCIPAL_UNKNOWN",
	7: "KDC_ERR_S_PRINCIPAL_UNKNOWN", 8: "KDC_ERR_PRINCIPAL_NOT_UNIQUE", 9: "KDC_ERR_NULL_KEY", 10: "KDC_ERR_CANNOT_POSTDATE",
	11: "KDC_ERR_NEVER_VALID", 12: "KDC_ERR_POLICY", 13: "KDC_ERR_BADOPTION", 14: "KDC_ERR_ETYPE_NOSUPP", 15: "KDC_ERR_SUMTYPE_NOSUPP",
	16: "KDC_ERR_PADATA_TYPE_NOSUPP", 17: "KDC_ERR_TRTYPE_NOSUPP", 18: "KDC_ERR_CLIENT_REVOKED", 19: "KDC_ERR_SERVICE_REVOKED",
	20: "KDC_ERR_TGT_REVOKED", 21: "KDC_ERR_CLIENT_NOTYET", 22: "KDC_ERR_SERVICE_NOTYET", 23: "KDC_ERR_KEY_EXPIRED",
	24: "KDC_ERR_PREAUTH_FAILED", 25: "KDC_ERR_PREAUTH_REQUIRED", 26: "KDC_ERR_SERVER_NOMATCH", 27: "KDC_ERR_MUST_USE_USER2USER",
	28: "KDC_ERR_PATH_NOT_ACCEPTED", 29: "KDC_ERR_SVC_UNAVAILABLE", 31: "KRB_AP_ERR_BAD_INTEGRITY", 32: "KRB_AP_ERR_TKT_EXPIRED",
	33: "KRB_AP_ERR_TKT_NYV", 34: "KRB_AP_ERR_REPEAT", 35: "KRB_AP_ERR_NOT_US", 36: "KRB_AP_ERR_BADMATCH", 37: "KRB_AP_ERR_SKEW",
	38: "KRB_AP_ERR_BADADDR", 39: "KRB_AP_ERR_BADVERSION", 40: "KRB_AP_ERR_MSG_TYPE", 41: "KRB_AP_ERR_MODIFIED", 42: "KRB_AP_ERR_BADORDER",
	44: "KRB_AP_ERR_BADKEYVER", 45: "KRB_AP_ERR_NOKEY", 46: "KRB_AP_ERR_MUT_FAIL", 52: "KRB_ERR_RESPONSE_TOO_BIG", 60: "KRB_ERR_GENERIC",
	61: "KRB_ERR_FIELD_TOOLONG", 62: "KDC_ERR_CLIENT_NOT_TRUSTED", 63: "KDC_ERR_KDC_NOT_TRUSTED", 64: "KDC_ERR_INVALID_SIG",
	65: "KDC_ERR_KEY_TOO_WEAK", 66: "KDC_ERR_CERTIFICATE_MISMATCH", 68: "KDC_ERR_WRONG_REALM"}

const kerberosPreauthRequired = 25 // the usual first answer, no failure

// kerberosCipher names encryption types (IANA Kerberos parameters).
func kerberosCipher(n int64) string {
	switch n {
	case 1:
		return "des-cbc-crc"
	case 2:
		return "des-cbc-md4"
	case 3:
		return "des-cbc-md5"
	case 16:
		return "des3-cbc-sha1"
	case 17:
		return "aes128-cts-hmac-sha1-96"
	case 18:
		return "aes256-cts-hmac-sha1-96"
	case 19:
		return "aes128-cts-hmac-sha256-128"
	case 20:
		return "aes256-cts-hmac-sha384-192"
	case 23:
		return "rc4-hmac"
	case 24:
		return "rc4-hmac-exp"
	}
	return ""
}

// looksKerberos recognises tag, sequence, version 5 and a message type equal to
// the tag. whole: b is all of the message.
func looksKerberos(b []byte, whole bool) verdict {
	if len(b) > 0 && kerberosType(b[0]) == "" {
		return no
	}
	tag, head, size := berHead(b)
	if head < 0 || head > 0 && (size < 10 || whole && head+size > len(b)) {
		return no
	}
	if head == 0 {
		return undecided
	}
	r := b[head:]
	seq, h, n := berHead(r)
	if h < 0 || h > 0 && (seq != berSequence || h+n > size) {
		return no
	}
	if h == 0 || len(r) < h+10 {
		return undecided
	}
	first := byte(0xa0)
	if tag == 0x6a || tag == 0x6c {
		first = 0xa1
	}
	r = r[h:]
	if r[0] != first || r[1] != 3 || r[2] != berInteger || r[3] != 1 || r[4] != 5 || r[5] != first+1 || r[6] != 3 || r[7] != berInteger || r[8] != 1 || r[9] != tag&31 {
		return no
	}
	return yes
}

func looksKerberosStream(b []byte, _ *hint) verdict {
	if len(b) > 0 && b[0] != 0 || len(b) > 1 && b[1] > 15 {
		return no
	}
	if len(b) < 5 {
		return undecided
	}
	if _, head, size := berHead(b[4:]); head > 0 && head+size != int(binary.BigEndian.Uint32(b)) {
		return no
	}
	return looksKerberos(b[4:], false)
}

// looksKpasswd recognises the password change protocol (RFC 3244, section 2).
func looksKpasswd(b []byte) bool {
	if len(b) < 8 || int(binary.BigEndian.Uint16(b)) != len(b) {
		return false
	}
	version := binary.BigEndian.Uint16(b[2:])
	return version == 1 || version == 0xff80
}

func (in *Inspector) kerberosStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	if len(b) < 4 {
		return 0
	}
	size := int(binary.BigEndian.Uint32(b) & 0x7fffffff)
	if size == 0 || size > 1<<20 {
		return in.endSide(st, d, b)
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	if size > streamLimit/2-4 { // a ticket with much authorisation data; its head is read
		if len(b) < 4096 {
			return 0
		}
	} else if len(b) < 4+size {
		return 0
	}
	in.kerberosMessage(st, d, b[4:min(4+size, len(b))], rec, now)
	return st.stepOver(d, 4+size, b)
}

// kerberosMessage lists a message: the types of a KDC as "TYPE service", or
// what it answers.
func (in *Inspector) kerberosMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	rec.AppVersion = "5"
	tag, head, _ := berHead(b)
	name := kerberosType(tag)
	if head <= 0 || name == "" {
		if looksKpasswd(b) {
			in.addRequest(st, append(in.scratch[:0], "KPASSWD"...), rec)
			return
		}
		in.stats.Malformed++
		return
	}
	_, h, _ := berHead(b[head:])
	if h <= 0 {
		in.stats.Malformed++
		return
	}
	m := ber{b: b[head+h:]}
	switch tag {
	case 0x6a, 0x6c:
		m.take(0xa1)
		m.take(0xa2)
		if m.peek() == 0xa3 {
			m.next()
		}
		m = m.into(0xa4)
		in.kerberosRequest(st, name, m.into(berSequence), rec)
	case 0x6b, 0x6d:
		in.kerberosReply(st, name, m, rec)
	case 0x7e:
		in.kerberosError(st, m, rec)
	case 0x6e:
		in.addRequest(st, append(in.scratch[:0], name...), rec)
	default:
		in.addResponse(st, append(in.scratch[:0], name...), rec)
	}
}

// kerberosRequest reads a KDC-REQ-BODY (section 5.4.1).
func (in *Inspector) kerberosRequest(st *State, name string, r ber, rec *flow.Record) {
	var realm []byte
	in.scratch = append(in.scratch[:0], name...)
	for len(r.b) > 0 && !r.bad {
		tag, v := r.next()
		f := ber{b: v}
		switch tag {
		case 0xa1:
			in.principal(f, rec)
		case 0xa2:
			_, realm = f.next()
			in.setOnce(&rec.Domain, realm, rec)
		case 0xa3:
			in.scratch = appendPrincipal(append(in.scratch, ' '), f)
		case 0xa9: // addresses: a NetBIOS name is padded with blanks (section 7.5.3)
			for list := f.into(berSequence); len(list.b) > 0 && !list.bad; {
				a := list.into(berSequence)
				kind, host := a.into(0xa0), a.into(0xa1)
				if kind.integer(berInteger) == 20 {
					in.setOnce(&rec.AppHost, trimBlanks(host.take(berOctets)), rec)
				}
			}
		}
	}
	if r.bad {
		in.stats.Malformed++
	}
	in.addRequest(st, in.scratch, rec)
}

// principal notes the user, built behind the text at hand.
func (in *Inspector) principal(r ber, rec *flow.Record) {
	n := len(in.scratch)
	in.scratch = appendPrincipal(in.scratch, r)
	in.setOnce(&rec.User, in.scratch[n:], rec)
	in.scratch = in.scratch[:n]
}

// kerberosReply reads a KDC-REP (section 5.4.2): client, and how the ticket is
// encrypted, which tells of attacks on weak ciphers.
func (in *Inspector) kerberosReply(st *State, name string, r ber, rec *flow.Record) {
	in.scratch = append(in.scratch[:0], name...)
	for len(r.b) > 0 && !r.bad {
		tag, v := r.next()
		f := ber{b: v}
		switch tag {
		case 0xa3:
			_, realm := f.next()
			in.setOnce(&rec.Domain, realm, rec)
		case 0xa4:
			in.principal(f, rec)
		case 0xa5:
			t := f.into(0x61)
			t = t.into(berSequence)
			t.take(0xa0)
			t.take(0xa1)
			in.scratch = appendPrincipal(append(in.scratch, ' '), ber{b: t.take(0xa2)})
			enc := t.into(0xa3)
			enc = enc.into(berSequence)
			kind := enc.into(0xa0)
			if n := kind.integer(berInteger); !kind.bad {
				in.scratch = append(in.scratch, ' ')
				if text := kerberosCipher(n); text != "" {
					in.scratch = append(in.scratch, text...)
				} else {
					in.scratch = appendInt(append(in.scratch, "etype "...), n)
				}
			}
		}
	}
	in.addResponse(st, in.scratch, rec)
}

func (in *Inspector) kerberosError(st *State, r ber, rec *flow.Record) {
	for len(r.b) > 0 && !r.bad {
		tag, v := r.next()
		f := ber{b: v}
		switch tag {
		case 0xa6:
			code := f.integer(berInteger)
			if code != kerberosPreauthRequired && code != 0 {
				rec.AppErrors++
			}
			if text := kerberosErrors[code]; text != "" {
				in.scratch = append(in.scratch[:0], text...)
			} else {
				in.scratch = appendInt(append(in.scratch[:0], "KRB-ERROR "...), code)
			}
			in.addResponse(st, in.scratch, rec)
		case 0xa8:
			in.principal(f, rec)
		case 0xa9:
			_, realm := f.next()
			in.setOnce(&rec.Domain, realm, rec)
			return
		}
	}
}

// appendTicket appends a blank and the service that an AP-REQ within a GSS-API
// token (RFC 4121, section 4.1) has its ticket for, and notes the realm.
func (in *Inspector) appendTicket(dst, blob []byte, rec *flow.Record) []byte {
	i := bytes.Index(blob, []byte("\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00\x6e"))
	if i < 0 {
		return dst
	}
	r := ber{b: blob[i+11:]}
	_, head, size := berHead(r.b) // a ticket with much in it may break off: only its head is needed
	if head <= 0 {
		return dst
	}
	r.b = r.b[head:min(head+size, len(r.b))]
	for _, tag := range []byte{berSequence, 0, 0xa3, 0x61, berSequence} {
		if tag == 0 {
			r.take(0xa0)
			r.take(0xa1)
			r.take(0xa2)
			continue
		}
		_, head, size := berHead(r.b)
		if head <= 0 || r.peek() != tag {
			return dst
		}
		r.b = r.b[head:min(head+size, len(r.b))]
	}
	r.take(0xa0)
	realm := ber{b: r.take(0xa1)}
	_, name := realm.next()
	in.setOnce(&rec.Domain, name, rec)
	return appendPrincipal(append(dst, ' '), ber{b: r.take(0xa2)})
}

// appendPrincipal appends a PrincipalName (section 5.2.2) as "a/b".
func appendPrincipal(dst []byte, r ber) []byte {
	p := r.into(berSequence)
	p.take(0xa0)
	names := p.into(0xa1)
	names = names.into(berSequence)
	for i := 0; len(names.b) > 0 && !names.bad && i < 8; i++ {
		if i > 0 {
			dst = append(dst, '/')
		}
		_, name := names.next()
		dst = append(dst, name...)
	}
	return dst
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	return b
}
