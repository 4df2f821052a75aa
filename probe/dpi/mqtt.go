package dpi

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// MQTT 3.1, 3.1.1 and 5 (OASIS). The password of CONNECT is in clear and not kept.
func mqttProtocol() protocol {
	return protocol{app: "mqtt", tcp: []uint16{1883}, anyOctet: true, stream: looksMQTT, parse: (*Inspector).mqttStream}
}

const (
	mqttConnect, mqttConnAck, mqttPublish, mqttSubscribe, mqttSubAck, mqttUnsubscribe, mqttPing, mqttPong = 1, 2, 3, 8, 9, 10, 12, 13
)

// looksMQTT wants a CONNECT with the protocol's name, or, in the middle of a
// connection, a whole PUBLISH with a topic.
func looksMQTT(b []byte, h *hint) verdict {
	switch {
	case len(b) == 0:
		return undecided
	case b[0]>>4 == mqttPublish && b[0]&6 != 6:
		return looksPublish(b)
	case h.onPort && len(b) == 2 && b[1] == 0 && (b[0] == mqttPing<<4 || b[0] == mqttPong<<4):
		return yes
	case b[0] != mqttConnect<<4:
		return no
	}
	_, n := mqttLength(b[1:])
	switch {
	case n < 0:
		return no
	case n == 0 || len(b) < 1+n+2:
		return undecided
	}
	best := no
	for _, name := range [...]string{"\x00\x04MQTT", "\x00\x06MQIsdp"} {
		best = max(best, prefixOf(b[1+n:], name))
	}
	return best
}

func looksPublish(b []byte) verdict {
	size, n := mqttLength(b[1:])
	if n <= 0 || len(b) != 1+n+size || size < 5 || b[1+n] != 0 {
		return no
	}
	topic := int(b[2+n])
	if topic < 3 || 2+topic > size || !plain(b[3+n:3+n+topic]) {
		return no
	}
	return yes
}

// mqttLength reads a variable length (MQTT 5, section 1.5.5) of n octets; n is
// 0 when it is not complete, -1 when it is none.
func mqttLength(b []byte) (v, n int) {
	for n < 4 {
		if n >= len(b) {
			return 0, 0
		}
		v |= int(b[n]&0x7f) << (7 * n)
		n++
		if b[n-1]&0x80 == 0 {
			return v, n
		}
	}
	return 0, -1
}

func (in *Inspector) mqttStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 2 {
		return 0
	}
	size, n := mqttLength(b[1:])
	if n < 0 || b[0]>>4 == 0 {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if n == 0 {
		return 0
	}
	head, kind := 1+n, b[0]>>4
	want := min(size, maxLine) // of a large message the beginning
	if kind == mqttPublish {
		want = min(size, 300)
	}
	if len(b) < head+want {
		return 0
	}
	if in.crowded(st, 4, rec) {
		return 0
	}
	in.mqttPacket(st, d, kind, b[head:head+want], rec)
	return st.stepOver(d, head+size, b)
}

func (in *Inspector) mqttPacket(st *State, d side, kind byte, m []byte, rec *flow.Record) {
	r := reader{b: m}
	switch kind {
	case mqttConnect:
		r.take(r.u16())
		version, flags := r.u8(), r.u8()
		r.u16() // keep alive
		rec.AppVersion = map[int]string{3: "3.1", 4: "3.1.1", 5: "5"}[version]
		properties := func() {
			if version == 5 {
				size, n := mqttLength(r.b)
				r.take(max(n, 0))
				r.take(size)
			}
		}
		properties()
		in.addRequest(st, in.verb("CONNECT", r.take(r.u16())), rec)
		if flags&0x04 != 0 { // will
			properties()
			r.take(r.u16())
			r.take(r.u16())
		}
		if flags&0x80 != 0 {
			in.setOnce(&rec.User, r.take(r.u16()), rec)
		}
		if flags&0x40 != 0 && !r.bad {
			rec.Risks |= flow.RiskClearTextCredentials
		}
	case mqttConnAck:
		if len(m) >= 2 {
			if m[1] != 0 {
				rec.AppErrors++
			}
			in.addResponse(st, appendInt(in.verb("CONNACK ", nil), m[1]), rec)
		}
		return
	case mqttPublish:
		if st.count[d]++; st.count[d] <= 8 { // a stream of measurements says it once
			in.addRequest(st, in.verb("PUBLISH", r.take(r.u16())), rec)
		}
	case mqttSubscribe, mqttUnsubscribe:
		r.u16()
		if rec.AppVersion == "5" {
			size, n := mqttLength(r.b)
			r.take(max(n, 0))
			r.take(size)
		}
		for i := 0; i < 3 && len(r.b) > 2; i++ {
			topic := r.take(r.u16())
			if kind == mqttSubscribe {
				in.addRequest(st, in.verb("SUBSCRIBE", topic), rec)
				r.u8()
			} else {
				in.addRequest(st, in.verb("UNSUBSCRIBE", topic), rec)
			}
		}
	case mqttSubAck:
		if len(m) > 2 && m[len(m)-1]&0x80 != 0 {
			rec.AppErrors++
		}
	}
	if r.bad && len(m) < 300 {
		in.malformed(rec)
	}
}
