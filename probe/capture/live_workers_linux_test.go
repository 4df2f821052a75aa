package capture

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLiveFanoutTunnels: live, both directions, fragments and every wrapping of
// two hosts' packets reach one worker, the one that FlowHash names; each frame
// reaches exactly one.
func TestLiveFanoutTunnels(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers = 3
	var log bytes.Buffer
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	rings := w.open(opt)
	info, ok := Info(rings[1])
	if !ok || info.Fanout != FanoutFlow || info.FanoutReason != "" || info.Clock != ClockSystem || info.ClockReason == "" || info.Interface != "tap" {
		t.Fatalf("%+v", info)
	}
	if !strings.Contains(log.String(), "fanout=flow clock=system") {
		t.Errorf("log: %s", log.String())
	}
	sent, pairs := 0, map[uint32]bool{}
	for host := range uint32(12) {
		a, b := 0x0a000001+host<<8, 0x0a010001+host<<9
		pairs[pairHash(uint64(a), uint64(b))] = true
		for _, c := range tunnels4() {
			if c.link != LinkEthernet {
				continue
			}
			tcp := be(uint16(4000), uint16(80), make([]byte, 16))
			for _, p := range [][]byte{
				packet4(a, b, 6, 0, tcp), packet4(b, a, 6, 0, tcp),
				packet4(a, b, 17, 0x2000, datagram(1, 2, make([]byte, 32))), packet4(a, b, 17, 5, make([]byte, 32)),
			} {
				w.send(c.make(p))
				sent++
			}
		}
	}
	// What the host itself sends out of the tap begins elsewhere in the kernel.
	nic, err := net.InterfaceByName("tap")
	if err != nil {
		t.Fatal(err)
	}
	for host := range uint32(12) {
		a, b := 0x0a000001+host<<8, 0x0a010001+host<<9
		for _, f := range [][]byte{etherOf(0x0800, packet4(a, b, 6, 0, make([]byte, 20))), tagged(etherOf(0x0800, packet4(b, a, 4, 0, packet4(a, b, 17, 0, make([]byte, 20)))), 0x81000064)} {
			if err := unix.Sendto(w.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: nic.Index}); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	total, busy := 0, 0
	for k, src := range rings {
		all := collect(t, src)
		for _, f := range all {
			h := FlowHash(f.link, []byte(f.data))
			if !pairs[h] || int(h%3) != k {
				t.Fatalf("worker %d got a frame with hash %08x of worker %d: % x", k, h, h%3, f.data)
			}
		}
		st := src.Stats()
		if int(st.Received) != len(all) || st.KernelSeen != st.Received || st.RingDropped != 0 {
			t.Errorf("worker %d: %+v", k, st)
		}
		if total += len(all); len(all) > 0 {
			busy++
		}
	}
	if total != sent || busy < 2 {
		t.Errorf("%d frames (want %d), on %d workers", total, sent, busy)
	}
}

// TestLiveFanoutFallback: without the program the kernel's hash is taken, and
// this is said.
func TestLiveFanoutFallback(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers, opt.KernelHash = 2, true
	var log bytes.Buffer
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	rings := w.open(opt)
	if info, _ := Info(rings[0]); info.Fanout != FanoutKernel || info.FanoutReason == "" {
		t.Errorf("%+v", info)
	}
	if !strings.Contains(log.String(), "tunnelled and fragmented flows may be cut in two") {
		t.Errorf("log: %s", log.String())
	}
	for i := range 200 {
		w.send(udpFrame(i, 1000+uint16(i), 53, 5))
	}
	if n := len(collect(t, rings[0])) + len(collect(t, rings[1])); n != 200 {
		t.Errorf("%d frames (want 200)", n)
	}
}

// TestLiveFanoutWithoutRights runs in a thread with the right to capture and no
// other: capture works, with the kernel's hash, and the reason is told.
func TestLiveFanoutWithoutRights(t *testing.T) {
	newWire(t)
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	only := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_RAW, Permitted: 1 << unix.CAP_NET_RAW}}
	if err := unix.Capset(&h, &only[0]); err != nil {
		t.Fatal(err)
	}
	opt := quick()
	opt.Workers = 2
	rings, err := OpenLive("tap", opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rings {
		defer r.Close()
	}
	if info, _ := Info(rings[0]); info.Fanout != FanoutKernel || !strings.Contains(info.FanoutReason, "CAP_BPF") {
		t.Errorf("%+v", info)
	}
}

// reading reads each source in a goroutine of its own until stop is called.
func reading(t *testing.T, sources []Source, each func(worker int, f *Frame)) (stop func()) {
	var ended atomic.Bool
	var wg sync.WaitGroup
	for k, src := range sources {
		wg.Go(func() {
			var f Frame
			for idle := 0; idle < 3; {
				switch err := src.Next(&f); err {
				case nil:
					each(k, &f)
				case ErrTimeout:
					if ended.Load() {
						idle++
					}
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	return func() { ended.Store(true); wg.Wait() }
}

// TestLiveOverload: two workers with small rings and slow readers lose packets,
// and what they declare is exactly what is missing.
func TestLiveOverload(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers, opt.BlockSize, opt.Blocks = 2, 1<<14, 3
	rings := w.open(opt)
	var slow atomic.Uint64
	stop := reading(t, rings, func(_ int, f *Frame) {
		for range 200 { // hashing is work that the compiler cannot leave out
			slow.Add(uint64(FlowHash(f.LinkType, f.Data)))
		}
	})
	const sent = 60000
	for i := range sent {
		w.send(udpFrame(i, uint16(i%200), 53, 300))
	}
	stop()
	var sum Stats
	for k, src := range rings {
		st := src.Stats()
		if st.KernelSeen != st.Received+st.RingDropped || st.Received == 0 {
			t.Errorf("worker %d: %+v", k, st)
		}
		sum.Received += st.Received
		sum.RingDropped += st.RingDropped
		sum.FreezeCount += st.FreezeCount
		sum.InterfaceDropped += st.InterfaceDropped
		sum.SoftnetDropped += st.SoftnetDropped
	}
	t.Logf("%d sent: %+v", sent, sum)
	if sum.RingDropped == 0 || sum.FreezeCount == 0 {
		t.Errorf("the rings were not overrun")
	}
	if sum.Received+sum.RingDropped != sent {
		t.Errorf("%d received + %d dropped (want %d)", sum.Received, sum.RingDropped, sent)
	}
}

// TestSetFilter changes filters and snap length of two running workers again
// and again, in the kernel and here, under traffic: each frame is counted once,
// and those that every filter lets through, or none, are all handed out, or not.
func TestSetFilter(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers, opt.Blocks, opt.Filter = 2, 64, "udp dst port 53"
	rings := w.open(opt)
	var always, never, others atomic.Uint64
	stop := reading(t, rings, func(_ int, f *Frame) {
		switch f.Data[len(f.Data)-1] {
		case 53:
			always.Add(1)
		case 99:
			never.Add(1)
		default:
			others.Add(1)
		}
	})
	// Each passes port 53 and not port 99; all differ about port 7.
	filters := []string{"udp dst port 53", "udp and not dst port 99 and not vlan", "udp dst port 7 or udp dst port 53", "udp and (dst port 53 or vlan)"}
	const rounds, each = 40, 100
	sent := 0
	for i := range rounds {
		if err := SetFilter(rings, filters[i%len(filters)], 200+i); err != nil {
			t.Fatal(err)
		}
		for k := range each {
			for _, port := range []uint16{53, 99, 7} {
				b := udpFrame(int(port), uint16(k), port, 30)
				w.send(b)
				sent++
			}
		}
	}
	stop()
	var sum Stats
	for _, src := range rings {
		st := src.Stats()
		sum.Received += st.Received
		sum.Filtered += st.Filtered
		sum.KernelSeen += st.KernelSeen
		sum.RingDropped += st.RingDropped
	}
	if always.Load() != rounds*each || never.Load() != 0 || others.Load() == 0 || others.Load() == rounds*each {
		t.Errorf("%d frames to port 53 (want %d), %d to port 99 (want 0), %d to port 7 (want some)", always.Load(), rounds*each, never.Load(), others.Load())
	}
	if sum.RingDropped != 0 || sum.KernelSeen != uint64(sent) || sum.Received+sum.Filtered != uint64(sent) || sum.Received != always.Load()+others.Load() {
		t.Errorf("%+v (want %d in all)", sum, sent)
	}
}

// TestSetFilterSettles: a filter that has moved into the kernel is no longer
// run here once the ring has gone round; no filter lets all through; a new snap
// length holds; what cannot be set changes nothing.
func TestSetFilterSettles(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Filter, opt.UserFilter, opt.Blocks = "udp dst port 53", true, 4
	src := w.open(opt)
	r := src[0].(*ring)
	frame := func(port uint16) { w.send(udpFrame(1, 1, port, 400)) }
	frame(53)
	if err := SetFilter(src, "udp dst port 53", 0); err != nil {
		t.Fatal(err)
	}
	for i := range 6 { // at least a block each, at most two
		if i < 3 && r.wanted.Load() == nil {
			t.Fatal("the filter ended before the ring had gone round")
		}
		frame(53)
		frame(54)
		collect(t, src[0])
	}
	if r.wanted.Load() != nil {
		t.Error("the filter still runs here")
	}
	if st := src[0].Stats(); st.Received != 7 || st.Filtered != 6 {
		t.Errorf("%+v", st)
	}
	for _, c := range []struct {
		expr string
		snap int
	}{{"ip and", 0}, {"ip", 5}, {"ip", FullFrame + 1}} {
		if err := SetFilter(src, c.expr, c.snap); err == nil || !strings.Contains(err.Error(), "set the capture filter") {
			t.Errorf("%q, %d: %v", c.expr, c.snap, err)
		}
	}
	frame(54)
	if all := collect(t, src[0]); len(all) != 0 {
		t.Errorf("%d frames after a refused filter (want 0)", len(all))
	}
	if err := SetFilter(src, "", 100); err != nil {
		t.Fatal(err)
	}
	frame(54)
	if all := collect(t, src[0]); len(all) != 1 || len(all[0].data) != 100 || all[0].wire != 442 {
		t.Errorf("without a filter, cut at 100: %+v", all)
	}
	file, err := OpenFile("testdata/none", FileOptions{})
	if err == nil {
		file.Close()
	}
	if err := SetFilter([]Source{file}, "ip", 0); err == nil {
		t.Error("a file took a filter")
	}
}

func TestPin(t *testing.T) {
	release, err := Pin(0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := Pin(100000); err == nil || !strings.Contains(err.Error(), "processor 100000") {
		t.Errorf("no such processor: %v", err)
	}
}

func TestClock(t *testing.T) {
	for _, c := range []Clock{ClockAuto, ClockSystem, ClockHardware} {
		if got, err := ParseClock(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if _, err := ParseClock("atomic"); err == nil {
		t.Error("an unknown clock was taken")
	}
	newWire(t) // a veth has no clock
	opt := quick()
	opt.Clock = ClockHardware
	if _, err := OpenLive("tap", opt); err == nil || !strings.Contains(err.Error(), "take times from the card") {
		t.Errorf("the card's clock of a veth: %v", err)
	}
}

// TestCardClockLeaves: a card's clock that runs away is left, once, for all
// rings, and this is said.
func TestCardClockLeaves(t *testing.T) {
	w := newWire(t)
	opt := quick()
	opt.Workers = 2
	src := w.open(opt)
	rings := ofInterface(src, "tap")
	for _, r := range rings {
		r.setup.Clock = ClockHardware
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	card := watchCard(nil, rings, slog.New(slog.NewTextHandler(&log, nil)))
	off := -9 * time.Millisecond
	card.offset = func() (time.Duration, error) { return off, nil }
	src[0].Stats()
	if i, _ := Info(src[1]); i.Clock != ClockHardware || log.Len() > 0 {
		t.Errorf("9 ms off: %+v, %s", i, log.String())
	}
	off = 37 * time.Second
	src[0].Stats()
	src[0].Stats()
	for _, r := range rings {
		if i := r.info(); i.Clock != ClockSystem || i.ClockReason == "" {
			t.Errorf("37 s off: %+v", i)
		}
		if v, err := unix.GetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP); err != nil || v != 0 {
			t.Errorf("the ring's clock is %d, %v", v, err)
		}
	}
	if strings.Count(log.String(), "offset=37s") != 1 {
		t.Errorf("log: %s", log.String())
	}
}
