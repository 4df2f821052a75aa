package mirror

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
)

// segment is one TCP segment of a crafted capture, with all that a mirror can do to it.
type segment struct {
	time       int64
	client     uint8 // connection
	up         bool  // from the client
	flags      uint8
	seq, ack   uint32
	payload    []byte
	id         uint16
	ttl        uint8
	vlan       uint16
	router     bool // MAC addresses behind the router
	iface      uint32
	v6         bool
	captured   int  // octets kept; 0: all
	truncated  int  // octets that the switch left; 0: all
	partialSum bool // checksum left to the card
	mss        uint16
}

const (
	fin, syn, rst, psh, ack = 1, 2, 4, 8, 16
)

// talks makes n connections with a request and an answer of several segments each, one after another.
func makeTalks(n int, v6 bool) (list []segment) {
	random := rand.New(rand.NewPCG(1, 2))
	at := int64(1_700_000_000_000_000_000)
	for c := range n {
		up, down := random.Uint32(), random.Uint32()
		ids := [2]uint16{uint16(random.Uint32()) | 1, uint16(random.Uint32()) | 1}
		send := func(toServer bool, flags uint8, payload int) {
			at += 300_000
			s := segment{time: at, client: uint8(c), up: toServer, flags: flags, ttl: 64, v6: v6, payload: make([]byte, payload)}
			for i := range s.payload {
				s.payload[i] = byte(random.Uint32())
			}
			own, other, side := &up, &down, 0
			if !toServer {
				own, other, side = &down, &up, 1
			}
			ids[side]++
			s.seq, s.ack, s.id = *own, *other, ids[side]
			if flags&syn != 0 {
				s.mss = 1460
				if flags&ack == 0 {
					s.ack = 0
				}
				*own++
			}
			*own += uint32(payload)
			if flags&fin != 0 {
				*own++
			}
			list = append(list, s)
		}
		send(true, syn, 0)
		send(false, syn|ack, 0)
		send(true, ack, 0)
		send(true, ack|psh, 300)
		send(false, ack, 0)
		for range 6 {
			send(false, ack|psh, 1400)
			send(false, ack|psh, 1400)
			send(true, ack, 0)
		}
		send(false, fin|ack, 0)
		send(true, fin|ack, 0)
		send(false, ack, 0)
	}
	return list
}

// frame builds the frame of s and its length on the wire.
func (s *segment) frame() ([]byte, uint32) {
	client, server := []byte{2, 0, 0, 0, 0, s.client}, []byte{2, 0, 0, 0, 1, 1}
	if s.router {
		client, server = []byte{2, 0, 0, 0, 2, 1}, []byte{2, 0, 0, 0, 2, 2}
	}
	src, dst, sport, dport := client, server, 40000+uint16(s.client), uint16(443)
	if !s.up {
		src, dst, sport, dport = dst, src, dport, sport
	}
	b := append(append([]byte(nil), dst...), src...)
	if s.vlan != 0 {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0), s.vlan)
	}
	hl := 20
	if s.mss != 0 {
		hl = 24
	}
	tcp := binary.BigEndian.AppendUint16(nil, sport)
	tcp = binary.BigEndian.AppendUint16(tcp, dport)
	tcp = binary.BigEndian.AppendUint32(tcp, s.seq)
	tcp = binary.BigEndian.AppendUint32(tcp, s.ack)
	tcp = append(tcp, byte(hl/4)<<4, s.flags, 0x20, 0, 0, 0, 0, 0)
	if s.mss != 0 {
		tcp = binary.BigEndian.AppendUint16(append(tcp, 2, 4), s.mss)
	}
	tcp = append(tcp, s.payload...)
	var ip []byte
	var addresses []byte
	if s.v6 {
		b = append(b, 0x86, 0xdd)
		a := append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 12)...)
		z := slices.Clone(a)
		a[15], z[15] = s.client+2, 1
		if !s.up {
			a, z = z, a
		}
		ip = append([]byte{0x60, 0, 0, 0, byte(len(tcp) >> 8), byte(len(tcp)), 6, s.ttl}, append(a, z...)...)
		addresses = ip[8:40]
	} else {
		b = append(b, 8, 0)
		a, z := []byte{10, 0, 0, s.client + 2}, []byte{10, 0, 1, 1}
		if !s.up {
			a, z = z, a
		}
		n := 20 + len(tcp)
		ip = append([]byte{0x45, 0, byte(n >> 8), byte(n), byte(s.id >> 8), byte(s.id), 0x40, 0, s.ttl, 6, 0, 0}, append(a, z...)...)
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip)))
		addresses = ip[12:20]
	}
	pseudo := sum(addresses) + 6 + uint64(len(tcp))
	if s.partialSum {
		binary.BigEndian.PutUint16(tcp[16:], fold(pseudo))
	} else {
		binary.BigEndian.PutUint16(tcp[16:], ^fold(pseudo+sum(tcp)))
	}
	b = append(append(b, ip...), tcp...)
	n := len(b)
	if s.truncated > 0 && n > s.truncated {
		b, n = b[:s.truncated], s.truncated
	}
	if s.captured > 0 && n > s.captured {
		b = b[:s.captured]
	}
	return b, uint32(n)
}

// crafted is a capture.Source of segments.
type crafted struct {
	list []segment
	at   int
}

func (c *crafted) Next(f *capture.Frame) error {
	if c.at == len(c.list) {
		return io.EOF
	}
	s := &c.list[c.at]
	c.at++
	b, n := s.frame()
	*f = capture.Frame{Time: s.time, Data: b, Len: n, LinkType: capture.LinkEthernet, Interface: s.iface}
	return nil
}

func (c *crafted) Stats() capture.Stats { return capture.Stats{} }
func (c *crafted) Interfaces() []string { return []string{"eth0", "eth1"} }
func (c *crafted) Close() error         { return nil }

// change applies fn to each segment; false drops it.
func change(list []segment, fn func(s *segment) bool) (out []segment) {
	for _, s := range list {
		if fn(&s) {
			out = append(out, s)
		}
	}
	return out
}

// twice lets each segment be followed by a changed copy of it.
func twice(list []segment, fn func(s *segment)) (out []segment) {
	for _, s := range list {
		second := s
		fn(&second)
		out = append(out, s, second)
	}
	slices.SortStableFunc(out, func(a, b segment) int { return int(max(min(a.time-b.time, 1), -1)) })
	return out
}

// TestStates: each fault of a mirror, in a capture that has it and nothing else, is found as what it is and as nothing else.
func TestStates(t *testing.T) {
	good, good6 := makeTalks(40, false), makeTalks(40, true)
	random := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name string
		list []segment
		cfg  Config
		want []Kind // nil: nothing is found
		hint string // a part of it
	}{
		{name: "good", list: good},
		{name: "good over IPv6", list: good6},
		{name: "good in a VLAN", list: change(good, func(s *segment) bool { s.vlan = 10; return true }), cfg: Config{VLANs: []uint16{10}}},
		{name: "one way", list: change(good, func(s *segment) bool { return s.up }), want: []Kind{OneWay}, hint: "both"},
		{name: "the other way", list: change(good, func(s *segment) bool { return !s.up }), want: []Kind{OneWay}, hint: "both"},
		{name: "a scan without answers", list: change(good, func(s *segment) bool { return s.flags == syn })},
		{name: "refused scan, one side", list: change(good, func(s *segment) bool {
			s.flags, s.payload, s.mss = rst|ack, nil, 0
			return !s.up
		})},
		{name: "doubled", list: twice(good, func(s *segment) { s.time += 5_000 }), want: []Kind{Doubled}, hint: "'rx'"},
		{name: "doubled over IPv6", list: twice(good6, func(s *segment) { s.time += 5_000 }), want: []Kind{Doubled}, hint: "'rx'"},
		{name: "both sides of a router", list: twice(good, func(s *segment) { s.time += 50_000; s.ttl--; s.router = true }), want: []Kind{Doubled}, hint: "router"},
		{name: "trunk and access port", list: twice(good, func(s *segment) { s.time += 5_000; s.vlan = 20 }), want: []Kind{Doubled}, hint: "trunk"},
		{name: "both sides of a bridge", list: twice(good, func(s *segment) { s.time += 5_000; s.router = true }), want: []Kind{Doubled}, hint: "proxy"},
		{name: "retransmissions", list: twice(good, func(s *segment) { s.time += 1_000_000; s.id += 1000 })},
		{name: "a few doubled", list: twice(good, func(s *segment) {
			if s.time += 5_000; random.IntN(50) != 0 {
				s.id += 1000
			}
		})},
		{name: "snaplen", list: change(good, func(s *segment) bool { s.captured = 96; return true }), want: []Kind{Snaplen}, hint: "snaplen"},
		{name: "truncating session", list: change(good, func(s *segment) bool { s.truncated = 128; return true }), want: []Kind{SwitchCut}, hint: "truncat"},
		{name: "joined segments", list: change(good, func(s *segment) bool {
			if len(s.payload) == 1400 {
				s.payload = append(s.payload, s.payload...)
			}
			return true
		}), want: []Kind{Joined}, hint: "gro off"},
		{name: "jumbo frames", list: change(good, func(s *segment) bool {
			if s.mss != 0 {
				s.mss = 8960
			}
			if len(s.payload) == 1400 {
				s.payload = append(s.payload, s.payload...)
			}
			return true
		})},
		{name: "checksums of the sender's card", list: change(good, func(s *segment) bool { s.partialSum = s.up; return true }), want: []Kind{Checksum}, hint: "tx off"},
		{name: "checksums over IPv6", list: change(good6, func(s *segment) bool { s.partialSum = true; return true }), want: []Kind{Checksum}, hint: "tx off"},
		{name: "one direction tagged", list: change(good, func(s *segment) bool {
			if s.up {
				s.vlan = 10
			}
			return true
		}), want: []Kind{HalfTagged}, hint: "encapsulation replicate"},
		{name: "two tags", list: change(good, func(s *segment) bool {
			if s.vlan = 10; s.up {
				s.vlan = 11
			}
			return true
		}), want: []Kind{TwoTags}, hint: "private"},
		{name: "a VLAN is missing", list: change(append(good, makeTalks(100, true)...), func(s *segment) bool { s.vlan = 10; return true }), cfg: Config{VLANs: []uint16{10, 11}},
			want: []Kind{MissingVLAN}, hint: "allowed VLANs"},
		{name: "all tags are missing", list: makeTalks(120, false), cfg: Config{VLANs: []uint16{10}}, want: []Kind{MissingVLAN}, hint: "encapsulation replicate"},
		{name: "two clocks for one port", list: change(good, func(s *segment) bool {
			if !s.up {
				s.time -= 30_000_000
			}
			return true
		}), want: []Kind{Backwards}, hint: "PTP"},
		{name: "order within a card's queues", list: change(good, func(s *segment) bool {
			if !s.up {
				s.time -= 900_000
			}
			return true
		})},
		{name: "one clock per interface", list: twice(good, func(s *segment) { s.time += 200_000_000; s.iface = 1 }), want: []Kind{Doubled, ClockDisagree}, hint: "two sessions"},
		{name: "loss", list: change(good, func(s *segment) bool { return len(s.payload) < 1000 || random.IntN(20) != 0 }), want: []Kind{Unseen}, hint: "oversubscribed"},
		{name: "little traffic", list: change(makeTalks(3, false), func(s *segment) bool { return s.up })},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := New(c.cfg)
			observe(t, o, &crafted{list: c.list})
			var got []Kind
			hint := ""
			for _, f := range o.Findings() {
				got = append(got, f.Kind)
				if hint == "" {
					hint = f.Hint
				}
				if f.Text == "" || f.Hint == "" || f.Severity == "" {
					t.Errorf("incomplete: %+v", f)
				}
			}
			if !slices.Equal(got, c.want) || !contains(hint, c.hint) {
				t.Errorf("found %v, want %v; hint %q, want %q", got, c.want, hint, c.hint)
				for _, s := range o.Shares() {
					t.Logf("%s %s %.4f: %d of %d", s.Interface, s.Kind, s.Value, s.Count, s.Of)
				}
			}
		})
	}
}
