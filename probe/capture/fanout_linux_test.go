package capture

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"golang.org/x/sys/unix"
)

// fanoutLoaded loads the program or skips the test.
func fanoutLoaded(t testing.TB, link uint16) *ebpf.Program {
	t.Helper()
	p, err := loadFanout(link)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("loading eBPF programs needs root: %v", err)
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// kernelHash runs the program in the kernel on an Ethernet frame. ok is false
// for frames that the kernel does not take for this, some shorter than an IP
// header.
func kernelHash(t testing.TB, p *ebpf.Program, frame []byte) (v uint32, ok bool) {
	t.Helper()
	v, err := p.Run(&ebpf.RunOptions{Data: frame})
	if errors.Is(err, unix.EINVAL) && len(frame) < 14+40 {
		return 0, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}

// TestFanoutProgram: the kernel computes what FlowHash does, for every
// wrapping and however a frame is cut.
func TestFanoutProgram(t *testing.T) {
	p := fanoutLoaded(t, LinkEthernet)
	tcp := be(uint16(4000), uint16(80), make([]byte, 16))
	cases := tunnels4()
	for name, packet := range map[string][]byte{
		"hop by hop":     packet6(1, 2, 0, be(6, 1, make([]byte, 14), tcp)),
		"fragment":       packet6(1, 2, 44, be(17, 0, uint16(9), uint32(1), tcp)),
		"AH and 6in6":    packet6(5, 6, 51, be(41, 4, make([]byte, 22), packet6(2, 1, 6, tcp))),
		"atomic, 6in6":   packet6(5, 6, 44, be(41, 0, uint16(0), uint32(1), packet6(2, 1, 6, tcp))),
		"GRE, fragment":  packet6(5, 6, 44, be(47, 0, uint16(1), uint32(1), uint16(0), uint16(0x86dd), packet6(2, 1, 6, tcp))),
		"mobility, SCTP": packet6(5, 6, 135, be(132, 0, make([]byte, 6), tcp)),
		"Teredo":         packet6(5, 6, 17, datagram(1, 3544, be(0, 1, 2, 3, make([]byte, 14), make([]byte, 8), packet6(2, 1, 6, tcp)))),
		"Teredo peers":   packet6(5, 6, 17, datagram(4000, 5000, be(0x60, make([]byte, 3), uint16(20), 6, 64, 0x20, 1, make([]byte, 30), tcp))),
		"Teredo, back":   packet6(5, 6, 17, datagram(4000, 5000, be(0x60, make([]byte, 3), uint16(20), 6, 64, make([]byte, 16), 0x20, 1, make([]byte, 14), tcp))),
	} {
		cases = append(cases, hashCase{"IPv6, " + name, LinkEthernet, func([]byte) []byte { return etherOf(0x86dd, packet) }})
	}
	compared := 0
	for _, c := range cases {
		if c.link != LinkEthernet {
			continue
		}
		whole := c.make(packet4(0x0a000001, 0x0a000002, 17, 0, datagram(1, 4789, make([]byte, 40))))
		for n := 15; n <= len(whole); n++ {
			if got, ok := kernelHash(t, p, whole[:n]); ok && got != FlowHash(LinkEthernet, whole[:n]) {
				t.Fatalf("%s, %d of %d octets: %08x in the kernel (want %08x)", c.name, n, len(whole), got, FlowHash(LinkEthernet, whole[:n]))
			} else if ok {
				compared++
			}
		}
	}
	if compared < 1000 {
		t.Errorf("%d frames compared", compared)
	}
}

// TestFanoutProgramOnCaptures compares both on recorded frames.
func TestFanoutProgramOnCaptures(t *testing.T) {
	p := fanoutLoaded(t, LinkEthernet)
	compared := 0
	var f Frame
	for _, c := range corpus.Captures(t) {
		src, err := OpenFile(c.Path, FileOptions{})
		if err != nil {
			continue
		}
		for n := 0; n < 300 && src.Next(&f) == nil; n++ {
			if f.LinkType != LinkEthernet || len(f.Data) < 15 || len(f.Data) > 3000 {
				continue
			}
			got, ok := kernelHash(t, p, f.Data)
			if want := FlowHash(LinkEthernet, f.Data); ok && got != want {
				t.Errorf("%s, frame %d: %08x in the kernel (want %08x): % x", c.Path, n, got, want, f.Data)
				break
			} else if ok {
				compared++
			}
		}
		src.Close()
	}
	if t.Logf("%d frames compared", compared); compared < 1000 {
		t.Errorf("only %d frames", compared)
	}
}

// FuzzFanoutProgram lets the kernel and FlowHash look at the same octets.
func FuzzFanoutProgram(f *testing.F) {
	p := fanoutLoaded(f, LinkEthernet)
	for _, c := range tunnels4() {
		if c.link == LinkEthernet {
			f.Add(c.make(packet4(1, 2, 17, 0, datagram(1, 4789, make([]byte, 40)))))
			f.Add(c.make(packet4(1, 2, 47, 0, be(uint16(0xb081), uint16(0x880b), make([]byte, 40)))))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 15 || len(b) > 3000 {
			return
		}
		if got, ok := kernelHash(t, p, b); ok && got != FlowHash(LinkEthernet, b) {
			t.Fatalf("%08x in the kernel (want %08x)", got, FlowHash(LinkEthernet, b))
		}
	})
}
