package scene

import (
	"math"
	"net/netip"
	"time"
)

// Office says how much ordinary work there is.
type Office struct {
	Days     int   // from the day that Work is given
	Visits   int   // connections of a workstation on a working day, about
	Requests int   // of a workstation to an application of the office, on a working day, about
	Backup   int64 // octets of the nightly backup
	Things   int   // IoT devices that keep a connection open
	Pollers  int   // programs that ask for something hourly, ±10 %
	Poissons int   // programs that ask for something without a rhythm
	Scanner  bool  // the security team's scanner looks at the servers once a day
	Crowd    bool  // on the last day, at eleven, everybody wants the same page
}

// DefaultOffice is a day.
func DefaultOffice() Office {
	return Office{Days: 1, Visits: 120, Requests: 60, Backup: 5_000_000_000, Things: 3, Pollers: 3, Poissons: 3, Scanner: true, Crowd: true}
}

// Networks names the office's hosts that have a role, as lines of
// network,name,role,site.
func Networks(site string) string {
	role := func(a netip.Addr, name, role string) string {
		return a.String() + "/32," + name + "," + role + "," + site + "\n"
	}
	return "10.30.1.0/24,clients,," + site + "\n10.30.0.0/24,servers,," + site + "\n" + role(server(66), "vulnerability-scanner", "scanner") + role(server(67), "monitoring", "monitor") +
		role(resolver(), "resolver", "resolver") + role(server(9), "backup", "backup") + role(server(8), "jump-host", "jump")
}

// activity is the share of a day's work in an hour, by how busy it is: most from
// 8 to 18 on working days, a little always.
func activity(at time.Time) float64 {
	hour := at.Hour()
	switch {
	case at.Weekday() == time.Saturday || at.Weekday() == time.Sunday:
		return 0.012
	case hour < 7 || hour >= 19:
		return 0.010
	case hour == 7 || hour == 18 || hour == 12:
		return 0.05
	}
	return 0.085
}

// Work makes ordinary days from midnight of a day on.
func (w *World) Work(day time.Time, o Office) {
	for d := range o.Days {
		begin := day.AddDate(0, 0, d)
		for n := range w.hosts {
			w.person(begin, station(n), o)
		}
		w.machines(begin, o)
		if o.Crowd && d == o.Days-1 {
			w.crowd(begin.Add(11*time.Hour), 250)
		}
	}
}

// person is a workstation's day.
func (w *World) person(day time.Time, host netip.Addr, o Office) {
	for h := range 24 {
		hour := day.Add(time.Duration(h) * time.Hour)
		w.clock(hour.Add(w.between(0, 59*time.Minute)), host, server(123))
		// At least one connection an hour: no machine is ever quite still.
		n := 1 + w.poisson(activity(hour)*float64(o.Visits))
		for range n {
			at := hour.Add(w.between(0, 59*time.Minute))
			site := w.names[w.zipf(len(w.names))]
			at = w.lookup(at, host, site.host, site.addr)
			w.visit(at, host, browser(), site, int64(w.spread(900, 0.6)), int64(math.Exp(9+1.2*w.rng.NormFloat64())))
		}
		for range w.poisson(activity(hour) * float64(o.Requests)) {
			w.http(hour.Add(w.between(0, 59*time.Minute)), host, application(), 8080, "app.corp.test", "/order", "Mozilla/5.0", w.spread(9000, 0.5))
		}
	}
	if activity(day.Add(10*time.Hour)) > 0.05 {
		w.whoHas(day.Add(7*time.Hour+w.between(0, time.Hour)), host, server(1))
		at := day.Add(9*time.Hour + w.between(0, 3*time.Hour))
		w.http(at, host, server(80), 80, "intranet.corp.test", "/start", "Mozilla/5.0", 18000)
		// Mistyped names, and one that is searched for in the office's own zone.
		w.ask(at.Add(time.Minute), host, resolver(), "intarnet.corp.test", 1, 3, netip.Addr{}, nil)
	}
}

// application is the server of what the office works with.
func application() netip.Addr { return server(90) }

// clock asks for the time.
func (w *World) clock(at time.Time, c, s netip.Addr) {
	src, dst := netip.AddrPortFrom(c, 123), netip.AddrPortFrom(s, 123)
	w.datagram(at, src, dst, ntp(false), 0)
	w.datagram(at.Add(w.rtt(c)), dst, src, ntp(true), 0)
}

// machines is what runs by itself on a day.
func (w *World) machines(day time.Time, o Office) {
	for n := range o.Things {
		w.keepalive(day.Add(time.Duration(n)*time.Minute), server(200+n), numbered("mqtt", n), 4*time.Minute, 24*time.Hour-10*time.Minute)
	}
	for n := range o.Pollers {
		for at := day.Add(w.between(0, time.Hour)); at.Before(day.AddDate(0, 0, 1)); at = at.Add(w.between(54*time.Minute, 66*time.Minute)) {
			for host := range min(w.hosts, 6) { // what many ask for is no sign of one
				w.visit(at.Add(w.between(0, 5*time.Minute)), station(host), tool(), numbered("update", n), 400, 2500)
			}
		}
	}
	for n := range o.Poissons {
		for at := day.Add(w.exponential(10 * time.Minute)); at.Before(day.AddDate(0, 0, 1)); at = at.Add(w.exponential(10 * time.Minute)) {
			w.visit(at, station(n%w.hosts), tool(), numbered("feed", n), 500, 1500)
		}
	}
	// An administrator, from the jump host, in the morning.
	if activity(day.Add(10*time.Hour)) > 0.05 {
		for n, s := range []int{80, 20, 22} {
			w.ssh(day.Add(9*time.Hour+time.Duration(n)*17*time.Minute+w.between(0, 8*time.Minute)), server(8), server(s), 22, 1, true, 0, 0, 6*time.Minute)
		}
	}
	if o.Backup > 0 {
		t := w.between(0, 10*time.Minute)
		size := int64(float64(o.Backup) * (0.95 + 0.1*w.rng.Float64()))
		w.ssh(day.Add(time.Hour+t), server(20), server(9), 22, 1, true, size, 0, 20*time.Minute)
	}
	// Monitoring: every five minutes a look at each server.
	for at := day.Add(10 * time.Second); at.Before(day.AddDate(0, 0, 1)); at = at.Add(15 * time.Minute) {
		for k, s := range []netip.Addr{server(80), server(20), server(22), server(53), application()} {
			w.ping(at.Add(time.Duration(k)*time.Second), server(67), s, uint16(k))
		}
	}
	if o.Scanner {
		at := day.Add(3 * time.Hour)
		for _, s := range []int{80, 20, 22, 53} {
			for port := uint16(20); port < 90; port++ {
				w.refused(at, w.from(server(66)), netip.AddrPortFrom(server(s), port))
				at = at.Add(200 * time.Millisecond)
			}
		}
	}
}

func (w *World) ping(at time.Time, c, s netip.Addr, id uint16) {
	data := []byte("abcdefghijklmnopqrstuvwabcdefghi")
	w.echo(at, c, s, false, id, 1, data)
	w.echo(at.Add(400*time.Microsecond), s, c, true, id, 1, data)
}

// crowd is what a link in a newsletter does: many come within a minute, and all
// are served.
func (w *World) crowd(at time.Time, visitors int) {
	w.plant(Truth{Family: "flood", Victim: server(80).String(), Port: 80, Harmless: true, Params: map[string]any{"twin": "flash crowd", "visitors": visitors}}, func() {
		for range visitors {
			w.http(at.Add(w.between(0, 40*time.Second)), w.anywhere(), server(80), 80, "www.corp.test", "/offer", "Mozilla/5.0", w.spread(30000, 0.3))
		}
	})
}

// zipf picks one of n: the first most often.
func (w *World) zipf(n int) int {
	u := w.rng.Float64()
	return min(n-1, int(math.Exp(u*math.Log(float64(n+1))))-1)
}

// poisson is how often something happens that happens mean times on average.
func (w *World) poisson(mean float64) int {
	n, p, limit := 0, w.rng.Float64(), math.Exp(-mean)
	for ; p > limit; n++ {
		p *= w.rng.Float64()
	}
	return n
}
