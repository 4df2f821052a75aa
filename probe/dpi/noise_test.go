package dpi

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestNoise plays flows of random octets: four datagrams, or four segments, of
// random length between random ports, and then on the ports of the protocols.
// What is recognised is wrong; on a port that stands for a protocol weak
// evidence is enough, so there a few are let pass.
func TestNoise(t *testing.T) {
	for _, tt := range []struct {
		name   string
		proto  uint8
		onPort bool
		most   int // of all flows
	}{
		{"datagrams", protoUDP, false, 2},
		{"segments", protoTCP, false, 2},
		{"datagrams on ports", protoUDP, true, 60},
		{"segments on ports", protoTCP, true, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := NewInspector(Config{})
			ports := in.tcpPorts
			if tt.proto == protoUDP {
				ports = in.udpPorts
			}
			list := slices.Sorted(maps.Keys(ports))
			const flows = 40_000
			random := rand.New(rand.NewPCG(1, uint64(tt.proto)))
			noise := make([]byte, 1<<20)
			for i := range noise {
				noise[i] = byte(random.Uint32())
			}
			wrong := map[string]int{}
			sum := 0
			for range flows {
				rec := flow.Record{SrcPort: uint16(random.Uint32()), DstPort: uint16(random.Uint32())}
				if tt.onPort {
					rec.DstPort = list[random.IntN(len(list))]
				}
				var st *State
				p := decode.Packet{Protocol: tt.proto, Flags: decode.ACK}
				seq := [2]uint32{random.Uint32(), random.Uint32()}
				for range 4 {
					n, at := 1+random.IntN(1400), random.IntN(len(noise)-1500)
					d := random.IntN(2)
					p.Payload, p.PayloadLen, p.Seq = noise[at:at+n], uint32(n), seq[d]
					seq[d] += uint32(n)
					if !st.Done() {
						st, _ = in.Inspect(st, &p, d == 0, &rec)
					}
				}
				in.Close(st, &rec)
				if rec.AppSource == flow.AppDPI {
					wrong[rec.App]++
					sum++
				}
			}
			t.Logf("of %d flows of noise %d are recognised: %v", flows, sum, wrong)
			if sum > tt.most {
				t.Errorf("%d, at most %d are let pass", sum, tt.most)
			}
		})
	}
}
