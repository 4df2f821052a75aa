package dpi

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// httpUser takes the user's name out of an Authorization field: Basic (RFC
// 7617), Digest (RFC 7616). The password of Basic is in clear, and not kept.
func (in *Inspector) httpUser(field []byte, rec *flow.Record) {
	scheme, rest, _ := bytes.Cut(field, []byte{' '})
	switch {
	case isFold(scheme, "BASIC"):
		rec.Risks |= flow.RiskClearTextCredentials
		text := make([]byte, base64.StdEncoding.DecodedLen(min(len(rest), flow.MaxString)))
		n, _ := base64.StdEncoding.Decode(text, rest[:min(len(rest), flow.MaxString)&^3])
		if user, _, ok := bytes.Cut(text[:n], []byte{':'}); ok && rec.User == "" {
			rec.User = in.printable(user, rec)
		}
	case isFold(scheme, "DIGEST"):
		if _, after, ok := bytes.Cut(rest, []byte(`username="`)); ok && rec.User == "" {
			user, _, _ := bytes.Cut(after, []byte{'"'})
			rec.User = in.printable(user, rec)
		}
	}
}

// crawlers are words by which robots name themselves.
var crawlers = []string{"BOT", "CRAWLER", "SPIDER", "SLURP", "FACEBOOKEXTERNALHIT"}

// scanners are words by which attack tools name themselves.
var scanners = []string{"NIKTO", "SQLMAP", "NMAP", "MASSCAN", "ZGRAB", "GOBUSTER",
	"DIRBUSTER", "WPSCAN", "HYDRA", "NESSUS", "OPENVAS", "ACUNETIX", "JNDI:"}

// longAgent is more than browsers say of themselves, in octets.
const longAgent = 256

// agentRisks judges what a client calls itself. There are few of them, so what
// was found is remembered.
func (in *Inspector) agentRisks(agent string) flow.Risk {
	if agent == "" {
		return 0
	}
	r, known := in.agents[agent]
	if !known {
		r = judgeAgent([]byte(agent))
		if in.agents == nil || len(in.agents) >= maxAgents {
			in.agents = make(map[string]flow.Risk)
		}
		in.agents[agent] = r
	}
	return r
}

const maxAgents = 1024

func judgeAgent(agent []byte) (r flow.Risk) {
	if len(agent) > longAgent || bytes.Contains(agent, []byte("${")) {
		r |= flow.RiskHTTPSuspiciousUserAgent
	}
	for _, w := range crawlers {
		if containsFold(agent, w) {
			r |= flow.RiskHTTPCrawlerBot
		}
	}
	for _, w := range scanners {
		if containsFold(agent, w) {
			r |= flow.RiskHTTPSuspiciousUserAgent
		}
	}
	return r
}

// attacks are signs of an attack in a URL: short, and rare in honest ones. They
// are looked for after percent-decoding, in lower case, '+' as a space.
var attacks = []struct {
	sign string
	risk flow.Risk
}{
	{"<script", flow.RiskURLPossibleXSS}, {"javascript:", flow.RiskURLPossibleXSS}, {"onerror=", flow.RiskURLPossibleXSS}, {"onload=", flow.RiskURLPossibleXSS},
	{"<img ", flow.RiskURLPossibleXSS}, {"<svg", flow.RiskURLPossibleXSS}, {"alert(", flow.RiskURLPossibleXSS},
	{"union select", flow.RiskURLPossibleSQLInjection}, {"union all select", flow.RiskURLPossibleSQLInjection}, {"' or '", flow.RiskURLPossibleSQLInjection},
	{"' or 1=1", flow.RiskURLPossibleSQLInjection}, {" or 1=1", flow.RiskURLPossibleSQLInjection}, {"';--", flow.RiskURLPossibleSQLInjection}, {"' and ", flow.RiskURLPossibleSQLInjection},
	{"information_schema", flow.RiskURLPossibleSQLInjection}, {"sleep(", flow.RiskURLPossibleSQLInjection}, {"benchmark(", flow.RiskURLPossibleSQLInjection},
	{"waitfor delay", flow.RiskURLPossibleSQLInjection}, {"' or ", flow.RiskURLPossibleSQLInjection}, {"'+or+", flow.RiskURLPossibleSQLInjection},
	{"/etc/passwd", flow.RiskURLPossibleRCEInjection}, {"/bin/sh", flow.RiskURLPossibleRCEInjection}, {"/bin/bash", flow.RiskURLPossibleRCEInjection},
	{"cmd.exe", flow.RiskURLPossibleRCEInjection}, {"powershell", flow.RiskURLPossibleRCEInjection}, {"${jndi:", flow.RiskURLPossibleRCEInjection},
	{"; wget ", flow.RiskURLPossibleRCEInjection}, {";wget ", flow.RiskURLPossibleRCEInjection}, {"; curl ", flow.RiskURLPossibleRCEInjection},
	{"$(", flow.RiskURLPossibleRCEInjection}, {"system(", flow.RiskURLPossibleRCEInjection}, {"exec(", flow.RiskURLPossibleRCEInjection},
	{"../../", flow.RiskHTTPSuspiciousURL}, {"\x00", flow.RiskHTTPSuspiciousURL},
}

// urlRisks looks for attacks in a request target. Targets without a character
// that an attack needs cost one pass.
func urlRisks(target []byte) (r flow.Risk) {
	if !bytes.ContainsAny(target, "'<>;$()%+") && !bytes.Contains(target, []byte("../")) && !bytes.Contains(target, []byte("/etc/")) {
		return 0
	}
	var buf [512]byte
	text := decodeURL(buf[:0], target[:min(len(target), 2*len(buf))])
	for i := range attacks {
		if bytes.Contains(text, []byte(attacks[i].sign)) {
			r |= attacks[i].risk
		}
	}
	return r
}

// decodeURL appends the target in lower case with %XX and '+' resolved.
func decodeURL(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '%' && i+2 < len(b) && unhex(b[i+1]) < 16 && unhex(b[i+2]) < 16:
			c = unhex(b[i+1])<<4 | unhex(b[i+2])
			i += 2
		case c == '+':
			c = ' '
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// numericHost tells a host that is an address, with or without a port.
func numericHost(host []byte) bool {
	if len(host) == 0 || host[0] != '[' && (host[len(host)-1] < '0' || host[len(host)-1] > '9') {
		return false
	}
	if host[0] == '[' {
		return true
	}
	if k := bytes.IndexByte(host, ':'); k >= 0 {
		host = host[:k]
	}
	a, err := netip.ParseAddr(string(host))
	return err == nil && a.Is4()
}

// programTypes are the media types of programs.
var programTypes = []string{"APPLICATION/X-MSDOWNLOAD", "APPLICATION/X-DOSEXEC", "APPLICATION/X-MSDOS-PROGRAM",
	"APPLICATION/VND.MICROSOFT.PORTABLE-EXECUTABLE", "APPLICATION/X-EXECUTABLE", "APPLICATION/X-ELF", "APPLICATION/X-MACH-BINARY",
	"APPLICATION/VND.ANDROID.PACKAGE-ARCHIVE", "APPLICATION/X-MSI", "APPLICATION/JAVA-ARCHIVE", "APPLICATION/X-SH"}

// binaryTransfer tells a program that is downloaded: by its media type, or by
// the first octets of the body.
func binaryTransfer(m *httpMessage, body []byte) flow.Risk {
	kind, _, _ := bytes.Cut(m.contentType, []byte{';'})
	for _, program := range programTypes {
		if isFold(bytes.TrimSpace(kind), program) {
			return flow.RiskBinaryApplicationTransfer
		}
	}
	for _, magic := range [...]string{"MZ", "\x7fELF", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "dex\n"} {
		if len(body) >= 64 && bytes.HasPrefix(body, []byte(magic)) {
			return flow.RiskBinaryApplicationTransfer
		}
	}
	return 0
}

// obsoleteServers are the versions of web servers below which nobody mends
// them any more.
var obsoleteServers = []struct {
	name string
	min  [2]int
}{{"Apache/", [2]int{2, 4}}, {"nginx/", [2]int{1, 14}}, {"Microsoft-IIS/", [2]int{8, 0}}, {"lighttpd/", [2]int{1, 4}}}

func obsoleteServer(software string) flow.Risk {
	for _, o := range obsoleteServers {
		rest, ok := strings.CutPrefix(software, o.name)
		if !ok {
			continue
		}
		major, rest, _ := strings.Cut(rest, ".")
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		a, errA := strconv.Atoi(major)
		b, errB := strconv.Atoi(rest[:end])
		if errA == nil && errB == nil && (a < o.min[0] || a == o.min[0] && b < o.min[1]) {
			return flow.RiskHTTPObsoleteServer
		}
	}
	return 0
}
