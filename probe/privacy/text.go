package privacy

import (
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// knownName is a name or user that the record itself tells: its texts are searched for it, since nothing in a short name looks like one.
type knownName struct {
	text string
	kind kind
}

// learn gathers the known names of r, before they are replaced.
func (f *Filter) learn(r *flow.Record) {
	f.known, f.own = f.known[:0], [2]flow.MAC{r.SrcMAC, r.DstMAC}
	if f.cfg.PayloadFree || !f.hidesObjects() {
		return
	}
	server := r.HTTPHost
	if i := strings.LastIndexByte(server, ':'); i > 0 {
		server = server[:i]
	}
	for _, k := range [...]knownName{{r.User, kindUser}, {r.Domain, kindName}, {r.AppHost, kindName}, {r.TLSSNI, kindName}, {server, kindName}} {
		if len(k.text) > 1 && hides(f.mode(k.kind)) {
			f.known = append(f.known, k)
		}
	}
	// The name before an @, and the one behind a domain and a backslash, stand alone elsewhere.
	if hides(f.cfg.Users) {
		for _, k := range f.known {
			if name, _, ok := strings.Cut(k.text, "@"); ok && k.kind == kindUser && len(name) > 1 {
				f.known = append(f.known, knownName{name, kindUser})
			}
			if i := strings.LastIndexByte(k.text, '\\'); i >= 0 && k.kind == kindUser && len(k.text)-i > 2 {
				f.known = append(f.known, knownName{k.text[i+1:], kindUser})
			}
		}
	}
}

// text replaces in free text what can be recognised: addresses, and as far as they are not kept, domain names, e-mail addresses and
// known names.
func (f *Filter) text(s string) string {
	if !f.hidesObjects() {
		return f.addressesIn(s)
	}
	var b []byte
	raw := 0
	for i := 0; i < len(s); {
		if !inWord(s[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(s) && inWord(s[end]) {
			end++
		}
		if p, ok := f.word(strings.TrimRight(s[i:end], ".-")); ok {
			b = append(append(b, f.addressesIn(s[raw:i])...), p...)
			raw = i + len(strings.TrimRight(s[i:end], ".-"))
		}
		i = end
	}
	if b == nil {
		return f.addressesIn(s)
	}
	return string(append(b, f.addressesIn(s[raw:])...))
}

// inWord says whether c may be part of a name, or of a user with his domain.
func inWord(c byte) bool {
	return alphanumeric(rune(c)) || c == '.' || c == '-' || c == '_' || c == '@' || c == '\\' || c == '$' || c == '*' || c >= 0x80
}

// knownWord returns the pseudonym of a name that stands elsewhere in the record.
func (f *Filter) knownWord(w string) (p string, ok bool) {
	for _, k := range f.known {
		if len(k.text) == len(w) && strings.EqualFold(k.text, w) {
			return f.whole(w, k.kind), true
		}
	}
	return "", false
}

// word returns the pseudonym of a word that is a name; ok is false when nothing says that it is one.
func (f *Filter) word(w string) (p string, ok bool) {
	if p, ok := f.knownWord(w); ok {
		return p, true
	}
	switch {
	case strings.ContainsAny(w, `@\`) && len(w) > 2:
		return f.person(w), true
	case hides(f.cfg.Names) && isName(w) && !isReverse(w):
		return f.whole(w, kindName), true
	}
	return "", false
}

// isReverse says whether s is below the domains of reverse look-ups.
func isReverse(s string) bool {
	s = strings.TrimSuffix(s, ".")
	return endsWith(s, ".in-addr.arpa") || endsWith(s, ".ip6.arpa")
}

// reverse replaces the address in a name of a reverse look-up; ok is false when there is more in it than an address.
func (f *Filter) reverse(s string) (string, bool) {
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	labels = labels[:len(labels)-2]
	for _, l := range labels {
		if !(len(l) == 1 && isHex(l[0])) && !(decimal(l) && len(l) <= 3) {
			return "", false
		}
	}
	t, _ := f.scan(s)
	return t, true
}

func endsWith(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

func startsWith(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
