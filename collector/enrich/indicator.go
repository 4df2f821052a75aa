package enrich

import (
	"net/netip"
	"net/url"
	"strings"
)

// Kinds of indicators, as the table `indicators` has them.
type kind uint8

const (
	kindAddress kind = iota
	kindNetwork
	kindDomain
	kindURLHost
	kindJA3
	kindJA4
	kindHASSH
	kindCert
	kinds
)

func (k kind) String() string {
	return [...]string{"address", "network", "domain", "url_host", "ja3", "ja4", "hassh", "cert_sha256"}[k]
}

// indicator is one entry of a threat list.
type indicator struct {
	value      string // canonical: see its kind's classify
	expires    uint32 // Unix time, 0 never
	kind       kind
	confidence uint8 // 0: the list did not say
}

// maxValue bounds what an indicator can be, in octets.
const maxValue = 2048

// classify tells from its text what an indicator is. What has 32 hex digits may
// be a JA3 or a HASSH, and is taken for a JA3; say otherwise with classifyAs.
func classify(text string) (kind, string, bool) {
	s := refang(text)
	if s == "" || len(s) > maxValue {
		return 0, "", false
	}
	if p, err := parsePrefix(s); err == nil {
		return prefixIndicator(p)
	}
	if strings.Contains(s, "://") {
		return urlIndicator(s)
	}
	if host, _, ok := strings.Cut(s, "/"); ok { // example.com/path
		if strings.Contains(host, ".") {
			return urlIndicator("http://" + s)
		}
		return 0, "", false
	}
	if isHex(s) {
		switch len(s) {
		case 32:
			return kindJA3, strings.ToLower(s), true
		case 64:
			return kindCert, strings.ToLower(s), true
		}
	}
	if isJA4(s) {
		return kindJA4, strings.ToLower(s), true
	}
	if host, port, ok := strings.Cut(s, ":"); ok && isDigits(port) { // address or name with a port
		s = host
		if p, err := parsePrefix(s); err == nil {
			return prefixIndicator(p)
		}
	}
	return domainIndicator(s)
}

// classifyAs takes the text for what somebody says it is.
func classifyAs(k kind, text string) (kind, string, bool) {
	s := refang(text)
	if s == "" || len(s) > maxValue {
		return 0, "", false
	}
	switch k {
	case kindAddress, kindNetwork:
		p, err := parsePrefix(s)
		if err != nil {
			return 0, "", false
		}
		return prefixIndicator(p)
	case kindDomain:
		return domainIndicator(s)
	case kindURLHost:
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		return urlIndicator(s)
	case kindJA3, kindHASSH:
		return k, strings.ToLower(s), len(s) == 32 && isHex(s)
	case kindCert:
		s = strings.ReplaceAll(s, ":", "")
		return k, strings.ToLower(s), len(s) == 64 && isHex(s)
	case kindJA4:
		return k, strings.ToLower(s), isJA4(s)
	}
	return 0, "", false
}

// refang undoes what people do to addresses so that nobody clicks on them.
func refang(s string) string {
	s = strings.Trim(strings.TrimSpace(s), `"'`)
	if strings.ContainsAny(s, "[(") {
		s = strings.NewReplacer("[.]", ".", "(.)", ".", "[:]", ":", "[dot]", ".").Replace(s)
	}
	if len(s) > 4 && (strings.HasPrefix(s, "hxxp") || strings.HasPrefix(s, "hXXp")) {
		s = "http" + s[4:]
	}
	return s
}

// minNetwork is the shortest prefix that is taken: a list with 0.0.0.0/0 in it
// would name every flow.
const minNetwork = 8

func prefixIndicator(p netip.Prefix) (kind, string, bool) {
	switch {
	case p.Bits() < minNetwork, p.Addr().IsUnspecified():
		return 0, "", false
	case p.IsSingleIP():
		return kindAddress, p.Addr().String(), true
	}
	return kindNetwork, p.String(), true
}

// urlIndicator keeps the host of a URL.
func urlIndicator(s string) (kind, string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return 0, "", false
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		a = a.Unmap().WithZone("")
		return prefixIndicator(netip.PrefixFrom(a, a.BitLen()))
	}
	_, host, ok := domainIndicator(u.Hostname())
	return kindURLHost, host, ok
}

// domainIndicator reads a name; "*." and "." before it mean what it means anyway:
// the name and all below it.
func domainIndicator(s string) (kind, string, bool) {
	s = strings.TrimPrefix(s, "*")
	s = strings.ToLower(strings.Trim(s, "."))
	if len(s) == 0 || len(s) > 253 || !strings.Contains(s, ".") {
		return 0, "", false // a top-level domain would name too much
	}
	letters := false
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 {
			return 0, "", false
		}
		for i := range len(label) {
			c := label[i]
			switch {
			case c >= 'a' && c <= 'z', c >= 0x80:
				letters = true
			case c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return 0, "", false
			}
		}
	}
	return kindDomain, s, letters
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return s != ""
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isJA4 knows the form t13d1516h2_8daaf6152771_e5627efa2ab1.
func isJA4(s string) bool {
	return len(s) == 36 && s[10] == '_' && s[23] == '_' && strings.IndexByte("tqdTQD", s[0]) >= 0 && isHex(s[11:23]) && isHex(s[24:])
}
