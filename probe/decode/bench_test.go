package decode

import (
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
)

// BenchmarkDecode decodes the frames of a mix of real traffic, held in memory:
// all of them, and the first thousand, which stay in the cache.
func BenchmarkDecode(b *testing.B) {
	all := frames(b, corpus.Path(b, "bench/mix.pcap"))
	for _, c := range []struct {
		name string
		fs   []capture.Frame
	}{{"mix", all}, {"cached", all[:1000]}} {
		b.Run(c.name, func(b *testing.B) {
			d := New(DefaultConfig())
			var p Packet
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for i := range c.fs {
					d.Decode(&c.fs[i], &p)
				}
				n += len(c.fs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/packet")
		})
	}
}

// BenchmarkLayers decodes one frame again and again: what tunnels and
// fragments cost.
func BenchmarkLayers(b *testing.B) {
	udp := udpDatagram(1000, 2000, pattern(64))
	inner := ip4(protoTCP, tcpSegment(1, 2, 3, 4, ACK, make([]byte, 12), pattern(64)))
	whole := udpDatagram(1000, 2000, pattern(2000))
	for _, c := range []struct {
		name   string
		frames [][]byte
	}{
		{"tcp", [][]byte{ether(0x0800, inner)}},
		{"tcp over two tags", [][]byte{ether(0x88a8, tag(7, 0x8100, tag(9, 0x0800, inner)))}},
		{"udp over ipv6", [][]byte{ether(0x86dd, ip6(protoUDP, udp))}},
		{"icmp", [][]byte{ether(0x0800, ip4(protoICMP, echo(8, 1)))}},
		{"mpls", [][]byte{ether(0x8847, cat(be32(17<<12|0x100), inner))}},
		{"gre", [][]byte{ether(0x0800, ip4(47, cat(be16(0), be16(0x0800), inner)))}},
		{"vxlan", [][]byte{ether(0x0800, ip4(protoUDP, udpDatagram(5, 4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0800, inner)))))}},
		{"datagram of two fragments", [][]byte{piece{0, 1480, false}.frame(1, protoUDP, false, whole), piece{1480, 2008, true}.frame(1, protoUDP, false, whole)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := New(DefaultConfig())
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				for _, frame := range c.frames {
					f := capture.Frame{Data: frame, Len: uint32(len(frame)), LinkType: 1}
					if d.Decode(&f, &p) != OK {
						b.Fatal("not decoded")
					}
				}
			}
		})
	}
}
