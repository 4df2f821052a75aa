package enrich

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// columns are what Values makes. Rows that were not reached are empty.
type columns struct {
	enrichment               []uint64
	srcASN, dstASN           []uint32
	srcCountry, dstCountry   []string
	srcCity, dstCity         []string
	srcNetwork, dstNetwork   []string
	srcRole, dstRole         []string
	threats                  [][]string
	done, onLists, rowsAsked int
}

func newColumns(n int) *columns {
	text := func() []string { return make([]string, n) }
	return &columns{make([]uint64, n), make([]uint32, n), make([]uint32, n), text(), text(), text(), text(), text(), text(), text(), text(),
		make([][]string, n), 0, 0, n}
}

// list is in the order of Columns.
func (c *columns) list() []any {
	return []any{c.enrichment, c.srcASN, c.dstASN, c.srcCountry, c.dstCountry, c.srcCity, c.dstCity,
		c.srcNetwork, c.dstNetwork, c.srcRole, c.dstRole, c.threats}
}

// Values are the columns for the records of b. It never fails and takes at most
// Config.MaxTime: rows that are not done by then, or whose data breaks something,
// stay as if nothing were known, with enrichment 0.
func (e *Enricher) Values(site []string, b *flow.Block) []any {
	out := newColumns(b.Rows())
	d := e.data.Load()
	if d.version == 0 {
		return out.list()
	}
	began := e.now()
	e.fill(d, site, b, out, began.Add(e.cfg.MaxTime))
	e.metrics.seconds.Observe(e.now().Sub(began).Seconds())
	e.metrics.flows.Add(float64(out.done))
	e.metrics.late.Add(float64(out.rowsAsked - out.done))
	e.metrics.threats.Add(float64(out.onLists))
	return out.list()
}

// clockEvery is after how many rows the time is looked at.
const clockEvery = 512

func (e *Enricher) fill(d *snapshot, site []string, b *flow.Block, out *columns, deadline time.Time) {
	s := e.scratch.Get().(*scratch)
	s.begin(d)
	defer func() {
		if r := recover(); r != nil { // a database that Verify let pass; s is lost with it
			e.metrics.panics.Inc()
			e.log.Error("enrichment broke off", "cause", fmt.Sprint(r))
			return
		}
		clear(s.memo) // it refers to the batches' memory
		e.scratch.Put(s)
	}()
	srcIP, dstIP := b.Values(e.at.srcIP).([][16]byte), b.Values(e.at.dstIP).([][16]byte)
	names := e.namesOf(b, s)
	lists := d.threats.size > 0
	for i := range srcIP {
		if i%clockEvery == clockEvery-1 && e.now().After(deadline) {
			return
		}
		src, dst := s.find(site[i], srcIP[i]), s.find(site[i], dstIP[i])
		out.srcASN[i], out.srcCountry[i], out.srcCity[i], out.srcNetwork[i], out.srcRole[i] = src.asn, src.country, src.city, src.network, src.role
		out.dstASN[i], out.dstCountry[i], out.dstCity[i], out.dstNetwork[i], out.dstRole[i] = dst.asn, dst.country, dst.city, dst.network, dst.role
		if lists {
			if found := names.threats(d.threats, i, src.set, dst.set); found != nil {
				out.threats[i] = found
				out.onLists++
			}
		}
		out.enrichment[i] = d.version
		out.done++
	}
}

// known is what is known of an address.
type known struct {
	place
	network, role string
	set           uint32 // threat lists
}

// scratch remembers addresses from block to block, while the data is the same.
type scratch struct {
	data   *snapshot
	ips    map[[16]byte]uint32 // place in all
	site   string              // that ips is of
	all    []known             // each once: the map of addresses stays small, and in the cache
	number map[known]uint32
	places map[placeKey]place
	memo   map[memoKey]uint32 // sets of names and fingerprints of the block at hand: a million indicators do not fit a cache
}

type memoKey struct {
	text string
	kind kind
}

type placeKey struct {
	database int
	offset   uintptr
}

// Bounds of what is remembered: about 10 MB each.
const (
	maxRemembered = 1 << 17
	maxPlaces     = 1 << 16
)

func (s *scratch) begin(d *snapshot) {
	if s.data == nil || s.data.version != d.version || s.data.threats != d.threats || s.places == nil {
		*s = scratch{ips: map[[16]byte]uint32{}, number: map[known]uint32{}, places: map[placeKey]place{}, memo: map[memoKey]uint32{}}
	}
	s.data = d
}

// find returns what is known of an address, valid until the next block.
func (s *scratch) find(site string, ip [16]byte) *known {
	if site != s.site {
		clear(s.ips)
		s.site = site
	}
	at, ok := s.ips[ip]
	if !ok {
		k := s.look(site, netip.AddrFrom16(ip).Unmap())
		if len(s.ips) >= maxRemembered {
			clear(s.ips)
		}
		if at, ok = s.number[k]; !ok {
			if len(s.all) >= maxRemembered {
				clear(s.ips)
				clear(s.number)
				s.all = nil // pointers that were handed out stay good
			}
			at = uint32(len(s.all))
			s.all = append(s.all, k)
			s.number[k] = at
		}
		s.ips[ip] = at
	}
	return &s.all[at]
}

// look asks the data.
func (s *scratch) look(site string, ip netip.Addr) (k known) {
	for i, db := range s.data.databases {
		r, ok := db.find(ip)
		if !ok {
			continue
		}
		key := placeKey{i, r.Offset()}
		p, seen := s.places[key]
		if !seen {
			p = db.read(r)
			if len(s.places) >= maxPlaces {
				clear(s.places)
			}
			s.places[key] = p
		}
		// What an earlier file says counts.
		if k.asn == 0 {
			k.asn = p.asn
		}
		if k.country == "" {
			k.country = p.country
		}
		if k.city == "" {
			k.city = p.city
		}
	}
	if n := s.data.networks.find(site, ip); n != nil {
		k.network, k.role = n.Name, n.Role
	}
	if s.data.threats.size > 0 {
		k.set = s.data.threats.address(ip)
	}
	return k
}

// names are the columns of a block that lists may have values of.
type names struct {
	sni, host, ja3, ja4, hassh, hasshServer, cert []string
	dns                                           [][]string
	memo                                          map[memoKey]uint32
}

func (e *Enricher) namesOf(b *flow.Block, s *scratch) names {
	text := func(i int) []string { return b.Values(i).([]string) }
	return names{text(e.at.sni), text(e.at.host), text(e.at.ja3), text(e.at.ja4), text(e.at.hassh), text(e.at.hasshServer), text(e.at.cert),
		b.Values(e.at.dns).([][]string), s.memo}
}

// threats returns the lists that record i is on; nil: none.
func (n *names) threats(t *threatIndex, i int, src, dst uint32) (found []string) {
	add := func(id uint32) {
		switch {
		case id == 0:
		case found == nil:
			found = t.sets[id]
		default:
			found = mergeNames(found, t.sets[id])
		}
	}
	add(src)
	add(dst)
	if len(t.domains)+len(t.hosts) > 0 {
		if n.sni[i] != "" {
			add(n.look(t, kindURLHost, n.sni[i]))
		}
		if n.host[i] != "" && n.host[i] != n.sni[i] {
			add(n.look(t, kindURLHost, n.host[i]))
		}
		for _, name := range n.dns[i] {
			add(n.look(t, kindDomain, name))
		}
	}
	if len(t.prints) > 0 {
		for _, column := range [...][]string{n.ja3, n.ja4, n.hassh, n.hasshServer, n.cert} {
			if column[i] != "" {
				add(n.look(t, kindJA4, column[i]))
			}
		}
	}
	return found
}

// look asks the index once for each value of a block.
func (n *names) look(t *threatIndex, k kind, text string) uint32 {
	key := memoKey{text, k}
	id, ok := n.memo[key]
	if ok {
		return id
	}
	if k == kindJA4 {
		id = t.prints[text]
	} else {
		id = t.name(text, k == kindURLHost)
	}
	n.memo[key] = id
	return id
}
