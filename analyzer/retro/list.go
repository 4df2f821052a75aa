package retro

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Indicator is one entry of a list, in the canonical form of the table
// indicators: kind address, network, domain, url_host, ja3, ja4, hassh or
// cert_sha256.
type Indicator struct {
	Kind, Value string
	Confidence  uint8 // 1 to 100, 0 not said
}

func (x Indicator) prefix() netip.Prefix {
	switch x.Kind {
	case "address":
		if a, err := netip.ParseAddr(x.Value); err == nil {
			return netip.PrefixFrom(a, a.BitLen())
		}
	case "network":
		if p, err := netip.ParsePrefix(x.Value); err == nil {
			return p.Masked()
		}
	}
	return netip.Prefix{}
}

// net and bits are the indicator as a network of IPv6; :: and 0 of others.
func (x Indicator) net() netip.Addr {
	if p := x.prefix(); p.IsValid() {
		return netip.AddrFrom16(p.Addr().As16())
	}
	return netip.IPv6Unspecified()
}

func (x Indicator) bits() uint8 {
	p := x.prefix()
	if !p.IsValid() {
		return 0
	}
	return uint8(p.Bits() + 128 - p.Addr().BitLen())
}

// maxList bounds a list, in octets, and maxIndicators in entries.
const (
	maxList       = 256 << 20
	maxIndicators = 2_000_000
)

// ErrTooLarge: a list is larger than 256 MiB or two million indicators.
var ErrTooLarge = errors.New("the list is too large")

// Parse reads a list of indicators: plain (one a line), CSV with a line of names,
// STIX 2.1 or MISP; the content tells which. refused counts what was not
// understood: what says nothing, as a hash of a file, and what would say too
// much, as 0.0.0.0/0 or a top-level domain. Entries that repeat count once.
func Parse(r io.Reader) (list []Indicator, refused int, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxList {
		return nil, 0, ErrTooLarge
	}
	seen := map[[2]string]bool{}
	add := func(kind, text string, confidence int) {
		x, ok := classify(kind, text)
		switch {
		case !ok:
			refused++
		case !seen[[2]string{x.Kind, x.Value}]:
			seen[[2]string{x.Kind, x.Value}] = true
			x.Confidence = uint8(min(max(confidence, 0), 100))
			list = append(list, x)
		}
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	switch {
	case len(data) > 0 && (data[0] == '{' || data[0] == '['):
		err = parseJSON(data, add)
	default:
		err = parseLines(data, add)
	}
	if err == nil && len(list) > maxIndicators {
		err = ErrTooLarge
	}
	return list, refused, err
}

// columns of a CSV that hold an indicator, and what it is then; empty: its form tells.
func columnKind(name string) (kind string, ok bool) {
	switch name = strings.ToLower(strings.Trim(name, ` "#`)); name {
	case "indicator", "value", "ioc", "ioc_value", "address", "ip", "ip_address", "network", "cidr", "hostname", "host", "fqdn", "dst_ip":
		return "", true
	case "domain", "ja3", "ja4", "hassh", "cert_sha256", "url":
		return name, true
	case "sha256", "certificate_sha256":
		return "cert_sha256", true
	}
	return "", false
}

// parseLines reads CSV if the first line that is no comment, or the last comment
// before it, names a column, else an indicator a line.
func parseLines(data []byte, add func(string, string, int)) error {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 64<<10)
	var comment string
	first := true
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") || strings.HasPrefix(line, "//") {
			if first && strings.HasPrefix(line, "#") {
				comment = line
			}
			continue
		}
		if first {
			first = false
			for _, head := range []string{line, comment} {
				names := strings.Split(head, ",")
				if at := slices.IndexFunc(names, func(n string) bool { _, ok := columnKind(n); return ok }); at >= 0 && len(names) > 1 {
					return parseCSV(data, names, at, head == line, add)
				}
			}
			if _, named := columnKind(line); named {
				continue // a heading
			}
		}
		part := strings.Fields(line)
		text := part[0]
		if len(part) > 1 && slices.Contains([]string{"0.0.0.0", "127.0.0.1", "::", "::1"}, text) { // a hosts file
			text = part[1]
		}
		kind := ""
		if before, after, ok := strings.Cut(text, ":"); ok && !strings.HasPrefix(after, "//") {
			switch before = strings.ToLower(before); before {
			case "ja3", "ja4", "hassh", "domain", "cert_sha256", "ip", "address", "network", "url":
				kind, text = before, after
			case "sha256", "cert":
				kind, text = "cert_sha256", after
			}
		}
		add(kind, strings.TrimRight(text, ",;"), 0)
	}
	return lines.Err()
}

func parseCSV(data []byte, names []string, at int, head bool, add func(string, string, int)) error {
	for i := range names {
		names[i] = strings.ToLower(strings.Trim(names[i], ` "#`))
	}
	kind, _ := columnKind(names[at])
	typeAt, confidenceAt := -1, -1
	for i, n := range names {
		switch n {
		case "type", "ioc_type", "kind", "indicator_type":
			typeAt = i
		case "confidence", "confidence_level":
			confidenceAt = i
		}
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.FieldsPerRecord, r.LazyQuotes, r.TrimLeadingSpace = '#', -1, true, true
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if head || at >= len(row) {
			head = false
			continue
		}
		k, confidence := kind, 0
		if typeAt >= 0 && typeAt < len(row) {
			switch t := strings.ToLower(row[typeAt]); t {
			case "ja3", "ja4", "hassh", "cert_sha256", "domain", "url":
				k = t
			case "ja3-fingerprint-md5":
				k = "ja3"
			case "hassh-md5":
				k = "hassh"
			case "md5", "sha1", "sha256", "md5_hash", "sha256_hash", "file":
				add("file", "", 0)
				continue
			}
		}
		if confidenceAt >= 0 && confidenceAt < len(row) {
			confidence, _ = strconv.Atoi(strings.TrimSpace(row[confidenceAt]))
		}
		add(k, row[at], confidence)
	}
}

// comparison is one of a STIX pattern: [ipv4-addr:value = '203.0.113.9'].
var comparison = regexp.MustCompile(`([a-z0-9-]+):([A-Za-z0-9_.'-]+)\s*(?:=|ISSUBSET)\s*'((?:[^'\\]|\\.)*)'`)

// parseJSON reads a STIX bundle or MISP events, wherever in the document they are.
func parseJSON(data []byte, add func(string, string, int)) error {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case []any:
			for _, e := range x {
				walk(e)
			}
		case map[string]any:
			switch {
			case x["type"] == "indicator" && x["pattern"] != nil:
				pattern, _ := x["pattern"].(string)
				confidence, _ := x["confidence"].(float64)
				if revoked, _ := x["revoked"].(bool); revoked || strings.Contains(pattern, " AND ") || strings.Contains(pattern, " FOLLOWEDBY ") {
					add("file", "", 0) // a part of it says nothing
					return
				}
				found := comparison.FindAllStringSubmatch(pattern, -1)
				if found == nil {
					add("file", "", 0)
				}
				for _, m := range found {
					add(stixKind(m[1], m[2]), m[3], int(confidence))
				}
			case x["to_ids"] != nil && x["value"] != nil:
				value, _ := x["value"].(string)
				kind, _ := x["type"].(string)
				if ids, _ := x["to_ids"].(bool); ids {
					add(mispKind(kind), value, 0)
				}
			default:
				for _, name := range slices.Sorted(maps.Keys(x)) {
					walk(x[name])
				}
			}
		}
	}
	walk(doc)
	return nil
}

func stixKind(object, property string) string {
	switch {
	case object == "ipv4-addr" || object == "ipv6-addr" || object == "network-traffic":
		return "address"
	case object == "domain-name":
		return "domain"
	case object == "url":
		return "url"
	case object == "x509-certificate" && strings.Contains(property, "SHA-256"):
		return "cert_sha256"
	}
	return "file"
}

func mispKind(kind string) string {
	switch kind {
	case "ip-src", "ip-dst", "ip-src|port", "ip-dst|port":
		return "address"
	case "domain", "hostname":
		return "domain"
	case "url", "uri":
		return "url"
	case "ja3-fingerprint-md5":
		return "ja3"
	case "hassh-md5", "hasshserver-md5":
		return "hassh"
	case "x509-fingerprint-sha256":
		return "cert_sha256"
	}
	return "file"
}

var ja4Form = regexp.MustCompile(`^[tqdTQD][0-9a-zA-Z]{9}_[0-9a-fA-F]{12}_[0-9a-fA-F]{12}$`)

// classify brings an indicator to its canonical form; an empty kind is told by
// the form of the text. 32 hex digits alone are a JA3, which is looked up as a
// HASSH, too.
func classify(kind, text string) (Indicator, bool) {
	s := strings.Trim(strings.TrimSpace(text), `"'`)
	s = strings.NewReplacer("[.]", ".", "(.)", ".", "[:]", ":", "[dot]", ".").Replace(s)
	if len(s) > 4 && strings.EqualFold(s[:4], "hxxp") {
		s = "http" + s[4:]
	}
	if s == "" || len(s) > 2048 {
		return Indicator{}, false
	}
	switch kind {
	case "ja3", "hassh":
		return Indicator{Kind: kind, Value: strings.ToLower(s)}, isHex(s, 32)
	case "cert_sha256":
		s = strings.ReplaceAll(s, ":", "")
		return Indicator{Kind: kind, Value: strings.ToLower(s)}, isHex(s, 64)
	case "ja4":
		return Indicator{Kind: kind, Value: strings.ToLower(s)}, ja4Form.MatchString(s)
	case "domain":
		return domain("domain", s)
	case "url":
		return host(s)
	case "ip", "address", "network":
		if before, _, ok := strings.Cut(s, "|"); ok {
			s = before
		}
		return network(s)
	case "":
	default:
		return Indicator{}, false
	}
	if x, ok := network(s); ok {
		return x, true
	}
	switch {
	case strings.Contains(s, "/"):
		if _, err := netip.ParsePrefix(s); err == nil {
			return Indicator{}, false // too wide
		}
		return host(s)
	case isHex(s, 32):
		return Indicator{Kind: "ja3", Value: strings.ToLower(s)}, true
	case isHex(s, 64):
		return Indicator{Kind: "cert_sha256", Value: strings.ToLower(s)}, true
	case ja4Form.MatchString(s):
		return Indicator{Kind: "ja4", Value: strings.ToLower(s)}, true
	}
	if before, port, ok := strings.Cut(s, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return classify("", before)
		}
	}
	return domain("domain", s)
}

func isHex(s string, n int) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == n
}

// network reads an address or network; shorter than /8 would name too much.
func network(s string) (Indicator, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return Indicator{Kind: "address", Value: a.String()}, !a.IsUnspecified()
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() < 8 || p.Addr().Is4In6() {
		return Indicator{}, false
	}
	if p = p.Masked(); p.IsSingleIP() {
		return Indicator{Kind: "address", Value: p.Addr().String()}, true
	}
	return Indicator{Kind: "network", Value: p.String()}, true
}

// host keeps the host of a URL.
func host(s string) (Indicator, bool) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return Indicator{}, false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return network(u.Hostname())
	}
	return domain("url_host", u.Hostname())
}

// domain reads a name; a top-level domain would name too much.
func domain(kind, s string) (Indicator, bool) {
	s = strings.ToLower(strings.Trim(strings.TrimPrefix(s, "*"), "."))
	if len(s) > 253 || !strings.Contains(s, ".") {
		return Indicator{}, false
	}
	letters := false
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return Indicator{}, false
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= 0x80:
				letters = true
			case c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return Indicator{}, false
			}
		}
	}
	return Indicator{Kind: kind, Value: s}, letters
}
