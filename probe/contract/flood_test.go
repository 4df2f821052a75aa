package contract

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	clients = host(10 << 24) // the established flows'
	victim  = host(192<<24 | 1)
)

// flood is the traffic of R17: established connections that talk all the time,
// and SYNs with distinct tuples among them, of the four kinds that there are.
type flood struct {
	established, syns int
	length            int64 // of the flood, ns
	after             int   // connections to the attacked service when all is over
}

func (f flood) write(w *wire) {
	hello := []byte("0123456789")
	talk := func(at int64, i int, k uint32) {
		c, port := clients+host(i), uint16(20_000+i)
		w.tcp(at, c, victim, port, 443, psh|ack, 101+10*k, 501+10*k, hello)
		w.tcp(at, victim, c, 443, port, psh|ack, 501+10*k, 111+10*k, hello)
	}
	for i := range f.established {
		c, port := clients+host(i), uint16(20_000+i)
		w.tcp(base, c, victim, port, 443, syn, 100, 0, nil)
		w.tcp(base, victim, c, 443, port, syn|ack, 500, 101, nil)
		w.tcp(base, c, victim, port, 443, ack, 101, 501, nil)
	}
	rng := rand.New(rand.NewPCG(17, 17))
	step, every := f.length/int64(f.syns), max(f.syns/(2*f.established), 1)
	at := base + second
	for i := range f.syns {
		at += step
		n, port := host(100<<24)+host(i), uint16(1024+rng.Uint32N(60_000))
		switch i * 4 / f.syns {
		case 0: // spoofed sources, one service
			w.tcp(at, n, victim, port, 443, syn, 1, 0, nil)
		case 1: // a scan: one source, every address
			w.tcp(at, victim+65, n, port, 22, syn, 1, 0, nil)
		case 2: // spoofed sources, any port of one host
			w.tcp(at, n, victim+1, port, uint16(rng.Uint32()), syn, 1, 0, nil)
		default: // nothing in common
			w.tcp(at, n, host(150<<24|rng.Uint32N(1<<24)), port, uint16(rng.Uint32()), syn, 1, 0, nil)
		}
		if i%every == 0 && i/every < 2*f.established { // each talks twice
			talk(at, i/every%f.established, uint32(i/every/f.established))
		}
	}
	for i := range 20 { // quiet
		at += second
		w.tcp(at, clients, victim, 20_000, 443, ack, 121+uint32(i), 521, nil)
	}
	for i := range f.after {
		at += second / 100
		w.tcp(at, host(11<<24)+host(i), victim, uint16(2000+i%60_000), 443, syn, 1, 0, nil)
	}
}

// TestFlood is R17: under SYNs of distinct tuples the process stays within the
// memory of its flow table, the established flows stay whole, the emergency
// begins and ends, and every packet and connection is in a record. Go's
// collector lets a heap grow to twice what is in it: where the table is full by
// its octets and not by its number of flows, the process stays within them
// when GOMEMLIMIT tells it to.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name string
		flood
		job
		most int // octets
	}{
		{"by flows", flood{2000, 1_000_000, 24 * second, 1000}, job{}, 256 << 20 / 10 * 11},
		{"by memory", flood{2000, 300_000, 7 * second, 1000}, job{MaxFlows: 64 << 20, MaxBytes: 32 << 20, Limit: 64 << 20}, 64<<20 + 48<<20},
		{"by memory, full", flood{2000, 10_000_000, 24 * second, 1000}, job{MaxFlows: 64 << 20, Limit: 256 << 20}, 256 << 20 / 10 * 11},
		{"by memory, no limit told", flood{2000, 10_000_000, 24 * second, 1000}, job{MaxFlows: 64 << 20}, 2 * (256 << 20)},
	} {
		name := c.name
		if full() {
			c.syns = 10_000_000
		} else if c.syns > 1_000_000 {
			continue
		}
		c.Files, c.Format = []string{"-"}, "batch"
		t.Run(name, func(t *testing.T) {
			var sent *wire
			feed := func(out io.Writer) error {
				sent = newWire(out, 1)
				c.write(sent)
				return sent.err
			}
			var packets, octets, connections, sums, late uint64
			whole := make([]int, c.established)
			o := flowsProcess(t, c.job, feed, records(func(r *flow.Record) {
				packets += r.Packets()
				octets += r.FrameBytes()
				switch net := r.SrcIP[12]; {
				case r.AggregatedFlows > 0:
					connections += uint64(r.AggregatedFlows)
					sums++
					return
				case r.Segment == 0:
					connections++
					fallthrough
				default:
					if net == 11 {
						late++
					}
				}
				if r.SrcIP[12] != 10 || r.Segment != 0 {
					return
				}
				i := int(r.SrcIP[13])<<16 | int(r.SrcIP[14])<<8 | int(r.SrcIP[15])
				if r.SrcPackets >= 4 && r.DstPackets == 3 && r.DstPort == 443 && i < len(whole) {
					whole[i]++
				}
			}))
			kept := 0
			for _, n := range whole {
				if n == 1 {
					kept++
				}
			}
			t.Logf("%d SYNs: %d MiB at most, %d of %d established flows whole, %d sums, %v CPU", c.syns, o.PeakRSS>>20, kept, c.established, sums, o.CPU)
			if err := closed(o.Totals); err != nil {
				t.Error(err)
			}
			if packets != sent.packets || octets != sent.octets || o.Totals.FlowPackets != sent.packets || connections != o.Totals.FlowsStarted {
				t.Errorf("%d packets %d octets sent; records hold %d, %d and %d connections; the ledger says %+v", sent.packets, sent.octets, packets, octets, connections, o.Totals)
			}
			if want := uint64(c.established + c.syns + c.after); connections < want*999/1000 || connections > want {
				t.Errorf("%d connections in records, %d were made", connections, want) // some SYNs have the tuple of another
			}
			if kept < c.established*99/100 {
				t.Errorf("%d of %d established flows are whole", kept, c.established)
			}
			if sums == 0 {
				t.Error("there was no emergency: nothing was added up")
			}
			if late != uint64(c.after) {
				t.Errorf("the emergency has not ended: %d of %d later connections have a record of their own", late, c.after)
			}
			if o.PeakRSS > c.most {
				t.Errorf("%d MiB at most, %d are allowed", o.PeakRSS>>20, c.most>>20)
			}
		})
	}
}
