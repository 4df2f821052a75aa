package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// LDAP (RFC 4511) over TCP, and CLDAP, the same messages over UDP, with which
// Windows finds its domain controllers (MS-ADTS, section 6.3.3).
func ldapProtocol() protocol {
	return protocol{app: "ldap", tcp: []uint16{389, 3268},
		stream: func(b []byte, _ *hint) verdict { return looksLDAP(b) }, parse: (*Inspector).ldapStream, resume: looksLDAP}
}

func cldapProtocol() protocol {
	return protocol{app: "cldap", udp: []uint16{389},
		datagram: func(b []byte, h *hint) bool { return h.onPort && looksLDAP(b) == yes }, message: (*Inspector).cldapMessage}
}

// Operations (RFC 4511, section 4.2 on): application tags.
const (
	ldapBind       = 0x60
	ldapBindDone   = 0x61
	ldapSearch     = 0x63
	ldapEntry      = 0x64
	ldapReference  = 0x73
	ldapExtended   = 0x77
	ldapExtDone    = 0x78
	ldapLargest    = 8 << 10 // of a longer message only the beginning is read
	ldapStartTLS   = 1       // in State.flags: asked for
	startTLSObject = "1.3.6.1.4.1.1466.20037"
)

func ldapOperation(tag byte) string {
	switch tag {
	case ldapBind:
		return "BIND"
	case 0x42:
		return "UNBIND"
	case ldapSearch:
		return "SEARCH"
	case 0x66:
		return "MODIFY"
	case 0x68:
		return "ADD"
	case 0x4a:
		return "DELETE"
	case 0x6c:
		return "MODDN"
	case 0x6e:
		return "COMPARE"
	case 0x50:
		return "ABANDON"
	case ldapExtended:
		return "EXTENDED"
	}
	return ""
}

// ldapResults are the names of resultCode (RFC 4511, section 4.1.9).
var ldapResults = map[int64]string{0: "success", 1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded",
	5: "compareFalse", 6: "compareTrue", 7: "authMethodNotSupported", 8: "strongerAuthRequired", 10: "referral", 11: "adminLimitExceeded",
	12: "unavailableCriticalExtension", 13: "confidentialityRequired", 14: "saslBindInProgress", 16: "noSuchAttribute",
	17: "undefinedAttributeType", 18: "inappropriateMatching", 19: "constraintViolation", 20: "attributeOrValueExists", 21: "invalidAttributeSyntax",
	32: "noSuchObject", 33: "aliasProblem", 34: "invalidDNSyntax", 36: "aliasDereferencingProblem", 48: "inappropriateAuthentication",
	49: "invalidCredentials", 50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform", 54: "loopDetect",
	64: "namingViolation", 65: "objectClassViolation", 66: "notAllowedOnNonLeaf", 67: "notAllowedOnRDN", 68: "entryAlreadyExists",
	69: "objectClassModsProhibited", 71: "affectsMultipleDSAs", 80: "other"}

// looksLDAP recognises the envelope: a sequence, a number, an operation whose
// length fits in.
func looksLDAP(b []byte) verdict {
	if len(b) > 0 && b[0] != berSequence {
		return no
	}
	_, head, size := berHead(b)
	switch {
	case head < 0 || head > 0 && (size < 5 || size > 1<<24):
		return no
	case head == 0 || len(b) < head+2:
		return undecided
	case b[head] != berInteger || b[head+1] < 1 || b[head+1] > 4:
		return no
	}
	at := head + 2 + int(b[head+1])
	if len(b) > head+2 && b[head+2]&0x80 != 0 {
		return no
	}
	if len(b) < at+2 {
		return undecided
	}
	op := b[at]
	switch op {
	case 0x42:
		if b[at+1] != 0 {
			return no
		}
		return yes
	case ldapBindDone, ldapEntry, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, ldapReference, ldapExtDone, 0x79, 0x4a, 0x50:
	default:
		if ldapOperation(op) == "" {
			return no
		}
	}
	_, inner, n := berHead(b[at:])
	switch {
	case inner == 0:
		return undecided
	case inner < 0 || at+inner+n > head+size:
		return no
	}
	if op == ldapBind { // version 2 or 3 comes first
		body := b[at+inner:]
		if len(body) < 3 {
			return undecided
		}
		if body[0] != berInteger || body[1] != 1 || body[2] < 2 || body[2] > 3 {
			return no
		}
	}
	return yes
}

func (in *Inspector) ldapStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	s := &st.half[d]
	tag, head, size := berHead(b)
	if head == 0 {
		return 0
	}
	if tag != berSequence || head < 0 {
		// After a SASL bind messages may be sealed, with a length before them (RFC 4422, section 3.7).
		if b[0] == 0 && len(b) < 4 {
			return 0
		}
		if b[0] == 0 && binary.BigEndian.Uint32(b) > 0 {
			s.skip = uint64(binary.BigEndian.Uint32(b)) + 4
			return skipped(s, len(b))
		}
		return in.endSide(st, d, b)
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	want := min(size, ldapLargest)
	if len(b) >= head+8 && want > 64 { // entries are many and long, and nothing in them is wanted
		if at := head + 2 + int(b[head+1]); at < len(b) && (b[at] == ldapEntry || b[at] == ldapReference) {
			want = 0
		}
	}
	if len(b) < head+want {
		return 0
	}
	tls := in.ldapMessage(st, d, b[head:head+want], rec)
	if tls {
		in.become(st, "tls")
		return head + size
	}
	return st.stepOver(d, head+size, b)
}

func (in *Inspector) cldapMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	_, head, _ := berHead(b)
	if head <= 0 || looksLDAP(b) != yes {
		in.stats.Malformed++
		return
	}
	in.ldapMessage(st, d, b[head:], rec)
}

// ldapMessage reads the content of a message, which may break off. True: TLS
// follows it.
func (in *Inspector) ldapMessage(st *State, d side, b []byte, rec *flow.Record) bool {
	r := ber{b: b}
	r.integer(berInteger)
	op := r.peek()
	_, head, size := berHead(r.b)
	if r.bad || head <= 0 {
		return false
	}
	body := ber{b: r.b[head:min(head+size, len(r.b))]}
	switch op {
	case ldapBind:
		in.ldapBindRequest(st, &body, rec)
	case ldapSearch:
		base := body.take(berOctets)
		in.verb("SEARCH", base)
		body.take(berEnumerated)
		body.take(berEnumerated)
		body.take(berInteger)
		body.take(berInteger)
		body.take(0x01)
		if !body.bad {
			in.scratch = appendFilter(append(in.scratch, ' '), &body, 0)
		}
		in.addRequest(st, in.scratch, rec)
	case ldapExtended:
		name := body.take(0x80)
		if string(name) == startTLSObject {
			st.flags |= ldapStartTLS
			name = []byte("StartTLS")
		}
		in.addRequest(st, in.verb("EXTENDED", name), rec)
	case 0x4a: // the name is the whole content
		in.addRequest(st, in.verb("DELETE", body.b), rec)
	case 0x66, 0x68, 0x6c, 0x6e:
		in.addRequest(st, in.verb(ldapOperation(op), body.take(berOctets)), rec)
	case ldapBindDone, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, ldapExtDone:
		code := body.integer(berEnumerated)
		if body.bad {
			return false
		}
		name := ldapResults[code]
		if name == "" {
			name = "code"
			in.scratch = appendInt(append(in.scratch[:0], "code "...), code)
		} else {
			in.scratch = append(in.scratch[:0], name...)
		}
		in.addResponse(st, in.scratch, rec)
		if code != 0 && code != 5 && code != 6 && code != 10 && code != 14 {
			rec.AppErrors++
		}
		if op == ldapBindDone {
			in.ntlm(body.b, rec)
		}
		return op == ldapExtDone && code == 0 && st.flags&ldapStartTLS != 0
	}
	return false
}

func (in *Inspector) ldapBindRequest(st *State, body *ber, rec *flow.Record) {
	rec.AppVersion = "3"
	if body.integer(berInteger) == 2 {
		rec.AppVersion = "2"
	}
	dn := body.take(berOctets)
	kind, credentials := "SIMPLE", body.b
	switch body.peek() {
	case 0x80:
		in.setOnce(&rec.User, dn, rec)
		if len(dn) > 0 && len(body.take(0x80)) > 0 {
			rec.Risks |= flow.RiskClearTextCredentials
		}
	case 0xa3:
		sasl := body.into(0xa3)
		kind = in.printable(sasl.take(berOctets), rec)
		blob := sasl.b
		if in.ntlm(blob, rec); kind == "PLAIN" {
			in.saslPlain(sasl.take(berOctets), rec)
		}
	case 0x89, 0x8a, 0x8b: // Microsoft's (MS-ADTS, section 5.1.1.1.3)
		kind = "SICILY"
		in.ntlm(body.b, rec)
	}
	in.scratch = in.appendTicket(append(append(in.scratch[:0], "BIND "...), kind...), credentials, rec)
	if len(dn) > 0 {
		in.scratch = append(append(in.scratch, ' '), dn...)
	}
	in.addRequest(st, in.scratch, rec)
}

// appendFilter appends a search filter (RFC 4515); what nests deeper than
// eight, or is very long, is left out.
func appendFilter(dst []byte, r *ber, depth int) []byte {
	if len(r.b) == 0 || depth > 8 || len(dst) > 512 {
		return dst
	}
	tag := r.peek()
	_, v := r.next()
	f := ber{b: v}
	dst = append(dst, '(')
	switch tag {
	case 0xa0, 0xa1, 0xa2:
		for dst = append(dst, "&|!"[tag&3]); len(f.b) > 0 && len(dst) < 512; {
			dst = appendFilter(dst, &f, depth+1)
		}
	case 0xa3, 0xa5, 0xa6, 0xa8:
		name, value := f.take(berOctets), f.take(berOctets)
		dst = append(dst, name...)
		switch tag {
		case 0xa5:
			dst = append(dst, '>')
		case 0xa6:
			dst = append(dst, '<')
		case 0xa8:
			dst = append(dst, '~')
		}
		dst = append(append(dst, '='), value...)
	case 0xa4:
		dst = append(append(dst, f.take(berOctets)...), '=')
		parts := f.into(berSequence)
		for last := byte(0); len(parts.b) > 0; {
			kind, part := parts.next()
			if kind != 0x80 {
				dst = append(dst, '*')
			}
			dst, last = append(dst, part...), kind
			if len(parts.b) == 0 && last != 0x82 {
				dst = append(dst, '*')
			}
		}
	case 0x87:
		dst = append(append(dst, v...), "=*"...)
	case 0xa9:
		dst = append(dst, "extensible"...)
	}
	return append(dst, ')')
}
