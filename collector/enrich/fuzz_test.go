package enrich

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// Whatever a file or feed holds is read, or is an error.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{"# x\n203.0.113.9\nevil.example\n", "indicator,type\nx.example,domain\n", `{"type":"bundle","objects":[{"type":"indicator","pattern":"[a:b = 'c']"}]}`,
		`{"Event":{"Attribute":[{"type":"ip-dst","value":"1.2.3.4"}]}}`, "network,name\n10.0.0.0/8,x\n", "- {network: 10.0.0.0/8}\n",
		"Registry,Assignment,Organization Name\nMA-L,001422,Dell\n", "00:14:22\tDell\n", "ip,name\n10.0.0.1,x\n", `[{"ip":"10.0.0.1","name":"x"}]`, `{"response":{"response":{"response":1}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &parsed{most: 1000}
		for _, format := range []string{"", "plain", "csv", "stix", "misp"} {
			_ = parseThreats([]document{{"x.json", data}}, format, p)
		}
		for i := range p.indicators {
			if x := p.indicators[i]; x.value == "" || len(x.value) > maxValue || x.kind >= kinds {
				t.Errorf("indicator %v", x)
			}
		}
		newThreatIndex([]listed{{"l", p.indicators}}, 0, 1000)
		for _, name := range []string{"n.csv", "n.yaml"} {
			if list, err := parseNetworks(document{name, data}); err == nil {
				newNetworkTable(list)
			}
		}
		_, _, _ = parseVendors(document{"oui", data})
		if list, _, err := parseWorkloads(data); err == nil {
			for _, w := range list {
				if !w.ip.IsValid() || w.name == "" {
					t.Errorf("workload %v", w)
				}
			}
		}
	})
}

// A STIX pattern is read or refused.
func FuzzSTIXPattern(f *testing.F) {
	for _, s := range []string{"[ipv4-addr:value = '1.2.3.4']", "[a:b IN ('x', 'y')]", "[a:b.'c-d'[0].e = 'f'] OR [g:h ISSUBSET '10.0.0.0/8']", "[a:b = 'c", "[a:b = 'c\\'", "[[[", "a[", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		terms, ok := stixTerms(s)
		if ok && len(terms) == 0 {
			t.Errorf("%q: understood, and says nothing", s)
		}
		for _, term := range terms {
			term.indicator()
		}
	})
}

// Databases with a few octets changed, such as a bad disk or a cut transfer
// makes, are refused or answer, soon.
func TestDamagedDatabases(t *testing.T) {
	whole := testDatabase(t, "ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64500, "a"), "2001:db8::/32": asnRecord(1, "b")})
	rnd := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 2000 {
		data := bytes.Clone(whole)
		for range 1 + rnd.IntN(4) {
			data[rnd.IntN(len(data))] = byte(rnd.Uint32())
		}
		if d, err := openDatabase(data); err != nil {
			refused++
		} else if r, ok := d.find(ip("203.0.113.9").Netip()); ok {
			d.read(r)
		}
	}
	if refused == 0 {
		t.Error("none of 2000 damaged files was refused")
	}
	// A tree whose nodes point at themselves.
	loop := bytes.Clone(whole)
	for i := range 6 * 40 {
		loop[i] = 0
	}
	if _, err := openDatabase(loop); err == nil {
		t.Error("a tree that runs in circles was taken")
	}
}

// A damaged database is refused, or answers something.
func FuzzDatabase(f *testing.F) {
	f.Add(testDatabase(f, "ASN", map[string]mmdbtype.Map{"203.0.113.0/24": asnRecord(64500, "a")}))
	f.Add(testDatabase(f, "City", map[string]mmdbtype.Map{"203.0.113.0/24": cityRecord("DE", "Bonn"), "2001:db8::/32": cityRecord("FR", "Lyon")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := openDatabase(data)
		if err != nil {
			return
		}
		for _, a := range []string{"203.0.113.9", "2001:db8::1", "::"} {
			if r, ok := d.find(ip(a).Netip()); ok {
				d.read(r)
			}
		}
		_ = d.systems(func(uint32, string) {})
	})
}
