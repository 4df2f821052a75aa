package scene

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// SYNFlood is a flood of SYNs from spoofed sources: rate a second.
func (w *World) SYNFlood(at time.Time, victim netip.Addr, port uint16, rate int, lasting time.Duration, sources int) {
	pool := make([]netip.Addr, sources)
	for i := range pool {
		pool[i] = w.anywhere()
	}
	actor := ""
	if sources == 1 {
		actor = pool[0].String()
	}
	w.plant(Truth{Family: "flood", Technique: "T1498.001", Actor: actor, Victim: victim.String(), Port: port, Params: map[string]any{"rate": rate, "seconds": lasting.Seconds(), "sources": sources}}, func() {
		for n := range int(lasting.Seconds() * float64(rate)) {
			src := netip.AddrPortFrom(pool[w.rng.IntN(sources)], uint16(1024+w.rng.IntN(60000)))
			w.silent(at.Add(time.Duration(n)*time.Second/time.Duration(rate)), src, netip.AddrPortFrom(victim, port))
		}
	})
}

// Amplification is a flood of answers that were never asked for.
func (w *World) Amplification(at time.Time, victim netip.Addr, port uint16, rate int, lasting time.Duration, reflectors int) {
	pool := make([]netip.Addr, reflectors)
	for i := range pool {
		pool[i] = w.anywhere()
	}
	reply := map[uint16][]byte{53: answer(7, "big.example", dnsmessage.TypeTXT, dnsmessage.RCodeSuccess, netip.Addr{}, noise(w.rng, 1100)), 123: append([]byte{0xd7, 0, 3, 42}, noise(w.rng, 436)...),
		161: append([]byte{0x30, 0x82, 4, 0x20, 2, 1, 1, 4, 6}, noise(w.rng, 1000)...), 11211: append([]byte{0, 0, 0, 0, 0, 1, 0, 0}, []byte("VALUE a 0 1300\r\n"+fmt.Sprintf("%01300d", 0))...)}[port]
	target := uint16(1024 + w.rng.IntN(60000))
	w.plant(Truth{Family: "amplification", Technique: "T1498.002", Victim: victim.String(), Params: map[string]any{"port": port, "rate": rate, "seconds": lasting.Seconds(), "reflectors": reflectors}}, func() {
		for n := range int(lasting.Seconds() * float64(rate)) {
			w.datagram(at.Add(time.Duration(n)*time.Second/time.Duration(rate)), netip.AddrPortFrom(pool[w.rng.IntN(reflectors)], port), netip.AddrPortFrom(victim, target), reply[:64], len(reply)-64)
		}
	})
}

// AskedFor is the twin: large answers to questions that were asked.
func (w *World) AskedFor(at time.Time, c netip.Addr, questions int) {
	w.plant(Truth{Family: "amplification", Actor: c.String(), Harmless: true, Params: map[string]any{"twin": "large answers that were asked for", "questions": questions}}, func() {
		for n := range questions {
			w.ask(at.Add(time.Duration(n)*50*time.Millisecond), c, resolver(), fmt.Sprintf("key%d.dnssec%02d.example", n%7, n%40), dnsmessage.TypeTXT, dnsmessage.RCodeSuccess, netip.Addr{}, noise(w.rng, 1100))
		}
	})
}

// Scan tries ports of one host, one every gap; one in ten refuses, the rest are silent.
func (w *World) Scan(at time.Time, actor, victim netip.Addr, ports int, gap time.Duration) {
	w.plant(Truth{Family: "scan", Technique: "T1046", Actor: actor.String(), Victim: victim.String(), Params: map[string]any{"ports": ports, "gap_s": gap.Seconds()}}, func() {
		for n, port := range w.rng.Perm(10000)[:ports] {
			c, s := w.from(actor), netip.AddrPortFrom(victim, uint16(port+1))
			if n%10 == 0 {
				w.refused(at, c, s)
			} else {
				w.silent(at, c, s)
			}
			at = at.Add(w.jittered(gap, 0.2))
		}
	})
}

// Sweep tries one port of a /24. From outside it is background, of which a digest
// is enough.
func (w *World) Sweep(at time.Time, actor netip.Addr, network netip.Prefix, port uint16, hosts int, gap time.Duration) {
	family := "sweep"
	if !inside.Contains(actor) {
		family = "slowscan"
	}
	w.plant(Truth{Family: family, Technique: "T1018", Actor: actor.String(), Victim: network.String(), Port: port, Params: map[string]any{"hosts": hosts, "gap_s": gap.Seconds()}}, func() {
		b := network.Addr().As4()
		for _, n := range w.rng.Perm(254)[:hosts] {
			b[3] = byte(n + 1)
			w.silent(at, w.from(actor), netip.AddrPortFrom(netip.AddrFrom4(b), port))
			at = at.Add(w.jittered(gap, 0.2))
		}
	})
}

// PingSweep asks a network who is there.
func (w *World) PingSweep(at time.Time, actor netip.Addr, network netip.Prefix, hosts int, gap time.Duration) {
	w.plant(Truth{Family: "discovery", Technique: "T1018", Actor: actor.String(), Victim: network.String(), Params: map[string]any{"hosts": hosts, "gap_s": gap.Seconds()}}, func() {
		b := network.Addr().As4()
		for n := range hosts {
			b[3] = byte(n + 1)
			w.echo(at, actor, netip.AddrFrom4(b), false, 77, uint16(n), make([]byte, 32))
			at = at.Add(w.jittered(gap, 0.2))
		}
	})
}

// Torrent is the twin of scans: a program that asks hundreds of peers, of whom
// many are gone.
func (w *World) Torrent(at time.Time, c netip.Addr, peers int) {
	w.plant(Truth{Family: "sweep", Actor: c.String(), Harmless: true, Params: map[string]any{"twin": "peer to peer", "peers": peers}}, func() {
		for range peers {
			src, dst := netip.AddrPortFrom(c, 51413), netip.AddrPortFrom(w.anywhere(), uint16(10000+w.rng.IntN(50000)))
			ask := append([]byte("d1:ad2:id20:"), noise(w.rng, 20)...)
			ask = append(ask, "9:info_hash20:"...)
			ask = append(append(ask, noise(w.rng, 20)...), "e1:q9:get_peers1:t2:aa1:y1:qe"...)
			w.datagram(at, src, dst, ask, 0)
			if w.rng.IntN(10) < 6 {
				w.datagram(at.Add(60*time.Millisecond), dst, src, append(append([]byte("d1:rd2:id20:"), noise(w.rng, 20)...), "e1:t2:aa1:y1:re"...), 0)
			}
			at = at.Add(w.exponential(time.Second))
		}
	})
}

// Upload sends octets out: all at once over TLS or SSH, or in pieces.
func (w *World) Upload(at time.Time, actor netip.Addr, to name, port uint16, octets, piece int64, every time.Duration) {
	w.plant(Truth{Family: "exfil", Technique: "T1048", Actor: actor.String(), Victim: to.addr.String(), Port: port, Params: map[string]any{"octets": octets, "piece": piece, "every_s": every.Seconds(), "name": to.host}}, func() {
		for sent := int64(0); sent < octets; sent += piece {
			size := min(piece, octets-sent)
			if port == 22 {
				w.ssh(at, actor, to.addr, 22, 1, true, size, 0, time.Duration(1+size/5_000_000)*time.Second)
			} else {
				w.lookup(at.Add(-50*time.Millisecond), actor, to.host, to.addr)
				w.tls(at, actor, tool(), to, port, size, 3000, time.Duration(1+size/5_000_000)*time.Second)
			}
			at = at.Add(every)
		}
	})
}

// Tunnel carries octets in names: the shape of iodine, dnscat2 or dns2tcp.
func (w *World) Tunnel(at time.Time, actor netip.Addr, shape string, rate float64, lasting time.Duration) {
	domain, kind, low, high, back := "t.tunnel01.example", dnsmessage.Type(10), 90, 180, 200 // iodine: NULL
	switch shape {
	case "dnscat2":
		domain, kind, low, high, back = "c.tunnel02.example", dnsmessage.TypeTXT, 36, 120, 80
	case "dns2tcp":
		domain, kind, low, high, back = "d.tunnel03.example", dnsmessage.TypeTXT, 40, 100, 160
	case "cname":
		domain, kind, low, high, back = "e.tunnel04.example", dnsmessage.TypeCNAME, 34, 90, 50
	}
	w.plant(Truth{Family: "dns_tunnel", Technique: "T1071.004", Actor: actor.String(), Victim: resolver().String(), Port: 53, Params: map[string]any{"shape": shape, "rate": rate, "domain": domain}}, func() {
		for end := at.Add(lasting); at.Before(end); at = at.Add(w.exponential(time.Duration(float64(time.Second) / rate))) {
			w.ask(at, actor, resolver(), dotted(w.label(low+w.rng.IntN(high-low)))+"."+domain, kind, dnsmessage.RCodeSuccess, netip.Addr{}, []byte(w.label(back)))
		}
	})
}

// Hashes is the twin: names of a content network and of a list of bad senders.
func (w *World) Hashes(at time.Time, c netip.Addr, n int) {
	w.plant(Truth{Family: "dns_tunnel", Actor: c.String(), Harmless: true, Params: map[string]any{"twin": "content network and block list", "names": n}}, func() {
		for range n {
			a := w.anywhere().As4()
			w.lookup(at, c, fmt.Sprintf("d%s.cdn%02d.example", w.label(13), w.rng.IntN(3)), outside(90))
			w.ask(at.Add(time.Second), c, resolver(), fmt.Sprintf("%d.%d.%d.%d.bl.spamlist.example", a[3], a[2], a[1], a[0]), dnsmessage.TypeA, dnsmessage.RCodeNameError, netip.Addr{}, nil)
			at = at.Add(w.exponential(4 * time.Second))
		}
	})
}

// Generated asks for names that an algorithm makes, of which none exists.
func (w *World) Generated(at time.Time, actor netip.Addr, n int, gap time.Duration) {
	w.plant(Truth{Family: "dga", Technique: "T1568.002", Actor: actor.String(), Params: map[string]any{"names": n, "gap_s": gap.Seconds()}}, func() {
		for range n {
			w.ask(at, actor, resolver(), w.label(12+w.rng.IntN(8))+[]string{".com", ".net", ".info", ".biz"}[w.rng.IntN(4)], dnsmessage.TypeA, dnsmessage.RCodeNameError, netip.Addr{}, nil)
			at = at.Add(w.exponential(gap))
		}
	})
}

// Suffixes is the twin: one short name searched for in many zones, day after day.
func (w *World) Suffixes(at time.Time, c netip.Addr, n int) {
	w.plant(Truth{Family: "dga", Actor: c.String(), Harmless: true, Params: map[string]any{"twin": "search suffixes", "names": n}}, func() {
		for k := range n {
			w.ask(at, c, resolver(), fmt.Sprintf("printer%d.%s", k%5, []string{"corp.test", "emea.corp.test", "branch.example"}[k%3]), dnsmessage.TypeA, dnsmessage.RCodeNameError, netip.Addr{}, nil)
			at = at.Add(w.exponential(3 * time.Second))
		}
	})
}

// Guess tries passwords by SSH, and is let in at the end if success.
func (w *World) Guess(at time.Time, actor, victim netip.Addr, attempts int, gap time.Duration, success bool) {
	w.plant(Truth{Family: "bruteforce", Technique: "T1110", Actor: actor.String(), Victim: victim.String(), Port: 22, Params: map[string]any{"attempts": attempts, "gap_s": gap.Seconds(), "success": success}}, func() {
		for range attempts {
			w.ssh(at, actor, victim, 22, 1, false, 0, 0, 0)
			at = at.Add(w.jittered(gap, 0.3))
		}
		if success {
			w.ssh(at, actor, victim, 22, 1, true, 40000, 200000, 3*time.Minute)
		}
	})
}

// Copies is the twin: a job that copies a file every few minutes.
func (w *World) Copies(at time.Time, c, s netip.Addr, n int, gap time.Duration) {
	w.plant(Truth{Family: "bruteforce", Actor: c.String(), Victim: s.String(), Port: 22, Harmless: true, Params: map[string]any{"twin": "copies by a job", "copies": n}}, func() {
		for range n {
			w.ssh(at, c, s, 22, 1, true, int64(w.spread(150000, 0.5)), 2000, 4*time.Second)
			at = at.Add(gap)
		}
	})
}
