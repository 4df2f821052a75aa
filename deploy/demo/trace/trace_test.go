package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
)

// frame makes an Ethernet frame of a TCP or UDP packet with right checksums, tagged when vlan is not 0.
func frame(protocol uint8, from, to string, flags uint8, vlan uint16, payload string) []byte {
	source, target := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	header := 8
	if protocol == TCP {
		header = 20
	}
	l4 := make([]byte, header+len(payload))
	binary.BigEndian.PutUint16(l4, source.Port())
	binary.BigEndian.PutUint16(l4[2:], target.Port())
	at := 6
	if protocol == TCP {
		l4[12], l4[13], at = 5<<4, flags, 16
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	}
	copy(l4[header:], payload)
	binary.BigEndian.PutUint16(l4[at:], ^fold(l4, source.Addr(), target.Addr(), protocol))
	out := make([]byte, 12)
	if vlan != 0 {
		out = append(out, 0x81, 0, byte(vlan>>8), byte(vlan))
	}
	if source.Addr().Is4() {
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
		s, d := source.Addr().As4(), target.Addr().As4()
		copy(ip[12:], s[:])
		copy(ip[16:], d[:])
		return append(append(append(out, 8, 0), ip...), l4...)
	}
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
	s, d := source.Addr().As16(), target.Addr().As16()
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	return append(append(append(out, 0x86, 0xdd), ip...), l4...)
}

// fold is the one's complement sum of a segment and its pseudo-header: 0xffff when the checksum in it is right.
func fold(l4 []byte, source, target netip.Addr, protocol uint8) uint16 {
	all := append(append(source.AsSlice(), target.AsSlice()...), 0, protocol, byte(len(l4)>>8), byte(len(l4)))
	all = append(all, l4...)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		data  []byte
		ok    bool
		size  int
		vlan  uint16
		flags uint8
	}{
		{"tcp", frame(TCP, "10.0.0.1:40000", "10.0.0.2:80", SYN, 0, ""), true, 0, 0, SYN},
		{"tcp tagged", frame(TCP, "10.0.0.1:40000", "10.0.0.2:80", ACK, 30, "hello"), true, 5, 30, ACK},
		{"udp six", frame(UDP, "[fd00::1]:40000", "[fd00::2]:53", 0, 0, "abc"), true, 3, 0, 0},
		{"cut header", frame(TCP, "10.0.0.1:40000", "10.0.0.2:80", SYN, 0, "")[:50], false, 0, 0, 0},
		{"arp", append(make([]byte, 12), 8, 6, 0, 1), false, 0, 0, 0},
		{"empty", nil, false, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ok := Parse(c.data)
			if ok != c.ok {
				t.Fatalf("parsed: %v, want %v", ok, c.ok)
			}
			if ok && (h.Size != c.size || h.VLAN != c.vlan || h.Flags != c.flags) {
				t.Errorf("size %d vlan %d flags %#x, want %d %d %#x", h.Size, h.VLAN, h.Flags, c.size, c.vlan, c.flags)
			}
		})
	}
}

// TestPlace: other port, other time, right checksums, and the original untouched.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name     string
		protocol uint8
		from, to string
		vlan     uint16
	}{
		{"tcp", TCP, "10.0.0.1:40000", "10.0.0.2:80", 0},
		{"udp", UDP, "10.0.0.1:40000", "10.0.0.2:53", 0},
		{"tcp six tagged", TCP, "[fd00::1]:40000", "[fd00::2]:443", 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			request, reply := frame(c.protocol, c.from, c.to, SYN, c.vlan, "question"), frame(c.protocol, c.to, c.from, ACK, c.vlan, "answer!")
			sessions := Sessions([]Packet{{1_700_000, len(request), request}, {1_900_000, len(reply), reply}})
			if len(sessions) != 1 || len(sessions[0].Packets) != 2 {
				t.Fatalf("sessions: %+v", sessions)
			}
			before := bytes.Clone(request)
			for port := range 65536 {
				placed := sessions[0].Place(100e6, uint16(port))
				if placed[0].Time != 100_700_000 || placed[1].Time != 100_900_000 {
					t.Fatalf("times %d and %d", placed[0].Time, placed[1].Time)
				}
				for i, p := range placed {
					h, ok := Parse(p.Data)
					if !ok {
						t.Fatal("not parsed")
					}
					got := [2]uint16{h.Src.Port(), h.Dst.Port()}[i]
					if sum := fold(p.Data[h.l4:], h.Src.Addr(), h.Dst.Addr(), h.Protocol); got != uint16(port) || sum != 0xffff {
						t.Fatalf("packet %d has port %d, want %d; checksum adds up to %#x", i, got, port, sum)
					}
				}
			}
			if !bytes.Equal(request, before) {
				t.Error("the recorded packet has changed")
			}
		})
	}
}

func TestCut(t *testing.T) {
	text := func(n int, start string) string { return start + string(bytes.Repeat([]byte{'x'}, n-len(start))) }
	const client, web, tls = "10.0.0.1:40000", "10.0.0.2:80", "10.0.0.2:443"
	packets := []struct {
		from, to string
		payload  string
		keep     int
	}{
		{client, web, text(900, "GET / HTTP/1.1\r\n"), 900},
		{web, client, text(1400, "HTTP/1.1 200 OK\r\n"), keepReply},
		{web, client, text(1400, "body"), keepRest},
		{client, web, text(300, "GET /2 HTTP/1.1\r\n"), 300},
		{client, tls, text(500, "\x16\x03\x01"), 500},
		{tls, client, text(1400, "\x16\x03\x03"), keepHello},
		{client, tls, text(800, "\x17\x03\x03"), keepRest},
		{tls, client, "abc", 3},
	}
	var in []Packet
	for i, p := range packets {
		f := frame(TCP, p.from, p.to, ACK, 0, p.payload)
		in = append(in, Packet{int64(i), len(f), f})
	}
	for i, p := range Cut(in) {
		if got := len(p.Data) - 54; got != packets[i].keep {
			t.Errorf("packet %d keeps %d octets of payload, want %d", i, got, packets[i].keep)
		}
		if p.Length != 54+len(packets[i].payload) {
			t.Errorf("packet %d: length on the wire is now %d", i, p.Length)
		}
	}
}

func TestClosed(t *testing.T) {
	const a, b = "10.0.0.1:40000", "10.0.0.2:80"
	for _, c := range []struct {
		name  string
		flags []uint8
		want  bool
	}{
		{"whole", []uint8{SYN, ACK, FIN | ACK}, true},
		{"reset", []uint8{SYN, RST}, true},
		{"no end", []uint8{SYN, ACK}, false},
		{"no start", []uint8{ACK, FIN | ACK}, false},
		{"from the answer", []uint8{SYN | ACK, FIN}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var packets []Packet
			for _, flags := range c.flags {
				packets = append(packets, Packet{Data: frame(TCP, a, b, flags, 0, "")})
			}
			if got := Sessions(packets)[0].Closed(); got != c.want {
				t.Errorf("closed: %v, want %v", got, c.want)
			}
		})
	}
}

func TestReadDialects(t *testing.T) {
	for _, c := range []struct {
		name  string
		order binary.ByteOrder
		magic uint32
		sub   uint32
	}{
		{"little micro", binary.LittleEndian, magicMicro, 250},
		{"big micro", binary.BigEndian, magicMicro, 250},
		{"little nano", binary.LittleEndian, magicNano, 250_999},
		{"big nano", binary.BigEndian, magicNano, 250_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := make([]byte, 24+16+3)
			for at, v := range map[int]uint32{0: c.magic, 20: 1, 24: 7, 28: c.sub, 32: 3, 36: 1000} {
				c.order.PutUint32(file[at:], v)
			}
			copy(file[40:], "abc")
			got, err := Read(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			if want := []Packet{{7_000_250, 1000, []byte("abc")}}; !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got, err := Read(bytes.NewReader(file[:41])); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 0 {
				t.Errorf("cut file: %d packets, error %v", len(got), err)
			}
		})
	}
	for name, text := range map[string]string{"empty": "", "text": "this is a text file, not a capture at all"} {
		if _, err := Read(bytes.NewReader([]byte(text))); !errors.Is(err, ErrNotPcap) {
			t.Errorf("%s: error %v, want %v", name, err, ErrNotPcap)
		}
	}
}

func TestWriteFileReadFile(t *testing.T) {
	want := []Packet{{5_000_001, 1500, []byte("first")}, {6_000_000, 3, []byte("abc")}}
	path := filepath.Join(t.TempDir(), "x.pcap.gz")
	if err := WriteFile(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzRead(f *testing.F) {
	var plain bytes.Buffer
	if err := Write(&plain, []Packet{{1, 60, []byte("frame")}}); err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Bytes())
	f.Add(plain.Bytes()[:30])
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, packets); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(&out); err != nil || len(again) != len(packets) {
			t.Fatalf("written file reads as %d of %d packets: %v", len(again), len(packets), err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(frame(TCP, "10.0.0.1:40000", "10.0.0.2:80", SYN, 0, "GET / HTTP/1.1\r\n"), uint16(7))
	f.Add(frame(UDP, "[fd00::1]:40000", "[fd00::2]:53", 0, 30, "abc"), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		packets := []Packet{{0, len(b), b}}
		for _, s := range Sessions(Cut(packets)) {
			s.Closed()
			for _, p := range s.Place(1e6, port) {
				if h, ok := Parse(p.Data); ok && p.Length != len(b) || h.Size < 0 {
					t.Fatalf("length %d of %d, payload %d", p.Length, len(b), h.Size)
				}
			}
		}
	})
}
