package plugin

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Limits of a file of patterns, so that recognising costs little whatever it says.
const (
	maxPatternFile = 1 << 20 // octets
	maxPatterns    = 1024
	maxOffset      = 1024 // of a pattern in the payload
	maxPattern     = 64   // octets
	maxParts       = 8    // of one pattern
	maxPorts       = 64
)

// pattern is an entry of the file.
type pattern struct {
	App   string   `yaml:"app"`
	Over  string   `yaml:"over"`
	Ports []uint16 `yaml:"ports"`
	From  string   `yaml:"from"`
	Match []part   `yaml:"match"`
}

// part is a string of octets at a place, some of them free.
type part struct {
	At    int    `yaml:"at"`
	Text  string `yaml:"text"`
	Hex   string `yaml:"hex"`
	bytes []byte
	mask  []byte // nil: every octet counts
}

// ReadPatterns reads a file of recognisers, whose form README.md describes. An error names the file, the entry and what is wrong.
func ReadPatterns(path string) ([]Recogniser, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("read patterns: %w", err), "name a YAML file that this user may read")
	}
	if st.Size() > maxPatternFile {
		return nil, fmt.Errorf("read patterns %s: %d bytes are more than %d", path, st.Size(), maxPatternFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read patterns: %w", err)
	}
	list, err := ParsePatterns(text)
	if err != nil {
		return nil, fmt.Errorf("read patterns %s: %w", path, err)
	}
	return list, nil
}

// ParsePatterns does the same for text. Unknown keys are refused.
func ParsePatterns(text []byte) ([]Recogniser, error) {
	var file struct {
		Patterns []pattern `yaml:"patterns"`
	}
	if len(text) > maxPatternFile {
		return nil, fmt.Errorf("%d bytes are more than %d", len(text), maxPatternFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, err
	}
	if len(file.Patterns) == 0 || len(file.Patterns) > maxPatterns {
		return nil, fmt.Errorf("patterns: 1 to %d are needed", maxPatterns)
	}
	list := make([]Recogniser, 0, len(file.Patterns))
	for i := range file.Patterns {
		r, err := file.Patterns[i].recogniser()
		if err != nil {
			return nil, fmt.Errorf("patterns[%d] (%s): %w", i, strconv.Quote(file.Patterns[i].App), err)
		}
		list = append(list, r)
	}
	return list, nil
}

func (p *pattern) recogniser() (r Recogniser, err error) {
	if p.App == "" || len(p.App) > 64 || strings.ToLower(p.App) != p.App || strings.ContainsFunc(p.App, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return r, errors.New("app: up to 64 lower case letters, digits and signs are needed")
	}
	if len(p.Match) == 0 || len(p.Match) > maxParts {
		return r, fmt.Errorf("match: 1 to %d parts are needed", maxParts)
	}
	if len(p.Ports) > maxPorts {
		return r, fmt.Errorf("ports: %d are more than %d", len(p.Ports), maxPorts)
	}
	fixed := 0
	for i := range p.Match {
		n, err := p.Match[i].parse()
		if err != nil {
			return r, fmt.Errorf("match[%d]: %w", i, err)
		}
		fixed += n
	}
	if least := 4; fixed < least && (len(p.Ports) == 0 || fixed < 2) {
		return r, kit.Hint(fmt.Errorf("match: %d octets are too few to know a protocol by", fixed), "give 4 octets, or 2 and ports")
	}
	match := p.match
	switch p.From {
	case "":
	case "client":
		match = p.of(true)
	case "server":
		match = p.of(false)
	default:
		return r, fmt.Errorf("from %q: client or server is needed, or nothing for both", p.From)
	}
	r = Recogniser{App: p.App, Ports: p.Ports}
	switch p.Over {
	case "tcp":
		r.Stream = match
	case "udp":
		r.Datagram = match
	case "":
		r.Stream, r.Datagram = match, match
	default:
		return r, fmt.Errorf("over %q: tcp or udp is needed, or nothing for both", p.Over)
	}
	return r, nil
}

// of matches what one side says.
func (p *pattern) of(src bool) func([]byte, Flow) Match {
	return func(b []byte, f Flow) Match {
		if f.FromSrc != src {
			return No
		}
		return p.match(b, f)
	}
}

// match compares all parts.
func (p *pattern) match(b []byte, _ Flow) Match {
	result := Yes
	for i := range p.Match {
		switch p.Match[i].compare(b) {
		case No:
			return No
		case Maybe:
			result = Maybe
		}
	}
	return result
}

func (t *part) compare(b []byte) Match {
	if len(b) <= t.At {
		return Maybe
	}
	b = b[t.At:]
	n := min(len(b), len(t.bytes))
	for i := range n {
		x := b[i] ^ t.bytes[i]
		if t.mask != nil {
			x &= t.mask[i]
		}
		if x != 0 {
			return No
		}
	}
	if n < len(t.bytes) {
		return Maybe
	}
	return Yes
}

// parse reads text or hex, where ?? is any octet, and returns the number of octets that are fixed.
func (t *part) parse() (fixed int, err error) {
	if t.At < 0 || t.At > maxOffset {
		return 0, fmt.Errorf("at: %d is not within 0 to %d", t.At, maxOffset)
	}
	if (t.Text == "") == (t.Hex == "") {
		return 0, errors.New("either text or hex is needed")
	}
	t.bytes, fixed = []byte(t.Text), len(t.Text)
	if t.Hex != "" {
		for octet := range strings.FieldsSeq(t.Hex) {
			if octet == "??" {
				t.bytes, t.mask = append(t.bytes, 0), append(t.mask, 0)
				continue
			}
			x, err := hex.DecodeString(octet)
			if err != nil {
				return 0, fmt.Errorf("hex %q: pairs of digits, such as \"05 ?? 01\", are needed", t.Hex)
			}
			t.bytes, t.mask = append(t.bytes, x...), append(t.mask, bytes.Repeat([]byte{0xff}, len(x))...)
			fixed += len(x)
		}
	}
	if len(t.bytes) == 0 || len(t.bytes) > maxPattern {
		return 0, fmt.Errorf("%d octets are not within 1 to %d", len(t.bytes), maxPattern)
	}
	return fixed, nil
}
