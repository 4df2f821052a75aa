// Package scene makes traffic of an office of which everything is known: days of
// ordinary work, attacks with their parameters, and of each attack a harmless twin
// that looks like it.
//
// In comes a seed and what is wanted; out come packets, in order of time, and the
// truth about them. The same seed gives the same octets. Everything is packets:
// the bulk of large transfers is not kept (the lengths on the wire are true), so
// that days of traffic are a few megabytes. Nothing is ever sent anywhere.
package scene

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

// inside is the office's network.
var inside = netip.MustParsePrefix("10.30.0.0/16")

// Truth is one thing that was planted.
type Truth struct {
	Family    string         `json:"family"`
	Technique string         `json:"technique"` // ATT&CK id, empty of what is harmless
	Actor     string         `json:"actor"`     // address; empty: many
	Victim    string         `json:"victim"`    // address, network or name; empty: many
	Port      uint16         `json:"port"`      // 0: many
	Start     time.Time      `json:"start"`
	End       time.Time      `json:"end"`
	Harmless  bool           `json:"harmless"` // a twin: must raise nothing of medium severity or more
	Made      string         `json:"made"`     // "packets": everything here goes through the probe
	Params    map[string]any `json:"params"`
}

// World is a place while its traffic is being made. It is for one goroutine.
type World struct {
	*wire
	rng    *rand.Rand
	truths []Truth
	ports  map[netip.Addr]uint16
	hosts  int
	names  []name
}

// name is a site outside that people visit.
type name struct {
	host string
	addr netip.Addr
}

// New returns a place with a number of workstations (1 to 200) in which nothing
// has happened yet.
func New(seed uint64, hosts int) *World {
	w := &World{wire: &wire{buffer: gopacket.NewSerializeBuffer(), moved: map[netip.Addr]netip.Addr{}}, rng: rand.New(rand.NewPCG(seed, 0x7461707761746368)), ports: map[netip.Addr]uint16{}, hosts: min(max(hosts, 1), 200)}
	for i := range 60 {
		w.names = append(w.names, name{fmt.Sprintf("www.site%02d.example", i), outside(10 + i)})
	}
	return w
}

// Capture writes what was made, in order of time.
func (w *World) Capture(out io.Writer) error {
	trace.Sort(w.packets)
	return trace.Write(out, w.packets)
}

// Packets is how many there are.
func (w *World) Packets() int { return len(w.packets) }

// Truths returns what was planted, in order of time.
func (w *World) Truths() []Truth {
	slices.SortStableFunc(w.truths, func(a, b Truth) int { return a.Start.Compare(b.Start) })
	return w.truths
}

// WriteTruth writes it as JSON.
func (w *World) WriteTruth(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", " ")
	return e.Encode(w.Truths())
}

// plant notes what the packets that make writes are.
func (w *World) plant(t Truth, make func()) {
	before := len(w.packets)
	make()
	t.Made = "packets"
	first, last := int64(math.MaxInt64), int64(0)
	for _, p := range w.packets[before:] {
		first, last = min(first, p.Time), max(last, p.Time)
	}
	t.Start, t.End = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
	w.truths = append(w.truths, t)
}

// outside is the n-th address that the office talks to: of the networks for
// documentation.
func outside(n int) netip.Addr {
	nets := []netip.Addr{netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("198.51.100.0"), netip.MustParseAddr("203.0.113.0")}
	b := nets[n/250%3].As4()
	b[3] = byte(1 + n%250)
	return netip.AddrFrom4(b)
}

// anywhere is an address that some spoofed or scanning machine has; nothing is
// ever sent to it.
func (w *World) anywhere() netip.Addr {
	for {
		a := netip.AddrFrom4([4]byte{byte(1 + w.rng.IntN(222)), byte(w.rng.IntN(256)), byte(w.rng.IntN(256)), byte(1 + w.rng.IntN(254))})
		if a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() {
			return a
		}
	}
}

// station is the n-th workstation, server the one with a number.
func station(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 30, 1, byte(10 + n)}) }

func server(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 30, 0, byte(n)}) }

// from is a fresh client port of a host.
func (w *World) from(a netip.Addr) netip.AddrPort {
	p, seen := w.ports[a]
	if !seen || p >= 60900 {
		p = 33000 + uint16(w.rng.IntN(2000))
	}
	w.ports[a] = p + 1
	return netip.AddrPortFrom(a, p)
}

func (w *World) rtt(a netip.Addr) time.Duration {
	if inside.Contains(a) {
		return time.Duration(300+w.rng.IntN(400)) * time.Microsecond
	}
	return time.Duration(15000+w.rng.IntN(12000)) * time.Microsecond
}

// open dials from a host to a port.
func (w *World) open(at time.Time, c, s netip.Addr, port uint16) *conn {
	far := s
	if inside.Contains(s) {
		far = c
	}
	return w.dial(at, w.from(c), netip.AddrPortFrom(s, port), w.rtt(far), w.rng.Uint32())
}

// between is a random duration.
func (w *World) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// jittered is T·(1-U(0,j)).
func (w *World) jittered(t time.Duration, j float64) time.Duration {
	return time.Duration(float64(t) * (1 - j*w.rng.Float64()))
}

// exponential is a gap of a Poisson process.
func (w *World) exponential(mean time.Duration) time.Duration {
	return time.Duration(float64(mean) * w.rng.ExpFloat64())
}

// spread is a size about mean with a coefficient of variation.
func (w *World) spread(mean int, cv float64) int {
	return max(20, int(float64(mean)*(1+cv*w.rng.NormFloat64())))
}
