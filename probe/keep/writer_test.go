package keep

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// datagram is a frame of one flow: Ethernet, IPv4, UDP, and n octets.
func datagram(src, dst string, srcPort, dstPort uint16, n int, at time.Time) frame {
	b := make([]byte, 42+n)
	b[12] = 8
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+n))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[20:], srcPort)
	binary.BigEndian.PutUint16(ip[22:], dstPort)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+n))
	return made(b, at)
}

// echo is a frame with an ICMP message.
func echo(src, dst string, typ uint8, at time.Time) frame {
	f := datagram(src, dst, 0, 0, 0, at)
	f.Data[23] = 1
	f.Data[34], f.Data[35] = typ, 0
	return made(f.Data, at)
}

func made(b []byte, at time.Time) frame {
	f := frame{Frame: capture.Frame{Time: at.UnixNano(), Data: b, Len: uint32(len(b)), LinkType: capture.LinkEthernet}, iface: "test"}
	f.decoded = decode.New(decode.Config{Fragments: 1}).Decode(&f.Frame, &f.packet) == decode.OK
	return f
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestCutoff(t *testing.T) {
	// Packets of 142 octets, one a second.
	stream := func(n int) (list []frame) {
		for i := range n {
			src, dst, sp, dp := "10.0.0.1", "10.0.0.2", uint16(1000), uint16(53)
			if i%2 == 1 {
				src, dst, sp, dp = dst, src, dp, sp
			}
			list = append(list, datagram(src, dst, sp, dp, 100, noon.Add(time.Duration(i)*time.Second)))
		}
		return list
	}
	other := datagram("10.0.0.1", "10.0.0.3", 1000, 53, 100, noon.Add(20*time.Second))
	for _, c := range []struct {
		name   string
		set    func(*Config)
		frames []frame
		kept   uint64
	}{
		{"everything", func(c *Config) {}, stream(50), 50},
		{"both directions share the octets", func(c *Config) { c.CutoffBytes = 1420 }, stream(50), 10},
		{"the packet that crosses is whole", func(c *Config) { c.CutoffBytes = 1421 }, stream(50), 11},
		{"packets", func(c *Config) { c.CutoffPackets = 7 }, stream(50), 7},
		{"other flows are not cut", func(c *Config) { c.CutoffPackets = 7 }, append(stream(50), other), 8},
		{"one packet", func(c *Config) { c.CutoffBytes = 1 }, stream(50), 1},
		{"anew after a pause", func(c *Config) { c.CutoffPackets = 7 },
			append(stream(20), datagram("10.0.0.1", "10.0.0.2", 1000, 53, 100, noon.Add(20*time.Second+2*time.Minute))), 8},
		{"a pause that is too short", func(c *Config) { c.CutoffPackets = 7 },
			append(stream(20), datagram("10.0.0.1", "10.0.0.2", 1000, 53, 100, noon.Add(50*time.Second))), 7},
		{"a cut frame counts as what was kept", func(c *Config) { c.CutoffBytes, c.Snaplen = 500, 50 }, stream(50), 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig(t)
			c.set(&cfg)
			s := fill(t, cfg, c.frames)
			if s.KeptPackets != c.kept || s.KeptPackets+s.CutPackets != uint64(len(c.frames)) {
				t.Errorf("%d packets kept and %d cut of %d, %d should be kept", s.KeptPackets, s.CutPackets, len(c.frames), c.kept)
			}
		})
	}
}

// TestCutoffSYN lets a connection that begins anew have its share at once.
func TestCutoffSYN(t *testing.T) {
	cfg := testConfig(t)
	cfg.CutoffPackets = 2
	f := datagram("10.0.0.1", "10.0.0.2", 1000, 80, 40, noon)
	f.packet.Protocol, f.packet.Flags = flow.ProtoTCP, decode.ACK
	syn := f
	syn.packet.Flags = decode.SYN
	s := fill(t, cfg, []frame{syn, f, f, f, syn, f, f})
	if s.KeptPackets != 4 {
		t.Errorf("%d packets kept, 4 are right", s.KeptPackets)
	}
}

// TestLag drops blocks, counts them, and goes on.
func TestLag(t *testing.T) {
	cfg := testConfig(t)
	cfg.Blocks = 2
	r := openRing(t, cfg)
	w := r.Writer(0)
	if err := r.Close(); err != nil { // now nobody takes blocks
		t.Fatal(err)
	}
	const n = 10000
	var octets uint64
	for i := range n {
		f := datagram("10.0.0.1", "10.0.0.2", uint16(i), 53, 100, noon)
		f.add(w)
		octets += uint64(len(f.Data))
	}
	w.Close()
	s := r.Stats()
	if s.DroppedPackets != n || s.DroppedBytes != octets || s.KeptPackets != 0 {
		t.Errorf("%d packets and %d bytes dropped, %d kept; all %d of %d bytes should be dropped", s.DroppedPackets, s.DroppedBytes, s.KeptPackets, n, octets)
	}
}

// TestSnaplen keeps the length on the wire.
func TestSnaplen(t *testing.T) {
	cfg := testConfig(t)
	cfg.Snaplen = 60
	f := datagram("10.0.0.1", "10.0.0.2", 1000, 53, 1000, noon)
	fill(t, cfg, []frame{f})
	want := f
	want.Data = f.Data[:60]
	same(t, "cut frame", found(t, openRing(t, cfg), Query{}), []frame{want})
}

// TestLargeFrame keeps what a block has room for.
func TestLargeFrame(t *testing.T) {
	cfg := testConfig(t)
	b := bytes.Repeat([]byte{7}, 300000)
	f := made(b, noon)
	fill(t, cfg, []frame{f})
	want := f
	want.Data = f.Data[:64<<10-recordBytes]
	same(t, "large frame", found(t, openRing(t, cfg), Query{}), []frame{want})
}

// TestTick hands over what is a block time old, so that it can be found.
func TestTick(t *testing.T) {
	cfg := testConfig(t)
	r := openRing(t, cfg)
	w := r.Writer(0)
	defer w.Close()
	f := datagram("10.0.0.1", "10.0.0.2", 1000, 53, 100, noon)
	now := time.Now()
	w.Tick(now)
	f.add(w)
	w.Tick(now.Add(10 * time.Millisecond))
	if w.cur.packets != 1 {
		t.Fatal("a young block was handed over")
	}
	w.Tick(now.Add(2 * cfg.BlockTime))
	for end := time.Now().Add(10 * time.Second); r.Stats().KeptPackets == 0; {
		if time.Now().After(end) {
			t.Fatal("the block is not on disk after 10 s")
		}
		runtime.Gosched()
	}
	same(t, "while it is written", found(t, r, Query{}), []frame{f})
}

// TestICMP tells who asked from who answered.
func TestICMP(t *testing.T) {
	a, b := "10.0.0.1", "10.0.0.2"
	ab := []frame{echo(a, b, 8, noon), echo(b, a, 0, noon.Add(1))}
	ba := []frame{echo(b, a, 8, noon.Add(2)), echo(a, b, 0, noon.Add(3))}
	unreachable := []frame{echo(a, b, 3, noon.Add(4))}
	cfg := testConfig(t)
	fill(t, cfg, append(append(append([]frame(nil), ab...), ba...), unreachable...))
	r := openRing(t, cfg)
	A, B := netip.MustParseAddr(a), netip.MustParseAddr(b)
	for _, c := range []struct {
		name string
		q    Query
		want []frame
	}{
		{"a asks", Query{Src: A, Dst: B, SrcPort: 8, Protocol: 1}, ab},
		{"b asks", Query{Src: B, Dst: A, SrcPort: 8, Protocol: 1}, ba},
		{"all of both", Query{Src: B, Dst: A, Protocol: 1}, append(append(append([]frame(nil), ab...), ba...), unreachable...)},
		{"unreachable", Query{Src: A, SrcPort: 3}, unreachable},
		{"Community ID", Query{CommunityID: flow.CommunityID(flow.AddrFrom(A), flow.AddrFrom(B), 8, 0, 1)}, ab},
	} {
		same(t, c.name, found(t, r, c.q), c.want)
	}
}

// TestAllocations: Add allocates nothing once its blocks are made.
func TestAllocations(t *testing.T) {
	cfg := testConfig(t)
	cfg.CutoffBytes, cfg.MaxBytes = 1<<20, 4<<20
	r := openRing(t, cfg)
	w := r.Writer(0)
	var list []frame
	for i := range 5000 {
		list = append(list, datagram("10.0.0.1", "10.0.0.2", uint16(i), 53, 10+i%900, noon.Add(time.Duration(i)*time.Millisecond)))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	round := func() {
		for i := range list {
			list[i].add(w)
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations for %d packets", n, len(list))
	}
}
