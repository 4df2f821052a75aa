package ipfix

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// nfcapd starts nfdump's collector, and returns its address and what ends it, after which nfdump can read dir.
func nfcapd(t *testing.T, dir string) (address string, end func()) {
	for _, name := range []string{"nfcapd", "nfdump"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: apt-get install nfdump", name)
		}
	}
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	address = free.LocalAddr().String()
	port := free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	cmd := exec.Command("nfcapd", "-b", "127.0.0.1", "-p", strconv.Itoa(port), "-w", dir, "-t", "3600", "-B", "4000000")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			for begin := time.Now(); waiting(t, port) && time.Since(begin) < 10*time.Second; {
				runtime.Gosched()
			}
			cmd.Process.Signal(syscall.SIGTERM) // it writes what it has
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	// Once the port is bound, an octet that is no flow is refused no more.
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for begin := time.Now(); ; {
		conn.Write([]byte{0})
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); os.IsTimeout(err) {
			return address, end
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("nfcapd does not listen: %s", &output)
		}
	}
}

// waiting reports whether the socket on port holds datagrams that were not read yet.
func waiting(t *testing.T, port int) bool {
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // sl local remote state tx:rx …
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			_, rx, _ := strings.Cut(f[4], ":")
			return strings.Trim(rx, "0") != ""
		}
	}
	return false
}

// What nfdump prints of each flow is what the records say: times, addresses, ports, flags, both counters, VLAN and MAC addresses.
func TestNfdump(t *testing.T) {
	root := corpus.Dir(t)
	for _, biflow := range []bool{false, true} {
		t.Run(fmt.Sprintf("biflow %t", biflow), func(t *testing.T) {
			dir := t.TempDir()
			os.Chmod(dir, 0o777)
			address, end := nfcapd(t, dir)
			cfg := DefaultConfig()
			cfg.Address, cfg.Biflow = address, biflow
			want := make(map[string]int)
			x := export(t, cfg, func(add func(*flow.Record)) {
				for _, path := range realCaptures {
					readRecords(t, filepath.Join(root, path), func(r *flow.Record) {
						add(r)
						for _, line := range nfdumpLines(r, biflow) {
							want[line]++
						}
					})
				}
			})
			if n := x.Stats(); n.Records < 100 || n.DroppedQueue+n.DroppedSend+n.DroppedEnd != 0 {
				t.Fatalf("%+v", n)
			}
			end()
			cmd := exec.Command("nfdump", "-q", "-6", "-N", "-R", dir, "-o", // not %ter: the end's fraction is wrong in 1.7.1
				"fmt:%ts|%te|%pr|%sa|%sp|%da|%dp|%flg|%ipkt|%ibyt|%opkt|%obyt|%svln|%ismc|%idmc|%stos")
			cmd.Env = append(os.Environ(), "TZ=UTC")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("nfdump: %v: %s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				f := strings.Split(strings.TrimSpace(line), "|")
				for i := range f {
					f[i] = strings.TrimSpace(f[i])
				}
				line = strings.Join(f, "|")
				if want[line]--; want[line] < 0 {
					t.Errorf("not ours: %s", line)
				}
			}
			for line, n := range want {
				if n > 0 {
					t.Errorf("missing:  %s", line)
				}
			}
		})
	}
}

// nfdumpLines is what nfdump should print for r.
func nfdumpLines(r *flow.Record, biflow bool) (lines []string) {
	var d [2]direction
	directions(r, &d)
	line := func(a, b *direction) {
		sp, dp := fmt.Sprint(a.srcPort), fmt.Sprint(a.dstPort)
		if icmp(r.Protocol) {
			sp, dp = "0", fmt.Sprintf("%d.%d", a.icmp>>8, a.icmp&0xff)
		}
		flags := []byte("........")
		for i, c := range "CEUAPRSF" {
			if r.Protocol == 6 && a.flags&(0x80>>i) != 0 {
				flags[i] = byte(c)
			}
		}
		ms := func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000") }
		lines = append(lines, strings.Join([]string{ms(a.start), ms(r.End), fmt.Sprint(r.Protocol), a.src.String(), sp, a.dst.String(), dp, string(flags),
			fmt.Sprint(a.packets), fmt.Sprint(a.octets), fmt.Sprint(b.packets), fmt.Sprint(b.octets), fmt.Sprint(r.VLAN), mac(a.srcMAC), mac(a.dstMAC), fmt.Sprint(a.dscp << 2)}, "|"))
	}
	switch {
	case biflow && r.SrcPackets > 0:
		line(&d[0], &d[1])
	case biflow && r.DstPackets > 0:
		line(&d[1], &direction{})
	case !biflow:
		for i := range d {
			if d[i].packets > 0 {
				line(&d[i], &direction{})
			}
		}
	}
	return lines
}

func mac(m flow.MAC) string {
	if m == 0 {
		return "00:00:00:00:00:00"
	}
	return m.String()
}
