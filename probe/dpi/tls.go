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

	helloClient = 1
	helloServer = 2

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

// tlsStream parses records until both hellos have been read. It waits for a
// whole hello, not for a whole record: servers put their certificates into the
// same one.
func (in *Inspector) tlsStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	s := &st.half[d]
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
		in.stats.Malformed++
		return in.tlsEnd(st, s, len(b))
	}
	if b[0] == recordData {
		return in.tlsEnd(st, s, len(b))
	}
	if b[0] != recordHandshake || size == 0 {
		s.skip = uint64(5 + size)
		return skipped(s, len(b))
	}
	body := b[5:min(5+size, len(b))]
	if len(s.message) == 0 {
		if len(body) < 4 && len(body) < size {
			return 0
		}
		if len(body) >= 4 {
			need := 4 + int(body[1])<<16 + int(body[2])<<8 + int(body[3])
			if need <= size {
				if len(body) < need {
					return 0
				}
				return in.tlsMessage(st, s, body[:need], len(b), rec)
			}
		}
	}
	if len(body) < size {
		if 5+size > streamLimit {
			in.cutStream(rec)
			return in.tlsEnd(st, s, len(b))
		}
		return 0
	}
	return in.tlsGather(st, s, body, len(b), rec)
}

// tlsGather puts together a handshake message that is spread over records.
func (in *Inspector) tlsGather(st *State, s *stream, body []byte, all int, rec *flow.Record) int {
	need := len(s.message) + len(body)
	if need > cap(s.message) {
		b := in.take(st, need, cap(s.message))
		if b == nil {
			in.cutStream(rec)
			return in.tlsEnd(st, s, all)
		}
		b = append(b, s.message...)
		in.pool.put(&s.message)
		s.message = b
	}
	s.message = append(s.message, body...)
	m := s.message
	if len(m) >= 4 {
		if size := 4 + int(m[1])<<16 + int(m[2])<<8 + int(m[3]); size <= len(m) {
			return in.tlsMessage(st, s, m[:size], all, rec)
		} else if size > streamLimit || m[0] != helloClient && m[0] != helloServer {
			if m[0] == helloClient || m[0] == helloServer {
				in.cutStream(rec)
			}
			return in.tlsEnd(st, s, all)
		}
	}
	return 5 + len(body)
}

// tlsMessage takes one complete handshake message and ends the direction: its
// hello is all that is read, but for a HelloRetryRequest, after which the
// server sends another.
func (in *Inspector) tlsMessage(st *State, s *stream, m []byte, all int, rec *flow.Record) int {
	again := false
	switch m[0] {
	case helloClient:
		in.clientHello(m[4:], 't', rec)
	case helloServer:
		again = in.serverHello(m[4:], rec)
	case 0: // HelloRequest
		again = true
	}
	if again && len(s.message) == 0 {
		s.skip = 5 + uint64(len(m))
		return skipped(s, all)
	}
	return in.tlsEnd(st, s, all)
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
