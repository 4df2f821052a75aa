package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// AMQP 0-9-1 and 1.0.
func amqpProtocol() protocol {
	return protocol{app: "amqp", tcp: []uint16{5672}, anyOctet: true, stream: looksAMQP, parse: (*Inspector).amqpStream}
}

// amqpMethods are methods of AMQP 0-9-1 (class, method) that say what is done.
var amqpMethods = map[uint32]string{10<<16 | 10: "connection.start", 10<<16 | 11: "connection.start-ok", 10<<16 | 30: "connection.tune", 10<<16 | 40: "connection.open",
	10<<16 | 41: "connection.open-ok", 10<<16 | 50: "connection.close", 20<<16 | 10: "channel.open", 20<<16 | 40: "channel.close", 40<<16 | 10: "exchange.declare",
	50<<16 | 10: "queue.declare", 50<<16 | 20: "queue.bind", 50<<16 | 40: "queue.delete", 60<<16 | 20: "basic.consume", 60<<16 | 40: "basic.publish",
	60<<16 | 60: "basic.deliver", 60<<16 | 70: "basic.get", 60<<16 | 80: "basic.ack"}

// looksAMQP wants the protocol header, or on its port a frame of method or heartbeat.
func looksAMQP(b []byte, h *hint) verdict {
	v := prefixOf(b, "AMQP")
	if v != no || !h.onPort || len(b) < 8 {
		return v
	}
	size := int(binary.BigEndian.Uint32(b[3:]))
	if (b[0] == 1 || b[0] == 2 || b[0] == 3 || b[0] == 8) && size < 1<<17 && len(b) >= 8+size && b[7+size] == 0xce {
		return yes
	}
	return no
}

func (in *Inspector) amqpStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 8 {
		return 0
	}
	if string(b[:4]) == "AMQP" {
		if b[4] == 0 && b[5] == 0 || b[4] == 1 || b[4] == 0 && b[5] == 9 {
			rec.AppVersion = "0-9-1"
		}
		if b[5] == 1 { // 1.0: SASL and then frames of another form
			rec.AppVersion = "1.0"
			st.flags = 1
		}
		return 8
	}
	if st.flags == 1 {
		return in.amqp1Frame(st, d, b, rec)
	}
	size := 8 + int(binary.BigEndian.Uint32(b[3:]))
	if b[0] == 0 || b[0] > 8 || size > 1<<24 {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if len(b) < min(size, 600) {
		return 0
	}
	if in.crowded(st, 1, rec) {
		return 0
	}
	if b[0] == 1 && size >= 12 {
		in.amqpMethod(st, d, b[7:min(size-1, len(b))], rec)
	}
	return st.stepOver(d, size, b)
}

func (in *Inspector) amqpMethod(st *State, d side, m []byte, rec *flow.Record) {
	id := binary.BigEndian.Uint32(m)
	name := amqpMethods[id]
	if name == "" {
		return
	}
	r := reader{b: m[4:]}
	switch id {
	case 10<<16 | 10: // start: version, then a table of the server's properties
		in.software(d, amqpProperty(m, "\x07product"), rec)
	case 10<<16 | 11: // start-ok: properties, mechanism, response
		in.software(d, amqpProperty(m, "\x07product"), rec)
		r.take(int(min(uint32(1<<16), beUint32(r.take(4)))))
		mechanism := r.take(r.u8())
		response := r.take(int(min(uint32(1<<16), beUint32(r.take(4)))))
		if string(mechanism) == "PLAIN" && !r.bad {
			in.saslPlain(response, rec)
		}
	case 10<<16 | 50, 20<<16 | 40: // close: a code
		code := r.u16()
		if code >= 300 {
			rec.AppErrors++
		}
		in.addResponse(st, appendInt(in.verb(name+" ", nil), uint16(code)), rec)
		return
	case 60<<16 | 40, 60<<16 | 60, 60<<16 | 80: // many of these
		if st.count[d]++; st.count[d] > 4 {
			return
		}
	}
	if d == sideSrc {
		in.addRequest(st, in.verb(name, nil), rec)
	}
}

// amqpProperty finds a long string of a table by its name, which begins with
// its length.
func amqpProperty(m []byte, name string) []byte {
	i := bytes.Index(m, []byte(name))
	if i < 0 {
		return nil
	}
	r := reader{b: m[i+len(name):]}
	if r.u8() != 'S' {
		return nil
	}
	return r.take(int(min(uint32(1<<10), beUint32(r.take(4)))))
}

func beUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// amqp1Frame steps over the frames of AMQP 1.0 (section 2.3), and notes the user
// of SASL PLAIN.
func (in *Inspector) amqp1Frame(st *State, d side, b []byte, rec *flow.Record) int {
	size := int(binary.BigEndian.Uint32(b))
	if size < 8 || size > 1<<24 {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if len(b) < min(size, 512) {
		return 0
	}
	m := b[:min(size, len(b))]
	if m[5] == 1 {
		if i := bytes.Index(m, []byte("PLAIN")); i >= 0 && d == sideSrc && len(m) > i+7 {
			in.saslPlain(m[i+7:], rec)
		}
	}
	return st.stepOver(d, size, b)
}
