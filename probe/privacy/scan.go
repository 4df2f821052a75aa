package privacy

import (
	"net/netip"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// addressesIn replaces the addresses that stand in a text: IPv4 with dots, hyphens or underscores, as it is or in reverse before a domain;
// IPv6 with colons or hyphens; both below in-addr.arpa and ip6.arpa, also the beginning of one only; hardware addresses. Where percent encoding
// hides one the text comes out decoded.
func (f *Filter) addressesIn(s string) string {
	if !f.touches && !hides(f.cfg.MACs) || !strings.ContainsAny(s, "0123456789:") {
		return s
	}
	t, n := f.scan(s)
	if strings.IndexByte(s, '%') >= 0 {
		if plain := unescape(s); plain != s {
			if u, m := f.scan(plain); m > n {
				return u
			}
		}
	}
	return t
}

// unescape decodes the percent encodings that are right and leaves the others.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b = append(b, nibble(s[i+1])<<4|nibble(s[i+2]))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func nibble(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// scan replaces addresses and counts how many it did.
func (f *Filter) scan(s string) (string, int) {
	var b []byte
	from, n := 0, 0
	for i := 0; i < len(s); {
		size, p := f.at(s, i)
		if size == 0 {
			i++
			continue
		}
		b = append(append(b, s[from:i]...), p...)
		i += size
		from = i
		n++
	}
	if n == 0 {
		return s, 0
	}
	return string(append(b, s[from:]...)), n
}

// at returns the pseudonym of the address that begins at s[i], and its length in s; 0 when there is none, or one that stays.
func (f *Filter) at(s string, i int) (size int, p string) {
	c := s[i]
	if !isHex(c) && c != ':' || i > 0 && isDigit(c) && isDigit(s[i-1]) {
		return 0, ""
	}
	if i == 0 || !isHex(s[i-1]) {
		if size, p = f.hardwareAt(s[i:]); size > 0 {
			return size, p
		}
		if size, p = f.ip6At(s[i:]); size > 0 {
			return size, p
		}
		if size, p = f.ip6ArpaAt(s[i:]); size > 0 {
			return size, p
		}
	}
	if isDigit(c) {
		return f.ip4At(s[i:])
	}
	return 0, ""
}

// ip4At looks for one to four octets in decimal.
func (f *Filter) ip4At(s string) (int, string) {
	var o [4]byte
	var sep byte
	n, size := 0, 0
	for n < 4 {
		v, digits := 0, 0
		for digits < 4 && size+digits < len(s) && isDigit(s[size+digits]) {
			v = v*10 + int(s[size+digits]-'0')
			digits++
		}
		if digits == 0 || digits > 3 || v > 255 || digits == 2 && s[size] == '0' { // 20.04.1.2 is a version
			break
		}
		o[n] = byte(v)
		n++
		size += digits
		if n == 4 || size+1 >= len(s) || !isDigit(s[size+1]) {
			break
		}
		if sep == 0 && strings.IndexByte(".-_", s[size]) >= 0 {
			sep = s[size]
		}
		if s[size] != sep || sep == 0 {
			break
		}
		size++
	}
	rest := s[size:]
	arpa := sep != '-' && sep != '_' && startsWith(rest, ".in-addr.arpa")
	switch {
	case n == 0 || len(rest) > 0 && isDigit(rest[0]) || n < 4 && !arpa:
		return 0, ""
	case arpa:
		return f.reversed4(o[:n], sep, size)
	}
	a := netip.AddrFrom4(o)
	if _, chosen := f.scope.first(a); chosen { // dearer: the cache
		if p := f.Address(a); p != a {
			return size, join4(p.As4(), 4, sep)
		}
	}
	if len(rest) > 1 && (rest[0] == '.' || rest[0] == '-') && !isDigit(rest[1]) {
		return f.reversed4(o[:], sep, size)
	}
	return 0, ""
}

// reversed4 treats the octets as an address, or its beginning, from the last to the first.
func (f *Filter) reversed4(o []byte, sep byte, size int) (int, string) {
	var r [4]byte
	for k, v := range o {
		r[len(o)-1-k] = v
	}
	a := netip.AddrFrom4(r)
	if _, chosen := f.scope.first(a); !chosen {
		return 0, ""
	}
	p := f.Address(a).As4()
	same := true
	var back [4]byte
	for k := range o {
		back[k] = p[len(o)-1-k]
		same = same && back[k] == o[k]
	}
	if same {
		return 0, ""
	}
	return size, join4(back, len(o), sep)
}

func join4(o [4]byte, n int, sep byte) string {
	s := netip.AddrFrom4(o).String()
	if sep != '.' && sep != 0 {
		s = strings.ReplaceAll(s, ".", string(sep))
	}
	for ; n < 4; n++ {
		s = s[:strings.LastIndexByte(s, '.')]
	}
	return s
}

// ip6At looks for an IPv6 address with colons, or with hyphens in their place.
func (f *Filter) ip6At(s string) (int, string) {
	end, sep := ip6Prefix(s)
	if end == 0 {
		return 0, ""
	}
	plain := s[:end]
	if sep == '-' {
		plain = strings.ReplaceAll(plain, "-", ":")
	}
	a, err := netip.ParseAddr(plain)
	if err != nil {
		return 0, ""
	}
	p := f.Address(a)
	if p == a.Unmap() {
		return 0, ""
	}
	text := p.String()
	if a.Is4In6() {
		text = "::ffff:" + text
	}
	if sep == '-' {
		text = strings.ReplaceAll(text, ":", "-")
	}
	return end, text
}

// ip6Prefix returns how much of s reads as an IPv6 address, and what is between its groups; 0 when nothing does.
func ip6Prefix(s string) (end int, sep byte) {
	groups, double := 0, false
	for pos := 0; groups < 8; {
		if pos+1 < len(s) && (s[pos] == ':' || s[pos] == '-') && s[pos+1] == s[pos] {
			if double || sep != 0 && sep != s[pos] || groups > 6 {
				break
			}
			double, sep = true, s[pos]
			pos += 2
			end = pos
		} else if groups > 0 {
			if pos+1 >= len(s) || s[pos] != ':' && s[pos] != '-' || sep != 0 && s[pos] != sep || !isHex(s[pos+1]) {
				break
			}
			sep = s[pos]
			pos++
		}
		digits := 0
		for pos+digits < len(s) && isHex(s[pos+digits]) && digits < 5 {
			digits++
		}
		if digits == 0 || digits > 4 || double && groups == 7 {
			break
		}
		if n := dotted(s[pos:]); n > 0 && sep == ':' && (groups == 6 || double && groups < 6) {
			return pos + n, sep
		}
		pos += digits
		groups++
		end = pos
	}
	if !double && groups < 8 {
		return 0, 0
	}
	return end, sep
}

// dotted is the length of an IPv4 address with dots at the beginning of s; 0: there is none.
func dotted(s string) int {
	pos := 0
	for n := range 4 {
		digits := 0
		for digits < 4 && pos+digits < len(s) && isDigit(s[pos+digits]) {
			digits++
		}
		if digits == 0 || digits > 3 {
			return 0
		}
		pos += digits
		if n == 3 {
			return pos
		}
		if pos >= len(s) || s[pos] != '.' {
			return 0
		}
		pos++
	}
	return 0
}

// ip6ArpaAt looks for the nibbles of an address, from the last to the first, below ip6.arpa.
func (f *Filter) ip6ArpaAt(s string) (int, string) {
	n := 0
	for n < 33 && 2*n+1 < len(s) && isHex(s[2*n]) && s[2*n+1] == '.' {
		n++
	}
	if n == 0 || n > 32 || !startsWith(s[2*n:], "ip6.arpa") {
		return 0, ""
	}
	var a flow.Addr
	for k := range n {
		a[k/2] |= nibble(s[2*(n-1-k)]) << (4 * (1 - k%2))
	}
	p := f.address(a)
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 2*n)
	for k := n - 1; k >= 0; k-- {
		b = append(b, digits[p[k/2]>>(4*(1-k%2))&15], '.')
	}
	if strings.EqualFold(string(b), s[:2*n]) {
		return 0, ""
	}
	return 2*n - 1, string(b[:2*n-1])
}

// hardwareAt looks for a MAC address: six octets with colons or hyphens, three pairs with dots; those of the record also without either.
func (f *Filter) hardwareAt(s string) (int, string) {
	if !hides(f.cfg.MACs) {
		return 0, ""
	}
	if size := 12; len(s) >= size && (len(s) == size || !isHex(s[size])) {
		for _, m := range f.own {
			if m != 0 && strings.EqualFold(s[:size], formatMAC(m, size, 0)) {
				return size, formatMAC(f.hardwareAddress(m), size, 0)
			}
		}
	}
	for _, form := range [...]struct {
		seps      string
		size, run int
	}{{":-", 17, 2}, {".", 14, 4}} {
		if len(s) < form.size || strings.IndexByte(form.seps, s[form.run]) < 0 || len(s) > form.size && (isHex(s[form.size]) || s[form.size] == s[form.run]) {
			continue
		}
		var m flow.MAC
		digits := 0
		for i := range form.size {
			if i%(form.run+1) == form.run {
				if s[i] != s[form.run] {
					break
				}
			} else if !isHex(s[i]) {
				break
			} else {
				m = m<<4 | flow.MAC(nibble(s[i]))
				digits++
			}
		}
		if digits < 12 {
			continue
		}
		p := f.hardwareAddress(m)
		if p == m {
			return 0, ""
		}
		return form.size, formatMAC(p, form.run, s[form.run])
	}
	return 0, ""
}

func formatMAC(m flow.MAC, run int, sep byte) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i := range 12 {
		if i > 0 && i%run == 0 {
			b = append(b, sep)
		}
		b = append(b, digits[m>>(44-4*i)&15])
	}
	return string(b)
}
