package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Redis: RESP versions 2 and 3 (Redis protocol specification). Commands are
// listed with their key, never with values; of answers only what they are.
func redisProtocol() protocol {
	return protocol{app: "redis", tcp: []uint16{6379}, anyOctet: true, stream: looksRedis, parse: (*Inspector).redisStream}
}

const redisMaxArguments = 1 << 20

// looksRedis takes an array of bulk strings whose first is a word, and, as the
// answer to one, any kind of value.
func looksRedis(b []byte, h *hint) verdict {
	if len(b) == 0 {
		return undecided
	}
	if b[0] != '*' {
		if h.onPort || len(h.other) > 0 && h.other[0] == '*' {
			for _, s := range []string{"+OK\r\n", "+PONG\r\n", "-ERR ", "-NOAUTH ", "-WRONGPASS ", "-DENIED "} {
				if v := prefixOf(b, s); v != no {
					return v
				}
			}
		}
		// a line on the port is a command, too
		if i := len(b) - 2; h.onPort && i > 1 && i < maxLine && string(b[i:]) == "\r\n" && (alphanumeric(b[0]) || b[0] == ':') && plainLines(b) {
			return yes
		}
		return no
	}
	n, rest, v := redisNumber(b)
	if v != yes {
		return v
	}
	if n < 1 || n > redisMaxArguments {
		return no
	}
	if len(rest) > 0 && rest[0] != '$' {
		return no
	}
	size, word, v := redisNumber(rest)
	if v != yes {
		return v
	}
	if size < 1 || size > 64 {
		return no
	}
	if len(word) < int(size) {
		if plain(word) {
			return undecided
		}
		return no
	}
	for _, c := range word[:size] {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return no
		}
	}
	return yes
}

// plainLines tells lines of plain text.
func plainLines(b []byte) bool {
	for len(b) > 0 {
		line, rest := cutLine(b)
		if !plain(line) {
			return false
		}
		b = rest
	}
	return true
}

// redisNumber reads "x123\r\n".
func redisNumber(b []byte) (n int64, rest []byte, v verdict) {
	if len(b) < 2 {
		return 0, nil, undecided
	}
	i := bytes.IndexByte(b[:min(len(b), 24)], '\n')
	switch {
	case i < 0:
		if len(b) < 24 && (digits(b[1:]) || b[len(b)-1] == '\r' && digits(b[1:len(b)-1])) {
			return 0, nil, undecided
		}
		return 0, nil, no
	case i < 3 || b[i-1] != '\r':
		return 0, nil, no
	}
	if n = number(b[1 : i-1]); n < 0 {
		if string(b[1:i-1]) == "-1" {
			return -1, b[i+1:], yes
		}
		return 0, nil, no
	}
	return n, b[i+1:], yes
}

// redisStream: count[client] is how many arguments of the present command are
// still to be stepped over.
func (in *Inspector) redisStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if in.crowded(st, 1, rec) {
		return 0
	}
	if d == sideDst {
		return in.redisAnswer(st, b, rec)
	}
	s := &st.half[d]
	if st.count[d] > 0 {
		if b[0] != '$' {
			return in.redisLost(s, len(b), rec)
		}
		size, rest, v := redisNumber(b)
		if v == no {
			return in.redisLost(s, len(b), rec)
		}
		if v == undecided {
			return 0
		}
		st.count[d]--
		s.skip = uint64(len(b)-len(rest)) + uint64(max(size+2, 0))
		return skipped(s, len(b))
	}
	if b[0] != '*' { // an inline command
		line, n := st.line(d, b)
		if len(line) > 0 {
			verb, arg := word(line)
			arg, _ = word(arg) // the rest are values
			in.redisCommand(st, verb, arg, nil, 2, rec)
		}
		return n
	}
	n, rest, v := redisNumber(b)
	if v == no || n > redisMaxArguments {
		return in.redisLost(s, len(b), rec)
	}
	if v == undecided {
		return 0
	}
	if n < 1 {
		return len(b) - len(rest)
	}
	var args [3][]byte
	got := 0
	for got < int(min(n, 3)) {
		if len(rest) > 0 && rest[0] != '$' {
			return in.redisLost(s, len(b), rec)
		}
		size, after, v := redisNumber(rest)
		if v == no {
			return in.redisLost(s, len(b), rec)
		}
		if v == undecided {
			return 0
		}
		if size < 0 {
			rest = after
			got++
			continue
		}
		if got > 0 && size > 512 { // a value, or a key too long to be told
			break
		}
		if len(after) < int(size)+2 {
			return 0
		}
		args[got], rest = after[:size], after[size+2:]
		got++
		if got == 2 && !isFold(args[0], "AUTH") && !isFold(args[0], "HELLO") {
			break
		}
	}
	in.redisCommand(st, args[0], args[1], args[2], int(n), rec)
	st.count[d] = uint32(int(n) - got)
	return len(b) - len(rest)
}

func (in *Inspector) redisCommand(st *State, verb, key, third []byte, n int, rec *flow.Record) {
	switch {
	case isFold(verb, "AUTH"):
		rec.Risks |= flow.RiskClearTextCredentials
		if n >= 3 {
			rec.User = in.printable(key, rec)
		}
		if key = nil; n >= 3 {
			key = []byte(rec.User)
		}
	case isFold(verb, "HELLO"):
		rec.AppVersion = in.printable(key, rec)
		if isFold(third, "AUTH") {
			rec.Risks |= flow.RiskClearTextCredentials
		}
	}
	in.addRequest(st, in.upper(verb, key), rec)
}

func (in *Inspector) redisLost(s *stream, all int, rec *flow.Record) int {
	in.stats.Malformed++
	in.cutStream(rec)
	s.dead = true
	return all
}

// redisAnswer lists what comes at the top level: count[server] is how many
// elements of arrays are still to be stepped over.
func (in *Inspector) redisAnswer(st *State, b []byte, rec *flow.Record) int {
	s, kind := &st.half[sideDst], b[0]
	top := st.count[sideDst] == 0
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		line, n := st.line(sideDst, b)
		if n == 0 || line == nil {
			return n
		}
		if !top {
			st.count[sideDst]--
			return n
		}
		text := line
		switch kind {
		case '-':
			rec.AppErrors++
			text, _ = word(line)
		case '+':
			text = line[:min(len(line), 64)]
		default:
			text = line[:1]
		}
		in.addResponse(st, append(in.scratch[:0], text...), rec)
		return n
	case '$', '=', '!', '*', '~', '%', '>', '|':
	default:
		return in.redisLost(s, len(b), rec)
	}
	n, rest, v := redisNumber(b)
	switch v {
	case no:
		return in.redisLost(s, len(b), rec)
	case undecided:
		return 0
	}
	used := len(b) - len(rest)
	if top {
		in.addResponse(st, append(in.scratch[:0], kind), rec)
	} else {
		st.count[sideDst]--
	}
	switch kind {
	case '$', '=', '!':
		s.skip = uint64(used) + uint64(max(n+2, 0))
		return skipped(s, len(b))
	case '%', '|':
		n *= 2
		if kind == '|' { // attributes stand before a value
			n++
		}
	}
	if n > 0 {
		st.count[sideDst] += uint32(min(n, redisMaxArguments))
	}
	return used
}
