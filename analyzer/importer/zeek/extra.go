package zeek

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// extra is what the other logs say of one connection.
type extra struct {
	at         place // of its first line
	kind       string
	lines      int
	start, end int64
	src, dst   flow.Addr
	srcPort    uint16
	dstPort    uint16
	protocol   uint8

	http      []httpTransaction
	dns       []dnsTransaction
	requests  []string
	responses []string
	errors    uint32
	tls       *tlsHandshake
	said      flow.Record // the fields that describe sets; made by the first line that has one
	cut       flow.Cut
	risks     flow.Risk
}

type httpTransaction struct {
	method, host, uri, agent, content string
	status                            uint16
}

type dnsTransaction struct {
	name    string
	qtype   uint16
	rcode   uint16
	latency uint32
	answers []string
}

type tlsHandshake struct {
	version, cipher        uint16
	sni, alpn              string
	ja3, ja3s, ja4         string
	subject, issuer, chain string // chain: fingerprint or file id of the server's certificate
}

type certificate struct {
	subject, issuer, sha256 string
	notBefore, notAfter     uint64
	names                   []string
}

// noRcode is a query without an answer, in flow.proto.
const noRcode = 65535

// other keeps what a line of a log other than conn.log says.
func (im *Importer) other(at place, row *row) {
	switch row.kind {
	case "x509":
		im.certificate(row)
		im.Tally.Joined++
		return
	case "tunnel":
		if t, ok := tunnelKinds[row.get("tunnel_type")]; ok {
			im.tunnels[row.get("uid")] = t
		}
		im.Tally.Joined++
		return
	}
	read, known := readers[row.kind]
	if !known {
		im.skip(source.SkipUnknown, at, 0, fmt.Errorf("log %q", row.kind))
		return
	}
	uids := row.list("uids") // dhcp.log
	if uids == nil {
		uids = row.list("conn_uids") // files.log
	}
	if uid := row.get("uid"); uid != "" {
		uids = []string{uid}
	}
	start, ok := row.time("ts")
	switch {
	case len(uids) == 0:
		im.skip(source.SkipMalformed, at, start, errors.New("no uid"))
		return
	case !ok:
		im.skip(source.SkipTime, at, 0, fmt.Errorf("ts %q", row.get("ts")))
		return
	}
	uid := uids[0]
	e := im.waiting[uid]
	if e == nil {
		if im.lines >= MaxWaiting {
			im.skip(source.SkipJoinFull, at, start, fmt.Errorf("%d lines wait for their conn.log", im.lines))
			return
		}
		e = &extra{at: at, kind: row.kind, start: start, end: start}
		e.src, e.dst, _ = row.addresses()
		e.srcPort, e.dstPort = uint16(row.number("id.orig_p", 16)), uint16(row.number("id.resp_p", 16))
		e.protocol = protocols[row.get("proto")]
		if e.protocol == 0 {
			e.protocol = 6 // the other logs are those of TCP, or say so
			if row.kind == "quic" || row.kind == "snmp" || row.kind == "dhcp" || row.kind == "ntp" || row.kind == "radius" {
				e.protocol = 17
			}
		}
		im.waiting[strings.Clone(uid)] = e
	}
	e.start, e.end = min(e.start, start), max(e.end, start)
	e.lines++
	im.lines++
	read(e, row)
}

func (im *Importer) certificate(row *row) {
	c := &certificate{subject: clone(row.get("certificate.subject")), issuer: clone(row.get("certificate.issuer"))}
	if t, ok := row.time("certificate.not_valid_before"); ok {
		c.notBefore = uint64(t / 1e9)
	}
	if t, ok := row.time("certificate.not_valid_after"); ok {
		c.notAfter = uint64(t / 1e9)
	}
	for _, n := range row.list("san.dns") {
		c.names = append(c.names, clone(n))
	}
	if f := row.get("fingerprint"); f != "" {
		if len(f) == 64 {
			c.sha256 = clone(f)
		}
		im.certs[clone(f)] = c
	}
	if id := row.get("id"); id != "" {
		im.certs[clone(id)] = c
	}
}

func clone(s string) string { return strings.Clone(s) }

// describe sets the fields of r that are no lists, and its first transactions.
func (e *extra) describe(r *flow.Record, certs map[string]*certificate) {
	s := &e.said
	cut := e.cut | r.Cut
	take := func(to *string, from string) {
		if from != "" {
			*to = source.Clip(from, &cut)
		}
	}
	take(&r.SSHClient, s.SSHClient)
	take(&r.SSHServer, s.SSHServer)
	take(&r.HASSH, s.HASSH)
	take(&r.HASSHServer, s.HASSHServer)
	take(&r.User, s.User)
	take(&r.Domain, s.Domain)
	take(&r.AppHost, s.AppHost)
	take(&r.AppVersion, s.AppVersion)
	take(&r.ClientSoftware, s.ClientSoftware)
	take(&r.ServerSoftware, s.ServerSoftware)
	r.QUICVersion = s.QUICVersion
	if t := e.tls; t != nil {
		r.TLSVersion, r.TLSCipher = t.version, t.cipher
		take(&r.TLSSNI, t.sni)
		take(&r.TLSALPN, t.alpn)
		r.JA3, r.JA3S, r.JA4 = t.ja3, t.ja3s, t.ja4
		take(&r.CertSubject, t.subject)
		take(&r.CertIssuer, t.issuer)
		if len(t.chain) == 64 {
			r.CertSHA256 = t.chain
		}
		if c := certs[t.chain]; c != nil {
			take(&r.CertSubject, c.subject)
			take(&r.CertIssuer, c.issuer)
			if c.sha256 != "" {
				r.CertSHA256 = c.sha256
			}
			r.CertNotBefore, r.CertNotAfter = c.notBefore, c.notAfter
			for _, n := range c.names[:min(len(c.names), flow.MaxList)] {
				r.CertNames = append(r.CertNames, source.Clip(n, &cut))
			}
		}
	}
	if len(e.http) > 0 {
		h := &e.http[0]
		take(&r.HTTPMethod, h.method)
		take(&r.HTTPHost, h.host)
		take(&r.HTTPURI, h.uri)
		take(&r.HTTPUserAgent, h.agent)
		take(&r.HTTPContentType, h.content)
		r.HTTPStatus = h.status
	}
	for i := range e.dns {
		if e.dns[i].latency > 0 {
			r.DNSLatency = e.dns[i].latency
			break
		}
	}
	r.Risks |= e.risks
	r.AppErrors = e.errors
	r.Cut = cut
}

// fill sets the lists of r to what fits of the transactions that are left, and says whether more are.
func (e *extra) fill(r *flow.Record) (more bool) {
	r.HTTPRequests, r.HTTPStatuses, r.HTTPLatencies = r.HTTPRequests[:0], r.HTTPStatuses[:0], r.HTTPLatencies[:0]
	r.DNSNames, r.DNSQTypes, r.DNSRcodes, r.DNSAnswers, r.DNSLatencies = r.DNSNames[:0], r.DNSQTypes[:0], r.DNSRcodes[:0], r.DNSAnswers[:0], r.DNSLatencies[:0]
	for len(e.http) > 0 && len(r.HTTPRequests) < flow.MaxList {
		h := &e.http[0]
		r.HTTPRequests = append(r.HTTPRequests, source.Clip(h.method+" "+h.host+h.uri, &r.Cut))
		if h.status != 0 {
			r.HTTPStatuses = append(r.HTTPStatuses, h.status)
			r.HTTPLatencies = append(r.HTTPLatencies, 0)
		}
		e.http = e.http[1:]
	}
	for len(e.dns) > 0 && len(r.DNSNames) < flow.MaxList {
		d := &e.dns[0]
		answers := d.answers
		if len(answers) > flow.MaxList {
			answers = answers[:flow.MaxList]
			r.Cut |= flow.CutList
		}
		if len(r.DNSAnswers)+len(answers) > flow.MaxList {
			break
		}
		r.DNSNames = append(r.DNSNames, source.Clip(d.name, &r.Cut))
		r.DNSQTypes, r.DNSRcodes = append(r.DNSQTypes, d.qtype), append(r.DNSRcodes, d.rcode)
		r.DNSLatencies = append(r.DNSLatencies, d.latency)
		for _, a := range answers {
			r.DNSAnswers = append(r.DNSAnswers, source.Clip(a, &r.Cut))
		}
		e.dns = e.dns[1:]
	}
	r.AppRequests, e.requests = some(r.AppRequests[:0], e.requests, &r.Cut)
	r.AppResponses, e.responses = some(r.AppResponses[:0], e.responses, &r.Cut)
	return len(e.http)+len(e.dns)+len(e.requests)+len(e.responses) > 0
}

func some(to, from []string, cut *flow.Cut) (filled, rest []string) {
	n := min(len(from), flow.MaxList)
	for _, s := range from[:n] {
		to = append(to, source.Clip(s, cut))
	}
	return to, from[n:]
}

// readers take what a line of a log says; the logs named here are those that are joined.
var readers = map[string]func(*extra, *row){
	"dns": readDNS, "http": readHTTP, "ssl": readTLS, "ssh": readSSH, "quic": readQUIC,
	"kerberos": readKerberos, "ntlm": readNTLM, "smb_mapping": readSMBMapping, "smb_files": readSMBFile, "smb_cmd": readSMBCommand,
	"dce_rpc": readDCERPC, "ftp": readFTP, "smtp": readSMTP, "rdp": readRDP, "ldap": readLDAP, "ldap_search": readLDAPSearch,
	"mysql": readMySQL, "radius": readRADIUS, "dhcp": readDHCP, "sip": readSIP, "snmp": readSNMP, "modbus": readModbus, "dnp3": readDNP3,
	"socks": readSOCKS, "irc": readIRC, "mqtt_connect": readMQTT, "files": readFile, "rfb": readRFB, "redis": readRedis, "ntp": readNTP,
}

func readDNS(e *extra, row *row) {
	d := dnsTransaction{name: clone(row.get("query")), qtype: uint16(row.number("qtype", 16)), rcode: noRcode, latency: row.micros("rtt")}
	if s := row.get("rcode"); s != "" {
		d.rcode = uint16(row.number("rcode", 16))
		if d.rcode != 0 {
			e.errors++
		}
	}
	for _, a := range row.list("answers") {
		d.answers = append(d.answers, clone(answer(a)))
	}
	e.dns = append(e.dns, d)
}

// answer takes off what Zeek puts before a text: "TXT 12 hello world!".
func answer(s string) string {
	rest, ok := strings.CutPrefix(s, "TXT ")
	if !ok {
		return s
	}
	if n, text, ok := strings.Cut(rest, " "); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		return text
	}
	return s
}

func readHTTP(e *extra, row *row) {
	h := httpTransaction{method: clone(row.get("method")), host: clone(row.get("host")), uri: clone(row.get("uri")), agent: clone(row.get("user_agent")),
		status: uint16(row.number("status_code", 16))}
	if types := row.list("resp_mime_types"); len(types) > 0 {
		h.content = clone(types[0])
	}
	if h.status >= 400 {
		e.errors++
	}
	if u := row.get("username"); u != "" {
		e.said.User = clone(u)
		e.risks |= flow.RiskClearTextCredentials
	}
	e.http = append(e.http, h)
}

func readTLS(e *extra, row *row) {
	if e.tls != nil { // the first handshake, as in the record
		return
	}
	t := &tlsHandshake{version: tlsVersions[row.get("version")], cipher: ciphers[row.get("cipher")], sni: clone(row.get("server_name")),
		alpn: clone(row.get("next_protocol")), ja3: hash(row.get("ja3"), 32), ja3s: hash(row.get("ja3s"), 32), ja4: hash(row.get("ja4"), 36),
		subject: clone(row.get("subject")), issuer: clone(row.get("issuer"))}
	if chain := row.list("cert_chain_fps"); len(chain) > 0 {
		t.chain = clone(chain[0])
	} else if chain := row.list("cert_chain_fuids"); len(chain) > 0 {
		t.chain = clone(chain[0])
	}
	switch status := row.get("validation_status"); {
	case strings.HasPrefix(status, "self signed"), strings.HasPrefix(status, "self-signed"):
		e.risks |= flow.RiskTLSSelfsignedCertificate
	case strings.Contains(status, "expired"):
		e.risks |= flow.RiskTLSCertificateExpired
	}
	if t.version != 0 && t.version < 0x0303 {
		e.risks |= flow.RiskTLSObsoleteVersion
	}
	if ok, set := row.bool("sni_matches_cert"); set && !ok {
		e.risks |= flow.RiskTLSCertificateMismatch
	}
	e.tls = t
}

// hash is a fingerprint of at most n letters.
func hash(s string, n int) string {
	if len(s) > n {
		return ""
	}
	return clone(s)
}
