package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// MongoDB: the wire protocol, with BSON inside (MongoDB manual, "MongoDB Wire
// Protocol"; bsonspec.org).
func mongodbProtocol() protocol {
	return protocol{app: "mongodb", tcp: []uint16{27017, 27018, 27019}, stream: func(b []byte, _ *hint) verdict { return looksMongoDB(b) },
		parse: (*Inspector).mongoStream, resume: looksMongoDB}
}

const (
	mongoHeader  = 16
	mongoReply   = 1
	mongoQuery   = 2004
	mongoZip     = 2012
	mongoMsg     = 2013
	mongoLongest = 4 << 10
	mongoLargest = 48 << 20 // maxMessageSizeBytes
)

func looksMongoDB(b []byte) verdict {
	if len(b) < mongoHeader+5 {
		if len(b) >= mongoHeader && !mongoOpcode(binary.LittleEndian.Uint32(b[12:])) || len(b) >= 4 && binary.LittleEndian.Uint32(b) > mongoLargest {
			return no
		}
		return undecided
	}
	size, op := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:])
	if size < mongoHeader+5 || size > mongoLargest || !mongoOpcode(op) {
		return no
	}
	to := binary.LittleEndian.Uint32(b[8:])
	switch op {
	case mongoReply:
		if to == 0 || size < 36 || len(b) >= 20 && binary.LittleEndian.Uint32(b[16:])&^15 != 0 {
			return no
		}
	case mongoMsg:
		if binary.LittleEndian.Uint32(b[16:])&0xfffefffc != 0 || b[20] > 1 {
			return no
		}
	case mongoQuery: // flags, then a name with a dot
		name, rest := cstring(b[20:])
		if len(rest) == 0 && len(b) < 200 && plain(name) {
			return undecided
		}
		if bytes.IndexByte(name, '.') < 1 || !plain(name) {
			return no
		}
	}
	return yes
}

func mongoOpcode(op uint32) bool {
	return op == mongoReply || op >= 2001 && op <= 2007 || op >= 2010 && op <= 2013
}

func (in *Inspector) mongoStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < mongoHeader {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	s, size, op := &st.half[d], binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:])
	if size < mongoHeader || size > mongoLargest || !mongoOpcode(op) {
		in.stats.Malformed++
		in.cutStream(rec)
		s.lost = true
		return len(b)
	}
	want := min(int(size), mongoLongest)
	if d == sideDst {
		want = min(want, 1024)
	}
	if len(b) < want {
		return 0
	}
	in.mongoMessage(st, op, binary.LittleEndian.Uint32(b[8:]) != 0, b[mongoHeader:want], rec)
	return st.stepOver(d, int(size), b)
}

func (in *Inspector) mongoMessage(st *State, op uint32, answer bool, m []byte, rec *flow.Record) {
	switch op {
	case mongoMsg:
		if len(m) < 5 || m[4] != 0 {
			return
		}
		in.mongoDocument(st, answer, m[5:], rec)
	case mongoQuery:
		if len(m) < 4 {
			return
		}
		name, rest := cstring(m[4:])
		if len(rest) < 8 {
			return
		}
		if bytes.HasSuffix(name, []byte(".$cmd")) {
			in.mongoDocument(st, false, rest[8:], rec)
			return
		}
		in.addRequest(st, in.verb("query", name), rec)
	case mongoReply:
		if len(m) > 20 {
			in.mongoDocument(st, true, m[20:], rec)
		}
	case 2001, 2002, 2005, 2006: // the name follows a word of zeros
		if len(m) > 4 {
			name, _ := cstring(m[4:])
			verb := "update"
			switch op {
			case 2002:
				verb = "insert"
			case 2005:
				verb = "get_more"
			case 2006:
				verb = "delete"
			}
			in.addRequest(st, in.verb(verb, name), rec)
		}
	case mongoZip:
		if !answer {
			in.addRequest(st, append(in.scratch[:0], "compressed"...), rec)
		}
	}
}

// bsonNext takes one element of a document (bsonspec.org, version 1.1).
// kind 0: there is none, or it breaks off.
func bsonNext(b []byte) (kind byte, name, value, rest []byte) {
	if len(b) < 2 || b[0] == 0 {
		return 0, nil, nil, nil
	}
	kind = b[0]
	name, rest = cstring(b[1:])
	if len(name) == len(b)-1 {
		return 0, nil, nil, nil
	}
	n := 0
	switch kind {
	case 1, 9, 17, 18:
		n = 8
	case 2, 13, 14, 3, 4, 5:
		if len(rest) < 4 {
			return 0, nil, nil, nil
		}
		n = int(binary.LittleEndian.Uint32(rest) & 0x7fffffff)
		switch kind {
		case 2, 13, 14:
			n += 4
		case 5:
			n += 5
		}
	case 7:
		n = 12
	case 8:
		n = 1
	case 16:
		n = 4
	case 19:
		n = 16
	case 6, 10, 255, 127:
	default:
		return 0, nil, nil, nil
	}
	if n > len(rest) { // what is there of a document or text is worth a look
		return kind, name, rest, nil
	}
	return kind, name, rest[:n], rest[n:]
}

// mongoText is the content of a string element.
func mongoText(kind byte, v []byte) []byte {
	if kind != 2 || len(v) < 5 {
		return nil
	}
	return v[4 : len(v)-1]
}

// mongoDocument lists a command with its collection, or how it went.
func (in *Inspector) mongoDocument(st *State, answer bool, b []byte, rec *flow.Record) {
	if len(b) < 5 {
		return
	}
	first := true
	ok, failed := true, []byte(nil)
	in.scratch = in.scratch[:0]
	for rest := b[4:]; len(rest) > 0; {
		kind, name, v, next := bsonNext(rest)
		if kind == 0 {
			break
		}
		switch {
		case first && !answer:
			in.scratch = append(in.scratch[:0], name...)
			if t := mongoText(kind, v); t != nil {
				in.scratch = append(append(in.scratch, ' '), t...)
			}
		case !answer && string(name) == "payload" && kind == 5 && len(v) > 5:
			in.mongoSASL(v[5:], rec)
		case !answer && string(name) == "client" && kind == 3:
			in.mongoClient(v, rec)
		case answer && string(name) == "ok":
			ok = bytes.ContainsFunc(v, func(r rune) bool { return r != 0 })
		case answer && string(name) == "codeName":
			failed = mongoText(kind, v)
		}
		first = false
		rest = next
	}
	switch {
	case !answer && len(in.scratch) > 0:
		in.addRequest(st, in.scratch, rec)
	case answer && ok:
		in.addResponse(st, append(in.scratch[:0], "ok"...), rec)
	case answer:
		rec.AppErrors++
		in.addResponse(st, in.verb("error", failed), rec)
	}
}

// mongoSASL notes the user of a first SCRAM message (RFC 5802, section 7).
func (in *Inspector) mongoSASL(b []byte, rec *flow.Record) {
	if i := bytes.Index(b, []byte("n=")); i >= 0 && bytes.HasPrefix(b, []byte("n,")) {
		user := b[i+2:]
		if j := bytes.IndexByte(user, ','); j >= 0 {
			in.setOnce(&rec.User, user[:j], rec)
		}
		return
	}
	in.saslPlain(b, rec)
}

// mongoClient notes driver and application of the handshake's client document.
func (in *Inspector) mongoClient(b []byte, rec *flow.Record) {
	if len(b) < 5 {
		return
	}
	for rest := b[4:]; len(rest) > 0; {
		kind, name, v, next := bsonNext(rest)
		if kind == 0 {
			return
		}
		if kind == 3 && string(name) == "driver" && len(v) > 4 {
			var driver, version []byte
			for inner := v[4:]; len(inner) > 0; {
				k, n, t, after := bsonNext(inner)
				if k == 0 {
					break
				}
				switch string(n) {
				case "name":
					driver = mongoText(k, t)
				case "version":
					version = mongoText(k, t)
				}
				inner = after
			}
			at := len(in.scratch)
			in.scratch = append(append(append(in.scratch, driver...), ' '), version...)
			in.software(sideSrc, in.scratch[at:], rec)
			in.scratch = in.scratch[:at]
		}
		rest = next
	}
}
