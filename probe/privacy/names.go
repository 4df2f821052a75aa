package privacy

import (
	"encoding/base32"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// kind of pseudonym, told by its tag: equal texts of one kind get equal pseudonyms, of two kinds they do not.
type kind uint8

const (
	kindName kind = iota
	kindUser
	kindContent
	kinds
)

// tags begin a pseudonym. No name of a host has a tilde in it.
var tags = [kinds]string{"n~", "u~", "x~"}

// hashOctets of HMAC-SHA256 are kept: 80 bits, 16 letters. Two of a million names are the same with a probability of 10^-12.
const hashOctets = 10

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash is the pseudonym of s. Names and users are the same in capitals and not, and with the dot at the end of a name.
func (f *Filter) hash(s string, k kind) string {
	if p, ok := f.texts[k].get(s); ok {
		return p
	}
	plain := s
	if k != kindContent {
		plain = strings.ToLower(strings.TrimSuffix(s, "."))
	}
	b := append(append(f.scratch[:0], tags[k]...), plain...)
	f.mac.Reset()
	f.mac.Write(b)
	b = f.mac.Sum(b[:0])
	p := tags[k] + letters.EncodeToString(b[:hashOctets])
	f.scratch = b
	f.texts[k].put(strings.Clone(s), p)
	return p
}

// mode is what Config says about a kind.
func (f *Filter) mode(k kind) string {
	if k == kindUser {
		return f.cfg.Users
	}
	return f.cfg.Names
}

// whole replaces s as one, or searches it for addresses where its kind is kept.
func (f *Filter) whole(s string, k kind) string {
	switch f.mode(k) {
	case Hash:
		return f.hash(s, k)
	case Drop:
		return ""
	}
	return f.text(s)
}

// name replaces the name of a host or domain. What is an address, as it is or as a name under in-addr.arpa or ip6.arpa, is treated as one.
func (f *Filter) name(s string) string {
	if !hides(f.cfg.Names) {
		return f.text(s)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return f.address(flow.AddrFrom(a)).String()
	}
	if isReverse(s) && f.cfg.Names == Hash {
		if t, ok := f.reverse(s); ok {
			return t
		}
	}
	return f.whole(s, kindName)
}

// host replaces a name with a port behind it, perhaps.
func (f *Filter) host(s string) string {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && decimal(s[i+1:]) && (strings.IndexByte(s, ':') == i || s[i-1] == ']') {
		name, port = s[:i], s[i:]
	}
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		if a, err := netip.ParseAddr(name[1 : len(name)-1]); err == nil {
			return "[" + f.address(flow.AddrFrom(a)).String() + "]" + port
		}
	}
	if n, err := strconv.ParseUint(name, 0, 32); err == nil { // http://167772161/ is http://10.0.0.1/
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		if p := f.Address(a); p != a {
			return p.String() + port
		}
		if !hides(f.cfg.Names) {
			return s
		}
	}
	if name = f.name(name); name == "" {
		return ""
	}
	return name + port
}

// uri replaces a request target. That of the root tells nothing.
func (f *Filter) uri(s string) string {
	if s == "/" || s == "*" {
		return s
	}
	return f.whole(s, kindContent)
}

// httpRequest replaces host and target, each as in its own column.
func (f *Filter) httpRequest(s string) string {
	method, rest, ok := strings.Cut(s, " ")
	if !ok || !isVerb(method) {
		return f.content(s)
	}
	server, target := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		server, target = rest[:i], rest[i:]
	}
	if !hides(f.cfg.Names) {
		return method + " " + f.text(rest)
	}
	if server != "" {
		server = f.host(server)
	}
	if target == "/*" && method == "OPTIONS" {
		target = "*"
	}
	if target != "" {
		target = f.uri(target)
	}
	return strings.TrimSuffix(method+" "+server+target, " ")
}

// content replaces what nobody knows the meaning of, where names or users are not kept.
func (f *Filter) content(s string) string {
	switch {
	case f.cfg.Names == Drop || f.cfg.Users == Drop:
		return ""
	case f.hidesObjects():
		return f.hash(s, kindContent)
	}
	return f.text(s)
}

func (f *Filter) hidesObjects() bool { return hides(f.cfg.Names) || hides(f.cfg.Users) }

// request keeps the first word, when it is one that protocols have, and replaces the others one by one.
func (f *Filter) request(s, app string) string {
	if !f.hidesObjects() {
		return f.text(s)
	}
	verb, rest, _ := strings.Cut(s, " ")
	if p, ok := f.knownWord(verb); ok {
		verb = p
	} else if !isVerb(verb) && !plainWord(verb, app) {
		return f.content(s)
	}
	b := []byte(verb)
	for w := range strings.FieldsSeq(rest) {
		if p := f.object(w, app); p != "" {
			b = append(append(b, ' '), p...)
		}
	}
	return string(b)
}

// answer replaces the data of a DNS answer.
func (f *Filter) answer(s string) string {
	if _, err := netip.ParseAddr(s); err != nil && !isName(s) && !isReverse(s) { // TXT
		if t, ok := strings.CutPrefix(s, "TYPE"); ok && decimal(t) {
			return s
		}
		switch f.cfg.Names {
		case Hash:
			return f.hash(s, kindContent)
		case Drop:
			return ""
		}
	}
	return f.name(s)
}

// user replaces the name of a user.
func (f *Filter) user(s string) string { return f.whole(s, kindUser) }

// serverDigest replaces a digest by one of the same look.
func (f *Filter) serverDigest(s string) string {
	switch f.cfg.Names {
	case Hash:
		f.mac.Reset()
		f.mac.Write(append(append(f.scratch[:0], "digest "...), s...))
		return hex.EncodeToString(f.mac.Sum(nil))
	case Drop:
		return ""
	}
	return s
}

// mediaType keeps type and subtype; the parameters are free text, only the charset says nothing.
func (f *Filter) mediaType(s string) string {
	if !f.hidesObjects() {
		return f.text(s)
	}
	media, _, _ := strings.Cut(s, ";")
	media = strings.TrimSpace(media)
	main, _, ok := strings.Cut(media, "/")
	if !ok || len(media) > 80 || !mediaTypes[strings.ToLower(main)] || strings.ContainsFunc(media, func(c rune) bool {
		return !(c == '/' || c == '.' || c == '+' || c == '-' || c == '_' || alphanumeric(c))
	}) {
		return f.content(s)
	}
	return media
}
