package dpi

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func wireName(name string) string {
	out := ""
	for l := range strings.SplitSeq(name, ".") {
		if l != "" {
			out += string([]byte{byte(len(l))}) + l
		}
	}
	return out + "\x00"
}

func u16(n ...uint16) (s string) {
	for _, v := range n {
		s += string([]byte{byte(v >> 8), byte(v)})
	}
	return s
}

func query(id uint16, name string, qtype uint16) string {
	return u16(id, 0x0100, 1, 0, 0, 0) + wireName(name) + u16(qtype, 1)
}

// response answers with records given as type and data; names point at the question.
func response(id uint16, rcode uint16, name string, qtype uint16, records ...[2]string) string {
	out := u16(id, 0x8180|rcode, 1, uint16(len(records)), 0, 0) + wireName(name) + u16(qtype, 1)
	for _, r := range records {
		var n uint16
		fmt.Sscan(r[0], &n)
		out += u16(0xc00c, n, 1, 0, 60, uint16(len(r[1]))) + r[1]
	}
	return out
}

func TestDNS(t *testing.T) {
	k := newTalk(t, protoUDP, 53)
	k.send(0, query(1, "Example.org", 1))
	k.send(0, query(2, "nothing.example.org", 28))
	k.send(0, query(3, "lost.example.org", 16))
	k.send(1, response(2, 3, "nothing.example.org", 28))
	k.send(1, response(1, 0, "eXample.org", 1, [2]string{"5", "\x01a\xc0\x0c"}, [2]string{"1", "\xc0\x00\x02\x07"},
		[2]string{"28", "\x20\x01\x0d\xb8" + string(make([]byte, 11)) + "\x01"}, [2]string{"15", "\x00\x0a\x02mx\xc0\x0c"},
		[2]string{"16", "\x03abc\x02d\n"}, [2]string{"33", "\x00\x01\x00\x02\x01\xbb\x03srv\xc0\x0c"}, [2]string{"6", "\x02ns\xc0\x0c\x00" + string(make([]byte, 20))}, [2]string{"65", "xyz"}))
	k.send(1, response(9, 0, "unasked.example.org", 1))
	r := k.end()
	if want := []string{"Example.org", "nothing.example.org", "lost.example.org", "unasked.example.org"}; !slices.Equal(r.DNSNames, want) {
		t.Errorf("names %q", r.DNSNames)
	}
	if want := []uint16{0, 3, 65535, 0}; !slices.Equal(r.DNSRcodes, want) {
		t.Errorf("rcodes %v, want %v", r.DNSRcodes, want)
	}
	if want := []uint16{1, 28, 16, 1}; !slices.Equal(r.DNSQTypes, want) {
		t.Errorf("types %v, want %v", r.DNSQTypes, want)
	}
	want := []string{"a.Example.org", "192.0.2.7", "2001:db8::1", "mx.Example.org", `abc d\x0a`, "srv.Example.org", "ns.Example.org", "TYPE65"}
	for i := range want {
		want[i] = strings.Replace(want[i], "Example", "eXample", 1)
	}
	if !slices.Equal(r.DNSAnswers, want) {
		t.Errorf("answers (-got +want)\n-%q\n+%q", r.DNSAnswers, want)
	}
	if r.App != "dns" || r.DNSLatency != 2000 { // the first that was answered: asked at 2 ms, answered at 4
		t.Errorf("app %q latency %d", r.App, r.DNSLatency)
	}
}

func TestDNSFamily(t *testing.T) {
	tests := []struct {
		name  string
		proto uint8
		port  uint16
		msg   string
		app   string
		names []string
	}{
		{"any port", protoUDP, 9999, query(7, "a.b", 1), "dns", []string{"a.b"}},
		{"any port, not quite", protoUDP, 9999, query(7, "a.b", 1) + "x", "unknown", nil},
		{"mdns answers unasked", protoUDP, 5353, u16(0, 0x8400, 0, 1, 0, 0) + wireName("x.local") + u16(1, 0x8001, 0, 60, 4) + "\x0a\x00\x00\x01", "mdns", []string{"x.local"}},
		{"llmnr", protoUDP, 5355, query(7, "host", 1), "llmnr", []string{"host"}},
		{"nbns", protoUDP, 137, query(7, "FHEPFCELEHFCEPFFFACACACACACACABN", 32), "nbns", []string{"WORKGROUP<1d>"}},
		{"tcp", protoTCP, 53, "\x00\x15" + query(7, "a.b", 1) + "\x00\x15" + query(8, "c.d", 1), "dns", []string{"a.b", "c.d"}},
		{"escapes", protoUDP, 53, u16(1, 0x100, 1, 0, 0, 0) + "\x05a.\\ \xff\x00" + u16(1, 1), "dns", []string{`a\.\\\032\255`}},
		{"root", protoUDP, 53, query(1, "", 2), "dns", []string{""}},
		{"pointer to itself", protoUDP, 53, u16(1, 0x100, 1, 0, 0, 0) + "\xc0\x0c" + u16(1, 1), "dns", nil},
		{"ntp by port", protoUDP, 123, "\x23\x00\x00\x00 not looked at", "ntp", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk(t, tt.proto, tt.port)
			k.send(0, tt.msg)
			if r := k.end(); r.App != tt.app || !slices.Equal(r.DNSNames, tt.names) {
				t.Errorf("app %q names %q, want %q %q", r.App, r.DNSNames, tt.app, tt.names)
			}
		})
	}
}

// TestDNSSegments asks more than a record holds, each query answered at once:
// no answer is separated from its query.
func TestDNSSegments(t *testing.T) {
	k := newTalk(t, protoUDP, 53)
	n := 0
	for i := range uint16(100) {
		name := fmt.Sprintf("n%d.org", i)
		k.send(0, query(i, name, 1))
		k.send(1, response(i, 0, name, 1, [2]string{"1", "\x01\x02\x03\x04"}))
	}
	k.end()
	for _, r := range append(k.cuts, k.rec) {
		n += len(r.DNSNames)
		if slices.Contains(r.DNSRcodes, noAnswer) || len(r.DNSNames) > flow.MaxList || len(r.DNSNames) != len(r.DNSAnswers) || r.Cut != 0 {
			t.Errorf("segment %q %v %q", r.DNSNames, r.DNSRcodes, r.DNSAnswers)
		}
	}
	if n != 100 {
		t.Errorf("%d names of 100", n)
	}
}

// TestDNSBounded follows a chain of pointers longer than any name needs.
func TestDNSBounded(t *testing.T) {
	chain := []byte(u16(1, 0x8180, 1, 5000, 0, 0) + "\x01a\x00" + u16(1, 1))
	for len(chain) < 16000 {
		chain = append(chain, 1, 'x')
		chain = binary.BigEndian.AppendUint16(chain, 0xc000|uint16(max(len(chain)-6, 12)))
	}
	if _, _, ok := appendName(nil, chain, len(chain)-4); ok {
		t.Errorf("a name of %d pointers was taken", len(chain)/4)
	}
}
