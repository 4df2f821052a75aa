package channel

import (
	"strings"
	"testing"
)

func TestSplitName(t *testing.T) {
	for _, c := range []struct{ name, domain, sub string }{
		{"data.t.example.com", "example.com", "data.t"},
		{"a.b.loja.com.br", "loja.com.br", "a.b"},
		{"com.br", "com.br", ""},
		{"d1.cloudfront.net.", "d1.cloudfront.net", ""},
		{"x.pirate.sea", "pirate.sea", "x"},
		{"dnscat.546b03f50000000000a6023e", "", "dnscat.546b03f50000000000a6023e"},
		{"a.xn--p1ai", "a.xn--p1ai", ""},
		{"host", "host", ""},
		{"", "", ""},
	} {
		if domain, sub := splitName(c.name); domain != c.domain || sub != c.sub {
			t.Errorf("splitName(%q) (-got +want)\n-%q %q\n+%q %q", c.name, domain, sub, c.domain, c.sub)
		}
	}
}

// Whatever stands in a query, the parts are parts of the name.
func FuzzSplitName(f *testing.F) {
	for _, s := range []string{"a.example.com", "..", "com", `\221x.pirate.sea`, "xn--.1", strings.Repeat("a.", 120)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		domain, sub := splitName(name)
		if !strings.HasPrefix(name, sub) || !strings.HasSuffix(strings.TrimSuffix(name, "."), domain) {
			t.Errorf("%q: %q and %q are not its parts", name, sub, domain)
		}
	})
}
