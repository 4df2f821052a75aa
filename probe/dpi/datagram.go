package dpi

import (
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// datagram takes one UDP payload.
func (in *Inspector) datagram(st *State, d side, p *decode.Packet, rec *flow.Record) {
	if st.kind == kindNone && !in.recogniseDatagram(st, d, p.Payload, rec) || st.finished {
		return
	}
	switch {
	case st.parser.message != nil:
		st.parser.message(in, st, d, p.Payload, rec, p.Time)
	case st.parser.parse != nil:
		st.parser.parse(in, st, d, p.Payload, rec, p.Time)
	}
}
