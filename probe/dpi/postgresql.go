package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// PostgreSQL: the frontend/backend protocol, version 3 (PostgreSQL manual,
// chapter "Frontend/Backend Protocol").
func postgresqlProtocol() protocol {
	return protocol{app: "postgresql", tcp: []uint16{5432}, anyOctet: true, stream: looksPostgreSQL, parse: (*Inspector).postgresqlStream}
}

// Codes in the place of a version.
const (
	pgVersion3   = 3 << 16
	pgCancel     = 80877102
	pgSSL        = 80877103
	pgGSS        = 80877104
	pgLongest    = 4 << 10
	pgMaxStartup = 10000 // as the server has it
)

// looksPostgreSQL recognises what a client says first, and what a server says
// in a connection met later: authentication, parameters.
func looksPostgreSQL(b []byte, h *hint) verdict {
	if len(b) == 0 {
		return undecided
	}
	if b[0] == 0 {
		if len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] > pgMaxStartup>>8 {
			return no
		}
		if len(b) < 8 {
			return undecided
		}
		size := binary.BigEndian.Uint32(b)
		switch binary.BigEndian.Uint32(b[4:]) {
		case pgSSL, pgGSS:
			if size == 8 {
				return yes
			}
		case pgCancel:
			if size == 16 {
				return yes
			}
		case pgVersion3, pgVersion3 + 2:
			if size > 9 && len(b) >= 9 && b[8] >= 'a' && b[8] <= 'z' {
				return yes
			}
		}
		return no
	}
	if len(b) < 9 {
		if (b[0] == 'R' || b[0] == 'E') && h.onPort && (len(b) < 3 || b[1]|b[2] == 0) {
			return undecided
		}
		return no
	}
	size := binary.BigEndian.Uint32(b[1:])
	if b[0] == 'R' && size >= 8 && size < 256 && binary.BigEndian.Uint32(b[5:]) <= 12 && len(b) > int(size) {
		// alone it fills the segment, or a parameter follows
		if len(b) == 1+int(size) && h.onPort || len(b) > 1+int(size) && b[1+size] == 'S' {
			return yes
		}
	}
	return no
}

// State.phase of PostgreSQL, by side.
const (
	pgStart = iota
	pgMessages
)

// State.flags of PostgreSQL.
const (
	pgAskedTLS  = 1 << iota // the next octet of the server answers
	pgClearText             // the server asked for a password in clear
)

func (in *Inspector) postgresqlStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	if d == sideDst && st.flags&pgAskedTLS != 0 {
		st.flags &^= pgAskedTLS
		if b[0] == 'S' {
			in.become(st, "tls")
			return 1
		}
		if b[0] == 'N' || b[0] == 'G' {
			st.finished = b[0] == 'G' // GSSAPI encrypts all that follows
			return 1
		}
	}
	if d == sideSrc && st.phase[d] == pgStart && b[0] == 0 {
		return in.pgStartup(st, b, rec)
	}
	if len(b) < 5 {
		return 0
	}
	size := int(binary.BigEndian.Uint32(b[1:]))
	if size < 4 || size > 1<<30 || b[0] < '1' || b[0] > 'z' {
		in.stats.Malformed++
		return in.endSide(st, d, b)
	}
	want := min(size, pgLongest)
	switch b[0] {
	case 'D', 'd', 'T', 'C', 'B', 'S', 'K', 'Z', 't', 'n', '2', '3':
		if d == sideSrc || b[0] != 'S' {
			want = 4
		}
	}
	if len(b) < 1+want {
		return 0
	}
	m := b[5 : 1+want]
	if d == sideSrc {
		in.pgClient(st, b[0], m, rec)
	} else {
		in.pgServer(st, b[0], m, rec)
	}
	return st.stepOver(d, 1+size, b)
}

func (in *Inspector) pgStartup(st *State, b []byte, rec *flow.Record) int {
	if len(b) < 8 {
		return 0
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 8 || size > pgMaxStartup {
		st.finished = true
		return len(b)
	}
	if len(b) < size {
		return 0
	}
	switch binary.BigEndian.Uint32(b[4:]) {
	case pgSSL, pgGSS:
		st.flags |= pgAskedTLS
		return size
	case pgCancel:
		in.addRequest(st, append(in.scratch[:0], "CANCEL"...), rec)
		return size
	}
	rec.AppVersion = "3.0"
	if b[7] == 2 {
		rec.AppVersion = "3.2"
	}
	st.phase[sideSrc] = pgMessages
	var db []byte
	for p := b[8:size]; len(p) > 1; {
		name, rest := cstring(p)
		value, rest := cstring(rest)
		switch string(name) {
		case "user":
			rec.User = in.printable(value, rec)
		case "database":
			db = value
		case "application_name":
			in.software(sideSrc, value, rec)
		}
		p = rest
	}
	in.addRequest(st, in.verb("STARTUP", db), rec)
	return size
}

func (in *Inspector) pgClient(st *State, kind byte, m []byte, rec *flow.Record) {
	st.phase[sideSrc] = pgMessages
	switch kind {
	case 'Q':
		q, _ := cstring(m)
		in.addRequest(st, in.verb("QUERY", sqlWords(q)), rec)
	case 'P':
		_, rest := cstring(m)
		q, _ := cstring(rest)
		in.addRequest(st, in.verb("PARSE", sqlWords(q)), rec)
	case 'p':
		if st.flags&pgClearText != 0 {
			rec.Risks |= flow.RiskClearTextCredentials
		}
	}
}

func (in *Inspector) pgServer(st *State, kind byte, m []byte, rec *flow.Record) {
	switch kind {
	case 'R':
		if len(m) < 4 {
			return
		}
		switch binary.BigEndian.Uint32(m) {
		case 0:
			in.addResponse(st, append(in.scratch[:0], "AUTH OK"...), rec)
		case 3:
			st.flags |= pgClearText
		}
	case 'S':
		name, rest := cstring(m)
		value, _ := cstring(rest)
		if string(name) == "server_version" {
			in.software(sideDst, in.verb("PostgreSQL", value), rec)
		}
	case 'E':
		rec.AppErrors++
		var severity, code []byte
		for len(m) > 1 {
			f, rest := cstring(m[1:])
			switch m[0] {
			case 'S':
				severity = f
			case 'C':
				code = f
			}
			m = rest
		}
		in.scratch = append(append(in.scratch[:0], severity...), ' ')
		in.addResponse(st, append(in.scratch, code...), rec)
	case 'C', 'I':
		if st.count[sideDst] == 0 || len(rec.AppResponses) < len(rec.AppRequests) {
			in.addResponse(st, append(in.scratch[:0], "OK"...), rec)
		}
	}
}
