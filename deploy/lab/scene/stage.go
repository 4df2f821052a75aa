package scene

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Scenario is one attack or one twin, or several that belong together, as they
// are planted on a day.
type Scenario struct {
	Name  string
	Weeks bool // known only by what was usual for two weeks before
	Make  func(w *World, day time.Time)
}

// at is a time of a day.
func at(day time.Time, hour, minute int) time.Time {
	return day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// Scenarios are all attacks of an office's day, each with its twin, by name. Each
// has a workstation of its own, so that what is found about one is about it alone;
// a place with fewer workstations than 18 lets some share.
func Scenarios() []Scenario {
	hosts := func(w *World, n int) netip.Addr { return station(n % w.hosts) }
	return []Scenario{
		{"scan", false, func(w *World, d time.Time) {
			w.Scan(at(d, 10, 0), hosts(w, 0), server(20), 1000, 500*time.Millisecond)
			w.Scan(at(d, 7, 30), hosts(w, 13), server(80), 20, time.Minute)
			w.harmless("scan", server(66), at(d, 3, 0), time.Hour, "tagged scanner")
		}},
		{"sweep", false, func(w *World, d time.Time) {
			w.Sweep(at(d, 11, 20), hosts(w, 1), prefix("10.30.200.0/24"), 445, 120, 500*time.Millisecond)
			w.Torrent(at(d, 20, 0), hosts(w, 14), 300)
		}},
		{"discovery", false, func(w *World, d time.Time) {
			w.PingSweep(at(d, 12, 10), hosts(w, 2), prefix("10.30.201.0/24"), 200, 50*time.Millisecond)
			w.harmless("discovery", server(67), d, 24*time.Hour, "monitoring")
		}},
		{"slowscan", false, func(w *World, d time.Time) {
			for range 6 {
				w.Sweep(d.Add(w.between(0, 4*time.Hour)), w.anywhere(), prefix("10.30.0.0/24"), []uint16{22, 23, 80, 445, 3389}[w.rng.IntN(5)], 16, 70*time.Minute)
			}
		}},
		{"flood", false, func(w *World, d time.Time) {
			w.SYNFlood(at(d, 15, 2), server(80), 443, 300, 30*time.Second, 100)
			w.SYNFlood(at(d, 16, 12), server(81), 443, 2000, 20*time.Second, 10000)
			w.SYNFlood(at(d, 17, 22), server(82), 25, 1000, 15*time.Second, 1)
		}},
		{"amplification", false, func(w *World, d time.Time) {
			for n, port := range []uint16{53, 123, 161, 11211} {
				w.Amplification(at(d, 19, 5+11*n), server(84+n), port, 600, 20*time.Second, 200)
			}
			w.AskedFor(at(d, 9, 40), hosts(w, 15), 400)
		}},
		{"exfil", false, func(w *World, d time.Time) {
			w.Upload(at(d, 2, 10), hosts(w, 3), name{"drop.cheaphost.example", outside(240)}, 443, 600_000_000, 100_000_000, 4*time.Minute)
			w.Upload(at(d, 12, 40), hosts(w, 16), name{"box.otherhost.example", outside(241)}, 22, 90_000_000, 90_000_000, time.Minute)
			w.Upload(at(d, 0, 30), hosts(w, 12), name{"cdn.drip.example", outside(242)}, 443, 240_000_000, 2_000_000, 5*time.Minute)
			w.harmless("exfil", server(20), at(d, 1, 0), time.Hour, "nightly backup")
		}},
		{"dns_tunnel", false, func(w *World, d time.Time) {
			for n, shape := range []string{"iodine", "dnscat2", "dns2tcp", "cname"} {
				w.Tunnel(at(d, 13, 20*n), hosts(w, 4+n), shape, []float64{20, 2, 8, 4}[n], 4*time.Minute)
			}
			w.Hashes(at(d, 10, 30), hosts(w, 15), 400)
		}},
		{"dga", false, func(w *World, d time.Time) {
			w.Generated(at(d, 11, 45), hosts(w, 11), 60, 4*time.Second)
			w.Suffixes(at(d, 14, 0), hosts(w, 15), 60)
		}},
		{"bruteforce", false, func(w *World, d time.Time) {
			w.Guess(at(d, 8, 20), hosts(w, 6), server(22), 40, 2*time.Second, true)
			w.Guess(at(d, 21, 0), w.anywhere(), server(22), 60, 4*time.Second, false)
			w.Guess(at(d, 4, 0), w.anywhere(), server(80), 36, 5*time.Minute, false)
			w.Copies(at(d, 5, 0), server(20), server(22), 30, 3*time.Minute)
		}},
		{"injection", false, func(w *World, d time.Time) {
			w.Injection(at(d, 18, 30), w.anywhere(), server(80))
			w.Searches(at(d, 9, 20), hosts(w, 15), server(80))
		}},
		{"lateral", true, func(w *World, d time.Time) {
			w.Lateral(at(d, 22, 0), hosts(w, 7), []netip.Addr{server(20), server(22), server(80), hosts(w, 1), hosts(w, 2), hosts(w, 3), hosts(w, 9)})
			w.Administration(at(d, 6, 0), server(8), []netip.Addr{server(20), server(22), server(80), server(53), server(9), server(67)})
		}},
		{"slowhttp", false, func(w *World, d time.Time) {
			w.SlowHTTP(at(d, 23, 0), w.anywhere(), server(80), 150, 8*time.Minute)
			w.LongPoll(at(d, 13, 0), server(83), 40, 10*time.Minute)
		}},
		{"icmp_tunnel", false, func(w *World, d time.Time) {
			w.EchoTunnel(at(d, 16, 40), hosts(w, 8), outside(243), 400, 500*time.Millisecond)
			w.Pings(at(d, 11, 10), hosts(w, 15), outside(20), 600)
		}},
		{"unknown", false, func(w *World, d time.Time) {
			w.Unknown(at(d, 14, 10), hosts(w, 9), name{"", outside(244)}, 443, 8)
			w.Resumed(at(d, 15, 10), hosts(w, 15), name{"", outside(247)}, 8)
		}},
		{"level", true, func(w *World, d time.Time) {
			w.Level(at(d, 14, 0), hosts(w, 10), 3*time.Hour)
			w.harmless("level", server(20), at(d, 1, 0), time.Hour, "nightly backup")
		}},
		{"newhost", true, func(w *World, d time.Time) {
			w.Newcomer(at(d, 9, 5), station(120))
			w.Moved(at(d, 13, 5), hosts(w, 4), station(121))
		}},
		{"outage", true, func(w *World, d time.Time) {
			w.Outage(at(d, 10, 0), application(), 2*time.Hour)
			w.Maintenance(at(d, 3, 0), application(), 2*time.Hour)
		}},
		{"beacon", false, func(w *World, d time.Time) {
			w.Call(at(d, 6, 0), hosts(w, 5), name{"cdn.check-in.example", outside(245)}, Beacon{Every: 5 * time.Minute, Jitter: 0.2, Size: 420, CV: 0.1, Calls: 72})
			w.Poll(at(d, 6, 0), hosts(w, 17), numbered("weather", 20), 5*time.Minute, 72)
		}},
	}
}

// harmless notes that what a host does anyway is a twin.
func (w *World) harmless(family string, host netip.Addr, from time.Time, lasting time.Duration, what string) {
	w.truths = append(w.truths, Truth{Family: family, Actor: host.String(), Start: from, End: from.Add(lasting), Harmless: true, Made: "packets", Params: map[string]any{"twin": what}})
}

// Names of the scenarios that need what was usual for weeks before, or of those
// that do not.
func Names(weeks bool) (list []string) {
	for _, s := range Scenarios() {
		if s.Weeks == weeks {
			list = append(list, s.Name)
		}
	}
	return list
}

// Plant makes the scenarios of the given names on a day; none: all.
func (w *World) Plant(day time.Time, names ...string) error {
	all := Scenarios()
	for _, n := range names {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.Name == n }) {
			return fmt.Errorf("plant scenario %q: there is none of that name", n)
		}
	}
	for _, s := range all {
		if len(names) == 0 || slices.Contains(names, s.Name) {
			s.Make(w, day)
		}
	}
	return nil
}

// Beacons plants implants over the whole range that is asked for, each on a host
// of its own: periods of 30 s to 1 h, jitter up to most, sizes of one kind and of
// many, with one call in ten missing in half of them; and as many pollers without
// a rhythm. calls is how many gaps each has.
func (w *World) Beacons(day time.Time, jitters []float64, calls int) {
	n := 0
	for _, every := range []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute, time.Hour} {
		for _, jitter := range jitters {
			for _, cv := range []float64{0, 0.3} {
				misses := 0.0
				if n%2 == 1 {
					misses = 0.1
				}
				w.Call(day.Add(w.between(0, time.Hour)), station(n), name{fmt.Sprintf("api.c2-%03d.example", n), outside(n)},
					Beacon{Every: every, Jitter: jitter, Size: 480, CV: cv, Misses: misses, Calls: calls})
				w.Poll(day.Add(w.between(0, time.Hour)), station(n+100), name{fmt.Sprintf("api.app-%03d.example", n), outside(300 + n)}, every, calls)
				n++
			}
		}
	}
}

// Evasion plants attacks whose makers know what is looked for: padding, more
// jitter, a new fingerprint each time, low rates.
func (w *World) Evasion(day time.Time) {
	n := 0
	call := func(what string, b Beacon) {
		before := len(w.truths)
		w.Call(day.Add(w.between(0, time.Hour)), station(n), name{fmt.Sprintf("api.e-%03d.example", n), outside(n)}, b)
		w.truths[before].Params["evasion"] = what
		n++
	}
	for _, every := range []time.Duration{time.Minute, 5 * time.Minute, 20 * time.Minute} {
		call("jitter 90 %", Beacon{Every: every, Jitter: 0.9, Size: 480, Calls: 60})
		call("padding", Beacon{Every: every, Jitter: 0.3, Size: 3000, CV: 0.8, Calls: 60})
		call("shuffled fingerprint", Beacon{Every: every, Jitter: 0.3, Size: 480, Calls: 60, Shuffle: true})
		call("all of it", Beacon{Every: every, Jitter: 0.9, Size: 3000, CV: 0.8, Misses: 0.2, Calls: 60, Shuffle: true})
	}
	mark := func(what string, make func()) {
		before := len(w.truths)
		make()
		for i := before; i < len(w.truths); i++ {
			w.truths[i].Params["evasion"] = what
		}
	}
	mark("scan, a port in 10 min", func() { w.Scan(day.Add(time.Minute), station(40), server(20), 100, 10*time.Minute) })
	mark("scan, a port a minute", func() { w.Scan(day.Add(time.Minute), station(41), server(20), 200, time.Minute) })
	mark("sweep, a host in 10 min", func() { w.Sweep(day.Add(time.Minute), station(42), prefix("10.30.202.0/24"), 22, 100, 10*time.Minute) })
	mark("guesses, 12 an hour", func() { w.Guess(day.Add(time.Minute), station(43), server(22), 100, 5*time.Minute, false) })
	mark("tunnel, a name in 2 s", func() { w.Tunnel(day.Add(time.Minute), station(44), "dnscat2", 0.5, 30*time.Minute) })
	mark("tunnel, a name in 20 s", func() { w.Tunnel(day.Add(time.Minute), station(45), "dnscat2", 0.05, 4*time.Hour) })
	mark("upload, 2 MB in 5 min", func() {
		w.Upload(day.Add(time.Minute), station(46), name{"drip.evade.example", outside(246)}, 443, 400_000_000, 2_000_000, 5*time.Minute)
	})
	mark("overlapping segments", func() { w.overlapped(day.Add(time.Hour), w.anywhere(), server(80)) })
}

// overlapped is an injection whose request is sent twice in overlapping pieces.
func (w *World) overlapped(start time.Time, actor, victim netip.Addr) {
	w.plant(Truth{Family: "injection", Technique: "T1190", Actor: actor.String(), Victim: victim.String(), Port: 80, Params: map[string]any{"requests": 6}}, func() {
		for range 6 {
			t := w.open(start, actor, victim, 80)
			request := get("www.corp.test", "/item?id=1%27+UNION+SELECT+user,password+FROM+users--+", "Mozilla/5.0")
			half := len(request) / 2
			w.segment(t.now, t.client, t.server, t.cseq, t.sseq, "PA", request[:half+10], 0)
			w.segment(t.now.Add(time.Millisecond), t.client, t.server, t.cseq+uint32(half-10), t.sseq, "PA", request[half-10:], 0)
			t.cseq += uint32(len(request))
			t.wait(10 * time.Millisecond)
			t.answer(ok(900), 900)
			t.close()
			start = start.Add(10 * time.Second)
		}
	})
}

// Demo plants, within some hours of a day, one attack of each family that the
// recorded captures of the demo do not have, small enough to be cloned.
func (w *World) Demo(day time.Time) {
	w.Guess(at(day, 8, 20), station(6), server(22), 40, 2*time.Second, true)
	w.Tunnel(at(day, 8, 40), station(5), "dnscat2", 3, 3*time.Minute)
	w.Injection(at(day, 9, 0), w.anywhere(), server(80))
	w.PingSweep(at(day, 9, 20), station(2), prefix("10.30.201.0/24"), 200, 50*time.Millisecond)
	w.EchoTunnel(at(day, 9, 40), station(8), outside(243), 200, 500*time.Millisecond)
	w.Generated(at(day, 10, 0), station(11), 60, 4*time.Second)
	w.Amplification(at(day, 10, 20), server(84), 123, 600, 12*time.Second, 200)
	w.Lateral(at(day, 10, 30), station(7), []netip.Addr{server(20), server(22), server(80), station(1), station(2), station(3), station(9)})
}
