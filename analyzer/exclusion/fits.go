package exclusion

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/alert"
)

// Sample is what is known of a flow that an alert names.
type Sample struct {
	Names []string // of the server, in lower case
	Port  uint16
	JA4   string
}

// Roles of entities, as the detectors write them.
var (
	actors  = []string{"actor", "src", "source", "client"}
	victims = []string{"victim", "dst", "target", "server"}
	names   = []string{"name", "sni", "domain", "host", "server", "victim", "actor"}
	ports   = []string{"port", "service"}
)

// Fits says whether e excludes a. What the alert's entities do not say (ports,
// names, ja4) is looked up in samples, the flows that the alert names: all that
// are still stored have to fit, and there has to be one. needs says that samples
// decide and none were given.
func (e *Exclusion) Fits(a *alert.Alert, inside []netip.Prefix, samples []Sample) (fits, needs bool) {
	if len(e.Detectors) > 0 && !anyGlob(e.Detectors, a.Detector) {
		return false, false
	}
	actor, victim := sides(a.Actor, a.Entities, actors), sides(a.Victim, a.Entities, victims)
	if len(e.Networks) > 0 {
		by, to := within(actor, e.Networks), within(victim, e.Networks)
		if !map[string]bool{Any: by || to, Actor: by, Victim: to, Both: by && to}[e.Side] {
			return false, false
		}
	}
	if e.Direction != "" && e.Direction != direction(actor, victim, inside) {
		return false, false
	}
	for _, c := range []struct {
		wanted bool
		said   []string
		fits   func(string) bool
		sample func(Sample) bool
	}{
		{len(e.Names) > 0, namesOf(a), func(s string) bool { return anyGlob(e.Names, strings.ToLower(s)) },
			func(s Sample) bool {
				return slices.ContainsFunc(s.Names, func(n string) bool { return anyGlob(e.Names, n) })
			}},
		{len(e.Ports) > 0, values(a.Entities, ports), func(s string) bool { return slices.Contains(e.Ports, portOf(s)) }, func(s Sample) bool { return slices.Contains(e.Ports, s.Port) }},
		{len(e.JA4) > 0, values(a.Entities, []string{"ja4"}), func(s string) bool { return slices.Contains(e.JA4, s) }, func(s Sample) bool { return slices.Contains(e.JA4, s.JA4) }},
	} {
		switch {
		case !c.wanted:
		case len(c.said) > 0:
			if !slices.ContainsFunc(c.said, c.fits) {
				return false, false
			}
		case samples == nil:
			needs = true
		case len(samples) == 0 || slices.ContainsFunc(samples, func(s Sample) bool { return !c.sample(s) }):
			return false, false
		}
	}
	return !needs, needs
}

// sides are the texts that name one side of an alert.
func sides(text string, entities, roles []string) []string {
	list := values(entities, roles)
	if text != "" && !slices.Contains(list, text) {
		list = append(list, text)
	}
	return list
}

// values are those of the entities with one of the roles.
func values(entities, roles []string) (list []string) {
	for _, e := range entities {
		if role, v, ok := strings.Cut(e, "="); ok && slices.Contains(roles, role) {
			list = append(list, v)
		}
	}
	return list
}

// namesOf are the names, not addresses, that the alert says itself.
func namesOf(a *alert.Alert) (list []string) {
	for _, v := range append(values(a.Entities, names), a.Actor, a.Victim) {
		if _, err := ParseNetwork(v); err != nil && strings.Contains(v, ".") && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// within says whether one of the addresses and networks lies in one of list.
func within(texts []string, list []netip.Prefix) bool {
	for _, t := range texts {
		n, err := ParseNetwork(t)
		if err != nil {
			continue
		}
		for _, p := range list {
			if p.Bits() <= n.Bits() && p.Contains(n.Addr()) {
				return true
			}
		}
	}
	return false
}

// direction is that of an alert whose sides are known, else empty. A name is
// taken to be outside.
func direction(actor, victim []string, inside []netip.Prefix) string {
	if len(actor) == 0 || len(victim) == 0 {
		return ""
	}
	switch from, to := within(actor, inside), within(victim, inside); {
	case from && to:
		return Internal
	case from:
		return Outbound
	case to:
		return Inbound
	}
	return ""
}

func anyGlob(globs []string, text string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, text); return ok })
}

// portOf reads 443 or 443/tcp; 0 if it is neither.
func portOf(text string) uint16 {
	number, _, _ := strings.Cut(text, "/")
	n, _ := strconv.ParseUint(number, 10, 16)
	return uint16(n)
}
