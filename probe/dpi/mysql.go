package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// MySQL and MariaDB: the client/server protocol ("Connection Phase" and
// "Command Phase" of the MySQL internals manual). Queries are listed by their
// first words; results are stepped over.
func mysqlProtocol() protocol {
	return protocol{app: "mysql", tcp: []uint16{3306}, stream: looksMySQL, parse: (*Inspector).mysqlStream}
}

const (
	mysqlHeader   = 4
	mysqlSSL      = 0x800 // CLIENT_SSL
	mysqlConnDB   = 0x8   // CLIENT_CONNECT_WITH_DB
	mysql41       = 0x200 // CLIENT_PROTOCOL_41
	mysqlSecure   = 0x8000
	mysqlLenenc   = 0x200000  // CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
	mysqlAttrs    = 0x8000000 // CLIENT_QUERY_ATTRIBUTES
	mysqlLongest  = 4 << 10
	mysqlErr      = 0xff
	mysqlMoreAuth = 0x01
)

func mysqlSize(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// looksMySQL recognises the server's greeting, version 10, or an error in its
// place. A client's login is recognised by its reserved octets.
func looksMySQL(b []byte, h *hint) verdict {
	if len(b) < 6 {
		if len(b) >= 4 && b[3] > 1 || len(b) >= 3 && b[2] != 0 {
			return no
		}
		return undecided
	}
	size := mysqlSize(b)
	if b[2] != 0 || size < 8 || size > 1024 {
		return no
	}
	if b[3] == 1 { // HandshakeResponse41: 23 reserved octets; MariaDB uses the last four
		if !h.onPort || size < 32 {
			return no
		}
		if len(b) < mysqlHeader+32 {
			return undecided
		}
		if binary.LittleEndian.Uint16(b[4:])&mysql41 != 0 && bytes.Count(b[13:13+19], []byte{0}) == 19 {
			return yes
		}
		return no
	}
	if b[3] != 0 {
		return no
	}
	if b[4] == mysqlErr && h.onPort && len(b) >= mysqlHeader+size {
		return yes
	}
	if b[4] != 10 {
		return no
	}
	i := bytes.IndexByte(b[5:], 0)
	if i < 0 {
		if len(b) < 128 && plain(b[5:]) {
			return undecided
		}
		return no
	}
	if i < 3 || !plain(b[5:5+i]) || b[5] < '0' || b[5] > '9' || 5+i+1+12 > mysqlHeader+size {
		return no
	}
	return yes
}

// State.phase of MySQL, by side: what comes next.
const (
	mysqlHello   = iota // greeting; login
	mysqlAuth           // until OK or ERR; passwords of the client
	mysqlCommand        // commands; the first packet of an answer
	mysqlRest           // server: the rest of an answer
)

func (in *Inspector) mysqlStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < mysqlHeader+1 {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	size := mysqlSize(b)
	if d == sideDst && st.phase[d] == mysqlRest || size == 0 {
		return st.stepOver(d, mysqlHeader+size, b)
	}
	if len(b) < mysqlHeader+min(size, mysqlLongest) {
		return 0
	}
	m := b[mysqlHeader : mysqlHeader+min(size, mysqlLongest)]
	if d == sideDst {
		in.mysqlServer(st, m, rec)
	} else if in.mysqlClient(st, m, rec) {
		in.become(st, "tls")
		return mysqlHeader + size
	}
	return st.stepOver(d, mysqlHeader+size, b)
}

func (in *Inspector) mysqlServer(st *State, m []byte, rec *flow.Record) {
	if m[0] == mysqlErr && len(m) >= 3 {
		rec.AppErrors++
		in.scratch = appendInt(append(in.scratch[:0], "ERR "...), binary.LittleEndian.Uint16(m[1:]))
		in.addResponse(st, in.scratch, rec)
		st.phase[sideDst] = mysqlRest
		return
	}
	switch st.phase[sideDst] {
	case mysqlHello:
		if m[0] == 10 {
			version, _ := cstring(m[1:])
			rec.AppVersion = "10"
			in.software(sideDst, version, rec)
		}
		st.phase[sideDst] = mysqlAuth
	case mysqlAuth:
		if m[0] == 0 {
			in.addResponse(st, append(in.scratch[:0], "OK"...), rec)
			st.phase[sideDst], st.phase[sideSrc] = mysqlRest, mysqlCommand
		}
	case mysqlCommand:
		in.addResponse(st, append(in.scratch[:0], "OK"...), rec)
		st.phase[sideDst] = mysqlRest
	}
}

// mysqlClient reads a login or a command. True: it asked for TLS.
func (in *Inspector) mysqlClient(st *State, m []byte, rec *flow.Record) bool {
	switch st.phase[sideSrc] {
	case mysqlHello:
		st.phase[sideSrc] = mysqlAuth
		if len(m) >= 32 && binary.LittleEndian.Uint16(m)&mysql41 != 0 {
			if len(m) == 32 && binary.LittleEndian.Uint16(m)&mysqlSSL != 0 {
				return true
			}
			in.mysqlLogin(st, m, rec)
		} else if len(m) > 5 { // HandshakeResponse320
			user, _ := cstring(m[5:])
			rec.User = in.printable(user, rec)
			in.addRequest(st, in.verb("LOGIN", user), rec)
		}
		return false
	case mysqlAuth:
		return false // passwords, as asked for
	}
	in.mysqlRequest(st, m, rec)
	return false
}

func (in *Inspector) mysqlLogin(st *State, m []byte, rec *flow.Record) {
	caps := binary.LittleEndian.Uint32(m)
	st.word[sideSrc] = uint64(caps)
	user, rest := cstring(m[32:])
	rec.User = in.printable(user, rec)
	var db []byte
	switch {
	case caps&mysqlSecure != 0 && len(rest) > 0: // the same for short lengths as lenenc
		rest = rest[min(1+int(rest[0]), len(rest)):]
	default:
		_, rest = cstring(rest)
	}
	if caps&mysqlConnDB != 0 {
		db, _ = cstring(rest)
	}
	in.addRequest(st, in.verb("LOGIN", db), rec)
}

// mysqlRequest lists a command; count[client] says that one was seen.
func (in *Inspector) mysqlRequest(st *State, m []byte, rec *flow.Record) {
	verb, object := "", m[1:]
	answered := true
	switch m[0] {
	case 0x01:
		verb, object, answered = "QUIT", nil, false
	case 0x02:
		verb = "INIT_DB"
	case 0x03, 0x16:
		verb = "QUERY"
		if m[0] == 0x16 {
			verb = "PREPARE"
		} else if st.word[sideSrc]&mysqlAttrs != 0 && len(object) > 2 && object[0] == 0 { // number of attributes, of sets
			object = object[2:]
		} else if st.word[sideSrc]&mysqlAttrs != 0 {
			object = nil
		}
		object = sqlWords(object)
	case 0x04:
		verb, object = "FIELD_LIST", nil
	case 0x05:
		verb = "CREATE_DB"
	case 0x06:
		verb = "DROP_DB"
	case 0x08:
		verb, object = "SHUTDOWN", nil
	case 0x0a:
		verb, object = "PROCESS_INFO", nil
	case 0x0c:
		verb, object = "KILL", nil
	case 0x0d:
		verb, object = "DEBUG", nil
	case 0x0e:
		verb, object = "PING", nil
	case 0x11:
		object, _ = cstring(object)
		verb = "CHANGE_USER"
		rec.User = in.printable(object, rec)
		st.phase[sideSrc], st.phase[sideDst] = mysqlAuth, mysqlAuth
		in.addRequest(st, in.verb(verb, object), rec)
		return
	case 0x12:
		verb, object, answered = "BINLOG_DUMP", nil, true
	case 0x17:
		verb, object = "EXECUTE", nil
	case 0x19, 0x18: // closing, long data: no answer
		return
	default:
		verb, object = "COMMAND", appendInt([]byte(nil), m[0])
	}
	in.addRequest(st, in.verb(verb, object), rec)
	if answered {
		st.phase[sideDst] = mysqlCommand
	}
}

// sqlWords returns the first words of a statement, without what looks like a
// value: the statement's verb and its object.
func sqlWords(b []byte) []byte {
	b = bytes.TrimLeft(b, " \t\r\n(")
	words := 0
	for i, c := range b {
		if i >= 80 || c == '\'' || c == '"' || c == '(' || c == '=' || c == '\n' || c == '\r' {
			return bytes.TrimRight(b[:i], " \t")
		}
		if c == ' ' && (i == 0 || b[i-1] != ' ') {
			if words++; words >= 6 {
				return b[:i]
			}
		}
	}
	return b
}
