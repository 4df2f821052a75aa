package capture

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// be joins octets, 16-bit and 32-bit values in network order.
func be(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case int:
			b = append(b, byte(v))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case []byte:
			b = append(b, v...)
		case string:
			b = append(b, v...)
		}
	}
	return b
}

const macs = "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01"

func etherOf(et uint16, payload []byte) []byte { return be(macs, et, payload) }

// packet4 is an IPv4 packet with the fragment word given.
func packet4(src, dst uint32, proto int, fragment uint16, payload []byte) []byte {
	return be(0x45, 0, uint16(20+len(payload)), uint16(7), fragment, 64, proto, uint16(0), src, dst, payload)
}

func packet6(src, dst byte, next int, payload []byte) []byte {
	addr := func(n byte) []byte { return append(bytes.Repeat([]byte{0x20, n}, 7), 1, n) }
	return be(uint32(6<<28), uint16(len(payload)), next, 64, addr(src), addr(dst), payload)
}

func datagram(src, dst uint16, payload []byte) []byte {
	return be(src, dst, uint16(8+len(payload)), uint16(0), payload)
}

// hashCase is a frame that carries a packet from a to b, or back; its hash is
// that of the packet.
type hashCase struct {
	name string
	link uint16
	make func(inner []byte) []byte
}

// tunnels4 wrap an IPv4 packet, tunnels of Ethernet first put it into a frame.
func tunnels4() []hashCase {
	outer := func(payload []byte, proto int) []byte {
		return etherOf(0x0800, packet4(0xc0000201, 0xc0000202, proto, 0, payload))
	}
	frame := func(p []byte) []byte { return etherOf(0x0800, p) }
	udp := func(port uint16, p []byte) []byte { return outer(datagram(50000, port, p), 17) }
	return []hashCase{
		{"plain", 1, frame},
		{"raw", 101, func(p []byte) []byte { return p }},
		{"null", 0, func(p []byte) []byte { return be(2, 0, 0, 0, p) }},
		{"cooked", 113, func(p []byte) []byte { return be(uint32(1), uint16(6), macs[:8], uint16(0x0800), p) }},
		{"cooked v2", 276, func(p []byte) []byte {
			return be(uint16(0x0800), uint16(0), uint32(3), uint16(1), 0, 6, macs[:8], p)
		}},
		{"PPP", 9, func(p []byte) []byte { return be(0xff, 3, uint16(0x21), p) }},
		{"PPP, short", 9, func(p []byte) []byte { return be(0x21, p) }},
		{"HDLC of Cisco", 104, func(p []byte) []byte { return be(0x0f, 0, uint16(0x0800), p) }},
		{"netfilter log", 239, func(p []byte) []byte { return be(2, 0, 0, 0, 5, 0, 1, 0, 9, 9, 9, 9, 4, 0, 9, 0, p) }},
		{"802.11", 105, func(p []byte) []byte { return be(0x08, 1, make([]byte, 22), 0xaa, 0xaa, 3, 0, 0, 0, uint16(0x0800), p) }},
		{"radiotap", 127, func(p []byte) []byte {
			return be(0, 0, 9, 0, make([]byte, 5), 0x88, 2, make([]byte, 24), 0xaa, 0xaa, 3, 0, 0, 0, uint16(0x0800), p)
		}},
		{"SNAP", 1, func(p []byte) []byte { return etherOf(uint16(8+len(p)), be(0xaa, 0xaa, 3, 0, 0, 0, uint16(0x0800), p)) }},
		{"VLAN", 1, func(p []byte) []byte { return etherOf(0x8100, be(uint16(100), uint16(0x0800), p)) }},
		{"QinQ", 1, func(p []byte) []byte {
			return etherOf(0x88a8, be(uint16(7), uint16(0x8100), uint16(9), uint16(0x9100), uint16(3), uint16(0x0800), p))
		}},
		{"MPLS", 1, func(p []byte) []byte {
			return etherOf(0x8847, be(uint32(16<<12), uint32(17<<12), uint32(18<<12|0x100), p))
		}},
		{"MPLS pseudowire", 1, func(p []byte) []byte { return etherOf(0x8847, be(uint32(17<<12|0x100), uint32(0), frame(p))) }},
		{"PPPoE", 1, func(p []byte) []byte {
			return etherOf(0x8864, be(0x11, 0, uint16(3), uint16(2+len(p)), uint16(0x21), p))
		}},
		{"IP in IP", 1, func(p []byte) []byte { return outer(p, 4) }},
		{"IP in IPv6", 1, func(p []byte) []byte { return etherOf(0x86dd, packet6(1, 2, 4, p)) }},
		{"GRE", 1, func(p []byte) []byte { return outer(be(uint16(0), uint16(0x0800), p), 47) }},
		{"GRE with all", 1, func(p []byte) []byte { return outer(be(uint16(0xb000), uint16(0x0800), make([]byte, 12), p), 47) }},
		{"PPTP", 1, func(p []byte) []byte {
			return outer(be(uint16(0x3081), uint16(0x880b), make([]byte, 12), 0xff, 3, uint16(0x21), p), 47)
		}},
		{"NVGRE", 1, func(p []byte) []byte { return outer(be(uint16(0x2000), uint16(0x6558), uint32(5), frame(p)), 47) }},
		{"ERSPAN I", 1, func(p []byte) []byte { return outer(be(uint16(0), uint16(0x88be), frame(p)), 47) }},
		{"ERSPAN II", 1, func(p []byte) []byte {
			return outer(be(uint16(0x1000), uint16(0x88be), uint32(1), 0x10, make([]byte, 7), frame(p)), 47)
		}},
		{"ERSPAN III", 1, func(p []byte) []byte {
			return outer(be(uint16(0x1000), uint16(0x22eb), uint32(1), make([]byte, 11), 1, make([]byte, 8), frame(p)), 47)
		}},
		{"VXLAN", 1, func(p []byte) []byte { return udp(4789, be(uint32(8<<24), uint32(99<<8), frame(p))) }},
		{"VXLAN in IPv6, tagged inside", 1, func(p []byte) []byte {
			inner := etherOf(0x8100, be(uint16(4), uint16(0x0800), p))
			return etherOf(0x86dd, packet6(1, 2, 17, datagram(5, 4789, be(uint32(8<<24), uint32(99<<8), inner))))
		}},
		{"GENEVE", 1, func(p []byte) []byte {
			return udp(6081, be(1, 0, uint16(0x6558), uint32(9<<8), make([]byte, 4), frame(p)))
		}},
		{"GTP-U", 1, func(p []byte) []byte { return udp(2152, be(0x30, 0xff, uint16(len(p)), uint32(7), p)) }},
		{"GTP-U with extensions", 1, func(p []byte) []byte {
			return udp(2152, be(0x34, 0xff, uint16(len(p)), uint32(7), uint16(0), 0, 0x85, 1, 0, 0, 0x40, 2, make([]byte, 6), 0, p))
		}},
		{"MPLS pseudowire without control word", 1, func(p []byte) []byte { return etherOf(0x8847, be(uint32(17<<12|0x100), frame(p))) }},
		{"MPLS pseudowire to 40:…", 1, func(p []byte) []byte {
			f := frame(p)
			f[0] = 0x46
			return etherOf(0x8847, be(uint32(17<<12|0x100), f))
		}},
		{"HSR", 1, func(p []byte) []byte { return etherOf(0x892f, be(uint16(50), uint16(7), uint16(0x0800), p)) }},
		{"security group tag", 1, func(p []byte) []byte { return etherOf(0x8909, be(1, 1, uint32(7), uint16(0x0800), p)) }},
		{"provider backbone", 1, func(p []byte) []byte { return etherOf(0x88e7, be(uint32(99), frame(p))) }},
		{"NSH", 1, func(p []byte) []byte { return etherOf(0x894f, be(0x0f, 0xc6, 1, 3, make([]byte, 20), frame(p))) }},
		{"ERSPAN III of IP", 1, func(p []byte) []byte {
			return outer(be(uint16(0x1000), uint16(0x22eb), uint32(1), make([]byte, 10), 8, 0, p), 47)
		}},
		{"WCCP", 1, func(p []byte) []byte { return outer(be(uint16(0), uint16(0x883e), uint32(0), p), 47) }},
		{"EtherIP", 1, func(p []byte) []byte { return outer(be(0x30, 0, frame(p)), 97) }},
		{"Ethernet in IP", 1, func(p []byte) []byte { return outer(frame(p), 143) }},
		{"MPLS in IP", 1, func(p []byte) []byte { return outer(be(uint32(16<<12|0x100), p), 137) }},
		{"MPLS in UDP", 1, func(p []byte) []byte { return udp(6635, be(uint32(16<<12|0x100), p)) }},
		{"GRE in UDP", 1, func(p []byte) []byte { return udp(4754, be(uint16(0x2000), uint16(0x0800), uint32(5), p)) }},
		{"LISP", 1, func(p []byte) []byte { return udp(4341, be(make([]byte, 8), p)) }},
		{"VXLAN of old", 1, func(p []byte) []byte { return udp(8472, be(uint32(8<<24), uint32(99<<8), frame(p))) }},
		{"VXLAN-GPE", 1, func(p []byte) []byte { return udp(4790, be(0x0c, 0, 0, 1, uint32(99<<8), p)) }},
		{"VXLAN-GPE and NSH", 1, func(p []byte) []byte {
			return udp(4790, be(0x08, 0, 0, 4, uint32(99<<8), 0, 2, 1, 1, make([]byte, 4), p))
		}},
		{"L2TP", 1, func(p []byte) []byte { return udp(1701, be(uint16(2), uint32(7), 0xff, 3, uint16(0x21), p)) }},
		{"L2TP with all", 1, func(p []byte) []byte {
			return udp(1701, be(uint16(0x4a02), uint16(0), uint32(7), uint32(1), uint16(3), "pad", 0x21, p))
		}},
		{"VXLAN in GRE", 1, func(p []byte) []byte {
			return outer(be(uint16(0), uint16(0x0800), packet4(1, 2, 17, 0, datagram(5, 4789, be(uint32(8<<24), uint32(1<<8), frame(p))))), 47)
		}},
	}
}

// TestFlowHash: in every wrapping both directions, fragments and other ports
// of two hosts have one hash, which is not that of other hosts.
func TestFlowHash(t *testing.T) {
	const a, b = 0x0a000001, 0x0a000002
	tcp := be(uint16(4000), uint16(80), make([]byte, 16))
	want := pairHash(a, b)
	for _, c := range tunnels4() {
		for name, p := range map[string][]byte{
			"there":    packet4(a, b, 6, 0, tcp),
			"back":     packet4(b, a, 6, 0, be(uint16(80), uint16(4000), make([]byte, 16))),
			"first":    packet4(a, b, 17, 0x2000, datagram(1, 4789, make([]byte, 32))),
			"later":    packet4(b, a, 17, 3, make([]byte, 32)),
			"ICMP":     packet4(b, a, 1, 0, be(3, 3, make([]byte, 30))),
			"DNS":      packet4(a, b, 17, 0, datagram(5353, 53, make([]byte, 32))),
			"with ESP": packet4(a, b, 50, 0, make([]byte, 40)),
		} {
			if got := FlowHash(c.link, c.make(p)); got != want {
				t.Errorf("%s, %s: %08x (want %08x)", c.name, name, got, want)
			}
		}
		if got := FlowHash(c.link, c.make(packet4(a, b+1, 6, 0, tcp))); got == want || got == 0 {
			t.Errorf("%s, other hosts: %08x", c.name, got)
		}
	}
	// Extension headers, and IPv6 in IPv4.
	plain := FlowHash(LinkRaw, packet6(1, 2, 6, tcp))
	for name, p := range map[string][]byte{
		"back":         packet6(2, 1, 6, tcp),
		"hop by hop":   packet6(1, 2, 0, be(6, 1, make([]byte, 14), tcp)),
		"fragment":     packet6(1, 2, 44, be(17, 0, uint16(9), uint32(1), tcp)),
		"6in4":         packet4(7, 8, 41, 0, packet6(1, 2, 6, tcp)),
		"AH and 6in6":  packet6(5, 6, 51, be(41, 4, make([]byte, 22), packet6(2, 1, 6, tcp))),
		"atomic, 6in6": packet6(5, 6, 44, be(41, 0, uint16(0), uint32(1), packet6(2, 1, 6, tcp))),
	} {
		if got := FlowHash(LinkRaw, p); got != plain || got == 0 {
			t.Errorf("IPv6, %s: %08x (want %08x)", name, got, plain)
		}
	}
	six := packet6(1, 2, 6, tcp)
	for name, p := range map[string][]byte{
		"bare": six, "origin": be(make([]byte, 8), six), "authentication": be(0, 1, 2, 3, make([]byte, 5), make([]byte, 9), six),
		"both": be(0, 1, 0, 0, make([]byte, 9), make([]byte, 8), six),
	} {
		if got := FlowHash(LinkRaw, packet4(7, 8, 17, 0, datagram(3544, 9000, p))); got != plain {
			t.Errorf("Teredo, %s: %08x (want %08x)", name, got, plain)
		}
	}
	teredo := be(six[:8], 0x20, 1, 0, 0, six[12:])
	if got, want := FlowHash(LinkRaw, packet4(7, 8, 17, 0, datagram(4000, 9000, teredo))), FlowHash(LinkRaw, teredo); got != want {
		t.Errorf("Teredo between clients: %08x (want %08x)", got, want)
	}
	// A tunnel that is itself fragmented, or cannot be opened: its ends.
	ends := pairHash(0xc0000201, 0xc0000202)
	inner := packet4(a, b, 6, 0, tcp)
	for name, p := range map[string][]byte{
		"fragment":         packet4(0xc0000201, 0xc0000202, 47, 0x2000, be(uint16(0), uint16(0x0800), inner)),
		"unknown payload":  packet4(0xc0000202, 0xc0000201, 47, 0, be(uint16(0), uint16(0x9999), inner)),
		"cut inside":       packet4(0xc0000202, 0xc0000201, 4, 0, inner[:19]),
		"not of VXLAN":     packet4(0xc0000202, 0xc0000201, 17, 0, datagram(1, 4789, make([]byte, 60))),
		"signalling (GTP)": packet4(0xc0000202, 0xc0000201, 17, 0, datagram(2152, 2152, be(0x32, 1, make([]byte, 60)))),
	} {
		if got := FlowHash(LinkRaw, p); got != ends {
			t.Errorf("ends, %s: %08x (want %08x)", name, got, ends)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "ARP": etherOf(0x0806, make([]byte, 28)), "STP": etherOf(38, be(0x42, 0x42, 3, make([]byte, 35)))} {
		if got := FlowHash(1, b); got != 0 {
			t.Errorf("%s: %08x (want 0)", name, got)
		}
	}
	if got := FlowHash(9999, inner); got != 0 {
		t.Errorf("unknown link type: %08x", got)
	}
}

// TestFlowHashSpreads: neighbouring hosts and pairs that differ by the same
// bits on both sides spread evenly.
func TestFlowHashSpreads(t *testing.T) {
	for name, pair := range map[string]func(i uint32) (uint32, uint32){
		"clients of a server": func(i uint32) (uint32, uint32) { return 0x0a000000 + i, 0x0a010101 },
		"same change on both": func(i uint32) (uint32, uint32) { return 0x0a000001 ^ i<<16, 0x0a000002 ^ i<<16 },
		"peers":               func(i uint32) (uint32, uint32) { return 0xc0a80000 + i, 0xc0a80000 + i + 1 },
	} {
		for _, workers := range []uint32{2, 3, 8} {
			count := make([]int, workers)
			const n = 4096
			for i := range uint32(n) {
				a, b := pair(i)
				count[FlowHash(LinkRaw, packet4(a, b, 6, 0, nil))%workers]++
			}
			want := n / int(workers)
			if slices.Max(count) > want*5/4 || slices.Min(count) < want*3/4 {
				t.Errorf("%s: %v", name, count)
			}
		}
	}
}

func TestFlowHashDoesNotAllocate(t *testing.T) {
	for _, c := range tunnels4() {
		b := c.make(packet4(1, 2, 17, 0, datagram(1, 53, make([]byte, 20))))
		if n := testing.AllocsPerRun(10, func() { FlowHash(c.link, b) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func FuzzFlowHash(f *testing.F) {
	for _, c := range tunnels4() {
		f.Add(c.link, c.make(packet4(1, 2, 17, 0, datagram(1, 4789, make([]byte, 40)))))
	}
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		h := FlowHash(link, b)
		if link == LinkEthernet && len(b) >= 12 { // the addresses of the link layer do not matter
			c := bytes.Clone(b)
			c[0], c[11] = ^c[0], ^c[11]
			if FlowHash(link, c) != h {
				t.Fatal("the hash depends on a MAC address")
			}
		}
		FlowHash(link, b[:len(b)/2])
	})
}

func BenchmarkFlowHash(b *testing.B) {
	tcp := packet4(1, 2, 6, 0, make([]byte, 20))
	for _, c := range tunnels4() {
		switch c.name {
		case "plain", "QinQ", "VXLAN", "GTP-U":
			frame := c.make(tcp)
			if c.name == "plain" {
				quic := c.make(packet4(1, 2, 17, 0, datagram(443, 50000, make([]byte, 1200))))
				b.Run("UDP", func(b *testing.B) {
					for b.Loop() {
						FlowHash(c.link, quic)
					}
				})
			}
			b.Run(c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					FlowHash(c.link, frame)
				}
			})
		}
	}
}
