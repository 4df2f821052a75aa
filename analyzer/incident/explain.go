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
	sameSubject                 // the one is about the other's victim, or its actor: a flooded host has unusual volume
	sameTarget                  // the victim, whoever the actors are
)

// explanations are in the order in which they are tried.
func explanations() []explanation {
	return []explanation{
		{"*beacon", []string{"brute_force*", "portscan_*", "stealth_scan", "host_discovery", "port_probe", "password_spray", "worm"}, sameVictim, "guesses and probes come at even times"},
		{"*beacon", []string{"cryptomining", "anonymiser"}, sameVictim, "what it is has a name"},
		{"portscan_horizontal", []string{"worm", "lateral_movement", "password_spray"}, sameVictim, "the chain has the sweep in it"},
		{"portscan_slow", []string{"portscan_vertical", "portscan_horizontal", "worm"}, sameActor, "the same scan"},
		{"stealth_scan", []string{"portscan_*", "worm", "lateral_movement", "password_spray"}, sameActor, "the same scan"},
		{"port_probe", []string{"portscan_*", "stealth_scan", "worm"}, sameActor, "the same scan"},
		{"host_discovery", []string{"portscan_*", "worm"}, sameActor, "the same scan"},
		{"brute_force_slow", []string{"brute_force"}, sameVictim, "the same guesses"},
		{"slow_exfiltration", []string{"exfiltration", "exfiltration_day"}, sameVictim, "the same octets"},
		{"exfiltration_day", []string{"exfiltration"}, sameVictim, "the same octets"},
		{"exfiltration*", []string{"dns_tunnel", "icmp_tunnel"}, sameVictim, "the same octets"},
		{"host_behaviour", []string{"*exfiltration*", "dns_tunnel", "icmp_tunnel"}, sameActor, "the same octets"},
		{"host_behaviour", []string{"*_flood", "amplification"}, sameSubject, "the flood is the volume"},
		{"host_behaviour", []string{"*exfiltration*", "portscan_*", "stealth_scan", "host_discovery", "worm", "*_flood", "amplification", "brute_force*", "password_spray", "lateral_movement", "*_tunnel"}, sameSubject, "what is unusual about the host has a name"},
		{"packet_flood", []string{"syn_flood", "http_flood", "amplification"}, sameTarget, "the same packets"},
		{"service_health", []string{"*_flood", "amplification", "slow_http"}, sameTarget, "the flood is why it is slow"},
		{"long_connection", []string{"exfiltration*", "*_tunnel", "slow_http", "cryptomining", "anonymiser"}, sameVictim, "the same connection"},
		{"rare_destination", []string{"*beacon", "*exfiltration*", "*_tunnel", "threat_list", "cryptomining", "anonymiser"}, sameVictim, "the same peer"},
		{"new_admin", []string{"lateral_movement", "password_spray", "worm"}, sameActor, "the way is new because it is an attack"},
		{"dga", []string{"dns_tunnel"}, sameActor, "the same names"},
	}
}

// explained returns, by id, the alert that explains each of those that one does.
// An alert explains none that is more severe than itself by two steps or more.
// What is suppressed by an exclusion still explains: the cause is known, not gone.
// A pure function; the order of alerts does not matter.
func explained(alerts []*alert.Alert) map[string]*alert.Alert {
	rules := explanations()
	byHost := map[string][]*alert.Alert{}
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
				byHost[k] = append(byHost[k], a)
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
			for _, b := range slices.Concat(byHost[a.Actor], byHost[a.Victim]) {
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
		return a.Actor != "" && a.Actor == b.Actor
	case sameSubject:
		return a.Actor != "" && (a.Actor == b.Victim || a.Actor == b.Actor)
	case sameTarget:
		return a.Victim != "" && a.Victim == b.Victim
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
