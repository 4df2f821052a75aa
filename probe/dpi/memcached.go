package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Memcached: the text and binary protocols (protocol.txt and
// BinaryProtocolRevamped of memcached), over TCP and UDP.
func memcachedProtocol() protocol {
	return protocol{app: "memcached", tcp: []uint16{11211}, udp: []uint16{11211}, anyOctet: true, stream: looksMemcached,
		datagram: func(b []byte, h *hint) bool {
			// a head of eight octets: request, sequence, datagrams, 0
			if len(b) < 8+4 || binary.BigEndian.Uint16(b[6:]) != 0 || binary.BigEndian.Uint16(b[4:]) == 0 || binary.BigEndian.Uint16(b[2:]) >= binary.BigEndian.Uint16(b[4:]) {
				return false
			}
			return h.onPort && looksMemcached(b[8:], h) == yes
		}, parse: (*Inspector).memcachedStream, message: (*Inspector).memcachedMessage}
}

const (
	memcachedHeader   = 24
	memcachedRequest  = 0x80
	memcachedResponse = 0x81
)

// memcachedWords are the commands of the text protocol that take no data, in capitals.
var memcachedWords = []string{"GET", "GETS", "GAT", "GATS", "DELETE", "INCR", "DECR", "TOUCH", "STATS", "VERSION", "FLUSH_ALL", "QUIT", "VERBOSITY",
	"SET", "ADD", "REPLACE", "APPEND", "PREPEND", "CAS", "MG", "MS", "MD", "MN", "ME"}

func looksMemcached(b []byte, h *hint) verdict {
	if len(b) == 0 {
		return undecided
	}
	if b[0] == memcachedRequest || b[0] == memcachedResponse {
		if len(b) < memcachedHeader {
			if len(b) > 1 && b[1] > 0x4c || len(b) > 5 && b[5] != 0 || !h.onPort {
				return no
			}
			return undecided
		}
		key, extras, total := binary.BigEndian.Uint16(b[2:]), uint32(b[4]), binary.BigEndian.Uint32(b[8:])
		if b[1] > 0x4c || b[5] != 0 || uint32(key)+extras > total || key > 250 || extras > 20 || total > 1<<20 {
			return no
		}
		if h.onPort || int(total)+memcachedHeader == len(b) && (b[0] == memcachedResponse || binary.BigEndian.Uint16(b[6:]) == 0) {
			return yes
		}
		return no
	}
	if !h.onPort { // words alone are too weak: a command must be complete in all its numbers
		i := bytes.IndexByte(b, '\n')
		if i < 0 || !plain(bytes.TrimSuffix(b[:i], []byte{'\r'})) {
			return no
		}
		line := bytes.TrimSuffix(b[:i], []byte{'\r'})
		verb, rest := word(line)
		stored := (string(verb) == "set" || string(verb) == "add" || string(verb) == "replace") && digits(nthWord(rest, 1)) && digits(nthWord(rest, 2)) && digits(nthWord(rest, 3))
		found := string(verb) == "VALUE" && digits(nthWord(rest, 1)) && digits(nthWord(rest, 2))
		if stored || found || bytes.HasPrefix(line, []byte("STAT pid ")) {
			return yes
		}
		return no
	}
	if v := startsWord(b, memcachedWords...); v != no {
		return v
	}
	return startsWord(b, "VALUE", "STORED", "NOT_STORED", "END", "ERROR", "CLIENT_ERROR", "SERVER_ERROR", "STAT", "OK", "DELETED", "NOT_FOUND")
}

// nthWord is the n-th word of a line, counted from 0; nil: it has fewer.
func nthWord(line []byte, n int) []byte {
	w, rest := word(line)
	for ; n > 0; n-- {
		w, rest = word(rest)
	}
	return w
}

func (in *Inspector) memcachedMessage(st *State, d side, b []byte, rec *flow.Record, now int64) {
	if len(b) < 9 {
		in.stats.Malformed++
		return
	}
	for b = b[8:]; len(b) > 0; {
		n := in.memcachedStream(st, d, b, rec, now)
		if n == 0 || n >= len(b) || st.half[d].dead {
			break
		}
		b = b[n:]
	}
	st.half[d].skip, st.half[d].dead = 0, false
}

func (in *Inspector) memcachedStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	s := &st.half[d]
	if b[0] == memcachedRequest || b[0] == memcachedResponse {
		return in.memcachedBinary(st, d, b, rec)
	}
	line, n := st.line(d, b)
	if n == 0 || line == nil {
		return n
	}
	verb, rest := word(line)
	size := int64(-1)
	switch {
	case len(verb) == 0 || !plain(verb):
		return n
	case isFold(verb, "VALUE"), isFold(verb, "VA"): // VALUE key flags octets
		if size = number(nthWord(rest, 2)); isFold(verb, "VA") {
			size = number(nthWord(rest, 0))
		}
	case isFold(verb, "SET"), isFold(verb, "ADD"), isFold(verb, "REPLACE"), isFold(verb, "APPEND"), isFold(verb, "PREPEND"), isFold(verb, "CAS"):
		size = number(nthWord(rest, 3))
		in.memcachedRequest(st, verb, rest, rec)
	case startsWord(line, memcachedWords...) != no && !isFold(verb, "ERROR"):
		if d == sideDst && isFold(verb, "VERSION") {
			in.software(sideDst, line, rec)
			break
		}
		in.memcachedRequest(st, verb, rest, rec)
	case isFold(verb, "STAT"):
		if bytes.HasPrefix(rest, []byte("version ")) {
			in.software(sideDst, in.verb("memcached", rest[8:]), rec)
		}
	case isFold(verb, "ERROR"), isFold(verb, "CLIENT_ERROR"), isFold(verb, "SERVER_ERROR"):
		rec.AppErrors++
		in.addResponse(st, append(in.scratch[:0], verb...), rec)
	case isFold(verb, "STORED"), isFold(verb, "NOT_STORED"), isFold(verb, "END"), isFold(verb, "DELETED"), isFold(verb, "NOT_FOUND"),
		isFold(verb, "OK"), isFold(verb, "EXISTS"), isFold(verb, "TOUCHED"), isFold(verb, "RESET"):
		in.addResponse(st, append(in.scratch[:0], verb...), rec)
	}
	if size >= 0 {
		s.skip = uint64(n) + uint64(size) + 2
		return skipped(s, len(b))
	}
	return n
}

// memcachedRequest lists a command with its first key.
func (in *Inspector) memcachedRequest(st *State, verb, rest []byte, rec *flow.Record) {
	key, _ := word(rest)
	in.addRequest(st, in.upper(verb, key), rec)
}

// memcachedOpcode names those that occur in practice.
func memcachedOpcode(op byte) string {
	switch op {
	case 0x00, 0x09:
		return "GET"
	case 0x01, 0x11:
		return "SET"
	case 0x02, 0x12:
		return "ADD"
	case 0x03, 0x13:
		return "REPLACE"
	case 0x04, 0x14:
		return "DELETE"
	case 0x05, 0x15:
		return "INCR"
	case 0x06, 0x16:
		return "DECR"
	case 0x07, 0x17:
		return "QUIT"
	case 0x08, 0x18:
		return "FLUSH_ALL"
	case 0x0a:
		return "NOOP"
	case 0x0b:
		return "VERSION"
	case 0x0c, 0x0d:
		return "GETK"
	case 0x0e, 0x19:
		return "APPEND"
	case 0x0f, 0x1a:
		return "PREPEND"
	case 0x10:
		return "STATS"
	case 0x20:
		return "SASL_LIST"
	case 0x21:
		return "SASL_AUTH"
	}
	return "COMMAND"
}

func (in *Inspector) memcachedBinary(st *State, d side, b []byte, rec *flow.Record) int {
	if len(b) < memcachedHeader {
		return 0
	}
	key, extras, total := int(binary.BigEndian.Uint16(b[2:])), int(b[4]), int(binary.BigEndian.Uint32(b[8:]))
	if key+extras > total || key > 1024 {
		in.stats.Malformed++
		return in.endSide(st, d, b)
	}
	if b[0] == memcachedRequest {
		if len(b) < memcachedHeader+extras+key {
			return 0
		}
		rec.AppVersion = "binary"
		in.addRequest(st, in.verb(memcachedOpcode(b[1]), b[memcachedHeader+extras:memcachedHeader+extras+key]), rec)
	} else {
		status := binary.BigEndian.Uint16(b[6:])
		if status != 0 && status != 1 {
			rec.AppErrors++
		}
		in.addResponse(st, appendInt(append(in.scratch[:0], "status "...), status), rec)
	}
	return st.stepOver(d, memcachedHeader+total, b)
}
