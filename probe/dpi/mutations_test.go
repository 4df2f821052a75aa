package dpi

import (
	"math/rand/v2"
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestMutations plays the samples with octets changed, left out, doubled and
// cut into segments of any size: nothing may panic, and a flow stays within its
// bound. It is what fuzzing begins with, for each protocol, in every run.
func TestMutations(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	random := rand.New(rand.NewPCG(7, 11))
	in := NewInspector(Config{})
	for _, s := range loadSamples(t) {
		for range rounds {
			rec := flow.Record{SrcPort: s.src, DstPort: s.dst}
			var (
				st  *State
				seq [2]uint32
				p   = decode.Packet{Protocol: s.proto, Flags: decode.ACK}
			)
			most := []int{2, 9, 64, 1500}[random.IntN(4)]
			changes := random.IntN(4)
			for _, part := range s.parts {
				data := mutate(random, []byte(part.data), changes)
				for len(data) > 0 {
					n := len(data)
					if s.proto == protoTCP {
						n = min(n, 1+random.IntN(most))
					}
					p.Payload, p.PayloadLen, p.Seq, p.Ack = data[:n], uint32(n), seq[part.d], seq[part.d.other()]
					p.Time += 1e6
					seq[part.d] += uint32(n)
					data = data[n:]
					var full bool
					if st, full = in.Inspect(st, &p, part.d == sideSrc, &rec); full {
						in.Segment(st, &rec)
					}
					if held := in.Stats().BufferBytes; held > streamLimit {
						t.Fatalf("%s holds %d octets", s.name, held)
					}
				}
			}
			in.Close(st, &rec)
			checkRecord(t, &rec)
			if held := in.Stats().BufferBytes; held != 0 {
				t.Fatalf("%s: %d octets were not given back", s.name, held)
			}
		}
	}
}

// mutate changes some octets, and now and then the length, of data.
func mutate(random *rand.Rand, data []byte, changes int) []byte {
	for range changes {
		if len(data) == 0 {
			return data
		}
		at := random.IntN(len(data))
		if random.IntN(2) == 0 {
			at = random.IntN(min(len(data), 24)) // where lengths and types are
		}
		switch random.IntN(6) {
		case 0:
			data[at] = byte(random.Uint32())
		case 1:
			data[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[random.IntN(5)]
		case 2:
			data[at] ^= 1 << random.IntN(8)
		case 3:
			data = data[:at]
		case 4:
			data = append(data[:at], data[min(at+1+random.IntN(4), len(data)):]...)
		case 5:
			data = append(data[:at:at], data[at/2:]...)
		}
	}
	return data
}

// TestShort asks every recogniser about one octet repeated, and about the first
// octets of the samples: none may look beyond what is there.
func TestShort(t *testing.T) {
	in := NewInspector(Config{})
	ask := func(b []byte) {
		for i := range in.protocols {
			for _, onPort := range []bool{false, true} {
				p, note := &in.protocols[i], uint64(0)
				h := hint{port: 40001, ports: [2]uint16{40001, 40000}, onPort: onPort, note: &note}
				if p.stream != nil {
					p.stream(b, &h)
				}
				if p.datagram != nil && len(b) > 0 {
					p.datagram(b, &h)
				}
				if p.resume != nil {
					p.resume(b)
				}
			}
		}
	}
	for c := range 256 {
		var b [48]byte
		for n := range b {
			b[n] = byte(c)
			ask(b[:n:n])
		}
	}
	for _, s := range loadSamples(t) {
		for _, part := range s.parts {
			for n := range min(len(part.data), 100) {
				ask([]byte(part.data[:n]))
			}
		}
	}
}
