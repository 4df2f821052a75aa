package enrich

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
	"go.yaml.in/yaml/v3"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// maxNetworks bounds the own networks of all files.
const maxNetworks = 500_000

// network is one own network.
type network struct {
	Prefix netip.Prefix
	Name   string
	Role   string
	Site   string // empty: any
}

// networkRow is one as people write it.
type networkRow struct {
	Network string `yaml:"network"`
	Name    string `yaml:"name"`
	Role    string `yaml:"role"`
	Site    string `yaml:"site"`
}

// parseNetworks reads CSV with a line of column names, or YAML: a list of
// networks, or a map with such a list under `networks`.
func parseNetworks(d document) ([]network, error) {
	rows, err := networkRows(d)
	if err != nil {
		return nil, err
	}
	if len(rows) > maxNetworks {
		return nil, fmt.Errorf("%w: %d networks, the limit is %d", errTooLarge, len(rows), maxNetworks)
	}
	list := make([]network, 0, len(rows))
	for i, r := range rows {
		p, err := parsePrefix(r.Network)
		if err != nil {
			return nil, kit.Hint(fmt.Errorf("network %d: %w", i+1, err), "write it as 10.0.0.0/8, 2001:db8::/32, or one address")
		}
		n := network{p, strings.TrimSpace(r.Name), strings.TrimSpace(r.Role), strings.TrimSpace(r.Site)}
		if n.Name == "" {
			n.Name = p.String()
		}
		list = append(list, n)
	}
	return list, nil
}

func networkRows(d document) ([]networkRow, error) {
	name := strings.ToLower(d.name)
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		var root yaml.Node
		if err := yaml.Unmarshal(d.data, &root); err != nil {
			return nil, err
		}
		if len(root.Content) == 1 && root.Content[0].Kind == yaml.SequenceNode {
			var list []networkRow
			err := strictYAML(d.data, &list)
			return list, err
		}
		var whole struct {
			Networks []networkRow `yaml:"networks"`
		}
		err := strictYAML(d.data, &whole)
		return whole.Networks, err
	}
	t, err := readTable(d.data, map[string][]string{
		"network": {"network", "prefix", "cidr", "subnet", "net"}, "name": {"name"}, "role": {"role"}, "site": {"site"}}, "network")
	if err != nil {
		return nil, err
	}
	var list []networkRow
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, networkRow{row("network"), row("name"), row("role"), row("site")})
		if len(list) > maxNetworks {
			return list, nil
		}
	}
}

// strictYAML refuses keys that are not known: a misspelt one would be silently
// without effect.
func strictYAML(data []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// parsePrefix reads a network or one address. IPv4 in IPv6 is IPv4.
func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// networkTable finds the network of an address. Equal private addresses of two
// sites are different hosts, so what is said of a probe's own site, or of any,
// comes before what is said of other sites.
type networkTable struct {
	all  bart.Table[*network]
	free bart.Table[*network]             // without a site
	site map[string]*bart.Table[*network] // of one site
	size int
}

// newNetworkTable keeps the list; of two that are equal the later one counts.
func newNetworkTable(list []network) *networkTable {
	t := &networkTable{site: map[string]*bart.Table[*network]{}, size: len(list)}
	for i := range list {
		n := &list[i]
		if old, ok := t.all.Get(n.Prefix); !ok || old.Site != "" || n.Site == "" {
			t.all.Insert(n.Prefix, n)
		}
		if n.Site == "" {
			t.free.Insert(n.Prefix, n)
			continue
		}
		if t.site[n.Site] == nil {
			t.site[n.Site] = new(bart.Table[*network])
		}
		t.site[n.Site].Insert(n.Prefix, n)
	}
	return t
}

// find returns the network of an address seen at a site, nil if there is none.
func (t *networkTable) find(site string, ip netip.Addr) *network {
	if own := t.site[site]; own != nil {
		n, here := own.Lookup(ip)
		f, free := t.free.Lookup(ip)
		switch {
		case here && (!free || n.Prefix.Bits() >= f.Prefix.Bits()):
			return n
		case free:
			return f
		}
	}
	n, _ := t.all.Lookup(ip)
	return n
}

// csvTable reads CSV by the names of its columns.
type csvTable struct {
	r  *csv.Reader
	at map[string]int
}

// readTable begins to read CSV whose first line that is no comment names the
// columns. known has the names that mean a column; need must be there.
func readTable(data []byte, known map[string][]string, need string) (*csvTable, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comment, r.ReuseRecord, r.LazyQuotes = -1, true, '#', true, true
	if line, _, _ := bytes.Cut(data, []byte("\n")); !bytes.Contains(line, []byte(",")) && bytes.Contains(line, []byte(";")) {
		r.Comma = ';'
	}
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the names of the columns: %w", err)
	}
	t := &csvTable{r: r, at: map[string]int{}}
	for column, names := range known {
		for i, h := range head {
			for _, name := range names {
				if _, have := t.at[column]; !have && strings.EqualFold(strings.TrimSpace(h), name) {
					t.at[column] = i
				}
			}
		}
	}
	if _, ok := t.at[need]; !ok {
		return nil, kit.Hint(fmt.Errorf("no column %s", need), "the first line must name the columns")
	}
	return t, nil
}

// next returns a function that gives the next line's value of a column, valid
// until the following next.
func (t *csvTable) next() (func(string) string, error) {
	row, err := t.r.Read()
	if err != nil {
		return nil, err
	}
	return func(column string) string {
		if i, ok := t.at[column]; ok && i < len(row) {
			return strings.TrimSpace(row[i])
		}
		return ""
	}, nil
}
