package contract

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// threadTime is what the calling thread has used of a processor: neither other
// threads nor waiting count.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// cost is what the packets of a capture took.
type cost struct {
	packets, lost, inRecords uint64
	total                    time.Duration
	each                     []time.Duration // if asked for
}

// at is the time that all but one in so many packets stayed below.
func (c *cost) at(oneIn int) time.Duration {
	slices.Sort(c.each)
	return c.each[max(len(c.each)-1-len(c.each)/oneIn, 0)]
}

// chain reads a capture through capture, decode, meter and dpi as a worker does,
// packet by packet.
func chain(t *testing.T, path string, each bool) (c cost) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	tbl := meter.New(meter.DefaultConfig(), dpi.NewInspector(dpi.DefaultConfig()), func(r *flow.Record) { c.inRecords += r.Packets() })
	var f capture.Frame
	var p decode.Packet
	begin := threadTime()
	before := begin
	for {
		err := src.Next(&f)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		c.packets++
		if each { // without reading the file
			before = threadTime()
		}
		if dec.Decode(&f, &p) == decode.OK {
			tbl.Observe(&p)
		} else {
			c.lost++
		}
		if each {
			c.each = append(c.each, threadTime()-before)
		}
	}
	tbl.Flush(flow.EndForced)
	c.total = threadTime() - begin
	return c
}

// capturePath writes a capture of the attack with n packets.
func (h hostile) capturePath(t *testing.T, dir string, n int) string {
	t.Helper()
	path := filepath.Join(dir, strings.NewReplacer("/", "", " ", "_").Replace(h.name)+".pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	w := newWire(out, 1)
	h.write(w, n)
	if w.err != nil {
		t.Fatal(w.err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStreamTime is R18's time: through the whole chain, 9 999 of 10 000 packets
// of each attack take at most 1 ms of a processor, and twice the packets at most
// 2.2 times as long. The short form, on machines that do other things besides,
// looks for what is wrong by an order: 4 ms, and 3.6 times (quadratic is four).
func TestStreamTime(t *testing.T) {
	n, promised, slope := 1000, 4*time.Millisecond, 3.6
	if full() {
		n, promised, slope = 200_000, time.Millisecond, 2.2
	}
	dir := t.TempDir()
	for _, h := range streams() {
		t.Run(h.name, func(t *testing.T) {
			n := n
			probe := h.capturePath(t, dir, 100)
			if info, err := os.Stat(probe); err == nil && info.Size() > 1<<20 { // packets of 64 kB
				n /= 10
			}
			os.Remove(probe)
			once, twice := h.capturePath(t, dir, n), ""
			defer os.Remove(once)
			worst, allowed := time.Hour, promised
			for range 3 { // another guest of the machine may have been at work
				c := chain(t, once, true)
				if c.packets == 0 || c.packets != c.inRecords+c.lost {
					t.Fatalf("%d packets, %d in records, %d lost", c.packets, c.inRecords, c.lost)
				}
				if worst = min(worst, c.at(10_000)); worst <= allowed {
					break
				}
			}
			if worst > allowed {
				t.Errorf("a packet takes %v, %v is allowed", worst, allowed)
			}
			again := hostile{h.name + " again", h.write}
			twice = again.capturePath(t, dir, 2*n)
			defer os.Remove(twice)
			short, long := time.Hour, time.Hour
			for range 16 {
				short, long = min(short, chain(t, once, false).total), min(long, chain(t, twice, false).total)
				// What a table costs however little it holds, and what a clock tick adds, is no slope.
				if float64(long) <= slope*float64(short+time.Millisecond) {
					break
				}
			}
			if float64(long) > slope*float64(short+time.Millisecond) {
				t.Errorf("%d packets take %v, %d take %v", n, short, 2*n, long)
			}
			t.Logf("%v at most; %v for %d packets, %v for twice as many", worst, short, n, long)
		})
	}
}

// TestStreamMemory is R18's memory: a process that gets all attacks one after
// the other, a million packets of some, stays within what flow table and
// reassembly may take, when GOMEMLIMIT says what that is.
func TestStreamMemory(t *testing.T) {
	const limit = 256<<20 + 32<<20 // flow table and reassembly
	n := 2000
	if full() {
		n = 1_000_000
	}
	var sent *wire
	o := flowsProcess(t, job{Files: []string{"-"}, Format: "none", Limit: limit}, func(out io.Writer) error {
		sent = newWire(out, 1)
		for i, h := range streams() {
			n := n
			switch i {
			case 0, 1, 5, 6: // streams and fragments by the million
				if !full() {
					n = 100_000
				}
			}
			before := sent.octets
			h.write(sent, 100)
			if sent.octets-before > 1<<20 {
				n /= 10
			}
			h.write(sent, n)
		}
		return sent.err
	}, nil)
	t.Logf("%d packets, %d MB: %d MiB at most, %v CPU", sent.packets, sent.octets/1e6, o.PeakRSS>>20, o.CPU)
	if err := closed(o.Totals); err != nil || o.Totals.SeenPackets != sent.packets || o.Totals.SeenFrameBytes != sent.octets {
		t.Errorf("%d packets, %d octets sent: %v; %+v", sent.packets, sent.octets, err, o.Totals)
	}
	if o.PeakRSS > limit+limit/10 {
		t.Errorf("%d MiB at most, %d are allowed", o.PeakRSS>>20, (limit+limit/10)>>20)
	}
}
