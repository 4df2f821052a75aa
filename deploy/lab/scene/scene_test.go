package scene

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
)

func day() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }

// office is a small one with everything in it.
func office(t *testing.T, seed uint64) *World {
	t.Helper()
	w := New(seed, 18)
	o := DefaultOffice()
	o.Visits, o.Backup = 20, 50_000_000
	w.Work(day(), o)
	if err := w.Plant(day()); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestSameSeedSameOctets(t *testing.T) {
	write := func(seed uint64) (capture, truth bytes.Buffer) {
		w := office(t, seed)
		if err := w.Capture(&capture); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteTruth(&truth); err != nil {
			t.Fatal(err)
		}
		return capture, truth
	}
	a, x := write(7)
	b, y := write(7)
	if !bytes.Equal(a.Bytes(), b.Bytes()) || !bytes.Equal(x.Bytes(), y.Bytes()) {
		t.Error("the same seed makes different octets")
	}
	if c, _ := write(8); bytes.Equal(a.Bytes(), c.Bytes()) {
		t.Error("another seed makes the same octets")
	}
	if a.Len() > 40<<20 {
		t.Errorf("a day of 18 hosts takes %d octets", a.Len())
	}
	t.Logf("%d octets", a.Len())
}

// Every packet says its true length, and what the truth tells of is in the capture.
func TestTruthIsInThePackets(t *testing.T) {
	w := office(t, 3)
	var capture bytes.Buffer
	if err := w.Capture(&capture); err != nil {
		t.Fatal(err)
	}
	packets, err := trace.Read(&capture)
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		at       time.Time
		src, dst netip.AddrPort
	}
	var all []seen
	for n, p := range packets {
		if p.Data[12] == 8 && p.Data[13] == 6 {
			continue // ARP
		}
		h, ok := trace.Parse(p.Data)
		if !ok {
			t.Fatalf("packet %d does not parse", n)
		}
		if max(60, h.IPLength+14) != p.Length {
			t.Fatalf("packet %d: length %d, its headers say %d", n, p.Length, h.IPLength+14)
		}
		if n > 0 && p.Time < packets[n-1].Time {
			t.Fatalf("packet %d lies before its predecessor", n)
		}
		all = append(all, seen{time.UnixMicro(p.Time).UTC(), h.Src, h.Dst})
	}
	families := map[string][2]int{}
	for _, truth := range w.Truths() {
		count := families[truth.Family]
		if truth.Harmless {
			count[1]++
		} else {
			count[0]++
		}
		families[truth.Family] = count
		n := 0
		for _, p := range all {
			if p.at.Before(truth.Start) || p.at.After(truth.End) {
				continue
			}
			if truth.Actor != "" && p.src.Addr().String() != truth.Actor {
				continue
			}
			if truth.Port != 0 && p.dst.Port() != truth.Port {
				continue
			}
			n++
		}
		if n < 5 {
			t.Errorf("%s of %s against %s: %d packets", truth.Family, truth.Actor, truth.Victim, n)
		}
	}
	for _, family := range []string{"scan", "sweep", "discovery", "flood", "amplification", "exfil", "dns_tunnel", "dga", "bruteforce", "injection", "lateral", "slowhttp", "icmp_tunnel", "beacon", "unknown", "level", "newhost", "outage"} {
		if c := families[family]; c[0] == 0 || c[1] == 0 {
			t.Errorf("%s: %d attacks and %d harmless twins, want both", family, c[0], c[1])
		}
	}
}

func TestTruthIsReadable(t *testing.T) {
	w := New(1, 4)
	w.Beacons(day(), []float64{0, 0.5}, 5)
	w.Evasion(day())
	var b bytes.Buffer
	if err := w.WriteTruth(&b); err != nil {
		t.Fatal(err)
	}
	var back []Truth
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != len(w.Truths()) || !slices.IsSortedFunc(back, func(a, b Truth) int { return a.Start.Compare(b.Start) }) {
		t.Errorf("%d of %d truths, or out of order", len(back), len(w.Truths()))
	}
}

func TestPlantRefusesUnknownNames(t *testing.T) {
	if err := New(1, 4).Plant(day(), "scan", "nothing"); err == nil {
		t.Error("a scenario that does not exist is planted")
	}
}
