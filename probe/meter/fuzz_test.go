package meter

import (
	"encoding/binary"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// FuzzChain sends a made-up capture through Decode, Observe and inspection:
// nothing may panic, and every packet and octet must come out in a record or a
// verdict. The input is a list of frames: 2 octets of length, 4 of time, data.
func FuzzChain(f *testing.F) {
	frame := func(ms uint32, b []byte) []byte {
		out := binary.BigEndian.AppendUint16(nil, uint16(len(b)))
		return append(binary.BigEndian.AppendUint32(out, ms), b...)
	}
	ip := func(proto byte, reverse bool, transport ...byte) []byte {
		b := []byte{0x45, 0, 0, byte(20 + len(transport)), 0, 1, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		if reverse {
			b[15], b[19] = 2, 1
		}
		return append(b, transport...)
	}
	tcp := func(reverse bool, flags, seq, ack byte, payload string) []byte {
		t := []byte{0, 99, 0, 80, 0, 0, 0, seq, 0, 0, 0, ack, 0x50, flags, 1, 0, 0, 0, 0, 0}
		if reverse {
			t[1], t[3] = 80, 99
		}
		return ip(6, reverse, append(t, payload...)...)
	}
	f.Add([]byte{}, uint8(0))
	var talk []byte
	for i, b := range [][]byte{
		tcp(false, flagSYN, 1, 0, ""), tcp(true, flagSYN|flagACK, 9, 2, ""), tcp(false, flagACK, 2, 10, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		tcp(true, flagACK, 20, 31, "late"), tcp(true, flagACK, 10, 31, "HTTP/1.1 "), tcp(false, flagFIN|flagACK, 31, 24, ""), tcp(true, flagRST, 24, 0, ""),
	} {
		talk = append(talk, frame(uint32(i*1000), b)...)
	}
	f.Add(talk, uint8(3))
	f.Add(append(frame(5000, ip(17, false, 0x80, 0, 0, 53, 0, 9, 0, 0, 1)), frame(1, ip(1, true, 0, 0, 0, 0, 0, 7, 0, 0))...), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		var packets, octets, inPackets, inOctets uint64
		in := dpi.NewInspector(dpi.Config{BufferBytes: 1 << 16, InternStrings: 64})
		tbl := New(Config{MaxFlows: 1 + int(size%8), FloodRate: 1 + int(size%3)}, in, func(r *flow.Record) {
			inPackets += r.Packets()
			inOctets += r.FrameBytes()
			if r.End < r.Start || len(r.History) > maxHistory {
				t.Fatalf("record %+v", r)
			}
		})
		dec := decode.New(decode.Config{Fragments: 8})
		var p decode.Packet
		for len(data) >= 6 {
			n, at := int(binary.BigEndian.Uint16(data)), int64(binary.BigEndian.Uint32(data[2:]))
			data = data[6:]
			n = min(n, len(data))
			switch at & 15 { // times from anywhere
			case 14:
				at <<= 32
			case 15:
				at = -at << 20
			}
			fr := capture.Frame{Time: at * 1e6, Data: data[:n], Len: uint32(n) + uint32(at&3), LinkType: capture.LinkRaw}
			data = data[n:]
			if dec.Decode(&fr, &p) != decode.OK {
				continue
			}
			packets++
			octets += uint64(fr.Len)
			tbl.Observe(&p)
			if w := tbl.Watermark(); w > tbl.Clock() {
				t.Fatalf("watermark %d after the clock %d", w, tbl.Clock())
			}
		}
		tbl.Flush(flow.EndForced)
		if packets != inPackets || octets != inOctets || tbl.Open() != 0 || tbl.Stats().FlowsStarted != tbl.Stats().FlowsEnded {
			t.Fatalf("%d packets %d octets in, %d %d out, stats %+v", packets, octets, inPackets, inOctets, tbl.Stats())
		}
	})
}

// FuzzStream compares the few remembered gaps with a map of every octet: what
// the stream calls sent again had been seen, or lay in a gap that was forgotten.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 5, 10, 5, 5, 5, 5, 5})
	f.Add([]byte{200, 50, 100, 20, 110, 5, 130, 9})
	f.Fuzz(func(t *testing.T, moves []byte) {
		const start = 1<<32 - 300 // crosses the end of the sequence space
		var s stream
		s.reset(start)
		var seen [1024]bool
		top, gaps := 0, 0
		for i := 0; i+1 < len(moves); i += 2 {
			at, n := int(moves[i])*2, 1+int(moves[i+1])
			if at > top {
				gaps++
			}
			fresh := 0
			for j := at; j < at+n; j++ {
				if !seen[j] {
					fresh++
				}
				seen[j] = true
			}
			before := top
			top = max(top, at+n)
			kind := s.data(start+uint32(at), uint32(n))
			if s.next != start+uint32(top) {
				t.Fatalf("move %d: next %d, want %d", i/2, s.next-start, top)
			}
			if kind == resentData && fresh > 0 && gaps <= maxHoles {
				t.Fatalf("move %d: %d octets were new but called sent again", i/2, fresh)
			}
			if kind == lateData {
				gaps++ // may have split one
			}
			if kind == lateData && (fresh == 0 || at >= before) {
				t.Fatalf("move %d: called late, %d new octets at %d below %d", i/2, fresh, at, before)
			}
			for k := 1; k < int(s.n); k++ {
				if int32(s.holes[k].from-s.holes[k-1].to) < 0 {
					t.Fatalf("move %d: gaps %v", i/2, s.holes[:s.n])
				}
			}
		}
	})
}
