package quality

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Part is traffic of one place with what is known of it.
type Part struct {
	Name   string
	Site   string // unique in its case: equal addresses of two parts are different hosts
	Real   bool
	Truths []Truth
	Load   func(ctx context.Context, s *Store, p *Part) error // sends it into a store, marked with the site; may add to Truths
}

// Case is what shares a database: parts that have neither site nor time in common.
// Many small captures in one database are judged much faster than each in its own.
type Case struct {
	Name     string
	Networks Networks
	Inside   []netip.Prefix // own networks besides the private ones
	Parts    []Part
	Delays   bool // the time to detect is measured
}

// capturePart is a part that a probe reads from a file.
func capturePart(name, site string, truths []Truth, file string) Part {
	return Part{Name: name, Site: site, Real: true, Truths: truths, Load: func(ctx context.Context, s *Store, p *Part) error {
		return s.Read(ctx, p.Name, p.Site, file)
	}}
}

// Run takes a case through the chain, and returns an outcome for each part. log
// hears what each step took.
func (c *Chain) Run(ctx context.Context, k Case) (all []Outcome, err error) {
	mark := time.Now()
	lap := func(what string) {
		fmt.Fprintf(c.log, "%s: %s, %.1f s\n", k.Name, what, time.Since(mark).Seconds())
		mark = time.Now()
	}
	s, err := c.Open(ctx, k.Networks)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.cfg.Detect.Inside = append(s.cfg.Detect.Inside, k.Inside...)
	for n := range k.Parts {
		p := &k.Parts[n]
		if err := p.Load(ctx, s, p); err != nil {
			return nil, fmt.Errorf("load %s: %w", p.Name, err)
		}
	}
	lap(fmt.Sprintf("%d parts are read", len(k.Parts)))
	if err := s.Settle(ctx); err != nil {
		return nil, err
	}
	lap("stored")
	// A detector that fails is said; what the others found counts.
	if err := s.Judge(ctx); err != nil {
		fmt.Fprintf(c.log, "%s: ERROR: %v\n", k.Name, err)
	}
	lap("judged")
	incidents, err := s.Incidents(ctx)
	if err != nil {
		return nil, err
	}
	spans, err := s.spans(ctx)
	if err != nil {
		return nil, err
	}
	split := assign(k.Parts, spans, incidents)
	for _, p := range k.Parts {
		out := match(p.Truths, split[p.Site])
		out.Case, out.Real, out.Rows = p.Name, p.Real, spans[p.Site].Rows
		if err := s.count(ctx, p.Site, &out); err != nil {
			return nil, err
		}
		for n := range out.Findings {
			if f := &out.Findings[n]; k.Delays && f.Hit != nil && f.Start.IsZero() {
				if f.Start, err = s.firstOf(ctx, p.Site, f.Truth); err != nil {
					return nil, err
				}
			}
		}
		progress(c.log, out)
		all = append(all, out)
	}
	if !k.Delays {
		return all, nil
	}
	before, err := s.past(ctx)
	if err != nil {
		return nil, err
	}
	defer before.close(context.WithoutCancel(ctx), s)
	for _, out := range all {
		for n := range out.Findings {
			f := &out.Findings[n]
			if f.Hit == nil || f.Start.IsZero() {
				continue
			}
			at, err := before.raised(ctx, s, *f.Hit, f.Start)
			if err != nil {
				return nil, fmt.Errorf("time to detect of %q: %w", f.Hit.Title, err)
			}
			f.Delay = max(0, at.Sub(f.Start))
			fmt.Fprintf(c.log, "%s: %s of %v after %v\n", out.Case, f.Kind, f.Actors, f.Delay.Round(time.Millisecond))
		}
	}
	lap("measured")
	return all, nil
}

// firstOf is when a pair of addresses that labels name without a time first
// exchanged payload at a site; zero: they are not addresses, or never did.
func (s *Store) firstOf(ctx context.Context, site string, t Truth) (time.Time, error) {
	if len(t.Actors) != 1 || len(t.Victims) != 1 {
		return time.Time{}, nil
	}
	actor, err := netip.ParseAddr(t.Actors[0])
	victim, err2 := netip.ParseAddr(t.Victims[0])
	if err != nil || err2 != nil {
		return time.Time{}, nil
	}
	var first time.Time
	var n uint64
	err = s.db.QueryRow(ctx, "SELECT min(start), count() FROM flows WHERE site = {site:String} AND src_ip = toIPv6({actor:String}) AND dst_ip = toIPv6({victim:String}) AND dst_payload_bytes > 0",
		named("site", site), named("actor", actor.String()), named("victim", victim.String())).Scan(&first, &n)
	if err != nil {
		return time.Time{}, fmt.Errorf("find the first of %v: %w", t.Actors, err)
	}
	if n == 0 {
		return time.Time{}, nil
	}
	return first, nil
}

// span is the traffic of a site.
type span struct {
	Site  string    `ch:"site"`
	First time.Time `ch:"first"`
	Last  time.Time `ch:"last"`
	Rows  uint64    `ch:"n"`
}

func (s *Store) spans(ctx context.Context) (map[string]span, error) {
	rows, err := s.db.Query(ctx, "SELECT toString(site) AS site, min(start) AS first, max(end) AS last, count() AS n FROM flows GROUP BY site")
	if err != nil {
		return nil, fmt.Errorf("read spans: %w", err)
	}
	list, err := scan[span](rows)
	if err != nil {
		return nil, fmt.Errorf("read spans: %w", err)
	}
	all := map[string]span{}
	for _, x := range list {
		all[x.Site] = x
	}
	return all, nil
}

// assign gives each incident to the part whose site it names, or whose time it
// lies in.
func assign(parts []Part, spans map[string]span, incidents []Incident) map[string][]Incident {
	split := map[string][]Incident{}
	for _, i := range incidents {
		site := ""
		for _, p := range parts {
			if slices.Contains(i.Entities, "site="+p.Site) {
				site = p.Site
			}
		}
		best := time.Duration(0)
		for _, p := range parts {
			x, ok := spans[p.Site]
			if site != "" || !ok || i.End.Before(x.First.Add(-time.Hour)) || i.Start.After(x.Last.Add(25*time.Hour)) {
				continue
			}
			// Of several that overlap, the one that begins nearest.
			if d := i.Start.Sub(x.First).Abs() + 1; best == 0 || d < best {
				best, i.part = d, p.Site
			}
		}
		if site == "" {
			site = i.part
		}
		split[site] = append(split[site], i)
	}
	return split
}

// count tells how many hosts of a site were active on how many days, and how many
// serious incidents about nothing known each of those days had.
func (s *Store) count(ctx context.Context, site string, out *Outcome) error {
	rows, err := s.db.Query(ctx, `SELECT replaceRegexpOne(toString(host), '^::ffff:', '') AS name, toStartOfDay(start) AS day
		FROM flows ARRAY JOIN [src_ip, dst_ip] AS host WHERE site = {site:String} GROUP BY name, day ORDER BY name, day`, named("site", site))
	if err != nil {
		return fmt.Errorf("count hosts: %w", err)
	}
	if err := s.db.QueryRow(ctx, "SELECT sum(greatest(1, length(dns_names))) FROM flows WHERE site = {site:String} AND app = 'dns'", named("site", site)).Scan(&out.Queries); err != nil {
		return fmt.Errorf("count queries: %w", err)
	}
	type hostDay struct {
		Host string    `ch:"name"`
		Day  time.Time `ch:"day"`
	}
	days, err := scan[hostDay](rows)
	if err != nil {
		return fmt.Errorf("count hosts: %w", err)
	}
	days = slices.DeleteFunc(days, func(d hostDay) bool {
		a, err := netip.ParseAddr(d.Host)
		return err != nil || !slices.ContainsFunc(s.cfg.Detect.Inside, func(n netip.Prefix) bool { return n.Contains(a) })
	})
	noise := slices.Clone(out.Noise)
	for _, f := range out.Findings {
		noise = append(noise, f.False...)
	}
	for _, d := range days {
		n := 0
		for _, i := range noise {
			if (same(i.Actor, d.Host) || i.Actor == "" && same(i.Victim, d.Host)) && !i.Start.Before(d.Day) && i.Start.Before(d.Day.Add(24*time.Hour)) {
				n++
			}
		}
		out.PerDay = append(out.PerDay, n)
	}
	out.HostDays = float64(len(days))
	return nil
}
