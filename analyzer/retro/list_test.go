package retro

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // kind value
		refused    int
	}{
		{"plain", "# c\n203.0.113.9\nhxxp://evil[.]example/x\n0.0.0.0 ads.example\n*.bad.example.\n203.0.113.0/24\n10.0.0.0/7\ncom\nhassh:" + strings.Repeat("AB", 16) + "\n" + strings.Repeat("0a", 16) + "\n203.0.113.9\n1.2.3.4:80\n",
			[]string{"address 203.0.113.9", "url_host evil.example", "domain ads.example", "domain bad.example", "network 203.0.113.0/24", "hassh " + strings.Repeat("ab", 16), "ja3 " + strings.Repeat("0a", 16), "address 1.2.3.4"}, 2},
		{"csv", "# first, last\nioc_value,type,confidence\n\"evil.example\",domain,90\n" + strings.Repeat("a", 64) + ",sha256_hash,90\n2001:DB8::1,ip,50\n", []string{"domain evil.example", "address 2001:db8::1"}, 1},
		{"ja4 csv", "name,ja4\nx,t13d1516h2_8daaf6152771_e5627efa2ab1\n", []string{"ja4 t13d1516h2_8daaf6152771_e5627efa2ab1"}, 0},
		{"stix", `{"type":"bundle","objects":[{"type":"indicator","confidence":70,"pattern":"[ipv4-addr:value = '203.0.113.9' OR domain-name:value = 'evil.example']"},
			{"type":"indicator","pattern":"[file:hashes.MD5 = 'x']"},{"type":"indicator","pattern":"[ipv4-addr:value = '1.1.1.1' AND ipv4-addr:value = '1.1.1.2']"},
			{"type":"indicator","revoked":true,"pattern":"[url:value = 'http://a.example/']"},{"type":"indicator","pattern":"[x509-certificate:hashes.'SHA-256' = '` + strings.Repeat("ab", 32) + `']"}]}`,
			[]string{"address 203.0.113.9", "domain evil.example", "cert_sha256 " + strings.Repeat("ab", 32)}, 3},
		{"misp", `{"Event":{"Attribute":[{"type":"ip-dst|port","value":"203.0.113.9|443","to_ids":true},{"type":"domain","value":"quiet.example","to_ids":false}],
			"Object":[{"Attribute":[{"type":"ja3-fingerprint-md5","value":"` + strings.Repeat("0a", 16) + `","to_ids":true},{"type":"md5","value":"x","to_ids":true}]}]}}`,
			[]string{"address 203.0.113.9", "ja3 " + strings.Repeat("0a", 16)}, 1},
		{"nothing", "", nil, 0},
	} {
		list, refused, err := Parse(strings.NewReader(c.text))
		var got []string
		for _, x := range list {
			got = append(got, x.Kind+" "+x.Value)
		}
		if err != nil || refused != c.refused || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d refused, %v\n-%q\n+%q", c.name, refused, err, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("203.0.113.9\nevil.example\n::ffff:1.2.3.4/120\n")
	f.Add("ioc,type\n\"a.b\",domain\n")
	f.Add(`{"type":"indicator","pattern":"[url:value = 'x']"}`)
	f.Fuzz(func(t *testing.T, text string) {
		list, _, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, x := range list {
			if x.Value == "" || len(x.Value) > 2048 || x.Confidence > 100 || !slices.Contains([]string{"address", "network", "domain", "url_host", "ja3", "ja4", "hassh", "cert_sha256"}, x.Kind) {
				t.Errorf("%+v", x)
			}
			if named := x.Kind == "address" || x.Kind == "network"; named != (x.bits() > 0) {
				t.Errorf("%+v: %d bits", x, x.bits())
			}
			// What it is does not change when it is read again.
			if again, ok := classify(x.Kind, x.Value); (x.Kind != "url_host") && (!ok || again.Value != x.Value) {
				t.Errorf("%+v is then %+v", x, again)
			}
			_ = fmt.Sprint(x.net())
		}
	})
}

func TestJudgement(t *testing.T) {
	c := Coverage{Verdicts: map[string]int{Complete: 3, Lost: 1}, Share: .5}
	for _, x := range []struct {
		contact contact
		want    string
	}{
		{contact{host: "10.0.0.1", list: "l", contact: 1, confidence: .9, named: []string{"evil.example"}}, "high"},
		{contact{host: "10.0.0.1", list: "l", contact: 1, confidence: .9, bytes: heavy}, "critical"},
		{contact{host: "10.0.0.1", list: "l", contact: 1, confidence: .3}, "medium"},
		{contact{host: "10.0.0.1", list: "l", contact: .7, confidence: .5}, "medium"},
		{contact{host: "10.0.0.1", list: "l", contact: .5, confidence: .9}, "low"},
		{contact{host: "10.0.0.1", list: "l", contact: .1, confidence: .9, bytes: heavy}, "info"},
		{contact{host: "::", list: "l", contact: .7, confidence: .9}, "medium"},
		{contact{list: "l", about: "domain evil.example", hosts: 300, contact: 1, confidence: .9}, "high"},
	} {
		a := alertOf(&x.contact, c, "SELECT 1")
		if string(a.Severity) != x.want || a.Completeness != .5 || len(a.Unless) < 2 || len(a.Entities) != 2 || !slices.ContainsFunc(a.Reasons, func(r string) bool { return strings.Contains(r, "nothing is left of 1 days") }) {
			t.Errorf("%+v: %s, want %s: %q %q", x.contact, a.Severity, x.want, a.Entities, a.Reasons)
		}
	}
}
