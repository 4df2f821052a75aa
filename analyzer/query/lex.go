package query

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // name, keyword, number, address, time: what stands without quotes
	tokenString           // 'text' or "text", its value without quotes and escapes
	tokenSign             // = != < <= > >= ~ !~ ( ) , ..
)

// token is a piece of the text, text[from:to].
type token struct {
	kind     tokenKind
	from, to int
	value    string
}

// is says whether a token is this sign or, in any case of letters, this keyword.
func (t token) is(s string) bool {
	return t.kind == tokenSign && t.value == s || t.kind == tokenWord && strings.EqualFold(t.value, s)
}

// wordRune: what names, numbers, addresses, networks, times and host names are
// made of.
func wordRune(r rune) bool {
	return r == '_' || r == '.' || r == ':' || r == '/' || r == '-' || r == '+' || r == '%' || r == '@' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// tokens cuts a text into tokens, the last of which is tokenEnd.
func tokens(text string) ([]token, *Error) {
	if len(text) > MaxText {
		return nil, failure(text, MaxText, len(text), "the filter has %d octets, at most %d are read", len(text), MaxText)
	}
	var list []token
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case unicode.IsSpace(r):
			i += size
		case r == '\'' || r == '"':
			t, err := stringToken(text, i)
			if err != nil {
				return nil, err
			}
			list = append(list, t)
			i = t.to
		case strings.HasPrefix(text[i:], ".."):
			list = append(list, token{tokenSign, i, i + 2, ".."})
			i += 2
		case wordRune(r) && !(r == utf8.RuneError && size == 1):
			t := wordToken(text, i)
			list = append(list, t)
			i = t.to
		default:
			sign := signAt(text[i:])
			if sign == "" {
				err := failure(text, i, i+size, "%s has no meaning here", quote(text[i:i+size]))
				err.Suggest = map[rune]string{'&': "and", '|': "or", '!': "not", '*': "% in like"}[r]
				return nil, err
			}
			list = append(list, token{tokenSign, i, i + len(sign), sign})
			i += len(sign)
		}
	}
	return append(list, token{kind: tokenEnd, from: len(text), to: len(text)}), nil
}

func signAt(s string) string {
	for _, sign := range [...]string{"!=", "<>", "<=", ">=", "==", "!~", "=", "<", ">", "~", "(", ")", ","} {
		if strings.HasPrefix(s, sign) {
			return sign
		}
	}
	return ""
}

// wordToken reads a word, which ends before the `..` of a range.
func wordToken(text string, from int) token {
	i := from
	for i < len(text) && !strings.HasPrefix(text[i:], "..") {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !wordRune(r) || r == utf8.RuneError && size == 1 {
			break
		}
		i += size
	}
	return token{tokenWord, from, i, text[from:i]}
}

// stringToken reads a quoted text. A doubled quote is a quote; of the escapes,
// \\ \' \" \n \r \t \0 and \xHH are known, and a backslash before anything else
// stays, as LIKE and regular expressions want it.
func stringToken(text string, from int) (token, *Error) {
	mark := text[from]
	var b strings.Builder
	for i := from + 1; i < len(text); {
		switch c := text[i]; {
		case c == mark && i+1 < len(text) && text[i+1] == mark:
			b.WriteByte(mark)
			i += 2
		case c == mark:
			return token{tokenString, from, i + 1, b.String()}, nil
		case c == '\\' && i+1 < len(text):
			octet, size := escape(text[i+1:])
			if size == 0 {
				b.WriteByte('\\')
				i++
				continue
			}
			b.WriteByte(octet)
			i += 1 + size
		default:
			b.WriteByte(c)
			i++
		}
	}
	return token{}, failure(text, from, len(text), "the quote %c is not closed", mark)
}

// escape reads what stands behind a backslash: the octet it means and how many
// characters say so, 0 if it is no escape.
func escape(s string) (octet byte, size int) {
	switch s[0] {
	case '\\', '\'', '"':
		return s[0], 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case '0':
		return 0, 1
	case 'x':
		if len(s) >= 3 {
			hi, lo := hexDigit(s[1]), hexDigit(s[2])
			if hi >= 0 && lo >= 0 {
				return byte(hi<<4 | lo), 3
			}
		}
	}
	return 0, 0
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
