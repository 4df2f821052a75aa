package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// DTLS 1.0 to 1.3 (RFC 6347, RFC 9147): hellos and the server's certificate,
// put together from fragments that come in order.
func dtlsProtocol() protocol {
	return protocol{app: "dtls", udp: []uint16{443, 4433, 4740, 5684, 10161, 10162}, datagram: looksDTLS, message: (*Inspector).dtlsMessage}
}

const (
	dtlsRecord    = 13 // header of a record
	dtlsHandshake = 12 // header of a handshake message
	helloVerify   = 3
	dtlsPatience  = 64 // datagrams after which what is missing is not waited for
)

// looksDTLS wants records that end with the datagram.
func looksDTLS(b []byte, _ *hint) bool {
	if len(b) < dtlsRecord+1 || b[0] < recordChangeCipherSpec || b[0] > recordData+3 || !dtlsVersion(b[1:]) {
		return false
	}
	for len(b) > 0 {
		if len(b) < dtlsRecord || b[0] < recordChangeCipherSpec || b[0] > recordData+9 || !dtlsVersion(b[1:]) {
			return b[0]&0xe0 == 0x20 // the short header of DTLS 1.3
		}
		size := int(binary.BigEndian.Uint16(b[11:]))
		if size == 0 || dtlsRecord+size > len(b) {
			return false
		}
		b = b[dtlsRecord+size:]
	}
	return true
}

// dtlsVersion: 1.0, 1.2, and what OpenSSL and Cisco spoke before the standard.
func dtlsVersion(b []byte) bool {
	v := binary.BigEndian.Uint16(b)
	return v == 0xfeff || v == 0xfefd || v == 0xfefc || v == 0x0100
}

// dtlsMessage reads the plain handshake. State.count is how much of the message
// being gathered is there.
func (in *Inspector) dtlsMessage(st *State, d side, b []byte, rec *flow.Record, now int64) {
	for len(b) >= dtlsRecord && !st.half[d].dead {
		size := int(binary.BigEndian.Uint16(b[11:]))
		end := dtlsRecord + size
		if size == 0 || end > len(b) {
			break
		}
		body := b[dtlsRecord:end]
		epoch := binary.BigEndian.Uint16(b[3:])
		switch {
		case epoch > 0 || b[0] == recordData || b[0] == recordChangeCipherSpec:
			if st.phase[d] != tlsHello {
				in.dtlsEnd(st, d)
			}
		case b[0] == recordAlert && size == 2 && body[0] == 2:
			rec.Risks |= flow.RiskTLSFatalAlert
			rec.AppErrors++
		case b[0] == recordHandshake:
			in.dtlsFragments(st, d, body, rec, now)
		}
		b = b[end:]
	}
	if st.flags++; st.flags >= dtlsPatience {
		in.dtlsEnd(st, d)
		in.dtlsEnd(st, d.other())
	}
}

func (in *Inspector) dtlsEnd(st *State, d side) {
	in.pool.put(&st.half[d].message)
	st.half[d].dead = true
	in.checkDone(st)
}

// dtlsFragments takes the fragments in one record.
func (in *Inspector) dtlsFragments(st *State, d side, b []byte, rec *flow.Record, now int64) {
	s := &st.half[d]
	for len(b) >= dtlsHandshake {
		whole := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		from := int(b[6])<<16 | int(b[7])<<8 | int(b[8])
		size := int(b[9])<<16 | int(b[10])<<8 | int(b[11])
		if size > len(b)-dtlsHandshake || from+size > whole {
			return // encrypted, or broken
		}
		kind, part := b[0], b[dtlsHandshake:dtlsHandshake+size]
		b = b[dtlsHandshake+size:]
		if kind != helloClient && kind != helloServer && kind != certificates {
			continue
		}
		if size == whole {
			in.dtlsHello(st, d, kind, part, rec, now)
			continue
		}
		if from == 0 {
			s.message, st.count[d] = s.message[:0], 0
		}
		if from != int(st.count[d]) || whole > streamLimit || !in.tlsKeep(st, s, part) {
			continue // out of order, or seen before
		}
		st.count[d] += uint32(size)
		if int(st.count[d]) == whole {
			in.dtlsHello(st, d, kind, s.message, rec, now)
			in.pool.put(&s.message)
			st.count[d] = 0
		}
	}
}

func (in *Inspector) dtlsHello(st *State, d side, kind byte, body []byte, rec *flow.Record, now int64) {
	switch kind {
	case helloClient:
		if st.word[d] == 0 {
			st.word[d] = uint64(now)
		}
		in.clientHello(body, 'd', rec)
		st.phase[d] = tlsAlerts
	case helloServer:
		if first := st.word[d.other()]; first != 0 && rec.TLSHandshake == 0 {
			rec.TLSHandshake = microseconds(now - int64(first))
		}
		in.serverHello(body, rec)
		st.phase[d] = tlsCertificate
	case certificates:
		if st.phase[d] == tlsCertificate {
			in.certificate(body, rec, now)
			st.phase[d] = tlsAlerts
		}
	}
}
