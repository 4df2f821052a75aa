package enrich

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func TestClassify(t *testing.T) {
	tests := []struct{ text, want string }{
		{"203.0.113.9", "address 203.0.113.9"}, {" ::ffff:203.0.113.9 ", "address 203.0.113.9"}, {"203.0.113.9/32", "address 203.0.113.9"},
		{"2001:DB8::1", "address 2001:db8::1"}, {"203.0.113.0/24", "network 203.0.113.0/24"}, {"203.0.113.77/24", "network 203.0.113.0/24"},
		{"203.0.113.9:8080", "address 203.0.113.9"}, {"0.0.0.0/0", ""}, {"0.0.0.0", ""}, {"::/0", ""}, {"10.0.0.0/7", ""},
		{"Evil.Example.", "domain evil.example"}, {"*.evil.example", "domain evil.example"}, {".evil.example", "domain evil.example"}, {"evil[.]example", "domain evil.example"},
		{"evil.example:443", "domain evil.example"}, {"com", ""}, {"1.2.3", ""}, {"a b.example", ""}, {"-", ""}, {"", ""}, {"../../etc/passwd", ""},
		{"hxxp://Files.Example/a?b=c", "url_host files.example"}, {"http://203.0.113.9/x", "address 203.0.113.9"}, {"files.example/x", "url_host files.example"}, {"https://[2001:db8::9]:8443/", "address 2001:db8::9"},
		{"CD08E31494F9531F560D64C695473DA9", "ja3 cd08e31494f9531f560d64c695473da9"}, {"t13d1516h2_8daaf6152771_e5627efa2ab1", "ja4 t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{strings.Repeat("aB", 32), "cert_sha256 " + strings.Repeat("ab", 32)}, {strings.Repeat("a", 40), ""}, {strings.Repeat("a", 3000) + ".example", ""},
	}
	for _, tt := range tests {
		got := ""
		if k, v, ok := classify(tt.text); ok {
			got = k.String() + " " + v
		}
		if got != tt.want {
			t.Errorf("%.60q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// list reads a threat list and returns its entries.
func list(t *testing.T, format string, docs ...document) (all []string, refused int, err error) {
	t.Helper()
	p := &parsed{most: 1000}
	err = parseThreats(docs, format, p)
	for _, x := range p.indicators {
		s := fmt.Sprint(x.kind, " ", x.value)
		if x.confidence > 0 {
			s += fmt.Sprint(" ", x.confidence)
		}
		if x.expires > 0 {
			s += " " + time.Unix(int64(x.expires), 0).UTC().Format(time.DateOnly)
		}
		all = append(all, s)
	}
	return all, p.refused, err
}

func TestThreatFormats(t *testing.T) {
	sha, ja3 := strings.Repeat("0a", 32), "cd08e31494f9531f560d64c695473da9"
	tests := []struct {
		name, format, text string
		want               []string
		refused            int
	}{
		{"plain", "", "# comment\n; another\n// third\n\n203.0.113.9\n203.0.113.0/24 ; SBL1\nevil.example # why\n0.0.0.0 ads.example\n127.0.0.1 localhost\nja3:" + ja3 + "\nhassh:" + ja3 +
			"\nsha256:" + sha + "\nrubbish\r\n",
			[]string{"address 203.0.113.9", "network 203.0.113.0/24", "domain evil.example", "domain ads.example", "ja3 " + ja3, "hassh " + ja3, "cert_sha256 " + sha}, 2},
		{"csv with types", "", "ioc_value,ioc_type,confidence_level,valid_until\n203.0.113.9:443,ip:port,75,2027-01-02\nevil.example,domain,,\nhttp://x.example/a,url,100,\n" + sha + ",sha256_hash,100,\n" + ja3 + ",hassh,50,\n",
			[]string{"address 203.0.113.9 75 2027-01-02", "domain evil.example", "url_host x.example 100", "hassh " + ja3 + " 50"}, 1},
		{"csv with a commented head", "", "################\n# Some list       #\n# \"first_seen\",\"dst_ip\",\"dst_port\"\n\"2026-01-01\",\"203.0.113.9\",\"443\"\n",
			[]string{"address 203.0.113.9"}, 0},
		{"csv whose column says what it is", "", "first_seen,hassh\n2026," + ja3 + "\n", []string{"hassh " + ja3}, 0},
		{"csv with semicolons", "", "domain;why\nevil.example;phish\n", []string{"domain evil.example"}, 0},
		{"stix", "", `{"type":"bundle","id":"bundle--1","objects":[
			{"type":"identity","name":"x"},
			{"type":"indicator","pattern":"[ipv4-addr:value = '203.0.113.9']","pattern_type":"stix","confidence":85,"valid_until":"2027-01-02T00:00:00Z"},
			{"type":"indicator","pattern":"[domain-name:value = 'evil.example' OR domain-name:value IN ('a.example', 'b.example')]"},
			{"type":"indicator","pattern":"[ipv4-addr:value ISSUBSET '203.0.113.0/24'] OR [url:value = 'http://it\\'s.example/']"},
			{"type":"indicator","pattern":"[network-traffic:dst_ref.value = '203.0.113.7' AND network-traffic:dst_port = 443]"},
			{"type":"indicator","pattern":"[x509-certificate:hashes.'SHA-256' = '` + sha + `']"},
			{"type":"indicator","pattern":"[network-traffic:extensions.'tls-ext'.ja3_hash = '` + ja3 + `']"},
			{"type":"indicator","pattern":"[file:hashes.MD5 = '` + ja3 + `']"},
			{"type":"indicator","pattern":"[domain-name:value = 'gone.example']","revoked":true},
			{"type":"indicator","pattern":"alert tcp any any","pattern_type":"snort"}]}`,
			[]string{"address 203.0.113.9 85 2027-01-02", "domain evil.example", "domain a.example", "domain b.example", "network 203.0.113.0/24",
				"cert_sha256 " + sha, "ja3 " + ja3}, 4},
		{"misp event", "", `{"Event":{"info":"x","Attribute":[
			{"type":"ip-dst","value":"203.0.113.9","to_ids":true},{"type":"ip-dst|port","value":"203.0.113.10|443","to_ids":true},
			{"type":"domain|ip","value":"evil.example|203.0.113.11","to_ids":true},{"type":"hostname","value":"no.example","to_ids":false},
			{"type":"sha256","value":"` + sha + `","to_ids":true},{"type":"domain","value":"old.example","deleted":true}],
			"Object":[{"Attribute":[{"type":"ja3-fingerprint-md5","value":"` + ja3 + `","to_ids":true},{"type":"hassh-md5","value":"` + ja3 + `"},
			{"type":"text","object_relation":"ja4-fingerprint","value":"t13d1516h2_8daaf6152771_e5627efa2ab1","to_ids":true}]},
			{"deleted":true,"Attribute":[{"type":"domain","value":"gone.example","to_ids":true}]}]}}`,
			[]string{"address 203.0.113.9", "address 203.0.113.10", "domain evil.example", "address 203.0.113.11", "ja3 " + ja3, "hassh " + ja3, "ja4 t13d1516h2_8daaf6152771_e5627efa2ab1"}, 1},
		{"misp search", "", `{"response":{"Attribute":[{"type":"url","value":"http://x.example/y","to_ids":true}]}}`, []string{"url_host x.example"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, refused, err := list(t, tt.format, document{"list", []byte(tt.text)})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) || refused != tt.refused {
				t.Errorf("(-got +want)\n-%d refused\n-%s\n+%d refused\n+%s", refused, strings.Join(got, "\n-"), tt.refused, strings.Join(tt.want, "\n+"))
			}
		})
	}
	for name, text := range map[string]string{"stix": `{"type":"bundle","objects":[{"type":"indicator","pattern":"[ipv4-addr:value = '203.0.113.9']"}`, "misp": `{"Event":`} {
		if got, _, err := list(t, name, document{"list", []byte(text)}); err == nil {
			t.Errorf("%s cut short: %v and no error", name, got)
		}
	}
}

func TestMISPFeed(t *testing.T) {
	event := func(domain string) []byte {
		return []byte(`{"Event":{"Attribute":[{"type":"domain","value":"` + domain + `","to_ids":true}]}}`)
	}
	docs := []document{{"feed/manifest.json", []byte(`{"a1":{"info":"x"},"b2":{}}`)}, {"feed/a1.json", event("one.example")}, {"feed/b2.json", event("two.example")},
		{"feed/c3.json", event("withdrawn.example")}}
	got, _, err := list(t, "", docs...)
	if err != nil || !slices.Equal(got, []string{"domain one.example", "domain two.example"}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, _, err := list(t, "", docs[:2]...); err == nil {
		t.Error("an event of the manifest is missing, and no error")
	}
}

func TestThreatSets(t *testing.T) {
	index, refused := newThreatIndex([]listed{
		{"wide", []indicator{{kind: kindNetwork, value: "203.0.113.0/24"}, {kind: kindDomain, value: "evil.example"}}},
		{"narrow", []indicator{{kind: kindNetwork, value: "203.0.113.0/28"}, {kind: kindAddress, value: "203.0.113.9"}, {kind: kindDomain, value: "a.evil.example"}}},
		{"host", []indicator{{kind: kindAddress, value: "203.0.113.9"}, {kind: kindURLHost, value: "b.a.evil.example"}, {kind: kindDomain, value: "evil.example", expires: 5}}},
	}, 10, 100)
	if refused != 0 || index.size != 7 {
		t.Errorf("%d refused of %d", refused, index.size)
	}
	for addr, want := range map[string]string{"203.0.113.9": "host narrow wide", "203.0.113.8": "narrow wide", "203.0.113.200": "wide", "198.51.100.1": "", "2001:db8::1": ""} {
		a := ip(addr).Netip()
		if got := strings.Join(index.sets[index.address(a)], " "); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	for name, want := range map[string]string{"evil.example": "wide", "x.evil.example": "wide", "A.Evil.Example.": "narrow wide", "b.a.evil.example:80": "host narrow wide", "notevil.example": "", "example": "", "": ""} {
		if got := strings.Join(index.sets[index.name(name, true)], " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestNetworkFiles(t *testing.T) {
	tests := []struct{ name, file, text, want, err string }{
		{"csv", "n.csv", "\xef\xbb\xbf# own\nnetwork, name, role, site\n10.1.2.3/8,\"Main, office\",clients,hq\n2001:db8::/32,six,,\n192.0.2.1,one,,\n", "[{10.0.0.0/8 Main, office clients hq} {2001:db8::/32 six  } {192.0.2.1/32 one  }]", ""},
		{"csv in another order", "n.csv", "name;cidr\nlab;10.0.0.0/8\n", "[{10.0.0.0/8 lab  }]", ""},
		{"without a name", "n.csv", "network\n10.0.0.0/8\n", "[{10.0.0.0/8 10.0.0.0/8  }]", ""},
		{"list", "n.yaml", "- {network: 10.0.0.0/8, name: lab}\n", "[{10.0.0.0/8 lab  }]", ""},
		{"map", "n.yml", "networks:\n  - network: 10.0.0.0/8\n    name: lab\n    site: hq\n", "[{10.0.0.0/8 lab  hq}]", ""},
		{"empty", "n.yaml", "", "[]", ""},
		{"no head", "n.csv", "10.0.0.0/8,lab\n", "", "no column network"},
		{"no network", "n.csv", "network,name\n10.0.0.0/33,lab\n", "", "network 1"},
		{"misspelt", "n.yaml", "- {netwrok: 10.0.0.0/8}\n", "", "netwrok"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseNetworks(document{tt.file, []byte(tt.text)})
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %s", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			case fmt.Sprint(got) != tt.want:
				t.Errorf("(-got +want)\n-%v\n+%s", got, tt.want)
			}
		})
	}
}

func TestVendors(t *testing.T) {
	for name, text := range map[string]string{
		"ieee":  "Registry,Assignment,Organization Name,Organization Address\nMA-L,001422,Dell Inc.,\"One Way, US\"\nMA-M,0055DA0,Sixteen,\nMA-S,70B3D5F2B,Small,\nMA-L,XYZ,No,\n",
		"manuf": "# comment\n00:14:22\tDell\tDell Inc.\n00:55:DA:00:00:00/28\tSixteen\n70:B3:D5:F2:B0:00/36\tSmall\tSmall\nnonsense\n",
	} {
		got, refused, err := parseVendors(document{"oui", []byte(text)})
		want := "[{5154 24 Dell Inc.} {351648 28 Sixteen} {30253342507 36 Small}]"
		if err != nil || refused != 1 || fmt.Sprint(got) != want {
			t.Errorf("%s: %d refused, %v (-got +want)\n-%v\n+%s", name, refused, err, got, want)
		}
	}
	if k := (vendor{0x55da0, 28, ""}).key(); k != 0x55da0|28<<40 {
		t.Errorf("key %x", k)
	}
	if _, _, err := parseVendors(document{"oui", []byte("<html>\n")}); err == nil {
		t.Error("a page is taken for vendors")
	}
}

func TestWorkloadFiles(t *testing.T) {
	const want = "10.0.0.5 web pod shop n1 2026-11-01T10:00:00Z 0001-01-01T00:00:00Z"
	for name, text := range map[string]string{
		"csv":  "ip,name,kind,namespace,node,from,to\n10.0.0.5,web,pod,shop,n1,2026-11-01 10:00:00,\nx,y,,,,,\n",
		"json": `[{"ip":"10.0.0.5","name":"web","kind":"pod","namespace":"shop","node":"n1","from":"2026-11-01T10:00:00Z"},{"ip":"10.0.0.6"}]`,
		"map":  `{"workloads":[{"ips":["10.0.0.5"],"name":"web","kind":"pod","namespace":"shop","node":"n1","from":"2026-11-01T11:00:00+01:00"},{"name":"x","ip":"10.0.0.6","from":"yesterday"}]}`,
	} {
		got, refused, err := parseWorkloads([]byte(text))
		if err != nil || refused != 1 || len(got) != 1 {
			t.Errorf("%s: %v, %d refused, %v", name, got, refused, err)
			continue
		}
		w := got[0]
		if s := fmt.Sprint(w.ip, " ", w.name, " ", w.kind, " ", w.namespace, " ", w.node, " ", w.from.Format(time.RFC3339), " ", w.to.Format(time.RFC3339)); s != want {
			t.Errorf("%s (-got +want)\n-%s\n+%s", name, s, want)
		}
	}
	for text, good := range map[string]bool{`{"workloads":[]}`: true, `[]`: true, `{"error":"busy"}`: false, `{"workloads":[{"ip":"10.0.0.5"`: false, "<html>": false, "": false} {
		if _, _, err := parseWorkloads([]byte(text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What others call the fields is found.
func TestDatabaseShapes(t *testing.T) {
	text, number := func(s string) mmdbtype.String { return mmdbtype.String(s) }, func(n uint32) mmdbtype.Uint32 { return mmdbtype.Uint32(n) }
	tests := []struct {
		name   string
		record mmdbtype.Map
		want   place
	}{
		{"maxmind", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": text("DE")}, "city": mmdbtype.Map{"names": mmdbtype.Map{"en": text("Bonn")}}}, place{0, "DE", "Bonn"}},
		{"flat", mmdbtype.Map{"asn": text("AS64500"), "as_name": text("Example"), "country_code": text("de"), "country": text("Germany"), "city": text("Bonn")}, place{64500, "DE", "Bonn"}},
		{"number", mmdbtype.Map{"asn": number(64500), "country": text("DE")}, place{64500, "DE", ""}},
		{"registered only", mmdbtype.Map{"registered_country": mmdbtype.Map{"iso_code": text("FR")}}, place{0, "FR", ""}},
	}
	for _, tt := range tests {
		d, err := openDatabase(testDatabase(t, "x", map[string]mmdbtype.Map{"203.0.113.0/24": tt.record}))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r, ok := d.find(ip("203.0.113.9").Netip())
		if !ok || d.read(r) != tt.want {
			t.Errorf("%s: %v %v, want %v", tt.name, ok, d.read(r), tt.want)
		}
	}
	if _, err := openDatabase(testDatabase(t, "x", map[string]mmdbtype.Map{"203.0.113.0/24": {"is_tor": mmdbtype.Bool(true)}})); err == nil {
		t.Error("a database of something else is taken")
	}
}
