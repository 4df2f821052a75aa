package dpi

import (
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestSamplesAllocate plays conversations again and again: once their strings
// are known, nothing may be allocated. Some keep a state of their own for each
// flow, which is made anew; that is bounded here.
func TestSamplesAllocate(t *testing.T) {
	for _, s := range loadSamples(t) {
		in, rec := NewInspector(Config{}), flow.Record{}
		var packets [][]byte
		for _, p := range s.parts {
			packets = append(packets, []byte(p.data))
		}
		got := testing.AllocsPerRun(20, func() {
			rec.Reset()
			rec.SrcPort, rec.DstPort = s.src, s.dst
			var (
				st  *State
				seq [2]uint32
				p   = decode.Packet{Protocol: s.proto, Flags: decode.ACK}
			)
			for i, b := range packets {
				d := s.parts[i].d
				p.Payload, p.PayloadLen, p.Seq, p.Time = b, uint32(len(b)), seq[d], p.Time+1e6
				seq[d] += uint32(len(b))
				st, _ = in.Inspect(st, &p, d == sideSrc, &rec)
			}
			in.Close(st, &rec)
		})
		allowed := map[string]float64{"http2": 40, "grpc": 40, "stun": 4, "dtls": 12, "amqp": 4, "coap": 8, "rdp": 1}[s.app()]
		if got > allowed {
			t.Errorf("%s: %.0f allocations", s.name, got)
		}
	}
}
