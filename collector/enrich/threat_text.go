package enrich

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// parsed is what a threat list says.
type parsed struct {
	indicators []indicator
	refused    int // what says nothing that is understood, or is below the confidence asked for
	most       int
	min        uint8 // confidence
	standard   uint8 // confidence of those that say none
}

// add takes one entry; ok false: it was not understood.
func (p *parsed) add(k kind, value string, ok bool, confidence uint8, expires uint32) {
	if confidence == 0 {
		confidence = p.standard
	}
	if !ok || confidence < p.min || len(p.indicators) >= p.most {
		p.refused++
		return
	}
	p.indicators = append(p.indicators, indicator{strings.Clone(value), expires, k, min(confidence, 100)})
}

// parseThreats reads a threat list of one or, in a MISP feed, several documents.
func parseThreats(docs []document, format string, p *parsed) error {
	if format == "" {
		format = formatOf(docs)
	}
	switch format {
	case "misp":
		return parseMISP(docs, p)
	case "stix":
		return parseSTIX(docs[0].data, p)
	case "csv":
		return parseThreatCSV(docs[0].data, p)
	}
	return parsePlain(docs[0].data, p)
}

// formatOf tells the format by the content.
func formatOf(docs []document) string {
	if len(docs) > 1 {
		return "misp"
	}
	data := bytes.TrimSpace(bytes.TrimPrefix(docs[0].data, []byte("\xef\xbb\xbf")))
	if len(data) > 0 && (data[0] == '{' || data[0] == '[') {
		head := data[:min(len(data), 64<<10)]
		if bytes.Contains(head, []byte(`"bundle"`)) || bytes.Contains(head, []byte(`"spec_version"`)) {
			return "stix"
		}
		return "misp"
	}
	if _, err := openThreatCSV(data); err == nil {
		return "csv"
	}
	return "plain"
}

// plainKinds may stand before an indicator, with a colon.
var plainKinds = map[string]kind{"ip": kindAddress, "address": kindAddress, "network": kindNetwork, "domain": kindDomain, "url": kindURLHost,
	"ja3": kindJA3, "ja3s": kindJA3, "ja4": kindJA4, "hassh": kindHASSH, "sha256": kindCert, "cert": kindCert, "cert_sha256": kindCert}

// parsePlain reads one indicator a line. What follows a blank is a comment, as
// are lines that begin with #, ; or //. Lines of a hosts file ("0.0.0.0 name")
// mean the name.
func parsePlain(data []byte, p *parsed) error {
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' || strings.HasPrefix(line, "//") {
			continue
		}
		part := strings.Fields(line)
		text := part[0]
		if len(part) > 1 && (text == "0.0.0.0" || text == "127.0.0.1" || text == "::1" || text == "::") {
			text = part[1]
		}
		text = strings.TrimRight(text, ",;")
		if before, after, ok := strings.Cut(text, ":"); ok {
			if k, known := plainKinds[strings.ToLower(before)]; known && !strings.HasPrefix(after, "//") {
				k, value, ok := classifyAs(k, after)
				p.add(k, value, ok, 0, 0)
				continue
			}
		}
		k, value, ok := classify(text)
		p.add(k, value, ok, 0, 0)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	return nil
}

// threatColumns are the names that columns of threat lists have in use.
var threatColumns = map[string][]string{
	"value": {"indicator", "value", "ioc", "ioc_value", "ip", "ip_address", "ipaddress", "dst_ip", "dstip", "address", "network", "cidr", "domain", "hostname",
		"host", "fqdn", "url", "ja3", "ja3_md5", "ja4", "hassh", "cert_sha256", "certificate_sha256", "sha256"},
	"type":       {"type", "ioc_type", "kind", "indicator_type"},
	"confidence": {"confidence", "confidence_level", "score"},
	"expires":    {"expires", "valid_until", "expiration", "expiry"},
}

// columnKinds are the columns whose name says what they hold.
var columnKinds = map[string]kind{"ja3": kindJA3, "ja3_md5": kindJA3, "ja4": kindJA4, "hassh": kindHASSH, "cert_sha256": kindCert, "certificate_sha256": kindCert,
	"sha256": kindCert, "url": kindURLHost}

type threatCSV struct {
	*csvTable
	kind  kind
	fixed bool // kind holds
}

// openThreatCSV finds the names of the columns in the first line, or, as some
// publishers have it, in the last comment before the first line.
func openThreatCSV(data []byte) (*threatCSV, error) {
	head, rest := "", data
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			if text = strings.TrimSpace(strings.TrimLeft(text, "# ")); strings.Contains(text, ",") {
				head = text
			}
			rest = after
			continue
		}
		break
	}
	t, err := readTable(rest, threatColumns, "value")
	if err != nil && head != "" {
		t, err = readTable(append([]byte(head+"\n"), rest...), threatColumns, "value")
		rest = []byte(head)
	}
	if err != nil {
		return nil, err
	}
	c := &threatCSV{csvTable: t}
	line, _, _ := strings.Cut(string(rest), "\n")
	for i, name := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ';' }) {
		if i == t.at["value"] {
			c.kind, c.fixed = columnKinds[strings.ToLower(strings.Trim(name, "\" \r"))], false
			_, c.fixed = columnKinds[strings.ToLower(strings.Trim(name, "\" \r"))]
		}
	}
	return c, nil
}

func parseThreatCSV(data []byte, p *parsed) error {
	c, err := openThreatCSV(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return err
	}
	for {
		row, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		confidence := 0
		if f, err := strconv.ParseFloat(row("confidence"), 64); err == nil && f > 0 {
			confidence = int(min(f, 100))
		}
		k, value, ok := c.classify(row("type"), row("value"))
		p.add(k, value, ok, uint8(confidence), expiry(row("expires")))
	}
}

func (c *threatCSV) classify(typ, value string) (kind, string, bool) {
	if typ != "" {
		return classifyTyped(typ, value)
	}
	if c.fixed {
		return classifyAs(c.kind, value)
	}
	return classify(value)
}

// typedKinds are what lists call the kinds, in lower case.
var typedKinds = map[string]kind{
	"ip": kindAddress, "ipv4": kindAddress, "ipv6": kindAddress, "address": kindAddress, "ip-src": kindAddress, "ip-dst": kindAddress, "ipv4-addr": kindAddress,
	"ipv6-addr": kindAddress, "network": kindNetwork, "cidr": kindNetwork, "domain": kindDomain, "domain-name": kindDomain, "hostname": kindDomain, "fqdn": kindDomain,
	"url": kindURLHost, "url_host": kindURLHost, "ja3": kindJA3, "ja3s": kindJA3, "ja3_fingerprint": kindJA3, "ja3-fingerprint-md5": kindJA3, "ja4": kindJA4,
	"hassh": kindHASSH, "hassh-md5": kindHASSH, "hasshserver-md5": kindHASSH, "cert_sha256": kindCert, "certificate": kindCert, "x509-fingerprint-sha256": kindCert,
}

// classifyTyped takes a value for what its type says. Types that are not known
// are such as no flow has, hashes of files before all.
func classifyTyped(typ, value string) (kind, string, bool) {
	typ = strings.ToLower(strings.TrimSpace(typ))
	if typ == "ip:port" {
		return classify(value)
	}
	k, ok := typedKinds[typ]
	if !ok {
		return 0, "", false
	}
	return classifyAs(k, value)
}

// expiry reads a time; what cannot be read is never.
func expiry(s string) uint32 {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return uint32(max(1, min(t.Unix(), 1<<32-1)))
		}
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && n > 1e8 {
		return uint32(n)
	}
	return 0
}
