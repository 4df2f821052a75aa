package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// TLS content and handshake types (RFC 8446, section 5.1 and 4).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordData             = 23

	helloClient  = 1
	helloServer  = 2
	certificates = 11
	helloDone    = 14

	// maxRecord is the longest record: 2^14 octets and 2048 of expansion (RFC 5246, section 6.2.3).
	maxRecord = 1<<14 + 2048
)

func tlsProtocol() protocol {
	return protocol{app: "tls", kind: kindTLS, tcp: []uint16{443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 3269, 5061, 5671, 6514, 6697, 8443, 8883, 9443},
		stream: func(b []byte, _ *hint) verdict { return looksTLS(b) }, parse: (*Inspector).tlsStream}
}

// looksTLS recognises a TLS record, or the hello of SSL 2 that older clients
// sent to open TLS (RFC 5246, appendix E.2).
func looksTLS(b []byte) verdict {
	if len(b) == 0 {
		return undecided
	}
	if b[0]&0x80 != 0 {
		return looksSSL2(b)
	}
	if b[0] < recordChangeCipherSpec || b[0] > recordData || len(b) > 1 && b[1] != 3 || len(b) > 2 && b[2] > 4 {
		return no
	}
	if len(b) < 6 {
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if size == 0 || size > maxRecord {
		return no
	}
	switch b[0] {
	case recordHandshake:
		if b[5] == helloClient || b[5] == helloServer {
			return yes
		}
	case recordChangeCipherSpec:
		if size != 1 || b[5] != 1 {
			return no
		}
	case recordAlert:
		if size < 2 {
			return no
		}
	}
	// In the middle of a connection one header is weak evidence: the record must
	// end with the packet, or be followed by another.
	if end := 5 + size; end == len(b) {
		return yes
	} else if end+3 <= len(b) && b[end] >= recordChangeCipherSpec && b[end] <= recordData && b[end+1] == 3 && b[end+2] <= 4 {
		return yes
	}
	return no
}

func looksSSL2(b []byte) verdict {
	if len(b) > 2 && b[2] != helloClient {
		return no
	}
	if len(b) < 11 {
		if len(b) < 5 || b[3] == 3 || b[3] == 0 && b[4] == 2 {
			return undecided
		}
		return no
	}
	size := int(binary.BigEndian.Uint16(b)) & 0x7fff
	suites := int(binary.BigEndian.Uint16(b[5:]))
	session := int(binary.BigEndian.Uint16(b[7:]))
	challenge := int(binary.BigEndian.Uint16(b[9:]))
	version := binary.BigEndian.Uint16(b[3:])
	if version != 2 && (version < 0x0300 || version > 0x0303) || suites == 0 || suites%3 != 0 ||
		challenge < 16 || challenge > 32 || size != 9+suites+session+challenge {
		return no
	}
	return yes
}

// What a direction still wants, in State.phase.
const (
	tlsHello       = iota // its hello
	tlsCertificate        // the server's certificate, which TLS 1.3 encrypts
	tlsAlerts             // nothing but an alert before all is encrypted
)

// maxSkipped bounds the handshake records read of a direction whose hello has
// been seen, so that one without end costs nothing.
const maxSkipped = 64

// tlsStream parses records up to the first that may be encrypted: the hellos,
// the server's certificate and alerts. State.count is what is left of the
// handshake record at hand, State.word the time of the side's first octet,
// State.flags the records skipped.
func (in *Inspector) tlsStream(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	s := &st.half[d]
	if st.word[d] == 0 {
		st.word[d] = uint64(now)
		if first := st.word[d.other()]; first != 0 && rec.TLSHandshake == 0 && st.phase[d.other()] != tlsHello {
			rec.TLSHandshake = microseconds(now - int64(first))
		}
	}
	if st.count[d] > 0 {
		return in.tlsHandshake(st, d, b, rec, now)
	}
	if len(b) < 5 {
		return 0
	}
	if b[0]&0x80 != 0 && !s.used {
		if looksSSL2(b) == yes && rec.TLSVersion == 0 {
			rec.TLSVersion = binary.BigEndian.Uint16(b[3:])
		}
		return in.tlsEnd(st, s, len(b))
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if b[0] < recordChangeCipherSpec || b[0] > recordData || b[1] != 3 || size > maxRecord {
		if s.used { // or else it was met in its middle
			in.malformed(rec)
		}
		return in.tlsEnd(st, s, len(b))
	}
	switch b[0] {
	case recordHandshake:
		if st.phase[d] == tlsAlerts {
			if st.flags++; st.flags > maxSkipped {
				return in.tlsEnd(st, s, len(b))
			}
		}
		st.count[d] = uint32(size)
		return 5
	case recordChangeCipherSpec:
		if st.phase[d] == tlsHello { // after a HelloRetryRequest
			s.skip = uint64(5 + size)
			return skipped(s, len(b))
		}
	case recordAlert:
		if size == 2 {
			if len(b) < 7 {
				return 0
			}
			if b[5] == 2 {
				rec.Risks |= flow.RiskTLSFatalAlert
				rec.AppErrors++
			}
			return 7
		}
	}
	return in.tlsEnd(st, s, len(b))
}

// tlsHandshake takes octets of a handshake record. It waits for a whole
// message, not for a whole record, and of the certificates only for the first.
func (in *Inspector) tlsHandshake(st *State, d side, b []byte, rec *flow.Record, now int64) int {
	s, left := &st.half[d], int(st.count[d])
	body := b[:min(left, len(b))]
	if st.phase[d] == tlsAlerts {
		return st.tlsSkip(d, left, len(b))
	}
	if len(s.message) > 0 {
		return in.tlsGather(st, d, body, rec, now)
	}
	if len(body) < 10 && len(body) < left {
		return 0
	}
	whole, need := handshakeSize(body)
	switch {
	case whole == 0 || need > left && need <= streamLimit: // goes on in the next record
		return in.tlsGather(st, d, body, rec, now)
	case need > streamLimit:
		in.cutStream(rec)
		return in.tlsEnd(st, s, len(b))
	case len(body) < need:
		return 0
	}
	in.tlsMessage(st, d, body[:need], rec, now)
	if s.dead || whole > left {
		st.phase[d] = tlsAlerts
		return st.tlsSkip(d, left, len(b))
	}
	return st.tlsSkip(d, whole, len(b))
}

// handshakeSize returns the size of the message that begins with b, and how
// much of it is read: all of a hello, the first certificate, or its type only. 0: b
// is too short to tell.
func handshakeSize(b []byte) (whole, need int) {
	if len(b) < 4 {
		return 0, 0
	}
	whole = 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
	switch b[0] {
	case helloClient, helloServer:
		return whole, whole
	case certificates:
		if whole < 10 {
			return whole, whole
		}
		if len(b) < 10 {
			return 0, 0
		}
		return whole, min(whole, 10+int(b[7])<<16+int(b[8])<<8+int(b[9]))
	}
	return whole, 4
}

// tlsSkip steps over n octets of the record at hand, of which have are there.
func (st *State) tlsSkip(d side, n, have int) int {
	st.count[d] -= uint32(n)
	st.half[d].skip = uint64(n)
	return skipped(&st.half[d], have)
}

// tlsGather puts together a handshake message that is spread over records.
func (in *Inspector) tlsGather(st *State, d side, body []byte, rec *flow.Record, now int64) int {
	s := &st.half[d]
	used := 0
	for used < len(body) {
		_, need := handshakeSize(s.message)
		if need == 0 { // its header
			need = len(s.message) + 1
		}
		k := min(need-len(s.message), len(body)-used)
		if need > streamLimit || !in.tlsKeep(st, s, body[used:used+k]) {
			in.cutStream(rec)
			in.pool.put(&s.message)
			st.phase[d] = tlsAlerts
			break
		}
		used += k
		whole, need := handshakeSize(s.message)
		if need == 0 || len(s.message) < need {
			continue
		}
		in.tlsMessage(st, d, s.message[:need], rec, now)
		in.pool.put(&s.message)
		if whole > need { // the rest may be spread over records, too
			st.phase[d] = tlsAlerts
		}
		break
	}
	st.count[d] -= uint32(used)
	return used
}

// tlsKeep appends to the message being gathered.
func (in *Inspector) tlsKeep(st *State, s *stream, b []byte) bool {
	if need := len(s.message) + len(b); need > cap(s.message) {
		room := in.take(st, need, cap(s.message))
		if room == nil {
			return false
		}
		room = append(room, s.message...)
		in.pool.put(&s.message)
		s.message = room
	}
	s.message = append(s.message, b...)
	return true
}

// tlsMessage takes one handshake message, complete but for what comes after the
// first certificate.
func (in *Inspector) tlsMessage(st *State, d side, m []byte, rec *flow.Record, now int64) {
	phase := &st.phase[d]
	switch m[0] {
	case helloClient:
		st.packets = 0
		in.clientHello(m[4:], 't', rec)
		*phase = tlsAlerts
	case helloServer:
		st.packets = 0
		if in.serverHello(m[4:], rec) {
			return // a HelloRetryRequest: the hello is still to come
		}
		*phase = tlsAlerts
		if rec.TLSVersion <= 0x0303 {
			*phase = tlsCertificate
		}
	case 0: // HelloRequest
	case certificates:
		in.certificate(m[4:], rec, now)
		*phase = tlsAlerts
	case helloDone:
		*phase = tlsAlerts
	default:
		if *phase == tlsHello {
			*phase = tlsAlerts // met in the middle
		}
	}
}

func (in *Inspector) tlsEnd(st *State, s *stream, all int) int {
	in.pool.put(&s.message)
	s.dead = true
	st.packets = 0
	in.checkDone(st)
	return all
}

// skipped uses up as much of s.skip as n octets allow.
func skipped(s *stream, n int) int {
	k := min(s.skip, uint64(n))
	s.skip -= k
	return int(k)
}

// microseconds of a span of packet time, at least 1: 0 is unknown.
func microseconds(ns int64) uint32 { return uint32(min(max(ns/1000, 1), 1<<32-1)) }
