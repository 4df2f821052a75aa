package decode

import (
	"bytes"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	protoTCP    = flow.ProtoTCP
	protoUDP    = flow.ProtoUDP
	protoICMP   = flow.ProtoICMP
	protoICMPv6 = flow.ProtoICMPv6
	protoSCTP   = flow.ProtoSCTP
	protoESP    = 50
)

// want is what a case looks at.
type want struct {
	v              Verdict
	vlan, inner    uint16
	tunnel         flow.Tunnel
	id             uint32
	src            string
	sport, dport   uint16
	proto          uint8
	ipLen, payload uint32
	captured       string
	flags          uint8
	mss, icmpID    uint16
	fragment, bare bool
}

func got(v Verdict, p *Packet) want {
	if v != OK {
		return want{v: v}
	}
	return want{v: v, vlan: p.VLAN, inner: p.VLANInner, tunnel: p.Tunnel, id: p.TunnelID, src: p.Src.String(), sport: p.SrcPort, dport: p.DstPort,
		proto: p.Protocol, ipLen: p.IPLen, payload: p.PayloadLen, captured: string(p.Payload), flags: p.Flags, mss: p.MSS, icmpID: p.ICMPID, fragment: p.Fragment, bare: p.Bare}
}

func TestDecode(t *testing.T) {
	udp := udpDatagram(1000, 2000, []byte("hello"))
	udp4, udp6 := ip4(protoUDP, udp), ip6(protoUDP, udp)
	plain := want{src: "10.0.0.1", sport: 1000, dport: 2000, proto: protoUDP, ipLen: 33, payload: 5, captured: "hello"}
	with := func(f func(*want)) want { w := plain; f(&w); return w }
	six := with(func(w *want) { w.src, w.ipLen = "fd00::1", 53 })
	mss := []byte{1, 1, 2, 4, 5, 0xb4, 0, 0}
	hop := func(next byte, payload []byte) []byte { return cat([]byte{next, 0, 1, 4, 0, 0, 0, 0}, payload) }

	cases := []struct {
		name   string
		link   uint16
		frame  []byte
		cut    int    // octets captured, 0 all
		length uint32 // frame length, 0 that of frame
		want   want
	}{
		{"udp", 1, ether(0x0800, udp4), 0, 0, plain},
		{"padding is not counted", 1, cat(ether(0x0800, udp4), make([]byte, 13)), 0, 0, plain},
		{"udp6", 1, ether(0x86dd, udp6), 0, 0, six},
		{"one tag", 1, ether(0x8100, tag(0x2007, 0x0800, udp4)), 0, 0, with(func(w *want) { w.vlan = 7 })},
		{"two tags", 1, ether(0x88a8, tag(7, 0x8100, tag(9, 0x0800, udp4))), 0, 0, with(func(w *want) { w.vlan, w.inner = 7, 9 })},
		{"four tags", 1, ether(0x88a8, tag(7, 0x8100, tag(9, 0x8100, tag(1, 0x9100, tag(2, 0x0800, udp4))))), 0, 0, with(func(w *want) { w.vlan, w.inner = 7, 9 })},
		{"tags without end", 1, ether(0x8100, bytes.Repeat(tag(1, 0x8100, nil), 40)), 0, 0, want{v: Unsupported}},
		{"snap", 1, ether(8+33, cat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, be16(0x0800), udp4)), 0, 0, plain},
		{"stp", 1, ether(38, make([]byte, 38)), 0, 0, want{v: NonIP}},
		{"arp", 1, ether(0x0806, make([]byte, 28)), 0, 0, want{v: NonIP}},
		{"empty frame", 1, nil, 0, 0, want{v: Malformed}},
		{"cut in the link layer", 1, ether(0x0800, udp4), 10, 0, want{v: Truncated}},
		{"cut in the ip header", 1, ether(0x0800, udp4), 30, 0, want{v: Truncated}},
		{"cut before the ports", 1, ether(0x0800, udp4), 34, 0, want{v: Truncated}},
		{"cut behind the ports", 1, ether(0x0800, udp4), 38, 0, with(func(w *want) { w.captured, w.bare = "", true })},
		{"cut in the payload", 1, ether(0x0800, udp4), 44, 0, with(func(w *want) { w.captured = "he" })},

		{"raw 4", capture.LinkRaw, udp4, 0, 0, plain},
		{"raw 6", 12, udp6, 0, 0, six},
		{"raw neither", capture.LinkRaw, []byte{0x55, 1, 2}, 0, 0, want{v: NonIP}},
		{"null little endian", capture.LinkNull, cat([]byte{2, 0, 0, 0}, udp4), 0, 0, plain},
		{"null big endian, darwin's inet6", capture.LinkNull, cat([]byte{0, 0, 0, 30}, udp6), 0, 0, six},
		{"loop", capture.LinkLoop, cat([]byte{0, 0, 0, 2}, udp4), 0, 0, plain},
		{"sll", capture.LinkLinuxSLL, cat(be16(0), be16(1), be16(6), make([]byte, 8), be16(0x0800), udp4), 0, 0, plain},
		{"sll with tag", capture.LinkLinuxSLL, cat(be16(0), be16(1), be16(6), make([]byte, 8), be16(0x8100), tag(5, 0x0800, udp4)), 0, 0, with(func(w *want) { w.vlan = 5 })},
		{"sll netlink", capture.LinkLinuxSLL, cat(be16(0), be16(824), be16(6), make([]byte, 8), be16(0), udp4), 0, 0, want{v: NonIP}},
		{"sll2", capture.LinkLinuxSLL2, cat(be16(0x86dd), be16(0), be32(3), be16(1), []byte{0, 6}, make([]byte, 8), udp6), 0, 0, six},
		{"ppp", capture.LinkPPP, cat([]byte{0xff, 3, 0, 0x21}, udp4), 0, 0, plain},
		{"ppp compressed", capture.LinkPPP, cat([]byte{0x57}, udp6), 0, 0, six},
		{"ppp lcp", capture.LinkPPP, []byte{0xff, 3, 0xc0, 0x21, 1, 1, 0, 4}, 0, 0, want{v: NonIP}},
		{"nflog", capture.LinkNFLog, cat([]byte{2, 0, 0, 0}, []byte{5, 0, 10, 0, 'x', 0, 0, 0}, []byte{byte(4 + len(udp4)), 0, 9, 0}, udp4), 0, 0, plain},
		{"usb", 220, udp4, 0, 0, want{v: LinkType}},

		{"tcp syn", 1, ether(0x0800, ip4(protoTCP, tcpSegment(1, 2, 3, 4, SYN, mss, nil))), 0, 0,
			want{src: "10.0.0.1", sport: 1, dport: 2, proto: protoTCP, ipLen: 48, flags: SYN, mss: 1460}},
		{"tcp data", 1, ether(0x0800, ip4(protoTCP, tcpSegment(1, 2, 3, 4, ACK|PSH, nil, []byte("abc")))), 0, 0,
			want{src: "10.0.0.1", sport: 1, dport: 2, proto: protoTCP, ipLen: 43, flags: ACK | PSH, payload: 3, captured: "abc"}},
		{"tcp header contradicts itself", 1, ether(0x0800, ip4(protoTCP, cat(be16(1), be16(2), make([]byte, 8), []byte{0x10, 2}, make([]byte, 6)))), 0, 0,
			want{src: "10.0.0.1", sport: 1, dport: 2, proto: protoTCP, ipLen: 40, bare: true}},
		{"tcp of three octets", 1, ether(0x0800, ip4(protoTCP, []byte{1, 2, 3})), 0, 0, want{v: Malformed}},
		{"options of the ip header", 1, ether(0x0800, ip4frag(protoUDP, 1, 0, make([]byte, 8), udp)), 0, 0, with(func(w *want) { w.ipLen = 41 })},
		{"ip header length 4", 1, ether(0x0800, cat([]byte{0x44}, udp4[1:])), 0, 0, want{v: Malformed}},
		{"ip version 5", 1, ether(0x0800, cat([]byte{0x55}, udp4[1:])), 0, 0, want{v: Malformed}},
		{"ip length below the header", 1, ether(0x0800, cat(udp4[:2], be16(19), udp4[4:])), 0, 0, want{v: Malformed}},
		{"ip length 0 is left to the card", 1, ether(0x0800, cat(udp4[:2], be16(0), udp4[4:])), 0, 0, plain},
		{"ip length beyond the frame", 1, ether(0x0800, cat(udp4[:2], be16(9000), udp4[4:])), 0, 0, plain},
		{"udp options are no payload", 1, ether(0x0800, ip4(protoUDP, cat(udp, []byte{1, 2, 3}))), 0, 0, with(func(w *want) { w.ipLen = 36 })},
		{"icmp echo", 1, ether(0x0800, ip4(protoICMP, echo(8, 77))), 0, 0,
			want{src: "10.0.0.1", sport: 8, proto: protoICMP, ipLen: 32, payload: 4, captured: "ping", icmpID: 77}},
		{"icmp unreachable has no identifier", 1, ether(0x0800, ip4(protoICMP, cat([]byte{3, 1, 0, 0, 9, 9, 9, 9}, udp4[:28]))), 0, 0,
			want{src: "10.0.0.1", sport: 3, dport: 1, proto: protoICMP, ipLen: 56, payload: 28, captured: string(udp4[:28])}},
		{"icmp6 echo reply", 1, ether(0x86dd, ip6(protoICMPv6, echo(129, 5))), 0, 0,
			want{src: "fd00::1", sport: 129, proto: protoICMPv6, ipLen: 52, payload: 4, captured: "ping", icmpID: 5}},
		{"sctp", 1, ether(0x0800, ip4(protoSCTP, cat(be16(5), be16(6), make([]byte, 8), []byte("chunk")))), 0, 0,
			want{src: "10.0.0.1", sport: 5, dport: 6, proto: protoSCTP, ipLen: 37, payload: 5, captured: "chunk"}},
		{"esp", 1, ether(0x0800, ip4(protoESP, []byte("sealed"))), 0, 0, want{src: "10.0.0.1", proto: protoESP, ipLen: 26, payload: 6, captured: "sealed"}},

		{"hop by hop, destination", 1, ether(0x86dd, ip6(0, hop(60, hop(protoUDP, udp)))), 0, 0, with(func(w *want) { w.src, w.ipLen = "fd00::1", 69 })},
		{"authentication header", 1, ether(0x0800, ip4(51, cat([]byte{protoUDP, 4}, []byte("seal")))), 0, 0, want{src: "10.0.0.1", proto: 51, ipLen: 26, payload: 6, captured: "\x11\x04seal"}},
		{"authentication header in six", 1, ether(0x86dd, ip6(0, hop(51, cat([]byte{protoUDP, 4}, []byte("seal"))))), 0, 0, want{src: "fd00::1", proto: 51, ipLen: 54, payload: 6, captured: "\x11\x04seal"}},
		{"authentication header, tunnel mode", 1, ether(0x0800, ip4(51, cat([]byte{4, 4}, make([]byte, 22), udp4))), 0, 0, with(func(w *want) { w.tunnel = flow.TunnelIPIP })},
		{"extension beyond the packet", 1, ether(0x86dd, ip6(0, []byte{protoUDP, 9, 0, 0, 0, 0, 0, 0})), 0, 0, want{v: Malformed}},
		{"extensions without end", 1, ether(0x86dd, ip6(0, bytes.Repeat(hop(0, nil), 20))), 0, 0, want{v: Malformed}},
		{"no next header", 1, ether(0x86dd, ip6(59, nil)), 0, 0, want{src: "fd00::1", proto: 59, ipLen: 40}},

		{"ip in ip", 1, ether(0x0800, ip4(4, udp4)), 0, 0, with(func(w *want) { w.tunnel = flow.TunnelIPIP })},
		{"6in4", 1, ether(0x0800, ip4(41, udp6)), 0, 0, with(func(w *want) { w.src, w.ipLen, w.tunnel = "fd00::1", 53, flow.Tunnel6in4 })},
		{"gre with key", 1, ether(0x0800, ip4(47, cat(be16(0x2000), be16(0x0800), be32(99), udp4))), 0, 0, with(func(w *want) { w.tunnel, w.id = flow.TunnelGRE, 99 })},
		{"gre of unknown inside", 1, ether(0x0800, ip4(47, cat(be16(0), be16(0x9999), []byte("?")))), 0, 0,
			want{src: "10.0.0.1", proto: 47, ipLen: 25, payload: 5, captured: "\x00\x00\x99\x99?"}},
		{"erspan type 2", 1, ether(0x0800, ip4(47, cat(be16(0x1000), be16(0x88be), be32(1), be16(0x1000), be16(42), be32(0), ether(0x0800, udp4)))), 0, 0,
			with(func(w *want) { w.tunnel, w.id = flow.TunnelERSPAN, 42 })},
		{"vxlan", 1, ether(0x0800, ip4(protoUDP, udpDatagram(5, 4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0800, udp4))))), 0, 0,
			with(func(w *want) { w.tunnel, w.id = flow.TunnelVXLAN, 256 })},
		{"vxlan port without vxlan", 1, ether(0x0800, ip4(protoUDP, udpDatagram(5, 4789, []byte("not at all")))), 0, 0,
			want{src: "10.0.0.1", sport: 5, dport: 4789, proto: protoUDP, ipLen: 38, payload: 10, captured: "not at all"}},
		{"geneve with option", 1, ether(0x0800, ip4(protoUDP, udpDatagram(5, 6081, cat([]byte{1, 0, 0x65, 0x58, 0, 0, 3, 0}, be32(0), ether(0x86dd, udp6))))), 0, 0,
			with(func(w *want) { w.src, w.ipLen, w.tunnel, w.id = "fd00::1", 53, flow.TunnelGENEVE, 3 })},
		{"gtp with extension", 1, ether(0x0800, ip4(protoUDP, udpDatagram(2152, 2152, cat([]byte{0x34, 0xff, 0, 41}, be32(7), []byte{0, 0, 0, 0x85, 1, 0, 0, 0}, udp4)))), 0, 0,
			with(func(w *want) { w.tunnel, w.id = flow.TunnelGTPU, 7 })},
		{"mpls", 1, ether(0x8847, cat(be32(16<<12), be32(17<<12|0x100), udp4)), 0, 0, with(func(w *want) { w.tunnel, w.id = flow.TunnelMPLS, 17 })},
		{"mpls pseudowire", 1, ether(0x8847, cat(be32(17<<12|0x100), be32(0), ether(0x0800, udp4))), 0, 0, with(func(w *want) { w.tunnel, w.id = flow.TunnelMPLS, 17 })},
		{"pppoe", 1, ether(0x8864, cat([]byte{0x11, 0}, be16(3), be16(35), be16(0x21), udp4, make([]byte, 4))), 0, 0, with(func(w *want) { w.tunnel, w.id = flow.TunnelPPPoE, 3 })},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := capture.Frame{Time: 5, Data: c.frame, Len: uint32(len(c.frame)), LinkType: c.link}
			if c.cut > 0 {
				f.Data = c.frame[:c.cut]
			}
			var p Packet
			if g := got(New(DefaultConfig()).Decode(&f, &p), &p); g != c.want {
				t.Errorf("(-got +want)\n-%+v\n+%+v", g, c.want)
			}
			if p.Time != 5 || p.FrameLen != f.Len {
				t.Errorf("time %d, frame length %d", p.Time, p.FrameLen)
			}
		})
	}
}

// TestOuterOnly leaves the tunnel closed.
func TestOuterOnly(t *testing.T) {
	frame := ether(0x0800, ip4(47, cat(be16(0), be16(0x0800), ip4(protoUDP, udpDatagram(1, 2, nil)))))
	var p Packet
	v := New(Config{OuterOnly: true}).Decode(&capture.Frame{Data: frame, Len: uint32(len(frame)), LinkType: 1}, &p)
	if v != OK || p.Protocol != 47 || p.Tunnel != flow.TunnelNone {
		t.Errorf("verdict %v, protocol %d, tunnel %v", v, p.Protocol, p.Tunnel)
	}
}

// TestFragments follows datagrams in pieces.
func TestFragments(t *testing.T) {
	udp := udpDatagram(1000, 2000, make([]byte, 100))
	frag6 := func(offset uint16, id uint32, payload []byte) []byte {
		return ip6(44, cat([]byte{protoUDP, 0}, be16(offset), be32(id), payload))
	}
	type step struct {
		time         int64
		et           uint16
		packet       []byte
		sport, proto uint16
		payload      uint32
		bare         bool
	}
	for name, steps := range map[string][]step{
		"in order": {
			{0, 0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp[:64]), 1000, protoUDP, 56, false},
			{1, 0x0800, ip4frag(protoUDP, 5, 8, nil, udp[64:]), 1000, protoUDP, 44, true},
		},
		"another datagram": {
			{0, 0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp[:64]), 1000, protoUDP, 56, false},
			{1, 0x0800, ip4frag(protoUDP, 6, 8, nil, udp[64:]), 0, protoUDP, 44, true},
		},
		"later piece first": {
			{0, 0x0800, ip4frag(protoUDP, 5, 8, nil, udp[64:]), 0, protoUDP, 44, true},
			{1, 0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp[:64]), 1000, protoUDP, 56, false},
		},
		"too late": {
			{0, 0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp[:64]), 1000, protoUDP, 56, false},
			{31e9, 0x0800, ip4frag(protoUDP, 5, 8, nil, udp[64:]), 0, protoUDP, 44, true},
		},
		"six": {
			{0, 0x86dd, frag6(1, 9, udp[:64]), 1000, protoUDP, 56, false},
			{1, 0x86dd, frag6(64, 9, udp[64:]), 1000, protoUDP, 44, true},
			{2, 0x86dd, frag6(64, 8, udp[64:]), 0, protoUDP, 44, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(DefaultConfig())
			for i, s := range steps {
				b := ether(s.et, s.packet)
				var p Packet
				v := d.Decode(&capture.Frame{Time: s.time, Data: b, Len: uint32(len(b)), LinkType: 1}, &p)
				if v != OK || p.SrcPort != s.sport || uint16(p.Protocol) != s.proto || p.PayloadLen != s.payload || p.Bare != s.bare || !p.Fragment {
					t.Errorf("step %d: %v %+v", i, v, p)
				}
			}
		})
	}
	atomic := ether(0x86dd, frag6(0, 9, udp))
	var p Packet
	if v := New(DefaultConfig()).Decode(&capture.Frame{Data: atomic, Len: uint32(len(atomic)), LinkType: 1}, &p); v != OK || p.Fragment || p.SrcPort != 1000 {
		t.Errorf("atomic fragment: %v %+v", v, p)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	udp := udpDatagram(1, 2, []byte("x"))
	frames := [][]byte{
		ether(0x0800, ip4(protoTCP, tcpSegment(1, 2, 3, 4, SYN, []byte{2, 4, 5, 0xb4}, nil))),
		ether(0x8100, tag(3, 0x86dd, ip6(protoUDP, udp))),
		ether(0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp)),
		ether(0x0800, ip4frag(protoUDP, 5, 2, nil, udp)),
		ether(0x0800, ip4(47, cat(be16(0), be16(0x0800), ip4(protoUDP, udp)))),
		ether(0x0806, make([]byte, 28)),
	}
	d := New(DefaultConfig())
	var f capture.Frame
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range frames {
			f = capture.Frame{Data: b, Len: uint32(len(b)), LinkType: 1}
			d.Decode(&f, &p)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecode: no panic, and what is promised of a Packet holds.
func FuzzDecode(f *testing.F) {
	udp := udpDatagram(1000, 2000, []byte("hello"))
	for _, b := range [][]byte{
		ether(0x0800, ip4(protoTCP, tcpSegment(1, 2, 3, 4, SYN, []byte{2, 4, 5, 0xb4}, nil))),
		ether(0x88a8, tag(7, 0x8100, tag(9, 0x86dd, ip6(0, cat([]byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}, udp))))),
		ether(0x0800, ip4frag(protoUDP, 5, 0x2000, nil, udp)),
		ether(0x86dd, ip6(44, cat([]byte{protoUDP, 0}, be16(64), be32(1), udp))),
		ether(0x0800, ip4(47, cat(be16(0xb001), be16(0x880b), make([]byte, 16), []byte{0xff, 3, 0, 0x21}, ip4(protoUDP, udp)))),
		ether(0x0800, ip4(protoUDP, udpDatagram(5, 4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0800, ip4(protoUDP, udp)))))),
		ether(0x0800, ip4(protoUDP, udpDatagram(2152, 2152, cat([]byte{0x34, 0xff, 0, 41}, be32(7), []byte{0, 0, 0, 0x85, 1, 0, 0, 0}, ip4(protoUDP, udp))))),
		ether(0x8847, cat(be32(16<<12), be32(17<<12|0x100), be32(0), ether(0x0800, ip4(protoUDP, udp)))),
		ether(0x8864, cat([]byte{0x11, 0}, be16(3), be16(35), be16(0x21), ip4(protoUDP, udp))),
	} {
		f.Add(uint16(1), uint32(len(b)), b)
		f.Add(uint16(101), uint32(len(b)-14), b[14:])
	}
	for _, link := range []uint16{0, 9, 51, 104, 108, 113, 119, 166, 192, 239, 276} {
		f.Add(link, uint32(60), ip4(protoUDP, udp))
	}
	data := snap(0x0800, ip4(protoUDP, udp))
	f.Add(uint16(105), uint32(80), wlan(0x0308, 0, address(4), data))
	f.Add(uint16(127), uint32(80), cat([]byte{0, 0}, le16(18), le32(3), make([]byte, 8), []byte{0x10, 0}, wlan(0x0188, 0, le16(0x80), address(8), address(9), be16(41), data)))
	f.Add(uint16(192), uint32(80), cat([]byte{0, 0}, le16(32), le32(105), le16(2), le16(20), make([]byte, 20), wlan(0x0108, 0, data)))
	for _, port := range []uint16{1701, 3544, 4341, 4754, 4790, 5072, 6081, 6635, 8472} {
		f.Add(uint16(1), uint32(120), ether(0x0800, ip4(protoUDP, udpDatagram(port, port, ip4(protoUDP, udp)))))
	}
	for _, et := range []uint16{0x0806, 0x22f3, 0x8847, 0x88e5, 0x88e7, 0x8903, 0x8909, 0x8926, 0x892f, 0x893f, 0x894f} {
		f.Add(uint16(1), uint32(120), ether(et, cat(make([]byte, 6), ether(0x0800, ip4(protoUDP, udp)))))
	}
	f.Add(uint16(1), uint32(120), ether(0x86dd, ip6(protoICMPv6, cat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, ip6(0, cat([]byte{44, 0, 1, 4, 0, 0, 0, 0}, make([]byte, 8)))))))
	f.Fuzz(func(t *testing.T, link uint16, length uint32, b []byte) {
		d := New(Config{Fragments: 8})
		var p Packet
		for range 2 { // a later fragment meets what the first left behind
			v := d.Decode(&capture.Frame{Data: b, Len: length, LinkType: link}, &p)
			if v >= Verdicts || (v == OK) != (v.String() == "") {
				t.Fatalf("verdict %d", v)
			}
			if v != OK {
				continue
			}
			check(t, d, &capture.Frame{Data: b, Len: length}, &p)
		}
	})
}
