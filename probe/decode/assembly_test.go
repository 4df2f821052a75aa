package decode

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// piece is a part of an IP payload.
type piece struct {
	from, to int
	last     bool
}

func (c piece) frame(id uint16, proto byte, six bool, whole []byte) []byte {
	if six {
		offset := uint16(c.from)
		if !c.last {
			offset |= 1
		}
		return ether(0x86dd, ip6(44, cat([]byte{proto, 0}, be16(offset), be32(uint32(id)), whole[c.from:c.to])))
	}
	offset := uint16(c.from / 8)
	if !c.last {
		offset |= 0x2000
	}
	return ether(0x0800, ip4frag(proto, id, offset, nil, whole[c.from:c.to]))
}

// feed decodes one frame.
func feed(t testing.TB, d *Decoder, p *Packet, at int64, frame []byte) {
	t.Helper()
	f := capture.Frame{Time: at, Data: frame, Len: uint32(len(frame)), LinkType: 1}
	if v := d.Decode(&f, p); v != OK {
		t.Fatalf("verdict %v", v)
	}
	check(t, d, &f, p)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// TestReassembly: the piece that completes a datagram brings its payload, the
// others wait; all orders, both versions of IP.
func TestReassembly(t *testing.T) {
	content := pattern(5000)
	udp := udpDatagram(1000, 2000, content)
	tcp := tcpSegment(1, 2, 3000, 4, ACK, []byte{1, 1, 1, 1}, content)
	icmp := cat([]byte{8, 0, 0, 0}, be16(9), be16(1), content)
	for _, c := range []struct {
		name  string
		proto byte
		six   bool
		whole []byte
	}{
		{"udp", protoUDP, false, udp},
		{"udp in six", protoUDP, true, udp},
		{"udp behind destination options in six", 60, true, cat([]byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}, udp)},
		{"udp of no length", protoUDP, false, cat(udp[:4], be16(0), udp[6:])},
		{"tcp", protoTCP, false, tcp},
		{"icmp", protoICMP, false, icmp},
		{"icmp6", protoICMPv6, true, cat([]byte{128}, icmp[1:])},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pieces []piece
			for from := 0; from < len(c.whole); from += 1480 {
				to := min(from+1480, len(c.whole))
				pieces = append(pieces, piece{from, to, to == len(c.whole)})
			}
			d := New(DefaultConfig())
			r := rand.New(rand.NewPCG(1, 2))
			for n := range 50 {
				var p Packet
				for i, j := range r.Perm(len(pieces)) {
					if n == 0 {
						j = i
					}
					feed(t, d, &p, int64(n), pieces[j].frame(uint16(n), c.proto, c.six, c.whole))
					if done := i == len(pieces)-1; (p.Whole(new(Packet)) == nil) == done || p.FragmentPending == done || (p.Reassembled != nil) != done {
						t.Fatalf("round %d, piece %d: %+v", n, i, p)
					}
				}
				if !bytes.Equal(p.Reassembled, content) {
					t.Fatalf("round %d: %d octets, not those that were sent", n, len(p.Reassembled))
				}
				var room Packet
				if q := p.Whole(&room); q == nil || !bytes.Equal(q.Payload, content) || q.PayloadLen != 5000 || q.Fragment || q.Bare || q.SrcPort != p.SrcPort {
					t.Fatalf("round %d: %+v", n, q)
				}
				if c.proto == protoTCP && p.Seq != 3000 {
					t.Errorf("sequence number %d", p.Seq)
				}
			}
			if s := d.Stats(); s.Reassembled != 50 || s.FragmentsPending != 0 || s.FragmentOverlaps != 0 || s.Fragments != uint64(50*len(pieces)) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestReassemblyLimits(t *testing.T) {
	content := pattern(2000)
	udp := udpDatagram(1000, 2000, content)
	other := bytes.Repeat([]byte{'x'}, len(udp))
	type step struct {
		at    int64
		piece piece
		whole []byte
	}
	var small []step // 67 pieces, of which the 65th is one too many
	for from := 0; from < 536; from += 8 {
		small = append(small, step{0, piece{from, from + 8, from == 528}, udp})
	}
	for name, c := range map[string]struct {
		steps []step
		want  string // content, "" if there is none
		stats Stats
	}{
		"the first of overlapping octets stays": {[]step{{0, piece{0, 800, false}, udp}, {0, piece{1200, 2008, true}, udp}, {0, piece{400, 1600, false}, cat(other[:800], udp[800:1200], other[1200:])}},
			string(content), Stats{Fragments: 3, Reassembled: 1, FragmentOverlaps: 1}},
		"pieces twice":           {[]step{{0, piece{0, 800, false}, udp}, {0, piece{0, 800, false}, other}, {0, piece{800, 2008, true}, udp}, {0, piece{800, 2008, true}, udp}}, string(content), Stats{Fragments: 4, Reassembled: 1, FragmentOverlaps: 1}},
		"30 seconds":             {[]step{{0, piece{0, 800, false}, udp}, {30e9, piece{800, 2008, true}, udp}}, string(content), Stats{Fragments: 2, Reassembled: 1}},
		"too late":               {[]step{{0, piece{0, 800, false}, udp}, {30e9 + 1, piece{800, 2008, true}, udp}}, "", Stats{Fragments: 2, FragmentsExpired: 1, FragmentsPending: 1}},
		"two ends":               {[]step{{0, piece{800, 2008, true}, udp}, {0, piece{1600, 1800, true}, udp}}, "", Stats{Fragments: 2, FragmentsRefused: 1}},
		"more behind the end":    {[]step{{0, piece{800, 1600, true}, udp}, {0, piece{1600, 2000, false}, udp}}, "", Stats{Fragments: 2, FragmentsRefused: 1}},
		"the end within":         {[]step{{0, piece{800, 1600, false}, udp}, {0, piece{800, 1200, true}, udp}}, "", Stats{Fragments: 2, FragmentsRefused: 1}},
		"not of eight octets":    {[]step{{0, piece{0, 801, false}, udp}, {0, piece{808, 2008, true}, udp}}, "", Stats{Fragments: 2, FragmentsRefused: 1}},
		"too many pieces":        {small, "", Stats{Fragments: 67, FragmentsRefused: 1}},
		"shorter than udp says":  {[]step{{0, piece{0, 800, false}, udp}, {0, piece{800, 1600, true}, udp}}, string(content[:1592]), Stats{Fragments: 2, Reassembled: 1}},
		"the identifier is used": {[]step{{0, piece{0, 800, false}, udp}, {0, piece{800, 2008, true}, udp}, {1, piece{0, 800, false}, udp}, {1, piece{800, 2008, true}, udp}}, string(content), Stats{Fragments: 4, Reassembled: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(DefaultConfig())
			var p Packet
			got := ""
			for _, s := range c.steps {
				feed(t, d, &p, s.at, s.piece.frame(1, protoUDP, false, s.whole))
				if p.Reassembled != nil {
					got = string(p.Reassembled)
				}
			}
			s := d.Stats()
			s.FragmentsHeldBytes = 0
			if got != c.want || s != c.stats {
				t.Errorf("%d octets, want %d\n(-got +want)\n-%+v\n+%+v", len(got), len(c.want), s, c.stats)
			}
		})
	}
	t.Run("beyond 64 KiB", func(t *testing.T) {
		d := New(DefaultConfig())
		var p Packet
		feed(t, d, &p, 0, ether(0x0800, ip4frag(protoUDP, 1, 0x1fff, nil, make([]byte, 64))))
		if s := d.Stats(); p.FragmentPending || s.FragmentsRefused != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("cut by the capture", func(t *testing.T) {
		d := New(DefaultConfig())
		var p Packet
		f := capture.Frame{Data: piece{0, 800, false}.frame(1, protoUDP, false, udp)[:100], Len: 834, LinkType: 1}
		if v := d.Decode(&f, &p); v != OK || p.FragmentPending || p.Payload == nil {
			t.Errorf("verdict %v, %+v", v, p)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		d := New(Config{FragmentBytes: -1})
		var p Packet
		for _, c := range []piece{{0, 800, false}, {800, 2008, true}} {
			feed(t, d, &p, 0, c.frame(1, protoUDP, false, udp))
		}
		if s := d.Stats(); p.FragmentPending || p.Reassembled != nil || s != (Stats{Fragments: 2}) || p.SrcPort != 1000 {
			t.Errorf("%+v %+v", s, p)
		}
	})
}

// TestFragmentedTunnel: a tunnel whose packets are fragmented is opened when it is whole.
func TestFragmentedTunnel(t *testing.T) {
	inner := ip4(protoUDP, udpDatagram(1000, 2000, pattern(1400)))
	for name, c := range map[string]struct {
		proto byte
		whole []byte
		kind  flow.Tunnel
	}{
		"vxlan":    {protoUDP, udpDatagram(5, 4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0800, inner))), flow.TunnelVXLAN},
		"ip in ip": {4, inner, flow.TunnelIPIP},
	} {
		d := New(DefaultConfig())
		var p Packet
		feed(t, d, &p, 0, piece{0, 800, false}.frame(1, c.proto, false, c.whole))
		if !p.Fragment || !p.FragmentPending || p.Tunnel != flow.TunnelNone || p.IPLen != 820 {
			t.Errorf("%s, first piece: %+v", name, p)
		}
		feed(t, d, &p, 0, piece{800, len(c.whole), true}.frame(1, c.proto, false, c.whole))
		if p.Fragment || p.Reassembled != nil || p.Tunnel != c.kind || p.SrcPort != 1000 || p.IPLen != 1428 || !bytes.Equal(p.Payload, pattern(1400)) || p.OuterSrc.String() != "10.0.0.1" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// hostile decodes fragments of datagrams that never end, numbers from to to,
// and returns the time taken.
func hostile(d *Decoder, from, to int, build func(i int, b []byte)) time.Duration {
	b := ether(0x0800, ip4frag(protoUDP, 0, 0x2000, nil, make([]byte, 64)))
	var p Packet
	f := capture.Frame{Data: b, Len: uint32(len(b)), LinkType: 1}
	start := time.Now()
	for i := from; i < to; i++ {
		build(i, b[14:])
		f.Time = int64(i) * 100
		d.Decode(&f, &p)
	}
	return time.Since(start)
}

// TestHostileFragments: a million fragments cost bounded memory and linear
// time, whatever they are.
func TestHostileFragments(t *testing.T) {
	const million = 1_000_000
	put := func(b []byte, at int, v uint16) { b[at], b[at+1] = byte(v>>8), byte(v) }
	for name, build := range map[string]func(i int, b []byte){
		"first pieces only": func(i int, b []byte) { put(b, 4, uint16(i)); put(b, 12, uint16(i>>16)) },
		"later pieces only": func(i int, b []byte) {
			put(b, 4, uint16(i))
			put(b, 12, uint16(i>>16))
			put(b, 6, 0x2000|uint16(i%8000+1))
		},
		"one datagram":       func(i int, b []byte) { put(b, 6, 0x2000|uint16(i*16%8000)) },
		"all places of each": func(i int, b []byte) { put(b, 4, uint16(i/60)); put(b, 6, 0x2000|uint16(i%60*130)) },
		"backwards":          func(i int, b []byte) { put(b, 4, uint16(i/60)); put(b, 6, 0x2000|uint16(60-i%60)*16) },
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			cfg := DefaultConfig()
			d := New(cfg)
			runtime.GC()
			runtime.ReadMemStats(&before)
			// The fastest of five runs on either side, as others use the machine.
			half, rest := time.Hour, time.Hour
			for i := range 5 {
				half = min(half, hostile(d, i*million/10, (i+1)*million/10, build))
			}
			for i := 5; i < 10; i++ {
				rest = min(rest, hostile(d, i*million/10, (i+1)*million/10, build))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			s := d.Stats()
			if s.Fragments != million || s.FragmentsHeldBytes > uint64(cfg.FragmentBytes)+1<<17 {
				t.Errorf("%+v", s)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > int64(cfg.FragmentBytes)+1<<20 {
				t.Errorf("heap grew by %d octets", grown)
			}
			t.Logf("100 000: %v in the first half, %v in the second; %+v", half, rest, s)
			if rest > 2*half+50*time.Millisecond {
				t.Errorf("100 000: %v in the first half, %v in the second", half, rest)
			}
			runtime.KeepAlive(d)
		})
	}
}

// TestFragmentsUnderPressure: in a flood of other fragments those that arrive
// together still become whole.
func TestFragmentsUnderPressure(t *testing.T) {
	udp := udpDatagram(1000, 2000, pattern(2000))
	d := New(Config{Fragments: 4096, FragmentBytes: 1 << 20})
	var p Packet
	whole := 0
	for i := range 20000 {
		b := ether(0x0800, ip4frag(protoUDP, uint16(i), 0x2000, nil, make([]byte, 64)))
		b[14+12] = byte(i >> 16)
		feed(t, d, &p, int64(i), b)
		if i%100 == 0 {
			feed(t, d, &p, int64(i), piece{0, 800, false}.frame(uint16(i), protoTCP, false, tcpSegment(1, 2, 3, 4, ACK, nil, udp)[:808]))
			feed(t, d, &p, int64(i), piece{800, 808, true}.frame(uint16(i), protoTCP, false, tcpSegment(1, 2, 3, 4, ACK, nil, udp)[:808]))
			if p.Reassembled != nil {
				whole++
			}
		}
	}
	if s := d.Stats(); whole != 200 || s.FragmentsEvicted == 0 || s.FragmentsHeldBytes > 1<<20+1<<17 {
		t.Errorf("%d of 200 whole, %+v", whole, s)
	}
}

func TestReassemblyAllocatesNothing(t *testing.T) {
	udp := udpDatagram(1000, 2000, pattern(2000))
	a, b := piece{0, 800, false}.frame(1, protoUDP, false, udp), piece{800, 2008, true}.frame(1, protoUDP, false, udp)
	d := New(DefaultConfig())
	var p Packet
	var f capture.Frame
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range [][]byte{a, b} {
			f = capture.Frame{Data: b, Len: uint32(len(b)), LinkType: 1}
			d.Decode(&f, &p)
		}
	}); n != 0 || p.Reassembled == nil {
		t.Errorf("%v allocations, %d octets", n, len(p.Reassembled))
	}
}

// FuzzReassembly: pieces of any place and order never panic, and what is
// offered is what came first for each octet.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 3, 0, 3, 2, 1})
	f.Add([]byte{5, 1, 1, 0, 3, 0, 1, 7, 0, 2, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		d := New(Config{Fragments: 8, FragmentBytes: 1 << 16})
		var p Packet
		model, have, end := make([]byte, 1<<12), make([]bool, 1<<12), 0
		for n := byte(0); len(script) >= 3; n, script = n+1, script[3:] {
			from, size, last := int(script[0])*8, (int(script[1])%16+1)*8, script[2]&1 != 0 && script[0] != 0 // all at once is no fragment
			if from == 0 {
				size = max(size, 24)
			}
			b := bytes.Repeat([]byte{n}, size)
			if from == 0 { // UDP of length 0: as long as it is
				copy(b, []byte{1, 1, 1, 1, 0, 0})
			}
			offset := uint16(from / 8)
			if !last {
				offset |= 0x2000
			}
			frame := ether(0x0800, ip4frag(protoUDP, 1, offset, nil, b))
			fr := capture.Frame{Data: frame, Len: uint32(len(frame)), LinkType: 1}
			if v := d.Decode(&fr, &p); v != OK {
				t.Fatalf("verdict %v", v)
			}
			check(t, d, &fr, &p)
			for i, c := range b {
				if !have[from+i] {
					model[from+i], have[from+i] = c, true
				}
			}
			if last {
				end = from + size
			}
			if p.Reassembled != nil {
				if !bytes.Equal(p.Reassembled, model[8:end]) {
					t.Fatalf("%d octets that did not come first", len(p.Reassembled))
				}
				return
			}
			if d.Stats().FragmentsRefused > 0 {
				return
			}
		}
	})
}
