package enrich

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// place is what a database says of an address.
type place struct {
	asn           uint32
	country, city string
}

// database is one file in the MaxMind DB format. Files differ in how they name
// things, so what a file has is found by looking.
type database struct {
	db                      *maxminddb.Reader
	asn, org, country, city []any // paths; nil: the file has none
	records                 int
}

var (
	asnPaths     = [][]any{{"autonomous_system_number"}, {"asn"}, {"as_number"}, {"traits", "autonomous_system_number"}}
	orgPaths     = [][]any{{"autonomous_system_organization"}, {"as_name"}, {"as_org"}, {"traits", "autonomous_system_organization"}, {"organization"}, {"name"}}
	countryPaths = [][]any{{"country", "iso_code"}, {"country_code"}, {"country"}, {"registered_country", "iso_code"}}
	cityPaths    = [][]any{{"city", "names", "en"}, {"city"}, {"city_name"}}
)

// lookAt is how many records are looked at to find what a file has.
const lookAt = 2000

// openDatabase takes data as the file's content, and keeps it.
func openDatabase(data []byte) (d *database, err error) {
	defer recoverError(&err)
	d = new(database)
	if d.db, err = maxminddb.OpenBytes(data); err != nil {
		return nil, err
	}
	type field struct {
		path  *[]any
		paths [][]any
		found []int
		good  func(any) bool
	}
	fields := []field{
		{&d.asn, asnPaths, nil, func(v any) bool { return asnOf(v) != 0 }},
		{&d.org, orgPaths, nil, isText},
		{&d.country, countryPaths, nil, func(v any) bool { return countryOf(v) != "" }},
		{&d.city, cityPaths, nil, isText},
	}
	n := 0
	err = d.each(func(r maxminddb.Result) (bool, error) {
		for i := range fields {
			f := &fields[i]
			if f.found == nil {
				f.found = make([]int, len(f.paths))
			}
			for j, path := range f.paths {
				if f.good(value(r, path)) {
					f.found[j]++
				}
			}
		}
		n++
		return n < lookAt, nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		best := 0
		for j, count := range f.found {
			if count > best { // of equals the first
				*f.path, best = f.paths[j], count
			}
		}
	}
	if d.asn == nil {
		d.org = nil // some other name
	}
	if d.asn == nil && d.country == nil && d.city == nil {
		return nil, fmt.Errorf("database of type %q has no autonomous systems, countries or cities", d.db.Metadata.DatabaseType)
	}
	return d, d.check()
}

// check reads every record as it will be read later, so that a file that is cut
// short or damaged is found out now. The library's own Verify wants more than
// that: it refuses files without a description.
func (d *database) check() error {
	seen := map[uintptr]bool{}
	err := d.each(func(r maxminddb.Result) (bool, error) {
		if seen[r.Offset()] {
			return true, nil
		}
		seen[r.Offset()] = true
		for _, path := range [][]any{d.asn, d.org, d.country, d.city} {
			var v any
			if path == nil {
				continue
			}
			if err := r.DecodePath(&v, path...); err != nil {
				return false, fmt.Errorf("record of %s: %w", r.Prefix(), err)
			}
		}
		return true, nil
	})
	d.records = len(seen)
	return err
}

// each calls visit for the networks that have a record, until it says false. A
// tree of n nodes has n+1 ends: where there are many more, it runs in circles.
func (d *database) each(visit func(maxminddb.Result) (more bool, err error)) error {
	left := 4*int(d.db.Metadata.NodeCount) + 1000
	for r := range d.db.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if r.Err() != nil {
			return r.Err()
		}
		if left--; left < 0 {
			return errors.New("broken: the tree runs in circles")
		}
		if !r.Found() {
			continue
		}
		if more, err := visit(r); err != nil || !more {
			return err
		}
	}
	return nil
}

// recoverError turns a panic of a library over a broken file into an error.
func recoverError(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("broken: %v", r)
	}
}

func value(r maxminddb.Result, path []any) (v any) {
	if r.DecodePath(&v, path...) != nil {
		return nil
	}
	return v
}

func isText(v any) bool { s, ok := v.(string); return ok && s != "" }

// asnOf reads 15169 and "AS15169".
func asnOf(v any) uint32 {
	switch n := v.(type) {
	case uint64:
		if n <= 1<<32-1 {
			return uint32(n)
		}
	case string:
		s := n
		if len(s) > 2 && strings.EqualFold(s[:2], "AS") {
			s = s[2:]
		}
		if n, err := strconv.ParseUint(s, 10, 32); err == nil {
			return uint32(n)
		}
	}
	return 0
}

func countryOf(v any) string {
	s, ok := v.(string)
	if !ok || len(s) != 2 {
		return ""
	}
	for _, c := range []byte(s) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return ""
		}
	}
	return strings.ToUpper(s)
}

// find returns where the file has its record of an address; false: it has none.
func (d *database) find(ip netip.Addr) (maxminddb.Result, bool) {
	r := d.db.Lookup(ip)
	return r, r.Err() == nil && r.Found()
}

// read returns what a record says.
func (d *database) read(r maxminddb.Result) (p place) {
	if d.asn != nil {
		p.asn = asnOf(value(r, d.asn))
	}
	if d.country != nil {
		p.country = countryOf(value(r, d.country))
	}
	if d.city != nil {
		p.city, _ = value(r, d.city).(string)
	}
	return p
}

// systems calls yield for each autonomous system that has a name.
func (d *database) systems(yield func(asn uint32, name string)) (err error) {
	if d.org == nil {
		return nil
	}
	defer recoverError(&err)
	seen := map[uintptr]bool{}
	return d.each(func(r maxminddb.Result) (bool, error) {
		if seen[r.Offset()] {
			return true, nil
		}
		seen[r.Offset()] = true
		name, _ := value(r, d.org).(string)
		if asn := asnOf(value(r, d.asn)); asn != 0 && name != "" {
			yield(asn, name)
		}
		return true, nil
	})
}
