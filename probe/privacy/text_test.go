package privacy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// within hides 10.0.0.0/8 and 2001:db8::/32 only, so that what else looks like an address has to stay.
func within(t testing.TB, cfg Config) *Filter {
	cfg.Addresses = AddressesWithin
	cfg.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	return testFilter(t, sampleKey, cfg)
}

// Addresses are found in texts however they are written, and become the pseudonym that the address itself has.
func TestAddressesInTexts(t *testing.T) {
	f := within(t, Config{MACs: HashKeepVendor})
	p4 := f.Address(netip.MustParseAddr("10.1.2.3")).String()
	o := strings.Split(p4, ".")
	r4 := o[3] + "." + o[2] + "." + o[1] + "." + o[0]
	p6 := f.Address(netip.MustParseAddr("2001:db8::1")).String()
	p6net := f.Address(netip.MustParseAddr("2001:db8:1::")).StringExpanded()
	mac := f.hardwareAddress(0x0050c2123456).String()
	for in, want := range map[string]string{
		"10.1.2.3":                     p4,
		"http://10.1.2.3/x":            "http://" + p4 + "/x",
		"http://10.1.2.3:8080/":        "http://" + p4 + ":8080/",
		"sip:alice@10.1.2.3;tag=1":     "sip:alice@" + p4 + ";tag=1",
		"OFFER 10.1.2.3":               "OFFER " + p4,
		"/?a=10.1.2.3&b=10.1.2.3":      "/?a=" + p4 + "&b=" + p4,
		"3.2.1.10.in-addr.arpa":        r4 + ".in-addr.arpa",
		"3.2.1.10.IN-ADDR.ARPA.":       r4 + ".IN-ADDR.ARPA.",
		"_x.3.2.1.10.in-addr.arpa":     "_x." + r4 + ".in-addr.arpa",
		"2.1.10.in-addr.arpa":          o[2] + "." + o[1] + "." + o[0] + ".in-addr.arpa",
		"1.10.in-addr.arpa":            o[1] + "." + o[0] + ".in-addr.arpa",
		"10.in-addr.arpa":              "10.in-addr.arpa",
		"3.2.1.10.zen.example.org":     r4 + ".zen.example.org",
		"ip-10-1-2-3.ec2.internal":     "ip-" + strings.ReplaceAll(p4, ".", "-") + ".ec2.internal",
		"10_1_2_3.example":             strings.ReplaceAll(p4, ".", "_") + ".example",
		"3-2-1-10.dsl.example.net":     strings.ReplaceAll(r4, ".", "-") + ".dsl.example.net",
		"a=%3D10.1.2.3":                "a=%3D" + p4,
		"a=%2010.1.2.3":                "a= " + p4,
		"10%2E1%2E2%2E3":               p4,
		"010.001.002.003":              p4,
		"[2001:db8::1]:443":            "[" + p6 + "]:443",
		"ip6:2001:db8::1/64":           "ip6:" + p6 + "/64",
		"2001:0DB8:0:0:0:0:0:1":        p6,
		"2001-db8--1.sslip.io":         strings.ReplaceAll(p6, ":", "-") + ".sslip.io",
		"::ffff:10.1.2.3":              "::ffff:" + p4,
		"64:ff9b::10.1.2.3":            f.Address(netip.MustParseAddr("64:ff9b::10.1.2.3")).String(),
		nibbles("2001:db8::1", 32):     nibbles(p6, 32),
		nibbles("2001:db8:1::", 12):    nibbles(p6net, 12),
		"00:50:c2:12:34:56":            mac,
		"name-00-50-C2-12-34-56.local": "name-" + strings.ReplaceAll(mac, ":", "-") + ".local",
		"0050.c212.3456":               strings.ReplaceAll(mac[:5]+"."+mac[6:11]+"."+mac[12:], ":", ""),
	} {
		if got := f.text(in); got != want {
			t.Errorf("%s became (-got +want)\n-%s\n+%s", in, got, want)
		}
	}
	for _, same := range []string{
		"192.0.2.1", "1.2.3.4.in-addr.arpa", "2001:db9::1", "fe80::1", "12:30:45", "2026-11-23", "1.18.0", "310.1.2.3", "10.04.1.2", "10.1.2.256",
		"10.1.2", "110.1.2.3", "10.1.2.30000", "550e8400-e29b-41d4-a716-446655440000", "OpenSSH_8.2p1", "%", "%1", "%zz10", "::", ":", "a::", "1:2:3",
		"00:50:c2:12:34", "ff:ff:ff:ff:ff:ff",
	} {
		if got := f.text(same); got != same {
			t.Errorf("%s became %s", same, got)
		}
	}
	f.learn(&flow.Record{SrcMAC: 0x0050c2123456})
	if got, want := f.text("esp-0050C2123456.local"), "esp-"+strings.ReplaceAll(mac, ":", "")+".local"; got != want {
		t.Errorf("own hardware address: %s, want %s", got, want)
	}
}

// nibbles is the name of a reverse look-up of the first n nibbles.
func nibbles(a string, n int) string {
	hex := strings.ReplaceAll(netip.MustParseAddr(a).StringExpanded(), ":", "")
	b := []byte{}
	for k := n - 1; k >= 0; k-- {
		b = append(b, hex[k], '.')
	}
	return string(b) + "ip6.arpa"
}

func TestNamesAndUsers(t *testing.T) {
	f := within(t, Config{Names: Hash, Users: Hash})
	n, u, p := f.name("www.example.org"), f.user("alice"), f.Address(netip.MustParseAddr("10.1.2.3")).String()
	if !strings.HasPrefix(n, "n~") || len(n) != 18 || n != f.name("WWW.Example.org.") || n == f.name("example.org") || n[2:] == f.user("www.example.org")[2:] {
		t.Errorf("names: %s, %s, %s, %s", n, f.name("WWW.Example.org."), f.name("example.org"), f.user("www.example.org"))
	}
	r := &flow.Record{
		App: "ftp", TLSSNI: "www.example.org", HTTPHost: "www.example.org:8080", HTTPURI: "/private?user=alice", HTTPMethod: "GET",
		HTTPRequests:    []string{"GET www.example.org:8080/private?user=alice", "CONNECT www.example.org:443", "POST 10.1.2.3/", "strange"},
		HTTPUserAgent:   "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (+http://www.example.org/bot) alice@example.org PC-OF-ALICE",
		HTTPContentType: "application/vnd.apple.mpegurl; name=alice.pdf",
		DNSNames:        []string{"www.example.org", "3.2.1.10.in-addr.arpa", "b._dns-sd._udp.0.2.1.10.in-addr.arpa", ""},
		DNSAnswers:      []string{"10.1.2.3", "www.example.org", "v=spf1 ip4:10.1.2.3", "192.0.2.1", "TYPE65"},
		User:            "alice", Domain: "EXAMPLE.ORG", AppHost: "PC-of-Alice",
		AppRequests:  []string{"USER alice", "RETR salaries of 2026.txt", "PORT 10.1.2.3 20", "AS-REQ krbtgt/EXAMPLE.ORG", "not a verb", "PC-OF-ALICE"},
		AppResponses: []string{"530", "OFFER 10.1.2.3", "331 Password required for alice", "STATUS_LOGON_FAILURE"},
		SSHServer:    "SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5", ServerSoftware: "220 mail.example.org ESMTP Postfix (pc-of-alice)",
		CertSubject: "CN=www.example.org,O=Example", CertIssuer: "CN=www.example.org,O=Example", CertSHA256: strings.Repeat("ab", 32),
		CertNames: []string{"www.example.org", "*.example.org", "10.1.2.3"},
	}
	raw := string(f.Record(r).AppendJSON(nil))
	for _, secret := range []string{"example", "alice", "private", "salaries", "10.1.2.3", "3.2.1.10", "0.2.1.10", "strange", "not a", "spf1", "abab", "pdf"} {
		if strings.Contains(strings.ToLower(raw), secret) {
			t.Errorf("%q is still there: %s", secret, raw)
		}
	}
	out := f.Record(r)
	content := func(s string) string { return f.hash(s, kindContent) }
	for what, c := range map[string][2]string{
		"sni":        {out.TLSSNI, n},
		"host":       {out.HTTPHost, n + ":8080"},
		"request":    {out.HTTPRequests[0], "GET " + n + ":8080" + out.HTTPURI},
		"connect":    {out.HTTPRequests[1], "CONNECT " + n + ":443"},
		"numeric":    {out.HTTPRequests[2], "POST " + p + "/"},
		"media type": {out.HTTPContentType, "application/vnd.apple.mpegurl"},
		"dns name":   {out.DNSNames[0], n},
		"answer":     {out.DNSAnswers[0], p},
		"other":      {out.DNSAnswers[3], "192.0.2.1"},
		"type":       {out.DNSAnswers[4], "TYPE65"},
		"cname":      {out.DNSAnswers[1], n},
		"user":       {out.User, u},
		"login":      {out.AppRequests[0], "USER " + u},
		"file":       {out.AppRequests[1], "RETR " + content("salaries") + " " + content("of") + " " + f.name("2026.txt")},
		"port":       {out.AppRequests[2], "PORT " + p + " 20"},
		"status":     {out.AppResponses[0], "530"},
		"offer":      {out.AppResponses[1], "OFFER " + p},
		"failure":    {out.AppResponses[3], "STATUS_LOGON_FAILURE"},
		"ssh":        {out.SSHServer, r.SSHServer},
		"self":       {out.CertSubject, out.CertIssuer},
		"san":        {out.CertNames[0], n},
		"san ip":     {out.CertNames[2], p},
		"banner":     {out.ServerSoftware, "220 " + f.name("mail.example.org") + " ESMTP Postfix (" + f.name("pc-of-alice") + ")"},
		"agent": {out.HTTPUserAgent, "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (+http://" + n + "/bot) " + f.user("alice@example.org") + " " +
			f.name("pc-of-alice")},
	} {
		if c[0] != c[1] {
			t.Errorf("%s (-got +want)\n-%s\n+%s", what, c[0], c[1])
		}
	}
	if !strings.HasSuffix(out.DNSNames[1], ".in-addr.arpa") || out.DNSNames[3] != "" {
		t.Errorf("dns names %q", out.DNSNames)
	}

	d := testFilter(t, sampleKey, Config{Names: Drop, Users: Drop, MACs: Drop})
	raw = string(d.Record(r).AppendJSON(nil))
	for _, secret := range []string{"example", "alice", "private", "salaries", "strange", "not a", "spf1", "abab", "pdf", "~"} {
		if strings.Contains(strings.ToLower(raw), secret) {
			t.Errorf("dropped, but %q is still there: %s", secret, raw)
		}
	}
	if out := d.Record(r); out.AppRequests[0] != "USER" || len(out.DNSNames) != 4 || out.HTTPRequests[1] != "CONNECT" || out.DNSAnswers[0] != "10.1.2.3" {
		t.Errorf("dropped: %+v", out)
	}

	// Users only: names stay, and what is said about users does not.
	only := testFilter(t, sampleKey, Config{Users: Hash})
	out = only.Record(r)
	if out.TLSSNI != r.TLSSNI || out.User != only.user("alice") || out.AppRequests[0] != "USER "+only.user("alice") ||
		strings.Contains(strings.ToLower(out.HTTPURI+strings.Join(out.HTTPRequests, "")), "alice") {
		t.Errorf("users only: %+v", out)
	}
}

// Objects of requests: what can be told gets the pseudonym of its own column.
func TestObjects(t *testing.T) {
	f := within(t, Config{Names: Hash, Users: Hash})
	n, u, p := f.name("dc1.example.org"), f.user("alice"), f.Address(netip.MustParseAddr("10.1.2.3")).String()
	x := func(s string) string { return f.hash(s, kindContent) }
	for _, c := range []struct{ app, in, want string }{
		{"kerberos", "TGS-REP ldap/dc1.example.org rc4-hmac", "TGS-REP ldap/" + n + " rc4-hmac"},
		{"kerberos", "AS-REQ krbtgt/EXAMPLE.ORG", "AS-REQ krbtgt/" + f.name("example.org")},
		{"kerberos", "AS-REQ alice/admin", "AS-REQ " + x("alice/admin")},
		{"smb", `TREE_CONNECT \\10.1.2.3\IPC$`, `TREE_CONNECT \\` + p + `\IPC$`},
		{"smb", `TREE_CONNECT \\dc1.example.org\Payroll`, `TREE_CONNECT \\` + n + `\` + x("Payroll")},
		{"smb", "CREATE svcctl", "CREATE svcctl"},
		{"smb", "CREATE payroll.xls", "CREATE " + f.name("payroll.xls")},
		{"stun", "Binding 10.1.2.3:5000", "Binding " + p + ":5000"},
		{"rtp", "payload PCMA", "payload PCMA"},
		{"ntp", "SERVER stratum 2", "SERVER stratum 2"},
		{"ldap", "success", "success"},
		{"sip", "INVITE sip:alice@dc1.example.org;user=phone", "INVITE sip:" + u + "@" + n},
		{"sip", "REGISTER sip:10.1.2.3:5060", "REGISTER sip:" + p + ":5060"},
		{"sip", "INVITE 4021", "INVITE " + x("4021")},
		{"smtp", "MAIL FROM:<alice@example.org>", "MAIL FROM:<" + f.user("alice@example.org") + ">"},
		{"smtp", "MAIL FROM:<>", "MAIL FROM:<>"},
		{"smtp", "RCPT TO: <alice@example.org>", "RCPT TO: <" + f.user("alice@example.org") + ">"},
		{"mysql", "QUERY select * from salaries limit 1", "QUERY select * from " + x("salaries") + " limit 1"},
		{"snmp", "GetNextRequest 1.3.6.1.2.1.1.6.0", "GetNextRequest " + x("1.3.6.1.2.1.1.6.0")},
		{"redis", "$", "$"},
		{"smtp", "EHLO dc1.example.org", "EHLO " + n},
		{"modbus", "READ_HOLDING_REGISTERS 1", "READ_HOLDING_REGISTERS 1"},
		{"", "bob", x("bob")},
	} {
		f.learn(&flow.Record{User: "alice"})
		if got := f.request(c.in, c.app); got != c.want {
			t.Errorf("%s (-got +want)\n-%s\n+%s", c.in, got, c.want)
		}
	}
	d := testFilter(t, sampleKey, Config{Names: Drop, Users: Drop})
	for in, want := range map[string]string{"INVITE sip:alice@example.org": "INVITE sip:", "AS-REQ krbtgt/EXAMPLE": "AS-REQ krbtgt", "USER alice": "USER",
		`TREE_CONNECT \\dc1\Payroll`: `TREE_CONNECT \\\`, "bob": ""} {
		if got := d.request(in, ""); got != want {
			t.Errorf("dropped: %q became %q, want %q", in, got, want)
		}
	}
}

func TestNumericHosts(t *testing.T) {
	f := within(t, Config{})
	p := f.Address(netip.MustParseAddr("10.0.0.1")).String()
	for in, want := range map[string]string{"167772161": p, "0x0a000001:81": p + ":81", "[2001:db8::1]": "[" + f.Address(netip.MustParseAddr("2001:db8::1")).String() + "]",
		"10.0.0.1:80": p + ":80", "www.example.org": "www.example.org", "80": "80", "3232235777": "3232235777"} {
		if got := f.host(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

func FuzzTexts(f *testing.F) {
	for _, s := range []string{"GET 10.1.2.3/?a=%2010.1.2.3", "alice@example.org", "3.2.1.10.in-addr.arpa", "[2001:db8::1]:80", "a::b::c", "00:50:c2:12:34:56",
		"1.0.0.2.ip6.arpa", "::::::::", "%%%", "10-1-2-3--", "\xff\xfe", strings.Repeat("1.", 600), strings.Repeat("a:", 600)} {
		f.Add(s)
	}
	hash, scrub := within(f, Config{Names: Hash, Users: Hash, MACs: Hash}), within(f, Config{MACs: Hash})
	free := testFilter(f, sampleKey, Config{PayloadFree: true})
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > flow.MaxString {
			return
		}
		r := fullRecord(s, s)
		for _, filter := range []*Filter{hash, scrub, free} {
			one := string(filter.Record(r).AppendJSON(nil))
			if two := string(filter.Record(r).AppendJSON(nil)); one != two {
				t.Fatalf("twice the same record (-got +want)\n-%s\n+%s", two, one)
			}
		}
		// An address that stays may stay in the form it was written in.
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && scrub.Address(a) != a {
			if got := scrub.name(s); !strings.Contains(got, scrub.Address(a).String()) {
				t.Fatalf("%s became %s, want %s", s, got, scrub.Address(a))
			}
		}
	})
}
