package dpi

import (
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// packet is one packet of a prepared flow.
type packet struct {
	side side
	data string
}

// flows are whole short flows, as they begin in real traffic.
func flows(t testing.TB) map[string]struct {
	proto   uint8
	port    uint16
	packets []packet
} {
	hello := goHello(t, "example.org", "h2", "http/1.1")
	quicHello := hello[5:]
	kex := kexInit(strings.Repeat("curve25519-sha256,", 20), "ssh-ed25519", "aes", "aes", "mac", "mac", "none", "none")
	big := strings.Repeat("x", 1400)
	type f = struct {
		proto   uint8
		port    uint16
		packets []packet
	}
	return map[string]f{
		"TLS":       {protoTCP, 443, []packet{{0, hello}, {1, serverHelloRecord()}}},
		"TLS split": {protoTCP, 443, []packet{{0, hello[:700]}, {0, hello[700:]}, {1, serverHelloRecord()}}},
		"HTTP": {protoTCP, 80, []packet{{0, get("/a")}, {1, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2800\r\n\r\n"},
			{1, big}, {1, big}, {0, get("/b")}, {1, "HTTP/1.1 304 Not Modified\r\n\r\n"}}},
		"DNS":     {protoUDP, 53, []packet{{0, query(1, "www.example.org", 1)}, {1, response(1, 0, "www.example.org", 1, [2]string{"5", "\x01a\xc0\x0c"}, [2]string{"1", "\xc0\x00\x02\x07"})}}},
		"SSH":     {protoTCP, 22, []packet{{1, "SSH-2.0-OpenSSH_9.6\r\n"}, {0, "SSH-2.0-OpenSSH_9.6\r\n"}, {0, kex}, {1, kex}}},
		"unknown": {protoTCP, 5555, []packet{{0, "\x00\x01" + big}, {1, "\xff\x01" + big}, {0, "\x00\x02" + big}, {1, "\xff\x03" + big}}},
		"QUIC":    {protoUDP, 443, []packet{{0, sealInitial(t, quicV1, "12345678", "12345678", "", true, 0, crypto(0, quicHello))}}},
	}
}

func play(in *Inspector, rec *flow.Record, p *decode.Packet, packets []packet, data [][]byte) {
	rec.Reset()
	var st *State
	seq := [2]uint32{1, 1}
	for i, k := range packets {
		p.Payload, p.PayloadLen, p.Seq = data[i], uint32(len(data[i])), seq[k.side]
		seq[k.side] += p.PayloadLen
		if !st.Done() {
			st, _ = in.Inspect(st, p, k.side == sideSrc, rec)
		}
	}
	in.Close(st, rec)
}

// TestAllocations: once strings are known, a flow allocates nothing. QUIC does:
// the standard library's ciphers are made for each Initial.
func TestAllocations(t *testing.T) {
	for name, f := range flows(t) {
		in, rec, p := NewInspector(Config{}), new(flow.Record), &decode.Packet{Protocol: f.proto}
		rec.SrcPort, rec.DstPort = 40000, f.port
		var data [][]byte
		for _, k := range f.packets {
			data = append(data, []byte(k.data))
		}
		n := testing.AllocsPerRun(200, func() { play(in, rec, p, f.packets, data) })
		if most := map[string]float64{"QUIC": 80}[name]; n > most {
			t.Errorf("%s: %v allocations per flow, want at most %v", name, n, most)
		}
	}
}

// TestAllocationsPast: packets of a flow past its inspection, or inside a body,
// allocate nothing.
func TestAllocationsPast(t *testing.T) {
	k := newTalk(t, protoTCP, 80)
	k.send(0, get("/"))
	k.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
	body := make([]byte, 1400)
	k.p.Payload, k.p.PayloadLen, k.p.Seq = body, 1400, k.seq[1]
	if n := testing.AllocsPerRun(1000, func() {
		k.st, _ = k.in.Inspect(k.st, &k.p, false, &k.rec)
		k.p.Seq += 1400
	}); n != 0 {
		t.Errorf("%v allocations per packet of a body", n)
	}
	k.end()
}

func BenchmarkFlow(b *testing.B) {
	for name, f := range flows(b) {
		b.Run(name, func(b *testing.B) {
			in, rec, p := NewInspector(Config{}), new(flow.Record), &decode.Packet{Protocol: f.proto}
			rec.SrcPort, rec.DstPort = 40000, f.port
			var data [][]byte
			for _, k := range f.packets {
				data = append(data, []byte(k.data))
			}
			b.ReportAllocs()
			for b.Loop() {
				play(in, rec, p, f.packets, data)
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	k := newTalk(b, protoTCP, 80)
	k.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\n")
	k.p.Payload, k.p.PayloadLen, k.p.Seq = make([]byte, 1400), 1400, k.seq[1]
	b.ReportAllocs()
	for b.Loop() {
		k.st, _ = k.in.Inspect(k.st, &k.p, false, &k.rec)
		k.p.Seq += 1400
	}
}

// TestLinear plays hostile streams of n and 4n octets and compares the time:
// quadratic work would take 16 times as long. Each is cut at its bound, so the
// factor is far below 4 where state is bounded; the limit leaves room for noise.
func TestLinear(t *testing.T) {
	tests := []struct {
		name string
		port uint16
		unit string
	}{
		{"records of one octet", 443, "\x16\x03\x01\x00\x01\x01"},
		{"header lines of one octet", 80, "GET / HTTP/1.1\r\n" + strings.Repeat("a\n", 600)},
		{"folded lines", 80, "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat(" \r\n", 400)},
		{"empty chunks", 80, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 200)},
		{"banner", 22, "SSH-2.0-" + strings.Repeat("x", 1000)},
	}
	for _, s := range loadSamples(t) { // what a client says, over and over
		if s.proto != protoTCP {
			continue
		}
		said := ""
		for _, p := range s.parts {
			if p.d == s.parts[0].d {
				said += p.data
			}
		}
		tests = append(tests, struct {
			name string
			port uint16
			unit string
		}{s.name, s.dst, said[:min(len(said), 4000)]})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			measure := func(n int) time.Duration {
				best := time.Hour
				for range 3 {
					k := newTalk(t, protoTCP, tt.port)
					begin := time.Now()
					for i := range n {
						k.send(0, tt.unit[i%len(tt.unit):i%len(tt.unit)+1])
					}
					k.end()
					best = min(best, time.Since(begin))
				}
				return best
			}
			var short, long time.Duration
			for range 5 { // others may want the processor, but not each time
				if short, long = measure(linearOctets), measure(4*linearOctets); long <= short*9+5*time.Millisecond {
					return
				}
			}
			t.Errorf("%d octets one by one take %v, four times as many %v", linearOctets, short, long)
		})
	}
}

const linearOctets = 10_000

// TestPoolBound: many flows that hold back their hellos stay within the
// worker's limit; those without room are cut, and said to be.
func TestPoolBound(t *testing.T) {
	in := NewInspector(Config{BufferBytes: 1 << 20})
	hello := []byte(goHello(t, "example.org"))[:900]
	var (
		states  []*State
		records []*flow.Record
		cut     int
	)
	for range 2000 {
		rec := &flow.Record{SrcPort: 40000, DstPort: 443}
		st, _ := in.Inspect(nil, &decode.Packet{Protocol: protoTCP, Payload: hello, PayloadLen: uint32(len(hello))}, true, rec)
		states, records = append(states, st), append(records, rec)
		if rec.Cut&flow.CutStream != 0 {
			cut++
		}
	}
	if s := in.Stats(); s.BufferBytes > 1<<20 || cut != 2000-512 || s.NoMemory != uint64(cut) {
		t.Errorf("%d octets held, %d flows cut, %+v", s.BufferBytes, cut, s)
	}
	for i, st := range states {
		in.Close(st, records[i])
	}
	if n := in.Stats().BufferBytes; n != 0 {
		t.Errorf("%d octets were not given back", n)
	}
}
