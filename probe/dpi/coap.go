package dpi

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// CoAP (RFC 7252) over UDP.
func coapProtocol() protocol {
	return protocol{app: "coap", udp: []uint16{5683, 5684}, datagram: looksCoAP, message: (*Inspector).coapMessage}
}

// coapMethods are request codes (RFC 7252, section 12.1.1; RFC 8132).
var coapMethods = [...]string{"", "GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH"}

// looksCoAP wants version 1, a token that fits, a code that is registered, and
// options that end with the datagram.
func looksCoAP(b []byte, h *hint) bool {
	if len(b) < 4 || b[0]>>6 != 1 || b[0]&15 > 8 || 4+int(b[0]&15) > len(b) {
		return false
	}
	class, detail := b[1]>>5, b[1]&31
	switch {
	case class == 0 && int(detail) >= len(coapMethods), class == 1, class == 3, class > 5, class == 2 && (detail == 0 || detail > 5 && detail != 31):
		return false
	}
	_, ok := coapPath(b, nil)
	return ok && h.onPort
}

// maxCoAPOptions is how many options of a message are looked at.
const maxCoAPOptions = 64

// coapPath appends the path of a request to dst, unless that is nil; false: the
// options do not parse.
func coapPath(b, dst []byte) ([]byte, bool) {
	r := reader{b: b[4+int(b[0]&15):]}
	for option, n := 0, 0; len(r.b) > 0; n++ {
		if n == maxCoAPOptions {
			return dst, true
		}
		head := r.u8()
		if head == 0xff {
			return dst, len(r.b) > 0
		}
		delta, size := head>>4, head&15
		extend := func(v int) int {
			switch v {
			case 13:
				return 13 + r.u8()
			case 14:
				return 269 + r.u16()
			case 15:
				r.bad = true
			}
			return v
		}
		option += extend(delta)
		value := r.take(extend(size))
		if r.bad {
			return dst, false
		}
		if option == 11 && dst != nil { // Uri-Path
			dst = append(append(dst, '/'), value...)
		}
	}
	return dst, true
}

func (in *Inspector) coapMessage(st *State, _ side, b []byte, rec *flow.Record, _ int64) {
	if !looksCoAP(b, &hint{onPort: true}) {
		in.malformed(rec)
		return
	}
	switch class, detail := b[1]>>5, b[1]&31; {
	case b[1] == 0: // empty: ping, acknowledgement, reset
	case class == 0:
		path, _ := coapPath(b, append(append(in.scratch[:0], coapMethods[detail]...), ' '))
		if len(path) == len(coapMethods[detail])+1 {
			path = append(path, '/')
		}
		in.scratch = path
		in.addRequest(st, path, rec)
	default:
		if class >= 4 {
			rec.AppErrors++
		}
		in.scratch = append(in.scratch[:0], '0'+class, '.', '0'+detail/10, '0'+detail%10)
		in.addResponse(st, in.scratch, rec)
	}
}
