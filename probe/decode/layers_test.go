package decode

import (
	"bytes"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

func le16(v uint16) []byte { return []byte{byte(v), byte(v >> 8)} }
func le32(v uint32) []byte { return cat(le16(uint16(v)), le16(uint16(v>>16))) }

// decodeOne decodes a frame with a fresh Decoder.
func decodeOne(t *testing.T, link uint16, frame []byte) (Packet, Verdict) {
	t.Helper()
	var p Packet
	v := New(DefaultConfig()).Decode(&capture.Frame{Data: frame, Len: uint32(len(frame)), LinkType: link}, &p)
	return p, v
}

// snap is an LLC and SNAP header before a packet.
func snap(et uint16, packet []byte) []byte {
	return cat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, be16(et), packet)
}

func address(n byte) []byte { return []byte{2, 0, 0, 0, 0, n} }

// wlan is an 802.11 data frame whose addresses end in 1, 2, 3.
func wlan(fc uint16, sequence uint16, rest ...[]byte) []byte {
	return cat(le16(fc), le16(0), address(1), address(2), address(3), le16(sequence), cat(rest...))
}

func TestWireless(t *testing.T) {
	udp4 := ip4(protoUDP, udpDatagram(1000, 2000, []byte("hello")))
	data := snap(0x0800, udp4)
	fcs := []byte{1, 2, 3, 4}
	tap := func(flags byte, frame []byte) []byte { // time, flags, rate
		return cat([]byte{0, 0}, le16(18), le32(7), make([]byte, 8), []byte{flags, 2}, frame)
	}
	unlimited := cat(udp4[:2], be16(0), udp4[4:]) // so that the length shows what is taken for the frame
	for _, c := range []struct {
		name     string
		link     uint16
		frame    []byte
		v        Verdict
		src, dst flow.MAC
		ipLen    uint32
	}{
		{"between stations", 105, wlan(0x0008, 0, data), OK, 2, 1, 33},
		{"to the access point", 105, wlan(0x0108, 0, data), OK, 2, 3, 33},
		{"from the access point", 105, wlan(0x0208, 0, data), OK, 3, 1, 33},
		{"between access points", 105, wlan(0x0308, 0, address(4), data), OK, 4, 3, 33},
		{"quality of service", 105, wlan(0x0188, 0, le16(5), data), OK, 2, 3, 33},
		{"quality of service, HT control", 105, wlan(0x8188, 0, le16(5), le32(0), data), OK, 2, 3, 33},
		{"aggregate", 105, wlan(0x0188, 0, le16(0x80), address(8), address(9), be16(uint16(len(data))), data, make([]byte, 40)), OK, 9, 8, 33},
		{"protected", 105, wlan(0x4108, 0, data), NonIP, 0, 0, 0},
		{"null", 105, wlan(0x0148, 0), NonIP, 0, 0, 0},
		{"beacon", 105, wlan(0x0080, 0, data), NonIP, 0, 0, 0},
		{"acknowledgement", 105, []byte{0xd4, 0, 0, 0, 2, 0, 0, 0, 0, 1}, NonIP, 0, 0, 0},
		{"later fragment", 105, wlan(0x0008, 1, data), NonIP, 0, 0, 0},
		{"radiotap", 127, tap(0, wlan(0x0108, 0, data)), OK, 2, 3, 33},
		{"radiotap, check sequence", 127, tap(0x10, wlan(0x0108, 0, snap(0x0800, unlimited), fcs)), OK, 2, 3, 33},
		{"radiotap, padded", 127, tap(0x20, wlan(0x0188, 0, le16(5), le16(0), data)), OK, 2, 3, 33},
		{"radiotap, damaged", 127, tap(0x50, wlan(0x0108, 0, data, fcs)), Malformed, 0, 0, 0},
		{"radiotap, two words", 127, cat([]byte{0, 0}, le16(13), le32(1<<31|2), le32(0), []byte{0x10}, wlan(0x0108, 0, snap(0x0800, unlimited), fcs)), OK, 2, 3, 33},
		{"radiotap beyond the frame", 127, cat([]byte{0, 0}, le16(99), le32(0)), Malformed, 0, 0, 0},
		{"prism", 119, cat(le32(0x44), le32(144), make([]byte, 136), wlan(0x0108, 0, data)), OK, 2, 3, 33},
		{"avs", 119, cat(be32(0x80211001), be32(64), make([]byte, 56), wlan(0x0108, 0, data)), OK, 2, 3, 33},
		{"ppi", 192, cat([]byte{0, 0}, le16(32), le32(105), le16(2), le16(20), make([]byte, 8), le16(1), make([]byte, 10), wlan(0x0108, 0, snap(0x0800, unlimited), fcs)), OK, 2, 3, 33},
		{"ppi of ethernet", 192, cat([]byte{0, 0}, le16(8), le32(1), ether(0x0800, udp4)), OK, 1, 2, 33},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, v := decodeOne(t, c.link, c.frame)
			if v != c.v {
				t.Fatalf("verdict %v, want %v", v, c.v)
			}
			if v != OK {
				return
			}
			if p.SrcMAC&0xff != c.src || p.DstMAC&0xff != c.dst || p.IPLen != c.ipLen || p.SrcPort != 1000 || string(p.Payload[:5]) != "hello" {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestTunnels: of each the innermost packet, its tunnel and the tunnel's ends.
func TestTunnels(t *testing.T) {
	udp := udpDatagram(1000, 2000, []byte("hello"))
	udp4 := ip4(protoUDP, udp)
	// The outer packets go from 172.16.0.1 to 172.16.0.2.
	outer := func(proto byte, payload []byte) []byte {
		b := ip4(proto, payload)
		copy(b[12:], []byte{172, 16, 0, 1, 172, 16, 0, 2})
		return ether(0x0800, b)
	}
	over := func(port uint16, payload []byte) []byte { return outer(protoUDP, udpDatagram(55555, port, payload)) }
	inner := ether(0x0800, udp4)
	teredo := ip6(protoUDP, udp)
	copy(teredo[8:], []byte{0x20, 1, 0, 0})
	for _, c := range []struct {
		name  string
		frame []byte
		kind  flow.Tunnel
		id    uint32
	}{
		{"nvgre", outer(47, cat(be16(0x2000), be16(0x6558), be32(5000<<8|7), inner)), flow.TunnelGRE, 5000},
		{"ethernet in gre with a plain key", outer(47, cat(be16(0x2000), be16(0x6558), be32(77), inner)), flow.TunnelGRE, 77},
		{"erspan type 1", outer(47, cat(be16(0), be16(0x88be), inner)), flow.TunnelERSPAN, 0},
		{"erspan type 2", outer(47, cat(be16(0x1000), be16(0x88be), be32(1), be16(0x1000), be16(42), be32(0), inner)), flow.TunnelERSPAN, 42},
		{"erspan type 3", outer(47, cat(be16(0x1000), be16(0x22eb), be32(1), be16(0x2000), be16(43), be32(9), be32(0), inner)), flow.TunnelERSPAN, 43},
		{"erspan type 3 with sub-header", outer(47, cat(be16(0x1000), be16(0x22eb), be32(1), be16(0x2000), be16(43), be32(9), be32(1), make([]byte, 8), inner)), flow.TunnelERSPAN, 43},
		{"erspan type 3 of ip", outer(47, cat(be16(0x1000), be16(0x22eb), be32(1), be16(0x2000), be16(43), be32(9), be32(2<<10), udp4)), flow.TunnelERSPAN, 43},
		{"wccp", outer(47, cat(be16(0), be16(0x883e), be32(0), udp4)), flow.TunnelGRE, 0},
		{"wireless in gre", outer(47, cat(be16(0), be16(0x8200), wlan(0x0188, 0, le16(0), snap(0x0800, udp4)))), flow.TunnelGRE, 0},
		{"gre over udp", over(4754, cat(be16(0x2000), be16(0x0800), be32(3), udp4)), flow.TunnelGRE, 3},
		{"vxlan on linux's port", over(8472, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, inner)), flow.TunnelVXLAN, 256},
		{"vxlan with group policy", over(4789, cat([]byte{0x88, 0, 0, 5, 0, 1, 0, 0}, inner)), flow.TunnelVXLAN, 256},
		{"vxlan answered from its port", outer(protoUDP, udpDatagram(4789, 55555, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, inner))), flow.TunnelVXLAN, 256},
		{"vxlan-gpe of ip", over(4790, cat([]byte{0x0c, 0, 0, 1, 0, 1, 0, 0}, udp4)), flow.TunnelVXLAN, 256},
		{"vxlan-gpe of ethernet", over(4790, cat([]byte{0x0c, 0, 0, 3, 0, 1, 0, 0}, inner)), flow.TunnelVXLAN, 256},
		{"vxlan-gpe of nsh of ip", over(4790, cat([]byte{0x0c, 0, 0, 4, 0, 1, 0, 0}, []byte{0, 6, 1, 1}, make([]byte, 20), udp4)), flow.TunnelVXLAN, 256},
		{"nsh of ethernet in gre", outer(47, cat(be16(0), be16(0x894f), []byte{0, 2, 2, 3}, be32(9), inner)), flow.TunnelGRE, 0},
		{"geneve of ip", over(6081, cat([]byte{0, 0, 0x08, 0, 0, 0, 3, 0}, udp4)), flow.TunnelGENEVE, 3},
		{"teredo", over(3544, teredo), flow.TunnelTeredo, 0},
		{"teredo with indications", over(3544, cat([]byte{0, 1, 2, 3}, make([]byte, 5+9), []byte{0, 0}, make([]byte, 6), ip6(protoUDP, udp))), flow.TunnelTeredo, 0},
		{"teredo between clients", over(40000, teredo), flow.TunnelTeredo, 0},
		{"gtp answered from its port", outer(protoUDP, udpDatagram(2152, 999, cat([]byte{0x30, 0xff, 0, 33}, be32(7), udp4))), flow.TunnelGTPU, 7},
		{"l2tp version 2", over(1701, cat(be16(0x4002), be16(uint16(12+len(udp4))), be16(1), be16(2), []byte{0xff, 3, 0, 0x21}, udp4)), flow.TunnelL2TP, 0},
		{"l2tp version 2, sequence and offset", over(1701, cat(be16(0x0a02), be16(1), be16(2), be32(0), be16(2), be16(0), []byte{0x21}, udp4)), flow.TunnelL2TP, 0},
		{"l2tp version 3 with cookie", outer(115, cat(be32(5), be32(0xc0ffee), inner)), flow.TunnelL2TP, 0},
		{"l2tp version 3 over udp", over(1701, cat(be16(3), be16(0), be32(5), inner)), flow.TunnelL2TP, 0},
		{"ethernet in ip", outer(97, cat(be16(0x3000), inner)), flow.TunnelIPIP, 0},
		{"mpls in ip", outer(137, cat(be32(99<<12|0x100), udp4)), flow.TunnelMPLS, 99},
		{"mpls in udp", over(6635, cat(be32(99<<12|0x100), udp4)), flow.TunnelMPLS, 99},
		{"lisp", over(4341, cat([]byte{0x08, 0, 0, 0, 0, 0, 9, 0}, udp4)), flow.TunnelIPIP, 9},
		{"ayiya", over(5072, cat([]byte{0x41, 0x52, 0x11, 41}, be32(0), make([]byte, 16+20), ip6(protoUDP, udp))), flow.Tunnel6in4, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, v := decodeOne(t, 1, c.frame)
			if v != OK || p.Tunnel != c.kind || p.TunnelID != c.id || p.SrcPort != 1000 || string(p.Payload) != "hello" {
				t.Errorf("verdict %v, %+v", v, p)
			}
			if p.OuterSrc.String() != "172.16.0.1" || p.OuterDst.String() != "172.16.0.2" {
				t.Errorf("outer addresses %v, %v", p.OuterSrc, p.OuterDst)
			}
		})
	}
	t.Run("two tunnels", func(t *testing.T) {
		p, v := decodeOne(t, 1, over(4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0800, ip4(47, cat(be16(0), be16(0x0800), udp4))))))
		if v != OK || p.Tunnel != flow.TunnelGRE || p.OuterSrc.String() != "172.16.0.1" {
			t.Errorf("verdict %v, %+v", v, p)
		}
	})
	t.Run("what is left of a tunnel is gone with the next frame", func(t *testing.T) {
		d := New(DefaultConfig())
		var p Packet
		for _, b := range [][]byte{over(3544, teredo), inner} {
			if v := d.Decode(&capture.Frame{Data: b, Len: uint32(len(b)), LinkType: 1}, &p); v != OK {
				t.Fatal(v)
			}
		}
		if p.OuterSrc != (flow.Addr{}) || p.OuterDst != (flow.Addr{}) || p.Tunnel != flow.TunnelNone {
			t.Errorf("%+v", p)
		}
	})
}

func TestLinkLayers(t *testing.T) {
	udp4 := ip4(protoUDP, udpDatagram(1000, 2000, []byte("hello")))
	inner := ether(0x0800, udp4)
	odd := cat([]byte{0x41}, inner[1:]) // a hardware address that begins like IPv4
	zero := cat([]byte{0x00}, inner[1:])
	for _, c := range []struct {
		name  string
		link  uint16
		frame []byte
		kind  flow.Tunnel
		id    uint32
	}{
		{"fabric path", 1, ether(0x8903, cat(be16(0), inner)), 0, 0},
		{"provider backbone", 1, ether(0x88e7, cat(be32(5), inner)), 0, 0},
		{"trill", 1, ether(0x22f3, cat(make([]byte, 6), inner)), 0, 0},
		{"security group tag", 1, ether(0x8909, cat([]byte{1, 1}, be32(0), be16(0x0800), udp4)), 0, 0},
		{"vn-tag", 1, ether(0x8926, cat(be32(0), be16(0x0800), udp4)), 0, 0},
		{"e-tag", 1, ether(0x893f, cat(make([]byte, 6), be16(0x0800), udp4)), 0, 0},
		{"hsr", 1, ether(0x892f, cat(be32(0), be16(0x0800), udp4)), 0, 0},
		{"macsec, authenticated only", 1, ether(0x88e5, cat([]byte{0, 0}, be32(1), be16(0x0800), udp4, make([]byte, 16))), 0, 0},
		{"macsec with channel and short length", 1, ether(0x88e5, cat([]byte{0x20, byte(2 + len(udp4))}, be32(1), make([]byte, 8), be16(0x0800), udp4, make([]byte, 16))), 0, 0},
		{"nsh", 1, ether(0x894f, cat([]byte{0, 2, 2, 1}, be32(9), udp4)), 0, 0},
		{"ppp of pppd", 166, cat([]byte{1, 3, 0, 0x21}, udp4), 0, 0},
		{"ppp with direction", 204, cat([]byte{0, 0xff, 3, 0, 0x21}, udp4), 0, 0},
		{"openbsd loop", capture.LinkLoop, cat(be32(2), udp4), 0, 0},
		{"entropy label", 1, ether(0x8847, cat(be32(17<<12), be32(7<<12), be32(54321<<12|0x100), udp4)), flow.TunnelMPLS, 17},
		{"explicit null at the bottom", 1, ether(0x8847, cat(be32(17<<12), be32(0x100), udp4)), flow.TunnelMPLS, 17},
		{"pseudowire without control word", 1, ether(0x8847, cat(be32(17<<12|0x100), inner)), flow.TunnelMPLS, 17},
		{"pseudowire without control word, address like a packet", 1, ether(0x8847, cat(be32(17<<12|0x100), odd)), flow.TunnelMPLS, 17},
		{"pseudowire without control word, address like a control word", 1, ether(0x8847, cat(be32(17<<12|0x100), zero)), flow.TunnelMPLS, 17},
		{"pseudowire with control word", 1, ether(0x8847, cat(be32(17<<12|0x100), be32(1), zero)), flow.TunnelMPLS, 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, v := decodeOne(t, c.link, c.frame)
			if v != OK || p.Tunnel != c.kind || p.TunnelID != c.id || p.SrcPort != 1000 || string(p.Payload) != "hello" || p.IPLen != 33 {
				t.Errorf("verdict %v, %+v", v, p)
			}
		})
	}
	t.Run("macsec, encrypted", func(t *testing.T) {
		if _, v := decodeOne(t, 1, ether(0x88e5, cat([]byte{0x0c, 0}, be32(1), make([]byte, 60)))); v != NonIP {
			t.Error(v)
		}
	})
}

func TestTransports(t *testing.T) {
	for _, c := range []struct {
		name         string
		proto        byte
		payload      []byte
		sport, dport uint16
		left         string
	}{
		{"dccp", 33, cat(be16(5), be16(6), []byte{4, 0, 0, 0}, make([]byte, 8), []byte("data")), 5, 6, "data"},
		{"udp-lite", 136, cat(be16(5), be16(6), be16(8), be16(0), []byte("data")), 5, 6, "data"},
		{"igmp", 2, []byte{0x16, 0, 0, 0, 224, 0, 0, 9}, 0, 0, "\x16\x00\x00\x00\xe0\x00\x00\x09"},
		{"esp", 50, []byte("sealed"), 0, 0, "sealed"},
		{"hip", 139, []byte{59, 4, 1, 0x21, 0, 0, 0, 0}, 0, 0, ";\x04\x01!\x00\x00\x00\x00"},
	} {
		for _, six := range []bool{false, true} {
			frame := ether(0x0800, ip4(c.proto, c.payload))
			if six {
				frame = ether(0x86dd, ip6(c.proto, c.payload))
			}
			p, v := decodeOne(t, 1, frame)
			if v != OK || p.Protocol != c.proto || p.SrcPort != c.sport || p.DstPort != c.dport || string(p.Payload) != c.left {
				t.Errorf("%s, IPv6 %v: verdict %v, %+v", c.name, six, v, p)
			}
		}
	}
}

func TestARP(t *testing.T) {
	request := cat(be16(1), be16(0x0800), []byte{6, 4}, be16(1), address(1), []byte{10, 0, 0, 1}, make([]byte, 6), []byte{10, 0, 0, 2})
	for name, c := range map[string]struct {
		frame     []byte
		v         Verdict
		operation uint16
	}{
		"request":       {ether(0x0806, cat(request, make([]byte, 18))), OK, 1},
		"tagged":        {ether(0x8100, tag(3, 0x0806, request)), OK, 1},
		"rarp":          {ether(0x8035, cat(request[:6], be16(3), request[8:])), OK, 3},
		"in a tunnel":   {ether(0x0800, ip4(protoUDP, udpDatagram(5, 4789, cat([]byte{8, 0, 0, 0, 0, 1, 0, 0}, ether(0x0806, request))))), OK, 1},
		"of appletalk":  {ether(0x0806, cat(be16(1), be16(0x809b), request[4:])), NonIP, 0},
		"cut on a wire": {ether(0x0806, request[:20]), Malformed, 0},
	} {
		p, v := decodeOne(t, 1, c.frame)
		if v != c.v {
			t.Errorf("%s: verdict %v", name, v)
		}
		if v == OK && (p.EtherType != 0x0806 || p.Src.String() != "10.0.0.1" || p.Dst.String() != "10.0.0.2" || p.SrcPort != c.operation ||
			p.DstPort != 0 || p.Protocol != 0 || p.IPLen != 28 || p.PayloadLen != 0 || p.Payload != nil || p.TTL != 0) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestQuoted: the errors name the packet they are about.
func TestQuoted(t *testing.T) {
	udp := udpDatagram(1000, 2000, []byte("hello"))
	udp4, udp6 := ip4(protoUDP, udp), ip6(protoUDP, udp)
	error4 := func(typ byte, quoted []byte) []byte {
		return ether(0x0800, ip4(protoICMP, cat([]byte{typ, 3, 0, 0, 0, 0, 0, 0}, quoted)))
	}
	error6 := func(typ byte, quoted []byte) []byte {
		return ether(0x86dd, ip6(protoICMPv6, cat([]byte{typ, 3, 0, 0, 0, 0, 0, 0}, quoted)))
	}
	hop := func(next byte, b []byte) []byte { return ip6(0, cat([]byte{next, 0, 1, 4, 0, 0, 0, 0}, b)) }
	q4 := Quoted{Protocol: protoUDP, SrcPort: 1000, DstPort: 2000}
	for _, c := range []struct {
		name  string
		frame []byte
		src   string
		want  Quoted
	}{
		{"unreachable", error4(3, udp4[:28]), "10.0.0.1", q4},
		{"quench", error4(4, udp4), "10.0.0.1", q4},
		{"redirect", error4(5, udp4), "10.0.0.1", q4},
		{"time exceeded", error4(11, udp4), "10.0.0.1", q4},
		{"parameter", error4(12, udp4), "10.0.0.1", q4},
		{"quoted options", error4(3, ip4frag(protoUDP, 1, 0, make([]byte, 8), udp)), "10.0.0.1", q4},
		{"quoted echo", error4(3, ip4(protoICMP, echo(8, 77))), "10.0.0.1", Quoted{Protocol: protoICMP, SrcPort: 8, ICMPID: 77}},
		{"quoted later fragment", error4(3, ip4frag(protoUDP, 1, 8, nil, udp)), "10.0.0.1", Quoted{Protocol: protoUDP}},
		{"quoted tunnel", error4(3, ip4(47, cat(be16(0), be16(0x0800), udp4))), "10.0.0.1", Quoted{Protocol: 47}},
		{"no ports quoted", error4(3, udp4[:20]), "10.0.0.1", Quoted{Protocol: protoUDP}},
		{"header quoted in part", error4(3, udp4[:19]), "", Quoted{}},
		{"echo quotes nothing", error4(8, udp4), "", Quoted{}},
		{"six unreachable", error6(1, udp6), "fd00::1", q4},
		{"six too big", error6(2, udp6[:48]), "fd00::1", q4},
		{"six time", error6(3, hop(protoUDP, udp)), "fd00::1", q4},
		{"six fragment header", error6(4, ip6(44, cat([]byte{protoUDP, 0}, be16(1), be32(1), udp))), "fd00::1", q4},
		{"six later fragment", error6(4, ip6(44, cat([]byte{protoUDP, 0}, be16(64), be32(1), udp))), "fd00::1", Quoted{Protocol: protoUDP}},
		{"six chain cut", error6(1, hop(60, []byte{protoUDP})), "", Quoted{}},
		{"six redirect", ether(0x86dd, ip6(protoICMPv6, cat([]byte{137, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 32),
			[]byte{2, 1, 2, 0, 0, 0, 0, 1}, []byte{4, byte((8 + len(udp6) + 7) / 8), 0, 0, 0, 0, 0, 0}, udp6, make([]byte, 3)))), "fd00::1", q4},
		{"four in the error of six", error6(1, udp4), "10.0.0.1", q4},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, v := decodeOne(t, 1, c.frame)
			q := p.Quoted
			if q.Protocol == 0 && q != (Quoted{}) {
				t.Errorf("no protocol, but %+v", q)
			}
			if q.Protocol != 0 && q.Src.String() != c.src {
				t.Errorf("quoted source %v", q.Src)
			}
			q.Src, q.Dst = flow.Addr{}, flow.Addr{}
			if v != OK || q != c.want {
				t.Errorf("verdict %v\n(-got +want)\n-%+v\n+%+v", v, q, c.want)
			}
		})
	}
	frame := error4(3, udp4)
	if p, _ := decodeOne(t, 1, frame); !bytes.Equal(p.Payload, udp4) {
		t.Errorf("payload %q", p.Payload)
	}
}

// TestTunnelPorts: the sieve lets every tunnel's port through, and no common service's.
func TestTunnelPorts(t *testing.T) {
	for port := range uint16(65535) {
		if got := tunnelPorts(port, 9); got != tunnelPort(port) || tunnelPorts(9, port) != got {
			t.Errorf("port %d: %v", port, got)
		}
	}
	for _, port := range []uint16{53, 80, 123, 443, 500, 4500, 5353, 51820} {
		if sieve>>(port*sieveFactor>>10)&1 != 0 {
			t.Errorf("port %d is not kept back", port)
		}
	}
}
