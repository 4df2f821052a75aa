package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// websocketProtocol is what an HTTP connection becomes by an upgrade (RFC
// 6455). A connection met after it is known by a frame with text.
func websocketProtocol() protocol {
	return protocol{app: "websocket", stream: func(b []byte, _ *hint) verdict { return looksWebSocket(b) }}
}

// websocketText is the fewest octets of text that are enough.
const websocketText = 8

// looksWebSocket wants one frame of text (section 5.2), whole, that is all
// there is, and whose text is plain once it is unmasked.
func looksWebSocket(b []byte) verdict {
	switch {
	case len(b) >= 1 && b[0] != 0x81, len(b) >= 2 && (b[1]&0x7f < websocketText || b[1]&0x7f == 127):
		return no
	case len(b) < 2:
		return undecided
	}
	size, head := int(b[1]&0x7f), 2
	if size == 126 {
		if len(b) < 4 {
			return undecided
		}
		size, head = int(b[2])<<8|int(b[3]), 4
	}
	var mask [4]byte
	if b[1]&0x80 != 0 {
		if len(b) < head+4 {
			return undecided
		}
		mask = [4]byte(b[head:])
		head += 4
	}
	text := b[head:]
	if len(text) > size || size > strangers-8 {
		return no
	}
	for i, c := range text {
		if c ^= mask[i&3]; c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return no
		}
	}
	if len(text) < size {
		return undecided
	}
	return yes
}

// httpUpgrade is told that the server agreed to another protocol (RFC 9110,
// section 15.2.2).
func (in *Inspector) httpUpgrade(st *State, m *httpMessage, rec *flow.Record) {
	switch {
	case bytes.EqualFold(m.upgrade, []byte("websocket")):
		rec.App, rec.AppSource = "websocket", flow.AppDPI
		st.finished = true
	case bytes.EqualFold(m.upgrade, []byte("h2c")):
		rec.App = "http2"
		in.become(st, "http2")
	default:
		st.finished = true
	}
}
