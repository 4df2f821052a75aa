package meter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	second = int64(time.Second)
	base   = 1_700_000_000 * second
)

var (
	client = flow.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 9}
	server = flow.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}
)

// lab is a Table whose records are kept as text.
type lab struct {
	*Table
	out []flow.Record
}

func newLab(cfg Config) *lab {
	l := &lab{}
	l.Table = New(cfg, nil, func(r *flow.Record) { l.out = append(l.out, *r) })
	return l
}

// packet is a packet from client (c) or server (s) at a time in seconds after
// base. TCP is written as flags and sequence, e.g. "S 100", "A 101 501 20" for
// flags, sequence, acknowledgement, payload.
type packet struct {
	at   float64
	from byte
	tcp  string
}

func (k packet) decoded() *decode.Packet {
	p := &decode.Packet{Time: base + int64(k.at*1e9), FrameLen: 54, IPLen: 40, TTL: 64, Protocol: flow.ProtoTCP, Window: 100,
		Src: client, Dst: server, SrcPort: 40000, DstPort: 80}
	if k.from == 's' {
		p.Src, p.Dst, p.SrcPort, p.DstPort = server, client, 80, 40000
	}
	var flags string
	fmt.Sscan(k.tcp, &flags, &p.Seq, &p.Ack, &p.PayloadLen)
	for _, c := range flags {
		p.Flags |= map[rune]uint8{'F': flagFIN, 'S': flagSYN, 'R': flagRST, 'A': flagACK}[c]
	}
	if strings.Contains(flags, "w") {
		p.Window = 0
	}
	p.IPLen += p.PayloadLen
	p.FrameLen += p.PayloadLen
	return p
}

func summary(r *flow.Record) string {
	s := fmt.Sprintf("#%d.%d %s %s %s %d/%d %d/%d", r.FlowID, r.Segment, r.ConnState, r.History, r.EndReason, r.SrcPackets, r.DstPackets, r.SrcPayloadBytes, r.DstPayloadBytes)
	if r.SrcRetransmits+r.DstRetransmits > 0 {
		s += fmt.Sprintf(" resent %d/%d", r.SrcRetransmits, r.DstRetransmits)
	}
	if r.SrcOutOfOrder+r.DstOutOfOrder > 0 {
		s += fmt.Sprintf(" late %d/%d", r.SrcOutOfOrder, r.DstOutOfOrder)
	}
	if r.InitiatorGuessed {
		s += " guessed"
	}
	if r.SrcIP != client {
		s += " from server"
	}
	return s
}

// TestConnections gives TCP conversations and the records they must make.
func TestConnections(t *testing.T) {
	open := []packet{{0, 'c', "S 100"}, {0.01, 's', "SA 500 101"}, {0.02, 'c', "A 101 501"}}
	from := func(more ...packet) []packet { return append(open[:len(open):len(open)], more...) }
	for _, c := range []struct {
		name    string
		packets []packet
		want    []string
	}{
		{"ordinary", from(packet{1, 'c', "A 101 501 10"}, packet{1.1, 's', "A 501 111 20"}, packet{2, 'c', "FA 111 521"}, packet{2.1, 's', "FA 521 112"}, packet{2.2, 'c', "A 112 522"}),
			[]string{"#1.0 SF ShADdFf end 5/3 10/20"}},
		{"open", open, []string{"#1.0 S1 ShA forced 2/1 0/0"}},
		{"unanswered, repeated", []packet{{0, 'c', "S 100"}, {1, 'c', "S 100"}, {3, 'c', "S 100"}, {7, 'c', "S 100"}}, []string{"#1.0 S0 S forced 4/0 0/0"}},
		{"unanswered, again after the timeout", []packet{{0, 'c', "S 100"}, {5, 'c', "S 100"}}, []string{"#1.0 S0 S idle 1/0 0/0", "#2.0 S0 S forced 1/0 0/0"}},
		{"another attempt with another number", []packet{{0, 'c', "S 100"}, {1, 'c', "S 200"}}, []string{"#1.0 S0 S end 1/0 0/0", "#2.0 S0 S forced 1/0 0/0"}},
		{"rejected", []packet{{0, 'c', "S 100"}, {0.1, 's', "RA 0 101"}}, []string{"#1.0 REJ Sr end 1/1 0/0"}},
		{"rejected twice", []packet{{0, 'c', "S 100"}, {0.1, 's', "RA 0 101"}, {0.6, 'c', "S 100"}, {0.7, 's', "RA 0 101"}}, []string{"#1.0 REJ Sr end 1/1 0/0", "#2.0 REJ Sr end 1/1 0/0"}},
		{"aborted by the initiator", from(packet{1, 'c', "RA 101 501"}), []string{"#1.0 RSTO ShAR end 3/1 0/0"}},
		{"aborted by the responder", from(packet{1, 's', "R 501"}), []string{"#1.0 RSTR ShAr end 2/2 0/0"}},
		{"half open scan", []packet{{0, 'c', "S 100"}, {0.1, 's', "SA 500 101"}, {0.2, 'c', "R 101"}}, []string{"#1.0 RSTO ShR end 2/1 0/0"}},
		{"syn then reset", []packet{{0, 'c', "S 100"}, {0.1, 'c', "R 101"}}, []string{"#1.0 RSTOS0 SR end 2/0 0/0"}},
		{"syn then fin", []packet{{0, 'c', "S 100"}, {0.1, 'c', "FA 101 1"}}, []string{"#1.0 SH SF end 2/0 0/0"}},
		{"initiator closed only", from(packet{1, 'c', "FA 101 501"}, packet{1.1, 's', "A 501 102"}), []string{"#1.0 S2 ShAFa forced 3/2 0/0"}},
		{"responder closed only", from(packet{1, 's', "FA 501 101"}, packet{1.1, 'c', "A 101 502"}), []string{"#1.0 S3 ShAf forced 3/2 0/0"}},
		{"what trails belongs to it", from(packet{1, 'c', "FA 101 501"}, packet{1.1, 's', "FA 501 102"}, packet{5, 's', "FA 501 102"}, packet{9, 'c', "A 102 502"}),
			[]string{"#1.0 SF ShAFf end 4/3 0/0"}},
		{"the same ports again", from(packet{1, 'c', "FA 101 501"}, packet{1.1, 's', "FA 501 102"}, packet{1.2, 'c', "S 900"}),
			[]string{"#1.0 SF ShAFf end 3/2 0/0", "#2.0 S0 S forced 1/0 0/0"}},
		{"sent again, and late", from(packet{1, 'c', "A 101 501 10"}, packet{2, 'c', "A 121 501 10"}, packet{3, 'c', "A 111 501 10"}, packet{4, 'c', "A 111 501 10"}),
			[]string{"#1.0 S1 ShADT forced 6/1 40/0 resent 1/0 late 1/0"}},
		{"lost before the tap", from(packet{1, 'c', "A 151 501 10"}, packet{1.1, 's', "A 501 161"}), []string{"#1.0 S1 ShADaG forced 3/2 10/0"}},
		{"keep-alive", from(packet{1, 'c', "A 101 501 10"}, packet{2, 'c', "A 110 501 1"}), []string{"#1.0 S1 ShADT forced 4/1 11/0"}},
		{"window closed", from(packet{1, 's', "Aw 501 101"}), []string{"#1.0 S1 ShAaw forced 2/2 0/0"}},
		{"middle, from the service", []packet{{0, 's', "A 501 101 10"}, {1, 'c', "A 101 511"}}, []string{"#1.0 OTH ^dA forced 1/1 0/10 guessed"}},
		{"begins with the syn-ack", []packet{{0, 's', "SA 500 101"}, {0.1, 'c', "A 101 501"}}, []string{"#1.0 S1 ^hA forced 1/1 0/0 guessed"}},
		{"syn and syn-ack exchanged", []packet{{0, 's', "SA 500 101"}, {0.1, 'c', "S 100"}, {0.2, 'c', "A 101 501"}}, []string{"#1.0 S1 ^hSA forced 2/1 0/0"}},
		{"idle, and on again", from(packet{31, 'c', "A 101 501 10"}, packet{90, 's', "RA 501 111"}), []string{"#1.0 S1 ShA idle 2/1 0/0", "#1.1 S1 ShAD idle 1/0 10/0", "#1.2 RSTR ShADr end 0/1 0/0"}},
		{"idle for good", from(packet{302.02, 'c', "A 101 501 10"}), []string{"#1.0 S1 ShA idle 2/1 0/0", "#2.0 OTH D forced 1/0 10/0 guessed"}},
		{"idle, then a new one", from(packet{40, 'c', "S 777"}), []string{"#1.0 S1 ShA idle 2/1 0/0", "#2.0 S0 S forced 1/0 0/0"}},
		{"cut by the active timeout", from(packet{25, 'c', "A 101 501 1"}, packet{50, 's', "A 501 102 2"}, packet{60, 'c', "A 102 503 3"}, packet{85, 'c', "RA 105 503"}),
			[]string{"#1.0 S1 ShADd active 3/2 1/2", "#1.1 RSTO ShADdR end 2/0 3/0"}},
		{"null scan", []packet{{0, 'c', "- 1"}}, []string{"#1.0 OTH  forced 1/0 0/0 guessed"}},
		{"christmas", []packet{{0, 'c', "FSR 1"}}, []string{"#1.0 OTH I end 1/0 0/0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(Config{})
			for _, k := range c.packets {
				l.Observe(k.decoded())
			}
			l.Flush(flow.EndForced)
			var got []string
			for _, r := range l.out {
				got = append(got, summary(&r))
			}
			if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("(-got +want)\n-%s\n+%s", strings.ReplaceAll(g, "\n", "\n-"), strings.ReplaceAll(w, "\n", "\n+"))
			}
		})
	}
}

func TestRecordFields(t *testing.T) {
	l := newLab(Config{})
	for i, k := range []packet{{0, 'c', "S 100"}, {0.010, 's', "SA 500 101"}, {0.013, 'c', "A 101 501"}} {
		p := k.decoded()
		p.VLAN, p.VLANInner, p.SrcMAC, p.DstMAC, p.TTL = 7, 8, 1, 2, uint8(60+i)
		l.ObserveOn(p, "eth1")
	}
	l.Flush(flow.EndForced)
	r := l.out[0]
	want := flow.Record{
		Interface: "eth1", VLAN: 7, VLANInner: 8, SrcMAC: 1, DstMAC: 2, SrcIP: client, DstIP: server, SrcPort: 40000, DstPort: 80, Protocol: 6,
		Start: base, End: base + 13e6, EndReason: flow.EndForced, FlowID: 1, SrcPackets: 2, DstPackets: 1, SrcBytes: 80, DstBytes: 40,
		SrcFrameBytes: 108, DstFrameBytes: 54, SrcTCPFlags: flagSYN | flagACK, DstTCPFlags: flagSYN | flagACK, ConnState: flow.ConnS1, History: "ShA",
		DstRTT: 10000, SrcRTT: 3000, SrcTTL: 60, DstTTL: 61, Response: 10000,
		SrcSizeBins: []uint32{2}, DstSizeBins: []uint32{1}, SrcSizeMin: 40, SrcSizeMax: 40, DstSizeMin: 40, DstSizeMax: 40,
		SrcIATMin: 13000, SrcIATMax: 13000, SrcIATMean: 13000,
	}
	if g, w := fmt.Sprintf("%+v", r), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("(-got +want)\n-%s\n+%s", g, w)
	}
}

func datagram(at float64, proto uint8, fromServer bool, sport, dport uint16, id uint16) *decode.Packet {
	p := &decode.Packet{Time: base + int64(at*1e9), FrameLen: 60, IPLen: 46, PayloadLen: 18, Protocol: proto, Src: client, Dst: server, SrcPort: sport, DstPort: dport, ICMPID: id}
	if fromServer {
		p.Src, p.Dst = server, client
	}
	return p
}

// TestDatagrams: UDP and ICMP.
func TestDatagrams(t *testing.T) {
	multicast := datagram(0, flow.ProtoUDP, true, 5353, 40000, 0)
	multicast.Dst = flow.Addr{10: 0xff, 11: 0xff, 12: 224, 15: 251}
	for _, c := range []struct {
		name    string
		packets []*decode.Packet
		want    string
	}{
		{"answered", []*decode.Packet{datagram(0, 17, false, 40000, 53, 0), datagram(1, 17, true, 53, 40000, 0)}, "40000>53 SF Dd 1/1"},
		{"one-sided", []*decode.Packet{datagram(0, 17, false, 40000, 53, 0)}, "40000>53 S0 D 1/0"},
		{"answer only", []*decode.Packet{datagram(0, 17, true, 53, 40000, 0)}, "40000>53 SHR ^d 0/1 guessed"},
		{"multicast is not turned round", []*decode.Packet{multicast}, "5353>40000 S0 D 1/0"},
		{"echo", []*decode.Packet{datagram(0, 1, false, 8, 0, 5), datagram(1, 1, true, 0, 0, 5)}, "8>0 SF  1/1"},
		{"echo both ways", []*decode.Packet{datagram(0, 1, false, 8, 0, 5), datagram(1, 1, true, 8, 0, 5)}, "8>0 S0  1/0; 8>0 S0  1/0"},
		{"two pings", []*decode.Packet{datagram(0, 1, false, 8, 0, 5), datagram(1, 1, false, 8, 0, 6)}, "8>0 S0  1/0; 8>0 S0  1/0"},
		{"echo reply only", []*decode.Packet{datagram(0, 1, true, 0, 0, 5)}, "8>0 OTH  0/1 guessed"},
		{"unreachable both ways", []*decode.Packet{datagram(0, 1, false, 3, 1, 0), datagram(1, 1, true, 3, 1, 0)}, "3>1 S0  1/0; 3>1 S0  1/0"},
		{"solicitation", []*decode.Packet{datagram(0, 58, false, 135, 0, 0), datagram(1, 58, true, 136, 0, 0)}, "135>0 SF  1/1"},
		{"sctp", []*decode.Packet{datagram(0, 132, true, 80, 40000, 0)}, "40000>80   0/1 guessed"},
		{"esp", []*decode.Packet{datagram(0, 50, false, 0, 0, 0), datagram(1, 50, true, 0, 0, 0)}, "0>0   1/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(Config{})
			for _, p := range c.packets {
				l.Observe(p)
			}
			l.Flush(flow.EndForced)
			var got []string
			for _, r := range l.out {
				s := fmt.Sprintf("%d>%d %s %s %d/%d", r.SrcPort, r.DstPort, r.ConnState, r.History, r.SrcPackets, r.DstPackets)
				if r.InitiatorGuessed {
					s += " guessed"
				}
				got = append(got, s)
			}
			if g := strings.Join(got, "; "); g != c.want {
				t.Errorf("(-got +want)\n-%s\n+%s", g, c.want)
			}
		})
	}
}

// TestTime: idle ticks, the watermark, and clocks that jump.
func TestTime(t *testing.T) {
	l := newLab(Config{})
	l.Observe(packet{0, 'c', "S 100"}.decoded())
	if l.Watermark() != base || l.Clock() != base {
		t.Errorf("watermark %d, clock %d", l.Watermark()-base, l.Clock()-base)
	}
	l.Advance(base + 4*second)
	if l.Open() != 1 || l.Watermark() != base {
		t.Errorf("after 4 s: open %d, watermark %d", l.Open(), l.Watermark()-base)
	}
	l.Advance(base + 6*second)
	if l.Open() != 0 || len(l.out) != 1 || l.out[0].EndReason != flow.EndIdle || l.Watermark() != base+6*second {
		t.Errorf("after 6 s: open %d, %d records, watermark %d", l.Open(), len(l.out), l.Watermark()-base)
	}

	// A packet from the far future does not stop time for the others.
	l = newLab(Config{})
	l.Observe(packet{1e8, 'c', "S 1"}.decoded())
	for i := range 200 {
		p := datagram(float64(i), 17, false, uint16(1000+i), 53, 0)
		l.Observe(p)
	}
	if s := l.Stats(); s.ClockSteps != 1 || l.Open() > 10 {
		t.Errorf("%d flows open, stats %+v", l.Open(), s)
	}

	// Small steps back are no reason for anything.
	l = newLab(Config{})
	for i := range 100 {
		l.Observe(datagram(100-float64(i)/2, 17, false, 1000, 53, 0))
	}
	l.Flush(flow.EndForced)
	if len(l.out) != 1 || l.out[0].SrcPackets != 100 || l.out[0].End != l.out[0].Start {
		t.Errorf("%d records, first %+v", len(l.out), l.out[0])
	}

	// Another capture may begin earlier after Flush.
	l.Observe(datagram(-1e6, 17, false, 1000, 53, 0))
	l.Advance(base - 1e6*second + 6*second)
	if l.Open() != 0 {
		t.Error("flow of an earlier capture still open")
	}
}

// TestWatermark compares the watermark with the starts of the open flows, with
// packets in disorder.
func TestWatermark(t *testing.T) {
	l := newLab(Config{MaxFlows: 300})
	starts := map[uint64]int64{}
	l.emit = func(r *flow.Record) { delete(starts, r.FlowID) }
	x := uint32(1)
	for i := range 20_000 {
		x = x*1664525 + 1013904223
		p := datagram(float64(i)/50-float64(x>>16%400)/100, 17, x&1 == 0, uint16(x>>8), 53, 0)
		if x>>20&63 == 0 {
			p.Time -= 50 * second
		}
		before := l.nextID
		l.Observe(p)
		if l.nextID != before {
			starts[l.nextID] = p.Time
		}
		oldest := l.Clock()
		for _, s := range starts {
			oldest = min(oldest, s)
		}
		if len(starts) != l.Open() {
			t.Fatalf("packet %d: %d open, %d known", i, l.Open(), len(starts))
		}
		if w := l.Watermark(); w > oldest {
			t.Fatalf("packet %d: watermark %d, oldest open %d", i, w-base, oldest-base)
		}
	}
	l.Flush(flow.EndForced)
	if l.dormant != 0 || l.entries.used != 0 || l.order.misplaced != 0 || l.order.head != 0 || l.index.used != 0 {
		t.Errorf("left over: %+v, %d in the index", l.order, l.index.used)
	}
}
