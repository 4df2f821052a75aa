package quality

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tapwatch/tapwatch/deploy/lab/scene"
)

// Generated says how much traffic is made.
type Generated struct {
	Seeds  []uint64
	Hosts  int
	Days   int   // of ordinary work; what is planted comes on the last
	Visits int   // of a workstation a day
	Backup int64 // octets a night
	Calls  int   // of a beacon: its gaps are one fewer
}

// firstDay is a Monday.
func firstDay() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }

// The office of two weeks is small: it is there for what can only be told from
// what was usual.
const (
	weeksDays  = 15
	weeksHosts = 8
)

// syntheticCases are, for each seed, an office with attacks, one in which nothing
// happens, one of two weeks, a net of implants, and attackers who know what is
// looked for.
func syntheticCases(g Generated) []Case {
	var cases []Case
	for _, seed := range g.Seeds {
		last := firstDay().AddDate(0, 0, g.Days-1)
		work := scene.DefaultOffice()
		work.Days, work.Visits, work.Backup = g.Days, g.Visits, g.Backup
		add := func(what string, seed uint64, hosts int, make func(w *scene.World) error) {
			p := Part{Name: fmt.Sprintf("%s, seed %d", what, seed), Site: "lab"}
			w := scene.New(seed, hosts)
			p.Load = func(ctx context.Context, s *Store, p *Part) error { return s.readWorld(ctx, w, make, p) }
			cases = append(cases, Case{Name: p.Name, Networks: Networks(scene.Networks(p.Site)), Parts: []Part{p}, Delays: true})
		}
		add("office with attacks", seed, g.Hosts, func(w *scene.World) error {
			w.Work(firstDay(), work)
			return w.Plant(last, scene.Names(false)...)
		})
		add("two weeks", seed+2000, weeksHosts, func(w *scene.World) error {
			small := work
			small.Days, small.Visits, small.Backup, small.Crowd = weeksDays, g.Visits/4, g.Backup/4, false
			w.Work(firstDay(), small)
			return w.Plant(firstDay().AddDate(0, 0, weeksDays-1), scene.Names(true)...)
		})
		add("quiet office", seed+1000, g.Hosts, func(w *scene.World) error {
			quiet := work
			quiet.Crowd = false
			w.Work(firstDay(), quiet)
			return nil
		})
		add("beacons", seed, 100, func(w *scene.World) error {
			w.Beacons(firstDay(), []float64{0, 0.2, 0.37, 0.5}, g.Calls)
			return nil
		})
		add("evasion", seed, 100, func(w *scene.World) error {
			w.Evasion(firstDay())
			return nil
		})
	}
	return cases
}

// readWorld makes a capture, takes it through a probe, and notes what is in it.
func (s *Store) readWorld(ctx context.Context, w *scene.World, make func(*scene.World) error, p *Part) (err error) {
	if err := make(w); err != nil {
		return err
	}
	file := filepath.Join(s.dir, "scene.pcap")
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write scene: %w", err)
	}
	defer os.Remove(file)
	if err := errors.Join(w.Capture(f), f.Close()); err != nil {
		return err
	}
	for _, t := range w.Truths() {
		p.Truths = append(p.Truths, truthOf(t))
	}
	return s.Read(ctx, "tap", p.Site, file)
}

// truthOf is what the generator says, in the words of this package.
func truthOf(t scene.Truth) Truth {
	out := Truth{Family: t.Family, Kind: t.Family, Start: t.Start, End: t.End, Harmless: t.Harmless, Technique: t.Technique, Within: limit(t), Note: fmt.Sprint(t.Params)}
	if t.Actor != "" {
		out.Actors = []string{t.Actor}
	}
	if t.Victim != "" {
		out.Victims = []string{t.Victim}
	}
	// A destination is known by its address or its name.
	if host, ok := t.Params["name"].(string); ok && host != "" {
		out.Victims = append(out.Victims, host)
	}
	if list, ok := t.Params["victims"].([]string); ok {
		out.Victims = append(out.Victims, list...)
	}
	if what, ok := t.Params["evasion"].(string); ok {
		out.Evasion = what
	}
	return out
}

// limit is within what time of its beginning a thing has to be found; 0: at all.
func limit(t scene.Truth) time.Duration {
	switch t.Family {
	case "dns_tunnel":
		return time.Minute
	case "beacon":
		// Twenty gaps, and the window that they end in.
		every, _ := t.Params["every_s"].(float64)
		return max(time.Hour, time.Duration(20*every*float64(time.Second)))
	}
	return 0
}

// officeLoad are those attacks of a small office, and their twins, that lie in few
// hours: what the short form measures.
func officeLoad(seed uint64) func(ctx context.Context, s *Store, p *Part) error {
	return func(ctx context.Context, s *Store, p *Part) error {
		return s.readWorld(ctx, scene.New(seed, 18), func(w *scene.World) error {
			return w.Plant(firstDay(), "discovery", "dns_tunnel", "sweep")
		}, p)
	}
}
