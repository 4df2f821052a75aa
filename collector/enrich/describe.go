package enrich

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Describe writes what was read of each source, one a line. It returns an error
// when one of them could not be read.
func (e *Enricher) Describe(w io.Writer) error {
	var broken []error
	for _, s := range e.sources {
		line := ""
		switch c := s.content.(type) {
		case *database:
			line = c.String()
		case []network:
			line = fmt.Sprintf("%d networks", len(c))
		case []vendor:
			line = fmt.Sprintf("%d prefixes", len(c))
		case listed:
			line = c.String()
		case []workload:
			line = fmt.Sprintf("%d addresses", len(c))
		}
		if s.said != "" {
			line = s.said
			broken = append(broken, fmt.Errorf("%s %s cannot be read", s.kind, s.name))
		}
		if _, err := fmt.Fprintf(w, "%-9s %s: %s\n", s.kind, s.name, line); err != nil {
			return err
		}
	}
	return errors.Join(broken...)
}

func (d *database) String() string {
	var has []string
	for _, f := range []struct {
		name string
		path []any
	}{{"autonomous systems", d.asn}, {"their names", d.org}, {"countries", d.country}, {"cities", d.city}} {
		if f.path != nil {
			has = append(has, f.name)
		}
	}
	return fmt.Sprintf("%s of %s, with %s", d.db.Metadata.DatabaseType, d.db.Metadata.BuildTime().UTC().Format("2006-01-02"), strings.Join(has, ", "))
}

func (l listed) String() string {
	var count [kinds]int
	for i := range l.indicators {
		count[l.indicators[i].kind]++
	}
	var has []string
	for k, n := range count {
		if n > 0 {
			has = append(has, fmt.Sprintf("%d %s", n, kind(k)))
		}
	}
	if has == nil {
		return "no indicators"
	}
	return strings.Join(has, ", ")
}

// Lookup says in words what is known of an address, a name or a fingerprint.
func (e *Enricher) Lookup(site, text string) string {
	d := e.data.Load()
	if d.version == 0 {
		return "nothing is known of anything"
	}
	var found []string
	var set uint32
	if ip, err := netip.ParseAddr(text); err == nil {
		s := new(scratch)
		s.begin(d)
		k := s.look(site, ip.Unmap().WithZone(""))
		for _, v := range []struct{ name, value string }{{"country", k.country}, {"city", k.city}, {"network", k.network}, {"role", k.role}} {
			if v.value != "" {
				found = append(found, v.name+" "+v.value)
			}
		}
		if k.asn != 0 {
			found = append(found, fmt.Sprintf("AS%d", k.asn))
		}
		set = k.set
	} else if set = d.threats.prints[strings.ToLower(text)]; set == 0 {
		set = d.threats.name(text, true)
	}
	if set != 0 {
		found = append(found, "on "+strings.Join(d.threats.sets[set], ", "))
	}
	if found == nil {
		return "not known"
	}
	return strings.Join(found, ", ")
}
