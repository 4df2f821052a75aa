package enrich

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// maxThreats is how many lists flows.threats names at most.
const maxThreats = 8

// threatIndex finds the lists that an address, a name or a fingerprint is on.
// What it finds is the number of a set of lists; 0 is the empty one.
type threatIndex struct {
	addresses map[[16]byte]uint32
	networks  bart.Table[uint32] // of the longest prefix: with the sets of those around it
	domains   map[string]uint32  // and all names below
	hosts     map[string]uint32  // of URLs: this name only
	prints    map[string]uint32  // JA3, JA4, HASSH, certificates: they cannot be mixed up
	sets      [][]string
	hasNets   bool
	size      int
}

// listed is the entries of one threat list.
type listed struct {
	name       string
	indicators []indicator
}

// newThreatIndex indexes what has not expired at now (Unix time). Of more than
// most entries the last ones are refused.
func newThreatIndex(lists []listed, now int64, most int) (t *threatIndex, refused int) {
	t = &threatIndex{addresses: map[[16]byte]uint32{}, domains: map[string]uint32{}, hosts: map[string]uint32{}, prints: map[string]uint32{}}
	b := setBuilder{ids: map[string]uint32{"": 0}, sets: [][]string{nil}, with: map[[2]uint32]uint32{}}
	var nets []listedNet
	for _, l := range lists {
		if len(l.indicators) == 0 {
			continue
		}
		list := b.single(l.name)
		for i := range l.indicators {
			x := &l.indicators[i]
			if x.expires != 0 && int64(x.expires) <= now {
				continue
			}
			if t.size >= most {
				refused++
				continue
			}
			t.size++
			switch x.kind {
			case kindAddress:
				if a, err := netip.ParseAddr(x.value); err == nil {
					t.addresses[a.As16()] = b.union(t.addresses[a.As16()], list)
				}
			case kindNetwork:
				if p, err := netip.ParsePrefix(x.value); err == nil {
					nets = append(nets, listedNet{p, list})
				}
			case kindDomain:
				t.domains[x.value] = b.union(t.domains[x.value], list)
			case kindURLHost:
				t.hosts[x.value] = b.union(t.hosts[x.value], list)
			default:
				t.prints[x.value] = b.union(t.prints[x.value], list)
			}
		}
	}
	// From short to long, so that each takes over what lies around it.
	slices.SortStableFunc(nets, func(x, y listedNet) int { return x.prefix.Bits() - y.prefix.Bits() })
	for _, n := range nets {
		around, _ := t.networks.LookupPrefix(n.prefix)
		t.networks.Insert(n.prefix, b.union(around, n.set))
	}
	t.hasNets = len(nets) > 0
	for name, set := range t.domains { // a name is on the lists of those above it, too
		for s := name; ; {
			_, rest, more := strings.Cut(s, ".")
			if !more {
				break
			}
			set, s = b.union(set, t.domains[rest]), rest
		}
		t.domains[name] = set
	}
	for name, set := range t.hosts {
		t.hosts[name] = b.union(set, t.below(name))
	}
	for ip, set := range t.addresses {
		around, _ := t.networks.Lookup(netip.AddrFrom16(ip).Unmap())
		t.addresses[ip] = b.union(set, around)
	}
	t.sets = b.sets
	return t, refused
}

type listedNet struct {
	prefix netip.Prefix
	set    uint32
}

// setBuilder gives each set of lists a number.
type setBuilder struct {
	ids  map[string]uint32
	sets [][]string
	with map[[2]uint32]uint32
}

func (b *setBuilder) id(names []string) uint32 {
	key := strings.Join(names, "\x00")
	id, ok := b.ids[key]
	if !ok {
		id = uint32(len(b.sets))
		b.ids[key] = id
		b.sets = append(b.sets, names)
	}
	return id
}

func (b *setBuilder) single(name string) uint32 { return b.id([]string{name}) }

func (b *setBuilder) union(x, y uint32) uint32 {
	switch {
	case x == 0 || x == y:
		return y
	case y == 0:
		return x
	}
	if id, ok := b.with[[2]uint32{x, y}]; ok {
		return id
	}
	id := b.id(mergeNames(b.sets[x], b.sets[y]))
	b.with[[2]uint32{x, y}] = id
	return id
}

// mergeNames is the union in order of the names, cut at maxThreats.
func mergeNames(x, y []string) []string {
	all := append(slices.Clone(x), y...)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxThreats)]
}

func (t *threatIndex) address(ip netip.Addr) uint32 {
	if id := t.addresses[ip.As16()]; id != 0 || !t.hasNets {
		return id // with the networks around it
	}
	id, _ := t.networks.Lookup(ip)
	return id
}

// name looks a server's name up, and what lies above it; exact: URLs count, too.
// Host may have a port.
func (t *threatIndex) name(host string, exact bool) uint32 {
	host = canonicalHost(host)
	if host == "" {
		return 0
	}
	if exact && len(t.hosts) > 0 {
		if id := t.hosts[host]; id != 0 {
			return id // with the names above it
		}
	}
	return t.below(host)
}

// below is the set of the longest name that is the host or lies above it.
func (t *threatIndex) below(host string) uint32 {
	if len(t.domains) == 0 {
		return 0
	}
	for s, more := host, true; more; _, s, more = strings.Cut(s, ".") {
		if id := t.domains[s]; id != 0 {
			return id
		}
	}
	return 0
}

// canonicalHost is the name in lower case, without port and final dot.
func canonicalHost(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && isDigits(s[i+1:]) {
		s = s[:i]
	}
	s = strings.TrimSuffix(s, ".")
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
