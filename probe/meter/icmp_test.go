package meter

import (
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestQuoted: an ICMP error counts in the flow that it quotes, whichever way
// the quoted packet went, and only in its VLAN and tunnel.
func TestQuoted(t *testing.T) {
	router := address(172, 1)
	unreachable := func(at float64, quoted *decode.Packet, code uint16) *decode.Packet {
		p := datagram(at, flow.ProtoICMP, false, 3, code, 0)
		p.Src, p.Dst = router, quoted.Src
		p.Quoted = decode.Quoted{Src: quoted.Src, Dst: quoted.Dst, SrcPort: quoted.SrcPort, DstPort: quoted.DstPort, Protocol: quoted.Protocol, ICMPID: quoted.ICMPID}
		return p
	}
	udp := func(at float64, back bool) *decode.Packet {
		p := datagram(at, flow.ProtoUDP, back, 5000, 6000, 0)
		if back {
			p.SrcPort, p.DstPort = 6000, 5000
		}
		p.PayloadLen = 12
		return p
	}
	syn := packet{0, 'c', "S 100"}.decoded()
	for _, c := range []struct {
		name          string
		packets       []*decode.Packet
		errors        uint32
		last          uint16
		packetsOfFlow uint64
	}{
		{"one datagram", []*decode.Packet{udp(0, false), unreachable(0.1, udp(0, false), 3)}, 1, 3<<8 | 3, 1},
		{"an answer", []*decode.Packet{udp(0, false), udp(0.1, true), unreachable(0.2, udp(0, true), 1)}, 1, 3<<8 | 1, 2},
		{"several", []*decode.Packet{udp(0, false), unreachable(0.1, udp(0, false), 3), udp(0.2, false), unreachable(0.3, udp(0, false), 3)}, 2, 3<<8 | 3, 2},
		{"a SYN", []*decode.Packet{syn, unreachable(0.1, syn, 10), packet{1, 'c', "S 100"}.decoded()}, 1, 3<<8 | 10, 2},
		{"an echo", []*decode.Packet{echo(0, 8, 7), unreachable(0.1, echo(0, 8, 7), 0)}, 1, 3 << 8, 1},
		{"another flow", []*decode.Packet{udp(0, false), unreachable(0.1, packet{0, 'c', "S 1"}.decoded(), 3)}, 0, 0, 1},
		{"after its time", []*decode.Packet{udp(0, false), unreachable(5.1, udp(0, false), 3)}, 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, vlan := range []uint16{0, 9} { // of the error
				l := newLab(Config{})
				for _, p := range c.packets {
					one := *p
					if one.Quoted.Protocol != 0 {
						one.VLAN = vlan
					}
					l.Observe(&one)
				}
				l.Flush(flow.EndForced)
				r := &l.out[0]
				errors, last := c.errors, c.last
				if vlan != 0 {
					errors, last = 0, 0
				}
				if r.ICMPErrors != errors || r.ICMPError != last || r.Packets() != c.packetsOfFlow {
					t.Errorf("VLAN %d: %d errors, the last %#x, %d packets", vlan, r.ICMPErrors, r.ICMPError, r.Packets())
				}
				if len(l.out) != 2 || c.errors > 0 && l.out[1].SrcIP != router || l.out[1].ICMPErrors != 0 {
					t.Errorf("VLAN %d: %d records", vlan, len(l.out))
				}
			}
		})
	}
}

func echo(at float64, typ, id uint16) *decode.Packet {
	p := datagram(at, flow.ProtoICMP, false, typ, 0, 0)
	p.ICMPID = id
	return p
}

func arp(at float64, op uint16, sender, target flow.Addr) *decode.Packet {
	return &decode.Packet{Time: base + int64(at*1e9), FrameLen: 42, IPLen: 28, EtherType: 0x0806, Src: sender, Dst: target, SrcPort: op}
}

// TestARP: a request and its answer are one flow of the requester; what nobody
// asked for is a flow of its own.
func TestARP(t *testing.T) {
	for _, c := range []struct {
		name    string
		packets []*decode.Packet
		want    []string
	}{
		{"answered", []*decode.Packet{arp(0, 1, client, server), arp(0.1, 2, server, client)}, []string{"10.0.0.9 10.0.0.1 op 1 1/1"}},
		{"unanswered, repeated", []*decode.Packet{arp(0, 1, client, server), arp(1, 1, client, server)}, []string{"10.0.0.9 10.0.0.1 op 1 2/0"}},
		{"both ask", []*decode.Packet{arp(0, 1, client, server), arp(0.1, 2, server, client), arp(1, 1, server, client), arp(1.1, 2, client, server)},
			[]string{"10.0.0.9 10.0.0.1 op 1 1/1", "10.0.0.1 10.0.0.9 op 1 1/1"}},
		{"the answer only", []*decode.Packet{arp(0, 2, server, client)}, []string{"10.0.0.9 10.0.0.1 op 1 0/1 guessed"}},
		{"gratuitous", []*decode.Packet{arp(0, 1, client, client), arp(0.1, 2, client, client)}, []string{"10.0.0.9 10.0.0.9 op 1 1/0", "10.0.0.9 10.0.0.9 op 2 1/0"}},
		{"probe", []*decode.Packet{arp(0, 1, flow.Addr{10: 0xff, 11: 0xff}, server), arp(0.1, 2, server, flow.Addr{10: 0xff, 11: 0xff})}, []string{"0.0.0.0 10.0.0.1 op 1 1/1"}},
		{"inverse", []*decode.Packet{arp(0, 8, client, server), arp(0.1, 9, server, client)}, []string{"10.0.0.9 10.0.0.1 op 8 1/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(Config{})
			for _, p := range c.packets {
				l.Observe(p)
			}
			l.Observe(datagram(2, 0, false, 0, 0, 0)) // IP protocol 0 between the same addresses is another flow
			l.Flush(flow.EndForced)
			if len(l.out) != len(c.want)+1 {
				t.Fatalf("%d records: %+v", len(l.out), l.out)
			}
			for i, w := range c.want {
				r := &l.out[i]
				got := r.SrcIP.String() + " " + r.DstIP.String() + " op " + itoa(uint64(r.SrcPort)) + " " + itoa(r.SrcPackets) + "/" + itoa(r.DstPackets)
				if r.InitiatorGuessed {
					got += " guessed"
				}
				if got != w || r.EtherType != 0x0806 || r.App != "arp" || r.AppSource != flow.AppDPI || r.ConnState != flow.ConnNone || r.DstPort != 0 || r.Protocol != 0 {
					t.Errorf("got %s, want %s; %+v", got, w, r)
				}
			}
			if last := &l.out[len(c.want)]; last.EtherType != 0 || last.App != "" {
				t.Errorf("IP protocol 0: %+v", last)
			}
		})
	}
}

// TestNeighbourDiscovery: solicitation and advertisement are one flow where
// they go between the same addresses. An answer to a solicited-node multicast
// comes from an address that the first does not have: two flows, as the
// Community ID has them.
func TestNeighbourDiscovery(t *testing.T) {
	a, b := flow.Addr{0: 0xfe, 1: 0x80, 15: 1}, flow.Addr{0: 0xfe, 1: 0x80, 15: 2}
	group := flow.Addr{0: 0xff, 1: 2, 11: 1, 12: 0xff, 15: 2}
	nd := func(at float64, typ uint16, src, dst flow.Addr) *decode.Packet {
		p := datagram(at, flow.ProtoICMPv6, false, typ, 0, 0)
		p.Src, p.Dst = src, dst
		return p
	}
	for _, c := range []struct {
		name    string
		packets []*decode.Packet
		records int
	}{
		{"unicast", []*decode.Packet{nd(0, 135, a, b), nd(0.1, 136, b, a)}, 1},
		{"router", []*decode.Packet{nd(0, 133, a, b), nd(0.1, 134, b, a)}, 1},
		{"multicast", []*decode.Packet{nd(0, 135, a, group), nd(0.1, 136, b, a)}, 2},
	} {
		l := newLab(Config{})
		for _, p := range c.packets {
			l.Observe(p)
		}
		l.Flush(flow.EndForced)
		if len(l.out) != c.records || l.out[0].SrcIP != a || l.out[0].SrcPort != c.packets[0].SrcPort {
			t.Errorf("%s: %d records, %+v", c.name, len(l.out), l.out)
		}
	}
}

func itoa(n uint64) string { return string(rune('0' + n)) }
