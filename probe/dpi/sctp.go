package dpi

import (
	"encoding/binary"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// sctp gives the user data of DATA chunks (RFC 9260, section 3.3.1) to the
// stream parsers, as one stream per direction in the order of arrival. A
// repeated TSN is ignored; streams within the association are not told apart.
func (in *Inspector) sctp(st *State, d side, p *decode.Packet, rec *flow.Record) {
	b := p.Payload
	for chunks := 0; len(b) >= 4 && chunks < 64; chunks++ {
		size := int(binary.BigEndian.Uint16(b[2:]))
		if size < 4 {
			return
		}
		chunk := b[:min(size, len(b))]
		if b[0] == 0 && len(chunk) > 16 {
			tsn := binary.BigEndian.Uint32(chunk[4:])
			if !st.heard[d] || int32(tsn-st.tsn[d]) > 0 {
				st.heard[d], st.tsn[d] = true, tsn
				q := decode.Packet{Time: p.Time, Protocol: p.Protocol, Payload: chunk[16:], PayloadLen: uint32(size - 16), Seq: st.half[d].next}
				in.segment(st, d, &q, rec)
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}
