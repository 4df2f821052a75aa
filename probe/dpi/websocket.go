package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// websocketProtocol is what an HTTP connection becomes by an upgrade (RFC
// 6455); it has no beginning of its own.
func websocketProtocol() protocol { return protocol{app: "websocket"} }

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
