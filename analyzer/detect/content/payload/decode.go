package payload

import (
	"html"
	"strings"
)

// maxDecodes bounds how often a text is decoded: attacks are seen encoded twice.
const maxDecodes = 3

// forms returns the text decoded once, and again for as long as that changes it.
// All are in lower case, with entities of HTML resolved; plus is a space in values.
func forms(text string, value bool) []string {
	var list []string
	for range maxDecodes {
		next := unescape(text, value)
		form := strings.ToLower(next)
		if strings.Contains(form, "&") {
			form = strings.ToLower(html.UnescapeString(form))
		}
		form = strings.ReplaceAll(form, "\x00", "")
		if len(list) == 0 || list[len(list)-1] != form {
			list = append(list, form)
		}
		if next == text {
			break
		}
		text, value = next, false
	}
	return list
}

// unescape resolves %XX, %uXXXX, \uXXXX and, in values, plus signs. What is no
// escape stays. Overlong UTF-8 of . and / (%c0%ae, %c0%af), which old servers take
// for them, becomes what it stands for.
func unescape(text string, value bool) string {
	if !strings.ContainsAny(text, `%+\`) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '+' && value:
			b.WriteByte(' ')
		case c == '%' && i+2 < len(text) && hex(text[i+1]) < 16 && hex(text[i+2]) < 16:
			d := hex(text[i+1])<<4 | hex(text[i+2])
			i += 2
			if d == 0xc0 && i+3 < len(text) && text[i+1] == '%' && hex(text[i+2]) < 16 && hex(text[i+3]) < 16 {
				if low := hex(text[i+2])<<4 | hex(text[i+3]); low == 0xae || low == 0xaf {
					d, i = low&0x7f, i+3
				}
			}
			b.WriteByte(d)
		case (c == '%' || c == '\\') && i+5 < len(text) && (text[i+1] == 'u' || text[i+1] == 'U') && quad(text[i+2:i+6]) >= 0:
			b.WriteRune(narrow(rune(quad(text[i+2 : i+6]))))
			i += 5
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// narrow makes the full-width forms of ASCII into ASCII, as servers do.
func narrow(r rune) rune {
	if r >= 0xff01 && r <= 0xff5e {
		return r - 0xff01 + '!'
	}
	return r
}

// quad reads four hexadecimal digits, -1 if they are none.
func quad(s string) int {
	n := 0
	for i := range 4 {
		d := hex(s[i])
		if d > 15 {
			return -1
		}
		n = n<<4 | int(d)
	}
	return n
}

// hex is the value of a hexadecimal digit, 255 if it is none.
func hex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// lookupSigns finds ${jndi:…}, through the lookups that hide it.
func lookupSigns(text string) []Sign {
	text = strings.ToLower(text)
	if !strings.Contains(text, "${") {
		return nil
	}
	plain := resolve(text)
	at := strings.Index(plain, "${jndi:")
	if at < 0 {
		if strings.Contains(text, "${${") || strings.Contains(text, ":-") && strings.Count(text, "${") > 1 {
			return []Sign{{Lookup, false, "nested lookup", cut(text[strings.Index(text, "${"):])}}
		}
		return nil
	}
	scheme, _, ok := strings.Cut(plain[at+len("${jndi:"):], ":")
	switch strings.TrimSpace(scheme) {
	case "ldap", "ldaps", "rmi", "dns", "iiop", "corba", "nis", "nds", "http", "https":
		if ok {
			return []Sign{{Lookup, true, "jndi lookup", cut(plain[at:])}}
		}
	}
	return []Sign{{Lookup, false, "jndi lookup", cut(plain[at:])}}
}

// resolve replaces the innermost lookups by what they yield, as Log4j does:
// ${lower:X} and ${upper:X} by X, ${anything:-X} by X. It ends at ${jndi:.
func resolve(text string) string {
	for range 64 {
		end := -1
		start := -1
		for i := 0; i < len(text); i++ {
			if text[i] == '{' && i > 0 && text[i-1] == '$' {
				start = i - 1
			} else if text[i] == '}' && start >= 0 {
				end = i
				break
			}
		}
		if end < 0 {
			return text
		}
		inner := text[start+2 : end]
		var with string
		if _, rest, ok := strings.Cut(inner, ":-"); ok {
			with = rest
		} else if strings.HasPrefix(inner, "jndi:") {
			return text
		} else if _, rest, ok := strings.Cut(inner, ":"); ok {
			with = rest
		}
		text = text[:start] + with + text[end+1:]
	}
	return text
}

// cut is the text in a length for people.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxSign)], "") }
