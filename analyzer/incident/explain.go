package incident

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// explanationPrefix begins alert.Alert.SuppressedBy where another alert explains
// this one.
const explanationPrefix = "alert:"

// explanation says that alerts of a detector are another look at what alerts of
// others say better, if actor, time and the rest agree.
type explanation struct {
	of   string   // glob of the detector whose alert is explained
	by   []string // globs of those that explain it
	what relation
	why  string
}

// relation is what has to agree besides actor and time.
type relation int

const (
	sameVictim  relation = iota // the victim is the same, or within that of the explaining alert, or the service is
	sameActor                   // nothing else
	sameSubject                 // the one is about the other's victim: a flooded host has unusual volume
)

// explanations are in the order in which they are tried.
func explanations() []explanation {
	return []explanation{
		{"beacon*", []string{"brute_force*", "bruteforce*", "password_*", "portscan_*", "scan_*", "*_scan", "sweep*", "*_sweep", "trw*", "spray*", "slow_scan*"}, sameVictim,
			"guesses and probes come at even times"},
		{"portscan_horizontal", []string{"worm*", "lateral_movement*", "spray*", "password_spray*"}, sameVictim, "the chain has the sweep in it"},
		{"volume_anomaly", []string{"exfiltration*", "exfil_*", "slow_exfiltration*"}, sameActor, "the same octets"},
		{"volume_anomaly", []string{"*_flood", "flood_*", "amplification*", "volumetric*"}, sameSubject, "the flood is the volume"},
		{"host_behaviour*", []string{"exfiltration*", "exfil_*", "portscan_*", "*_scan", "*_sweep", "*_flood", "brute_force*", "spray*", "dns_tunnel*"}, sameActor, "what is unusual about the host has a name"},
		{"long_connection*", []string{"exfiltration*", "dns_tunnel*", "icmp_tunnel*", "slow_http*"}, sameVictim, "the same connection"},
		{"rare_*", []string{"beacon*", "exfiltration*", "dns_tunnel*", "dga*", "threat_*", "indicator*"}, sameVictim, "the same peer"},
		{"exfiltration*", []string{"dns_tunnel*", "icmp_tunnel*"}, sameVictim, "the same octets"},
	}
}

// explained returns, by id, the alert that explains each of those that one does.
// An alert explains none that is more severe than itself by two steps or more.
// What is suppressed by an exclusion still explains: the cause is known, not gone.
// A pure function; the order of alerts does not matter.
func explained(alerts []*alert.Alert) map[string]*alert.Alert {
	rules := explanations()
	byActor := map[string][]*alert.Alert{}
	for _, a := range alerts {
		if a.Withdrawn || a.Detector == CaseDetector {
			continue
		}
		keys := []string{a.Actor}
		if a.Victim != "" && a.Victim != a.Actor {
			keys = append(keys, a.Victim)
		}
		for _, k := range keys {
			if k != "" {
				byActor[k] = append(byActor[k], a)
			}
		}
	}
	out := map[string]*alert.Alert{}
	for _, a := range alerts {
		for _, r := range rules {
			if out[a.ID] != nil || a.Withdrawn || !glob(r.of, a.Detector) {
				continue
			}
			var best *alert.Alert
			for _, b := range byActor[a.Actor] {
				if b.ID == a.ID || b.Detector == a.Detector || !slices.ContainsFunc(r.by, func(g string) bool { return glob(g, b.Detector) }) || !r.agrees(a, b) {
					continue
				}
				if best == nil || b.Start.Before(best.Start) || b.Start.Equal(best.Start) && b.ID < best.ID {
					best = b
				}
			}
			if best != nil {
				out[a.ID] = best
			}
		}
	}
	for id, by := range out { // of two that explain each other neither is hidden
		if other := out[by.ID]; other != nil && other.ID == id {
			delete(out, id)
		}
	}
	return out
}

// slack is how far the explaining alert may lie from the explained one, in
// traffic time: windows of detectors differ.
const slack = 10 * time.Minute

func (r explanation) agrees(a, b *alert.Alert) bool {
	if a.Start.Sub(b.End) > slack || b.Start.Sub(a.End) > slack || a.Severity.Rank()-b.Severity.Rank() >= 2 {
		return false
	}
	switch r.what {
	case sameActor:
		return a.Actor == b.Actor
	case sameSubject:
		return a.Actor == b.Victim || a.Actor == b.Actor
	}
	if a.Actor != b.Actor {
		return false
	}
	if b.Victim != "" {
		return covers(b.Victim, a.Victim)
	}
	port := portOf(a.Entities)
	return port != "" && port == portOf(b.Entities)
}

// covers says whether a victim is, or lies in the network, that the other is.
func covers(whole, part string) bool {
	if whole == part {
		return true
	}
	n, err := netip.ParsePrefix(whole)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(part)
	return err == nil && n.Contains(a.Unmap())
}

// portOf is the service port that entities name, as text without a protocol.
func portOf(entities []string) string {
	for _, e := range entities {
		if role, v, _ := strings.Cut(e, "="); role == "port" || role == "service" {
			v, _, _ = strings.Cut(v, "/")
			return v
		}
	}
	return ""
}

func glob(pattern, text string) bool { ok, _ := path.Match(pattern, text); return ok }
