// Package exclusion keeps what operators do not want to be told of: alerts of
// these addresses, names, ports, client fingerprints, directions and detectors,
// with an owner, a comment and an expiry. In come the rows of the table
// exclusions and alerts; out go new revisions of alerts with suppressed_by set,
// or taken back. Alerts stay, with their evidence; only who is told changes.
//
// An exclusion counts for the past, too: all stored alerts are looked at again
// when the set of exclusions changes, which includes that one expires.
package exclusion

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Whose address Networks means.
const (
	Any    = ""
	Actor  = "actor"
	Victim = "victim"
	Both   = "both" // each of the two is in one of Networks
)

// Directions, by own networks.
const (
	Outbound = "outbound" // actor inside, victim outside
	Inbound  = "inbound"
	Internal = "internal"
)

// What was done to an exclusion.
const (
	Created = "created"
	Changed = "changed"
	Removed = "removed"
)

// Exclusion says which alerts are not to be told of: those that fit every one of
// its criteria that is not empty.
type Exclusion struct {
	ID       string
	Revision uint32    // from 1
	At       time.Time // of this revision, wall clock
	Who      string    // made this revision
	Action   string    // Created, Changed or Removed

	Detectors []string       // globs of names
	Networks  []netip.Prefix // an address is a network of one
	Side      string         // whose: Any, Actor, Victim or Both
	Names     []string       // globs of server, host and domain names, in lower case
	Ports     []uint16       // of services
	JA4       []string
	Direction string // Outbound, Inbound, Internal or empty: any

	Owner   string    // answers for it
	Comment string    // why
	Expires time.Time // wall clock, zero: never
}

// Check says what is wrong with e. One without a criterion besides detectors is
// refused: a detector is turned off in the configuration, where it is seen.
func (e Exclusion) Check() error {
	if len(e.Networks)+len(e.Names)+len(e.Ports)+len(e.JA4) == 0 && e.Direction == "" {
		return errors.New("exclusion: no address, network, name, port, ja4 or direction: it would hide everything")
	}
	if strings.TrimSpace(e.Owner) == "" || strings.TrimSpace(e.Comment) == "" {
		return errors.New("exclusion: owner and comment are needed: who answers for it, and why it is there")
	}
	for _, list := range [][]string{e.Detectors, e.Names} {
		for _, glob := range list {
			if _, err := path.Match(glob, ""); err != nil || glob == "" {
				return fmt.Errorf("exclusion: %q is no pattern of names, such as *.example.org", glob)
			}
		}
	}
	for _, n := range e.Networks {
		if !n.IsValid() {
			return errors.New("exclusion: a network is not valid")
		}
	}
	if !slices.Contains([]string{Any, Actor, Victim, Both}, e.Side) {
		return fmt.Errorf("exclusion: side %q: none of actor, victim and both", e.Side)
	}
	if e.Side != Any && len(e.Networks) == 0 {
		return fmt.Errorf("exclusion: side %s of no network", e.Side)
	}
	if !slices.Contains([]string{"", Outbound, Inbound, Internal}, e.Direction) {
		return fmt.Errorf("exclusion: direction %q: none of outbound, inbound and internal", e.Direction)
	}
	return nil
}

// Active says whether it counts at a moment of the wall clock.
func (e Exclusion) Active(now time.Time) bool {
	return e.Action != Removed && (e.Expires.IsZero() || now.Before(e.Expires))
}

// Text is the criteria in one line, for people.
func (e Exclusion) Text() string {
	var parts []string
	list := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, name+" "+strings.Join(values, ", "))
		}
	}
	list("detector", e.Detectors)
	var networks, ports []string
	for _, n := range e.Networks {
		if n.IsSingleIP() {
			networks = append(networks, n.Addr().String())
		} else {
			networks = append(networks, n.String())
		}
	}
	side := "address"
	if e.Side != Any {
		side = e.Side
	}
	list(side, networks)
	list("name", e.Names)
	for _, p := range e.Ports {
		ports = append(ports, fmt.Sprint(p))
	}
	list("port", ports)
	list("ja4", e.JA4)
	if e.Direction != "" {
		parts = append(parts, e.Direction)
	}
	return strings.Join(parts, ", ")
}

// ParseNetwork reads an address or a network.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q: neither an address nor a network", text)
	}
	return p.Masked(), nil
}
