package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a veth pair in a network namespace of its own: what is sent into one
// end comes out of "tap".
type wire struct {
	t    *testing.T
	fd   int
	peer unix.SockaddrLinklayer
}

// newWire moves the test's goroutine, with its thread, into a new namespace;
// the thread ends with the goroutine.
func newWire(t *testing.T) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("live capture in a network namespace is tested as root only")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	w := &wire{t: t}
	w.ip("link add tap type veth peer name out")
	for _, n := range []string{"tap", "out"} {
		w.ip("link set " + n + " addrgenmode none arp off")
		w.ip("link set " + n + " up")
	}
	w.ip("link set lo up")
	nic, err := net.InterfaceByName("out")
	if err != nil {
		t.Fatal(err)
	}
	w.peer = unix.SockaddrLinklayer{Ifindex: nic.Index}
	if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) ip(args string) {
	w.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if err := unix.Sendto(w.fd, b, 0, &w.peer); err != nil {
		w.t.Fatal(err)
	}
}

// open opens the tap and closes it with the test.
func (w *wire) open(opt LiveOptions) []Source {
	w.t.Helper()
	all, err := OpenLive("tap", opt)
	if errors.Is(err, ErrNoLibpcap) {
		w.t.Skip(err)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		for _, s := range all {
			if err := s.Close(); err != nil {
				w.t.Error(err)
			}
		}
	})
	return all
}

// collect reads until src was idle five times in a row.
func collect(t *testing.T, src Source) []got {
	t.Helper()
	var all []got
	var f Frame
	for idle := 0; idle < 5; {
		switch err := src.Next(&f); err {
		case nil:
			idle = 0
			all = append(all, got{f.Time, string(f.Data), f.Len, f.LinkType, src.Interfaces()[f.Interface]})
		case ErrTimeout:
			idle++
		default:
			t.Fatal(err)
		}
	}
	return all
}

// udpFrame is Ethernet, IPv4 and UDP between the given ports, numbered.
func udpFrame(n int, src, dst uint16, payload int) []byte {
	b := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(28+payload))
	b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, byte(src>>8), byte(src), 10, 0, byte(dst>>8), byte(dst))
	b = binary.BigEndian.AppendUint16(b, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+payload))
	b = append(b, 0, 0)
	return append(b, bytes.Repeat([]byte{byte(n)}, payload)...)
}

// tagged puts VLAN tags, outermost first, behind the addresses.
func tagged(b []byte, tags ...uint32) []byte {
	out := bytes.Clone(b[:12])
	for _, t := range tags {
		out = binary.BigEndian.AppendUint32(out, t)
	}
	return append(out, b[12:]...)
}

func quick() LiveOptions {
	return LiveOptions{BlockSize: 1 << 16, Blocks: 8, BlockTime: 20 * time.Millisecond}
}

func TestLiveFrames(t *testing.T) {
	w := newWire(t)
	src := w.open(quick())[0]
	var sent []string
	before := time.Now().UnixNano()
	for i := range 300 {
		b := udpFrame(i, 1000, 53, i*3)
		switch i % 4 {
		case 1:
			b = tagged(b, 0x81000064)
		case 2:
			b = tagged(b, 0x88a80007, 0x8100e064)
		case 3:
			b = tagged(b, 0x81002000) // priority only
		}
		w.send(b)
		sent = append(sent, string(b))
	}
	all := collect(t, src)
	if len(all) != len(sent) {
		t.Fatalf("%d frames (want %d); %+v", len(all), len(sent), src.Stats())
	}
	var total uint64
	for i, f := range all {
		if f.data != sent[i] || int(f.wire) != len(sent[i]) || f.link != LinkEthernet || f.face != "tap" {
			t.Fatalf("frame %d: %d of %d bytes, link type %d\n-% x\n+% x", i, len(f.data), f.wire, f.link, f.data, sent[i])
		}
		if f.time < before || f.time > time.Now().UnixNano() {
			t.Fatalf("frame %d: time %d is not between %d and now", i, f.time, before)
		}
		total += uint64(len(sent[i]))
	}
	st := src.Stats()
	if st.Received != 300 || st.ReceivedBytes != total || st.KernelSeen != 300 || st.RingDropped != 0 || st.InterfaceDropped != 0 {
		t.Errorf("%+v (want 300 packets, %d bytes)", st, total)
	}
}

func TestLiveSnaplen(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Snaplen = 100
	src := w.open(opt)[0]
	b := tagged(udpFrame(1, 1, 2, 1000), 0x81000064)
	w.send(b)
	all := collect(t, src)
	if len(all) != 1 || int(all[0].wire) != len(b) || all[0].data != string(b[:104]) {
		t.Errorf("%d frames, of %d bytes: % x", len(all), all[0].wire, all[0].data)
	}
}

// TestLiveDrops overruns a small ring: sent = received + dropped, exactly.
func TestLiveDrops(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.BlockSize, opt.Blocks = 1<<14, 2
	src := w.open(opt)[0]
	const sent = 3000
	for i := range sent {
		w.send(udpFrame(i, 1, 2, 500))
	}
	n := uint64(len(collect(t, src)))
	st := src.Stats()
	if n == 0 || st.RingDropped == 0 || st.FreezeCount == 0 {
		t.Errorf("the ring was not overrun: %+v", st)
	}
	if n+st.RingDropped != sent || st.KernelSeen != sent || st.Received != n {
		t.Errorf("%+v (want %d in all)", st, sent)
	}
	w.send(udpFrame(0, 1, 2, 5))
	if n := len(collect(t, src)); n != 1 {
		t.Errorf("after the overrun: %d frames (want 1)", n)
	}
}

// TestLiveFilter: in the kernel and here, what passes and what is turned away
// are the same frames, and all are counted.
func TestLiveFilter(t *testing.T) {
	w := newWire(t)
	for _, c := range []struct {
		expr   string
		kernel bool
		pass   func(i int) bool
	}{
		{"udp dst port 53", true, func(i int) bool { return i%3 == 0 }},
		{"udp[8] = 7", true, func(i int) bool { return i == 7 }},
		{"vlan 100 and udp", false, func(i int) bool { return i%3 == 1 }},
		{"udp dst port 53", false, func(i int) bool { return i%3 == 0 }},
	} {
		opt := quick()
		opt.Filter, opt.UserFilter = c.expr, !c.kernel
		src := w.open(opt)[0]
		if (src.(*ring).wanted.Load() == nil) != c.kernel {
			t.Errorf("%q: in the kernel: %t", c.expr, !c.kernel)
		}
		var pass, rest, restBytes uint64
		for i := range 200 {
			b := udpFrame(i, 1000, 53, 0) // too short for udp[8]
			switch i % 3 {
			case 1:
				b = tagged(udpFrame(i, 1000, 99, 3), 0x81000064)
				if c.kernel && c.expr == "udp[8] = 7" {
					b = udpFrame(i, 1000, 99, 1)
				}
			case 2:
				b = udpFrame(i, 1000, 99, 1)
			}
			w.send(b)
			if c.pass(i) {
				pass++
			} else {
				rest, restBytes = rest+1, restBytes+uint64(len(b))
			}
		}
		n := uint64(len(collect(t, src)))
		st := src.Stats()
		if n != pass || st.Received != pass || st.Filtered != rest || st.FilteredBytes != restBytes || st.KernelSeen != 200 {
			t.Errorf("%q: %+v (want %d and %d with %d bytes)", c.expr, st, pass, rest, restBytes)
		}
		src.Close()
	}
}

// TestKernelTakesPrograms attaches every rewritten program.
func TestKernelTakesPrograms(t *testing.T) {
	w := newWire(t)
	for _, expr := range expressions() {
		f := compiled(t, expr)
		if p, ok := counting(f.Raw()); ok {
			if err := setProgram(w.fd, p); err != nil {
				t.Errorf("%q: %v", expr, err)
			}
		}
	}
}

// TestLiveFanout: each frame reaches one worker, both directions the same.
func TestLiveFanout(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers = 3
	rings := w.open(opt)
	const flows = 60
	for i := range flows {
		a, b := uint16(1000+i), uint16(2000+i)
		w.send(udpFrame(i, a, b, 20))
		w.send(udpFrame(i, b, a, 20))
	}
	owner := map[byte]int{}
	total, busy := 0, 0
	for k, src := range rings {
		all := collect(t, src)
		for _, f := range all {
			id := f.data[len(f.data)-1]
			if o, seen := owner[id]; seen && o != k {
				t.Errorf("flow %d reached workers %d and %d", id, o, k)
			}
			owner[id] = k
		}
		total += len(all)
		if len(all) > 0 {
			busy++
		}
	}
	if total != 2*flows || busy < 2 {
		t.Errorf("%d frames (want %d), on %d workers", total, 2*flows, busy)
	}
}

func TestLiveLoopback(t *testing.T) {
	t.Run("one worker", func(t *testing.T) { loopbackOnce(t, 1, false) })
	t.Run("two workers", func(t *testing.T) { loopbackOnce(t, 2, false) })
	t.Run("two workers, kernel's hash", func(t *testing.T) { loopbackOnce(t, 2, true) })
}

func loopbackOnce(t *testing.T, workers int, kernelHash bool) {
	newWire(t)
	opt := quick()
	opt.Workers, opt.KernelHash = workers, kernelHash
	all, err := OpenLive("lo", opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range all {
		defer src.Close()
	}
	c, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("once")); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, src := range all {
		for _, f := range collect(t, src) {
			if strings.HasSuffix(f.data, "once") && f.data[23] == unix.IPPROTO_UDP { // not the ICMP error that quotes it
				n++
			}
		}
	}
	if n != 1 {
		t.Errorf("a datagram on the loopback interface comes %d times", n)
	}
}

func TestLiveGone(t *testing.T) {
	w := newWire(t)
	src := w.open(quick())[0]
	var f Frame
	w.ip("link set tap down")
	for range 3 {
		if err := src.Next(&f); err != ErrTimeout {
			t.Fatalf("while it is down: %v", err)
		}
	}
	w.ip("link set tap up")
	err := ErrTimeout
	for range 200 { // the kernel lets frames through some time after the link is up
		w.send(udpFrame(1, 1, 2, 3))
		if err = src.Next(&f); err != ErrTimeout {
			break
		}
	}
	if err != nil {
		t.Errorf("up again: %v", err)
	}
	w.ip("link del tap")
	for range 300 {
		if err = src.Next(&f); err != ErrTimeout {
			break
		}
	}
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "capture on tap") {
		t.Errorf("after it was deleted: %v", err)
	}
	if again := src.Next(&f); again != err {
		t.Errorf("and again: %v", again)
	}
}

func TestLiveErrors(t *testing.T) {
	w := newWire(t)
	_, err := OpenLive("nosuch0", LiveOptions{})
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "tap") || !strings.Contains(err.Error(), "lo") {
		t.Errorf("no such interface: %v", err)
	}
	for text, opt := range map[string]LiveOptions{
		"power of two": {BlockSize: 5000}, "at most 256": {Workers: 257}, "4 GiB": {BlockSize: 1 << 30, Blocks: 4},
		"snap length": {Snaplen: 10}, "block time": {BlockTime: time.Hour}, "filter": {Filter: "ip and"},
	} {
		if _, err := OpenLive("tap", opt); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v (want %q)", err, text)
		}
	}
	src := w.open(LiveOptions{})[0]
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if err := src.Next(new(Frame)); err != io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
	src.Stats()
}

// TestLivePermission runs in a thread that has given up its capabilities.
func TestLivePermission(t *testing.T) {
	newWire(t)
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&h, &none[0]); err != nil {
		t.Fatal(err)
	}
	_, err := OpenLive("tap", LiveOptions{})
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "setcap cap_net_raw+ep") {
		t.Errorf("%v", err)
	}
}

func TestLiveWarnings(t *testing.T) {
	w := newWire(t)
	if out, err := exec.Command("ethtool", "-K", "tap", "gro", "on").CombinedOutput(); err != nil {
		t.Skipf("ethtool: %v: %s", err, out)
	}
	w.ip("link set tap down")
	var log bytes.Buffer
	opt := quick()
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	w.open(opt)
	for _, want := range []string{"interface is down", "offload=gro", "ethtool -K tap gro off"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, log.String())
		}
	}
}

func TestLiveDoesNotAllocate(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Filter = "udp"
	src := w.open(opt)[0]
	for i := range 500 {
		w.send(tagged(udpFrame(i, 1, 2, 10), 0x81000001))
	}
	var f Frame
	for range 20 {
		if err := src.Next(&f); err == nil {
			break
		} else if err != ErrTimeout {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(400, func() { src.Next(&f) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func TestHostDrops(t *testing.T) {
	dir := t.TempDir()
	put := func(name, v string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("rx_missed_errors", "5\n")
	put("rx_fifo_errors", "7\n")
	put("rx_dropped", "100\n")
	h := openHostDrops(dir)
	defer h.close()
	put("rx_missed_errors", "9\n")
	put("rx_fifo_errors", "8\n")
	put("rx_dropped", "103\n")
	if lost, refused, _ := h.since(); lost != 4 || refused != 3 {
		t.Errorf("lost %d, refused %d (want 4, 3)", lost, refused)
	}
	put("rx_missed_errors", "2\n") // the driver was loaded anew
	put("rx_dropped", "not a number\n")
	if lost, refused, _ := h.since(); lost != 2 || refused != 3 {
		t.Errorf("after a reset: lost %d, refused %d (want 2, 3)", lost, refused)
	}
	if v := softnetDrops([]byte("0000ffff 0000000a 00000000\n0000ffff 00000010 0\n\nx\n")); v != 26 {
		t.Errorf("softnet drops %d (want 26)", v)
	}
	none := openHostDrops(filepath.Join(dir, "none"))
	defer none.close()
	if lost, refused, _ := none.since(); lost != 0 || refused != 0 {
		t.Errorf("without statistics: %d, %d", lost, refused)
	}
}
