package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"golang.org/x/net/bpf"
)

// compiled compiles for Ethernet, or skips where libpcap is missing.
func compiled(t testing.TB, expr string) *Filter {
	t.Helper()
	f, err := CompileFilter(expr, LinkEthernet, 0)
	if errors.Is(err, ErrNoLibpcap) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// expressions cover every kind of instruction that libpcap emits.
func expressions() []string {
	return []string{
		"", "ip", "ip6", "arp", "tcp", "udp port 53", "tcp port 80 or tcp port 443", "host 10.0.0.1", "net 192.168.0.0/16",
		"src host 2001:db8::1", "ip6 and tcp", "icmp or icmp6", "not broadcast and not multicast", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
		"ip[8] < 10", "greater 100", "less 100", "len > 60 and len < 200", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
		"vlan", "vlan 100 and tcp", "mpls", "pppoes", "ether host 00:11:22:33:44:55", "ether proto 0x8100", "portrange 1000-2000",
		"ip[2:2] % 7 = 3", "ip[2:2] * 3 + 1 > 500", "ip[6:2] & 0x1fff != 0", "ip proto 132", "ether[0] & 1 != 0 and ip[16] >= 224",
		"tcp[2:2] / 4 = 20", "ip[1] ^ 3 = 5 or ip[1] | 3 = 7", "ip[4:2] - 1 = 5", "ip[4:2] << 1 = 10", "udp[4:2] / ip[5] = 3",
	}
}

func TestFilterMatchesTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not installed")
	}
	for _, expr := range expressions() {
		f := compiled(t, expr)
		var got strings.Builder
		got.WriteString(strconv.Itoa(len(f.Raw())) + "\n")
		for _, r := range f.Raw() {
			for i, v := range []uint64{uint64(r.Op), uint64(r.Jt), uint64(r.Jf), uint64(r.K)} {
				got.WriteString(strconv.FormatUint(v, 10) + " \n"[i/3:i/3+1])
			}
		}
		want, err := exec.Command(tcpdump, "-ddd", "-y", "EN10MB", "-s", "262144", expr).Output()
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		if got.String() != string(want) {
			t.Errorf("%q (-got +want):\n-%s\n+%s", expr, got.String(), want)
		}
	}
}

// TestFilterOnFile compares the packets and bytes of a recorded capture with
// what another implementation, the one of x/net, lets through.
func TestFilterOnFile(t *testing.T) {
	for _, file := range []string{"suricata-verify/smb2-07/20171220_smb_psexec_add_user.pcap", "ipfixprobe/tls.pcap", "zeek/tcp/truncated-header.pcap"} {
		path := corpus.Path(t, file)
		for _, expr := range expressions()[1:] {
			f := compiled(t, expr)
			plain := must(t, path, FileOptions{})
			var want, rest, wantBytes, restBytes uint64
			var fr Frame
			for plain.Next(&fr) == nil {
				// The other implementation takes the captured bytes for all.
				if f.Match(fr.Data, fr.Len) {
					want, wantBytes = want+1, wantBytes+uint64(fr.Len)
				} else {
					rest, restBytes = rest+1, restBytes+uint64(fr.Len)
				}
				if int(fr.Len) == len(fr.Data) {
					if a, b := f.Match(fr.Data, fr.Len), reference(t, f.Raw(), fr.Data) != 0; a != b {
						t.Fatalf("%s %q: %t (want %t)", file, expr, a, b)
					}
				}
			}
			src := must(t, path, FileOptions{Filter: expr})
			st, err := drain(t, src)
			if err != io.EOF || st.Received != want || st.Filtered != rest || st.ReceivedBytes != wantBytes || st.FilteredBytes != restBytes {
				t.Errorf("%s %q: %+v, %v (want %d + %d)", file, expr, st, err, want, rest)
			}
		}
	}
}

func must(t testing.TB, path string, opt FileOptions) Source {
	t.Helper()
	src, err := OpenFile(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// reference runs a program in the virtual machine of x/net.
func reference(t testing.TB, raw []bpf.RawInstruction, data []byte) int {
	t.Helper()
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("the reference does not know %v", raw)
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFilterErrors(t *testing.T) {
	compiled(t, "ip")
	for expr, text := range map[string]string{
		"foo bar":                              "syntax error",
		"host":                                 "syntax error",
		"port 99999999":                        "illegal port number",
		"ip and":                               "syntax error",
		"tcp port http-nosuch":                 "unknown port",
		"ip\x00":                               "zero byte",
		strings.Repeat("ip or ", 20000) + "ip": "longer than",
	} {
		_, err := CompileFilter(expr, LinkEthernet, 0)
		if !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v (want %q)", expr, err, text)
		}
		path := writeFile(t, "f", threePackets())
		if _, err := OpenFile(path, FileOptions{Filter: expr}); !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), path) {
			t.Errorf("OpenFile with %.40q: %v", expr, err)
		}
	}
}

func TestNeedsVLAN(t *testing.T) {
	for expr, want := range map[string]bool{
		"vlan": true, "vlan 5 and ip": true, "ether proto 0x8100": true, "ether proto 0x88a8": true, "ether[12:2] = 5": true,
		"mpls": true, "tcp": false, "ip host 1.2.3.4": false, "ether host 00:11:22:33:44:55": false, "port 8100": false,
	} {
		if got := compiled(t, expr).NeedsVLAN(); got != want {
			t.Errorf("%q: %t (want %t)", expr, got, want)
		}
	}
}

// TestFilterPerLinkType reads a file with two link types, for which one
// expression compiles to different programs.
func TestFilterPerLinkType(t *testing.T) {
	compiled(t, "ip")
	ip := append([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17}, make([]byte, 10)...)
	ether := append(append(make([]byte, 12), 8, 0), ip...)
	g := new(ngFile)
	g.section(binary.LittleEndian).face(1, 0).face(LinkRaw, 0)
	g.enhanced(0, 1, 34, ether).enhanced(1, 2, 20, ip).enhanced(0, 3, 20, ip).enhanced(1, 4, 34, ether).enhanced(0, 5, 34, ether)
	src := must(t, writeFile(t, "f", g.Bytes()), FileOptions{Filter: "udp"})
	st, err := drain(t, src)
	if err != io.EOF || st.Received != 3 || st.Filtered != 2 || st.FilteredBytes != 54 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	ret := bpf.RawInstruction{Op: opRet, K: 1}
	for name, p := range map[string][]bpf.RawInstruction{
		"nothing":          {},
		"no return":        {{Op: opLd}},
		"unknown":          {{Op: 0xffff}, ret},
		"jump out":         {{Op: opJmp | jmpEq, Jt: 1}, ret},
		"jump far":         {{Op: opJmp, K: 0xffffffff}, ret},
		"scratch":          {{Op: opSt, K: 16}, ret},
		"divide by 0":      {{Op: opAlu | 0x30}, ret},
		"shift by 32":      {{Op: opAlu | 0x60, K: 32}, ret},
		"negate with X":    {{Op: opAlu | 0x80 | srcX}, ret},
		"operation beyond": {{Op: opAlu | 0xb0}, ret},
		"long":             append(make([]bpf.RawInstruction, maxProgram), ret),
	} {
		if _, err := prepare(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestCountingProgram: what goes to the kernel gives the same verdict, and
// never 0, on frames cut at every length.
func TestCountingProgram(t *testing.T) {
	frames := [][]byte{tcpFrame(), bytes.Repeat([]byte{0xff}, 80), make([]byte, 80)}
	rewritten := 0
	for _, expr := range expressions() {
		f := compiled(t, expr)
		raw, ok := counting(f.Raw())
		if !ok {
			continue
		}
		rewritten++
		prog, err := prepare(raw)
		if err != nil {
			t.Fatalf("%q: %v", expr, err)
		}
		for _, b := range frames {
			for n := range len(b) + 1 {
				want := max(run(f.prog, b[:n], uint32(n)), rejected)
				if got := run(prog, b[:n], uint32(n)); got != want {
					t.Fatalf("%q on %d bytes: %d (want %d)", expr, n, got, want)
				}
			}
		}
	}
	if rewritten < len(expressions())-2 {
		t.Errorf("only %d of %d programs can run in the kernel", rewritten, len(expressions()))
	}
}

// tcpFrame is Ethernet, IPv4 with an option, TCP to port 80 and a request.
func tcpFrame() []byte {
	b := append(make([]byte, 12), 8, 0)
	b = append(b, 0x46, 0, 0, 60, 0, 6, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 168, 0, 1, 1, 1, 1, 1)
	b = append(b, 0x04, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0)
	return append(b, "GET / HTTP/1.1\r\n"...)
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f, b := compiled(t, "tcp port 80 and host 10.0.0.1"), tcpFrame()
	if !f.Match(b, uint32(len(b))) {
		t.Fatal("no match")
	}
	if n := testing.AllocsPerRun(100, func() { f.Match(b, uint32(len(b))) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if none := (*Filter)(nil); !none.Match(nil, 0) {
		t.Error("no filter rejects")
	}
}
