package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Cassandra: the CQL binary protocol, versions 1 to 5 (native_protocol_v4.spec,
// section 2, of Apache Cassandra).
func cassandraProtocol() protocol {
	return protocol{app: "cassandra", tcp: []uint16{9042, 7000}, stream: looksCQL, parse: (*Inspector).cqlStream}
}

// Opcodes (section 2.4).
const (
	cqlError        = 0
	cqlStartup      = 1
	cqlReady        = 2
	cqlAuthenticate = 3
	cqlOptions      = 5
	cqlSupported    = 6
	cqlQuery        = 7
	cqlResult       = 8
	cqlPrepare      = 9
	cqlExecute      = 10
	cqlRegister     = 11
	cqlEvent        = 12
	cqlBatch        = 13
	cqlAuthChall    = 14
	cqlAuthResponse = 15
	cqlAuthSuccess  = 16
	cqlLongest      = 4 << 10
	cqlLargest      = 256 << 20 // section 2.5
)

// cqlHead reads a frame's head: versions 1 and 2 have shorter stream numbers.
// head 0: it breaks off; -1: it is none.
func cqlHead(b []byte) (op byte, head int, size uint32) {
	if len(b) < 1 {
		return 0, 0, 0
	}
	version := b[0] & 0x7f
	if version < 1 || version > 5 {
		return 0, -1, 0
	}
	head = 9
	if version < 3 {
		head = 8
	}
	if len(b) < head {
		return 0, 0, 0
	}
	size = binary.BigEndian.Uint32(b[head-4:])
	if op = b[head-5]; op > cqlAuthSuccess || b[1]&0xe0 != 0 || size > cqlLargest {
		return 0, -1, 0
	}
	return op, head, size
}

// cassandraNode begins a connection between two nodes (internode messaging,
// Message.PROTOCOL_MAGIC); nothing in it is read.
const cassandraNode = "\xca\x55\x2d\xfa"

func looksCQL(b []byte, h *hint) verdict {
	if v := prefixOf(b, cassandraNode); v != no {
		return v
	}
	op, head, size := cqlHead(b)
	switch {
	case head < 0:
		return no
	case head == 0:
		if len(b) > 1 && b[1]&0xe0 != 0 {
			return no
		}
		return undecided
	}
	response := b[0]&0x80 != 0
	rest := b[head:]
	switch {
	case !response && op == cqlOptions:
		if size == 0 && len(rest) == 0 {
			return yes
		}
	case !response && op == cqlStartup: // a map with CQL_VERSION in it
		if len(rest) < 15 {
			return undecided
		}
		if indexFold(rest, "CQL_VERSION") >= 0 {
			return yes
		}
		if int(size) > len(rest) && size < 4096 {
			return undecided
		}
	case response && (op == cqlReady && size == 0 || op == cqlSupported || op == cqlAuthenticate):
		if h.onPort {
			return yes
		}
	case h.onPort && int(size) == len(rest) && size > 0:
		return yes
	case !response && op == cqlQuery && len(rest) >= 4:
		if n := binary.BigEndian.Uint32(rest); n > 5 && n < size && int(size) == len(rest) && plain(rest[4:4+min(n, 16)]) {
			return yes
		}
	}
	return no
}

func (in *Inspector) cqlStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	op, head, size := cqlHead(b)
	if head == 0 {
		return 0
	}
	if head < 0 {
		if prefixOf(b, cassandraNode) != yes {
			in.stats.Malformed++
		}
		return in.endSide(st, d, b)
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	want := int(min(size, cqlLongest))
	if op == cqlResult {
		want = min(want, 4)
	}
	if len(b) < head+want {
		return 0
	}
	m := b[head : head+want]
	if b[1]&1 != 0 { // compressed
		m = nil
	}
	in.cqlMessage(st, op, b[0], m, rec)
	return st.stepOver(d, head+int(size), b)
}

func (in *Inspector) cqlMessage(st *State, op, version byte, m []byte, rec *flow.Record) {
	rec.AppVersion = "12345"[max(version&0x7f, 1)-1:][:1]
	r := reader{b: m}
	switch op {
	case cqlStartup:
		for n := r.u16(); n > 0 && !r.bad; n-- {
			key, value := r.take(r.u16()), r.take(r.u16())
			switch string(key) {
			case "DRIVER_NAME":
				in.software(sideSrc, value, rec)
			}
		}
		in.addRequest(st, append(in.scratch[:0], "STARTUP"...), rec)
	case cqlOptions:
		in.addRequest(st, append(in.scratch[:0], "OPTIONS"...), rec)
	case cqlQuery, cqlPrepare:
		verb := "QUERY"
		if op == cqlPrepare {
			verb = "PREPARE"
		}
		if n := r.take(4); n != nil {
			in.addRequest(st, in.verb(verb, sqlWords(r.b[:min(uint64(binary.BigEndian.Uint32(n)), uint64(len(r.b)))])), rec)
		}
	case cqlExecute:
		in.addRequest(st, append(in.scratch[:0], "EXECUTE"...), rec)
	case cqlBatch:
		in.addRequest(st, append(in.scratch[:0], "BATCH"...), rec)
	case cqlRegister:
		in.addRequest(st, append(in.scratch[:0], "REGISTER"...), rec)
	case cqlAuthResponse:
		if len(m) > 4 {
			in.saslPlain(m[4:], rec)
		}
		in.addRequest(st, append(in.scratch[:0], "AUTH"...), rec)
	case cqlError:
		rec.AppErrors++
		code := r.take(4)
		in.scratch = append(in.scratch[:0], "ERROR"...)
		if code != nil {
			in.scratch = appendInt(append(in.scratch, ' '), binary.BigEndian.Uint32(code))
		}
		in.addResponse(st, in.scratch, rec)
	case cqlReady, cqlAuthSuccess:
		in.addResponse(st, append(in.scratch[:0], "READY"...), rec)
	case cqlAuthenticate:
		in.addResponse(st, append(in.scratch[:0], "AUTHENTICATE"...), rec)
	case cqlSupported:
		in.addResponse(st, append(in.scratch[:0], "SUPPORTED"...), rec)
	case cqlResult:
		in.addResponse(st, append(in.scratch[:0], "RESULT"...), rec)
	}
}
