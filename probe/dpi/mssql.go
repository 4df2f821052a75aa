package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// MSSQL: the Tabular Data Stream (MS-TDS), versions 7 and later. Login and
// following packets are usually encrypted by TLS within TDS, and then are not read.
func mssqlProtocol() protocol {
	return protocol{app: "mssql", tcp: []uint16{1433}, stream: looksTDS, parse: (*Inspector).tdsStream}
}

// Packet types (MS-TDS, section 2.2.3.1.1).
const (
	tdsHeader   = 8
	tdsBatch    = 1
	tdsRPC      = 3
	tdsReply    = 4
	tdsLogin    = 16
	tdsPrelogin = 18
	tdsLongest  = 4 << 10
)

// looksTDS takes a prelogin, whose first option is the version, a login, whose
// length is told twice, and on the port any packet that fills its segment.
func looksTDS(b []byte, h *hint) verdict {
	if len(b) == 0 {
		return undecided
	}
	switch b[0] {
	case tdsBatch, tdsRPC, tdsReply, tdsLogin, tdsPrelogin, 6, 7, 14:
	default:
		return no
	}
	if len(b) < tdsHeader {
		if len(b) > 1 && b[1] > 0x1f || len(b) > 1 && !h.onPort && b[0] != tdsPrelogin && b[0] != tdsLogin {
			return no
		}
		return undecided
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if b[1] > 0x1f || size < tdsHeader || b[7] != 0 {
		return no
	}
	switch b[0] {
	case tdsPrelogin:
		if len(b) < tdsHeader+6 {
			return undecided
		}
		// a table of options that begins with VERSION, six octets long
		if size >= 26 && b[8] == 0 && b[11] == 0 && b[12] == 6 && b[9] == 0 {
			return yes
		}
		if h.onPort && size > tdsHeader && b[8] == 0x16 {
			return yes
		}
		return no
	case tdsLogin:
		if len(b) < tdsHeader+8 {
			return undecided
		}
		inner := binary.LittleEndian.Uint32(b[8:])
		if b[tdsHeader+7] == 0x7 || b[tdsHeader+7] >= 0x70 && b[tdsHeader+7] < 0x80 {
			if int(inner) == size-tdsHeader || b[1]&1 == 0 && int(inner) >= size-tdsHeader {
				return yes
			}
		}
		return no
	}
	if h.onPort && (size == len(b) || size > len(b) && len(b) > 500 || size < len(b) && b[1]&1 == 0) {
		return yes
	}
	if b[0] == tdsBatch && size == len(b) && b[1] == 1 && size > 40 && binary.LittleEndian.Uint32(b[8:]) == 22 && binary.LittleEndian.Uint32(b[12:]) == 18 { // ALL_HEADERS (section 2.2.5.3)
		return yes
	}
	return no
}

// State.flags of TDS.
const (
	tdsPart     = 1 << iota // the client's last packet was not the end of its message
	tdsPart2                // the same of the server
	tdsAnswered             // the reply to the last request was told
)

func (in *Inspector) tdsStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < tdsHeader {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size < tdsHeader || b[0] == 0 || b[0] > 0x17 || b[0] == 0x17 { // TLS that goes on bare
		st.finished = b[0] == 0x17
		return in.endSide(st, d, b)
	}
	part := uint8(tdsPart) << d
	goes := st.flags&part != 0
	if st.flags &^= part; b[1]&1 == 0 {
		st.flags |= part
	}
	if !goes {
		if len(b) < min(size, tdsLongest) {
			st.flags &^= part
			return 0
		}
		in.tdsPacket(st, d, b[0], b[tdsHeader:min(size, len(b))], rec)
	}
	return st.stepOver(d, size, b)
}

func (in *Inspector) tdsPacket(st *State, d side, kind byte, m []byte, rec *flow.Record) {
	switch kind {
	case tdsBatch:
		if len(m) > 22 && binary.LittleEndian.Uint32(m) == 22 {
			m = m[22:]
		}
		in.text = appendUTF16(in.text[:0], m[:min(len(m), 512)])
		in.scratch = append(append(in.scratch[:0], "BATCH "...), sqlWords(in.text)...)
		in.addRequest(st, in.scratch, rec)
		st.flags &^= tdsAnswered
	case tdsRPC:
		in.tdsRPC(st, m, rec)
		st.flags &^= tdsAnswered
	case tdsLogin:
		in.tdsLogin7(st, m, rec)
		st.flags &^= tdsAnswered
	case tdsPrelogin:
		st.flags |= tdsAnswered // the reply has another form
		if d == sideSrc && len(rec.AppRequests) == 0 && len(m) > 5 && m[0] == 0 {
			in.addRequest(st, append(in.scratch[:0], "PRELOGIN"...), rec)
		}
	case tdsReply:
		if d == sideDst {
			in.tdsTokens(st, m, rec)
		}
	}
}

// tdsRPC lists the procedure: by name, or by number (MS-TDS, section 2.2.6.6).
func (in *Inspector) tdsRPC(st *State, m []byte, rec *flow.Record) {
	if len(m) > 26 && binary.LittleEndian.Uint32(m) == 22 {
		m = m[22:]
	}
	if len(m) < 4 {
		return
	}
	n := int(binary.LittleEndian.Uint16(m))
	if n == 0xffff {
		in.addRequest(st, appendInt(append(in.scratch[:0], "RPC "...), binary.LittleEndian.Uint16(m[2:])), rec)
		return
	}
	in.addRequest(st, in.verbWide("RPC", m[2:min(len(m), 2+2*min(n, 256))]), rec)
}

// tdsLogin7 reads the names out of a login (section 2.2.6.4).
func (in *Inspector) tdsLogin7(st *State, m []byte, rec *flow.Record) {
	if len(m) < 94 {
		in.ntlm(m, rec)
		return
	}
	field := func(at int) []byte {
		off, n := int(binary.LittleEndian.Uint16(m[at:])), 2*int(binary.LittleEndian.Uint16(m[at+2:]))
		if off+n > len(m) || n == 0 {
			return nil
		}
		return m[off : off+n]
	}
	v := binary.LittleEndian.Uint32(m[4:])
	in.scratch = append(in.scratch[:0], hexDigits[v>>28&15], '.', hexDigits[v>>24&15])
	in.setOnce(&rec.AppVersion, in.scratch, rec)
	in.setWide(&rec.AppHost, field(36), rec)
	in.setWide(&rec.User, field(40), rec)
	if len(field(44)) > 0 {
		rec.Risks |= flow.RiskClearTextCredentials // hidden by a fixed rule, section 2.2.6.4
	}
	in.setWide(&rec.ClientSoftware, field(48), rec)
	in.addRequest(st, in.verbWide("LOGIN", field(68)), rec)
	if sspi, n := int(binary.LittleEndian.Uint16(m[78:])), int(binary.LittleEndian.Uint16(m[80:])); sspi+n <= len(m) {
		in.ntlm(m[sspi:sspi+n], rec)
	}
}

// tdsTokens reads a reply until it is known how the request went: tokens with a
// length of their own are stepped over (section 2.2.4).
func (in *Inspector) tdsTokens(st *State, m []byte, rec *flow.Record) {
	if st.flags&tdsAnswered != 0 {
		return
	}
	r := reader{b: m}
	for len(r.b) > 0 && !r.bad {
		switch token := r.u8(); token {
		case 0xaa, 0xab, 0xad, 0xe3, 0xed: // ERROR, INFO, LOGINACK, ENVCHANGE, SSPI
			size := r.take(2)
			if size == nil {
				return
			}
			v := r.take(int(binary.LittleEndian.Uint16(size)))
			switch {
			case token == 0xaa && len(v) >= 4:
				rec.AppErrors++
				in.tdsAnswer(st, appendInt(append(in.scratch[:0], "ERROR "...), binary.LittleEndian.Uint32(v)), rec)
				return
			case token == 0xad && len(v) > 10:
				in.setWide(&rec.ServerSoftware, v[6:min(len(v)-4, 6+2*int(v[5]))], rec)
				in.tdsAnswer(st, append(in.scratch[:0], "LOGIN OK"...), rec)
				return
			case token == 0xed:
				in.ntlm(v, rec)
			}
		case 0xfd, 0xfe, 0xff: // DONE and kin
			in.tdsAnswer(st, append(in.scratch[:0], "OK"...), rec)
			return
		default: // a table
			in.tdsAnswer(st, append(in.scratch[:0], "OK"...), rec)
			return
		}
	}
}

func (in *Inspector) tdsAnswer(st *State, b []byte, rec *flow.Record) {
	st.flags |= tdsAnswered
	in.addResponse(st, b, rec)
}
