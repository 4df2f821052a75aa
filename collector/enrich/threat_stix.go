package enrich

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// stixObject is what is read of an object of a STIX 2.1 bundle (section 4.7).
type stixObject struct {
	Type        string `json:"type"`
	Pattern     string `json:"pattern"`
	PatternType string `json:"pattern_type"`
	ValidUntil  string `json:"valid_until"`
	Confidence  int    `json:"confidence"`
	Revoked     bool   `json:"revoked"`
}

// parseSTIX reads a bundle, or a list of objects as a TAXII server gives it
// ("objects" of an envelope).
func parseSTIX(data []byte, p *parsed) error {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	found := false
	err := eachInArray(dec, "objects", func() error {
		found = true
		var o stixObject
		if err := dec.Decode(&o); err != nil {
			return err
		}
		if o.Type != "indicator" || o.Revoked {
			return nil
		}
		terms, ok := stixTerms(o.Pattern)
		if !ok || o.PatternType != "" && o.PatternType != "stix" {
			p.refused++
			return nil
		}
		for _, t := range terms {
			k, value, ok := t.indicator()
			p.add(k, value, ok, uint8(max(0, min(o.Confidence, 100))), expiry(o.ValidUntil))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read STIX: %w", err)
	}
	if !found {
		return errors.New("read STIX: no objects in it")
	}
	return nil
}

// eachInArray calls one for each element of the array under a key of the
// outermost object, or of the outermost array. one must decode the element.
func eachInArray(dec *json.Decoder, key string, one func() error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t == json.Delim('[') {
		for dec.More() {
			if err := one(); err != nil {
				return err
			}
		}
		return nil
	}
	if t != json.Delim('{') {
		return errors.New("neither an object nor a list")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		if name != key {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return err
			}
			continue
		}
		if t, err = dec.Token(); err != nil {
			return err
		}
		if t != json.Delim('[') {
			return fmt.Errorf("%q is not a list", key)
		}
		for dec.More() {
			if err := one(); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the end: what was cut short is an error
	return err
}

// stixTerm is one comparison of a pattern.
type stixTerm struct{ path, value string }

func (t stixTerm) indicator() (kind, string, bool) {
	path := strings.ToLower(t.path)
	object, _, _ := strings.Cut(path, ":")
	switch {
	case strings.Contains(path, "ja4"):
		return classifyAs(kindJA4, t.value)
	case strings.Contains(path, "ja3"):
		return classifyAs(kindJA3, t.value)
	case strings.Contains(path, "hassh"):
		return classifyAs(kindHASSH, t.value)
	case object == "ipv4-addr", object == "ipv6-addr":
		return classifyAs(kindAddress, t.value)
	case object == "domain-name":
		return classifyAs(kindDomain, t.value)
	case object == "url":
		return classifyAs(kindURLHost, t.value)
	case object == "x509-certificate" && strings.Contains(path, "sha-256"), object == "x509-certificate" && strings.Contains(path, "sha256"):
		return classifyAs(kindCert, t.value)
	case object == "network-traffic" && strings.HasSuffix(path, "_ref.value"):
		return classify(t.value)
	}
	return 0, "", false
}

// stixTerms takes a pattern (section 9) apart where any one of its comparisons is
// enough: equalities, IN and ISSUBSET, joined by OR. A pattern that wants more
// than one thing at once says nothing about a single value: false.
func stixTerms(pattern string) ([]stixTerm, bool) {
	words, ok := stixWords(pattern)
	if !ok {
		return nil, false
	}
	var terms []stixTerm
	for i := 0; i < len(words); {
		switch w := words[i]; {
		case w.text == "[" || w.text == "]" || w.text == "(" || w.text == ")" || strings.EqualFold(w.text, "OR"):
			i++
		case w.quoted || i+2 >= len(words):
			return nil, false
		case (words[i+1].text == "=" || words[i+1].text == "==" || strings.EqualFold(words[i+1].text, "ISSUBSET")) && words[i+2].quoted:
			terms = append(terms, stixTerm{w.text, words[i+2].text})
			i += 3
		case strings.EqualFold(words[i+1].text, "IN") && words[i+2].text == "(" && !words[i+2].quoted:
			for i += 3; i < len(words) && (words[i].quoted || words[i].text == ","); i++ {
				if words[i].quoted {
					terms = append(terms, stixTerm{w.text, words[i].text})
				}
			}
			if i >= len(words) || words[i].text != ")" {
				return nil, false
			}
			i++
		default:
			return nil, false
		}
	}
	return terms, len(terms) > 0
}

type stixWord struct {
	text   string
	quoted bool
}

// maxPattern bounds a pattern, in octets.
const maxPattern = 64 << 10

// stixWords splits a pattern; a path keeps its quoted parts (hashes.'SHA-256').
func stixWords(s string) (words []stixWord, ok bool) {
	if len(s) > maxPattern {
		return nil, false
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.IndexByte("[](),", c) >= 0:
			words = append(words, stixWord{s[i : i+1], false})
			i++
		case c == '\'':
			text, n, closed := stixQuoted(s[i:])
			if !closed {
				return nil, false
			}
			words = append(words, stixWord{text, true})
			i += n
		case c == '=' || c == '!' || c == '<' || c == '>':
			n := i + 1
			for n < len(s) && s[n] == '=' {
				n++
			}
			words = append(words, stixWord{s[i:n], false})
			i = n
		default:
			n := i
			for n < len(s) && strings.IndexByte(" \t\r\n(),=!<>]", s[n]) < 0 {
				switch s[n] {
				case '\'':
					_, size, closed := stixQuoted(s[n:])
					if !closed {
						return nil, false
					}
					n += size
				case '[': // an index within a path
					for n < len(s) && s[n] != ']' {
						n++
					}
					n = min(n+1, len(s))
				default:
					n++
				}
			}
			words = append(words, stixWord{s[i:n], false})
			i = n
		}
	}
	return words, true
}

// stixQuoted reads a text in single quotes, with its length in s.
func stixQuoted(s string) (text string, size int, closed bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case '\'':
			return b.String(), i + 1, true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0, false
}
