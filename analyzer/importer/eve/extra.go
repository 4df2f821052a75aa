package eve

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// extra is what the other events say of a flow.
type extra struct {
	at         place
	kind       string
	events     int
	start, end int64
	src, dst   flow.Addr
	srcPort    uint16
	dstPort    uint16
	protocol   uint8

	dns                 []dnsQuery
	http                []httpEvent
	requests, responses []string
	errors              uint32
	risks               flow.Risk
	said                flow.Record
}

type dnsQuery struct {
	name    string
	qtype   uint16
	rcode   uint16
	answers []string
	asked   int64 // ns; 0 the query was not seen
	latency uint32
}

// noRcode is a query without an answer, in flow.proto.
const noRcode = 65535

// other keeps what an event says.
func (im *Importer) other(at place, e *event, when int64) {
	x := im.waiting[e.FlowID]
	if x == nil {
		if im.events >= MaxWaiting {
			im.skip(source.SkipJoinFull, at, when, fmt.Errorf("%d events wait for their flow", im.events))
			return
		}
		x = &extra{at: at, kind: e.Type, start: when, end: when}
		var r flow.Record
		if err := key(e, &r); err != nil {
			im.skip(source.SkipAddress, at, when, err)
			return
		}
		x.src, x.dst, x.srcPort, x.dstPort, x.protocol = r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol
		if e.Direction == "to_client" || e.DNS != nil && (e.DNS.Type == "answer" || e.DNS.Type == "response") && x.srcPort < x.dstPort {
			x.src, x.dst, x.srcPort, x.dstPort = x.dst, x.src, x.dstPort, x.srcPort
		}
		im.waiting[e.FlowID] = x
	}
	if e.Type != "alert" && x.kind == "alert" {
		x.kind = e.Type
	}
	x.events++
	im.events++
	x.start, x.end = min(x.start, when), max(x.end, when)
	if e.Alert != nil {
		x.risks |= flow.RiskPossibleExploit
	}
	x.read(e, when)
}

func (x *extra) read(e *event, when int64) {
	s := &x.said
	switch {
	case e.DNS != nil && e.Type == "dns":
		x.readDNS(e.DNS, when)
	case e.HTTP != nil && e.Type == "http":
		x.http = append(x.http, *e.HTTP)
		if e.HTTP.Status >= 400 {
			x.errors++
		}
	case e.TLS != nil && e.Type == "tls":
		t := e.TLS
		s.TLSVersion, s.TLSSNI, s.CertSubject, s.CertIssuer = tlsVersions[t.Version], t.SNI, t.Subject, t.Issuer
		s.JA3, s.JA3S, s.JA4, s.TLSALPN = short(t.JA3.Hash), short(t.JA3S.Hash), short(t.JA4), strings.Join(t.ALPN, ",")
		s.CertNotBefore, s.CertNotAfter = seconds(t.NotBefore), seconds(t.NotAfter)
		s.CertNames = t.Names[:min(len(t.Names), flow.MaxList)]
		if t.Subject != "" && t.Subject == t.Issuer {
			x.risks |= flow.RiskTLSSelfsignedCertificate
		}
		if s.TLSVersion != 0 && s.TLSVersion < 0x0303 {
			x.risks |= flow.RiskTLSObsoleteVersion
		}
	case e.QUIC != nil && e.Type == "quic":
		if s.TLSSNI == "" {
			s.TLSSNI = e.QUIC.SNI
		}
		if s.JA4 == "" {
			s.JA4 = short(e.QUIC.JA4)
		}
		if e.QUIC.Version == "1" {
			s.QUICVersion = 1
		}
	case e.SSH != nil && e.Type == "ssh":
		s.SSHClient, s.SSHServer = e.SSH.Client.banner(), e.SSH.Server.banner()
		s.HASSH, s.HASSHServer = short(e.SSH.Client.HASSH.Hash), short(e.SSH.Server.HASSH.Hash)
	case e.SMB != nil && e.Type == "smb":
		x.readSMB(e.SMB)
	case e.KRB5 != nil && e.Type == "krb5":
		k := e.KRB5
		if request, ok := strings.CutPrefix(k.Type, "KRB_"); ok {
			verb := strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(request, "_REP"), "_REQ"), "_", "-") + "-REQ"
			if k.Error == "" {
				x.say(verb+" "+k.Server, k.Type)
			} else {
				x.say("", k.Error)
				x.errors++
			}
		}
		set(&s.User, k.Client)
		set(&s.Domain, k.Realm)
	case e.FTP != nil && e.Type == "ftp":
		data := e.FTP.Data
		switch e.FTP.Command {
		case "USER":
			set(&s.User, data)
		case "PASS":
			data = ""
			x.risks |= flow.RiskClearTextCredentials
		}
		x.say(e.FTP.Command+" "+data, strings.Join(e.FTP.Codes, " "))
		for _, c := range e.FTP.Codes {
			if c >= "4" {
				x.errors++
			}
		}
	case e.SMTP != nil && e.Type == "smtp":
		set(&s.AppHost, e.SMTP.HELO)
		if e.SMTP.From != "" {
			x.say("MAIL FROM:"+e.SMTP.From, "")
		}
		for _, to := range e.SMTP.To {
			x.say("RCPT TO:"+to, "")
		}
	}
}

func (x *extra) readSMB(m *smbEvent) {
	s := &x.said
	object := m.Filename
	if object == "" {
		object = m.Share
	}
	x.say(strings.TrimPrefix(strings.TrimPrefix(m.Command, "SMB2_COMMAND_"), "SMB1_COMMAND_")+" "+object, m.Status)
	if m.Status != "" && m.Status != "STATUS_SUCCESS" && m.Status != "STATUS_MORE_PROCESSING_REQUIRED" {
		x.errors++
	}
	set(&s.AppVersion, m.Dialect)
	if n := m.NTLMSSP; n != nil {
		set(&s.User, n.User)
		set(&s.Domain, n.Domain)
		set(&s.AppHost, n.Host)
	}
}

func (x *extra) say(request, response string) {
	if r := strings.TrimSpace(request); r != "" {
		x.requests = append(x.requests, r)
	}
	if response != "" {
		x.responses = append(x.responses, response)
	}
}

// readDNS ties answers to their queries by name and type.
func (x *extra) readDNS(d *dnsEvent, when int64) {
	names := d.Queries
	if len(names) == 0 {
		names = []rr{{RRName: d.RRName, RRType: d.RRType}}
	}
	answer := d.Type == "answer" || d.Type == "response"
	for _, q := range names {
		qtype := qtypes[q.RRType]
		if !answer {
			x.dns = append(x.dns, dnsQuery{name: q.RRName, qtype: qtype, rcode: noRcode, asked: when})
			continue
		}
		var to *dnsQuery
		for i := range x.dns {
			if k := &x.dns[i]; k.rcode == noRcode && k.qtype == qtype && strings.EqualFold(k.name, q.RRName) {
				to = k
				k.latency = uint32(min(max((when-k.asked)/1000, 1), 1<<32-1))
				break
			}
		}
		if to == nil {
			x.dns = append(x.dns, dnsQuery{name: q.RRName, qtype: qtype})
			to = &x.dns[len(x.dns)-1]
		}
		if to.rcode = rcodeOf(d.RCode); to.rcode != 0 {
			x.errors++
		}
		for _, a := range d.Answers {
			var text string
			if json.Unmarshal(a.RData, &text) == nil && text != "" {
				to.answers = append(to.answers, text)
			}
		}
	}
}

func set(to *string, from string) {
	if *to == "" {
		*to = from
	}
}

// short refuses what is no fingerprint.
func short(s string) string {
	if len(s) > 36 {
		return ""
	}
	return s
}

func seconds(s string) uint64 {
	t, err := time.Parse("2006-01-02T15:04:05", s)
	if err != nil || t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())
}

var tlsVersions = map[string]uint16{"SSLv2": 0x0002, "SSLv3": 0x0300, "TLSv1": 0x0301, "TLS 1.0": 0x0301, "TLS 1.1": 0x0302, "TLS 1.2": 0x0303,
	"TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLS 1.3": 0x0304, "TLSv1.3": 0x0304}

var qtypes = map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "NAPTR": 35,
	"DS": 43, "RRSIG": 46, "DNSKEY": 48, "SVCB": 64, "HTTPS": 65, "ANY": 255}

var rcodes = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}

func rcodeOf(s string) uint16 {
	for i, name := range rcodes {
		if s == name {
			return uint16(i)
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return noRcode
	}
	return uint16(n)
}

// describe sets the fields of r that are no lists.
func (x *extra) describe(r *flow.Record) {
	s, cut := &x.said, r.Cut
	clip := func(v string) string { return source.Clip(v, &cut) }
	r.TLSVersion, r.TLSSNI, r.TLSALPN, r.QUICVersion = s.TLSVersion, clip(s.TLSSNI), clip(s.TLSALPN), s.QUICVersion
	r.JA3, r.JA3S, r.JA4 = s.JA3, s.JA3S, s.JA4
	r.CertSubject, r.CertIssuer, r.CertNotBefore, r.CertNotAfter = clip(s.CertSubject), clip(s.CertIssuer), s.CertNotBefore, s.CertNotAfter
	for _, n := range s.CertNames {
		r.CertNames = append(r.CertNames, clip(n))
	}
	r.SSHClient, r.SSHServer, r.HASSH, r.HASSHServer = clip(s.SSHClient), clip(s.SSHServer), s.HASSH, s.HASSHServer
	r.User, r.Domain, r.AppHost, r.AppVersion = clip(s.User), clip(s.Domain), clip(s.AppHost), clip(s.AppVersion)
	if len(x.http) > 0 {
		h := &x.http[0]
		r.HTTPMethod, r.HTTPHost, r.HTTPURI, r.HTTPUserAgent = clip(h.Method), clip(h.Hostname), clip(h.URL), clip(h.UserAgent)
		r.HTTPStatus, r.HTTPContentType = h.Status, clip(h.ContentType)
	}
	for _, d := range x.dns {
		if d.latency > 0 {
			r.DNSLatency = d.latency
			break
		}
	}
	r.Risks |= x.risks
	r.AppErrors, r.Cut = x.errors, cut
}

// fill sets the lists of r to what fits, and says whether more is left.
func (x *extra) fill(r *flow.Record) (more bool) {
	r.HTTPRequests, r.HTTPStatuses, r.HTTPLatencies = r.HTTPRequests[:0], r.HTTPStatuses[:0], r.HTTPLatencies[:0]
	r.DNSNames, r.DNSQTypes, r.DNSRcodes, r.DNSAnswers, r.DNSLatencies = r.DNSNames[:0], r.DNSQTypes[:0], r.DNSRcodes[:0], r.DNSAnswers[:0], r.DNSLatencies[:0]
	for len(x.http) > 0 && len(r.HTTPRequests) < flow.MaxList {
		h := &x.http[0]
		r.HTTPRequests = append(r.HTTPRequests, source.Clip(h.Method+" "+h.Hostname+h.URL, &r.Cut))
		if h.Status != 0 {
			r.HTTPStatuses, r.HTTPLatencies = append(r.HTTPStatuses, h.Status), append(r.HTTPLatencies, 0)
		}
		x.http = x.http[1:]
	}
	for len(x.dns) > 0 && len(r.DNSNames) < flow.MaxList {
		d := &x.dns[0]
		answers := d.answers
		if len(answers) > flow.MaxList {
			answers = answers[:flow.MaxList]
			r.Cut |= flow.CutList
		}
		if len(r.DNSAnswers)+len(answers) > flow.MaxList {
			break
		}
		r.DNSNames = append(r.DNSNames, source.Clip(d.name, &r.Cut))
		r.DNSQTypes, r.DNSRcodes, r.DNSLatencies = append(r.DNSQTypes, d.qtype), append(r.DNSRcodes, d.rcode), append(r.DNSLatencies, d.latency)
		for _, a := range answers {
			r.DNSAnswers = append(r.DNSAnswers, source.Clip(a, &r.Cut))
		}
		x.dns = x.dns[1:]
	}
	take := func(to, from []string) (filled, rest []string) {
		n := min(len(from), flow.MaxList)
		for _, s := range from[:n] {
			to = append(to, source.Clip(s, &r.Cut))
		}
		return to, from[n:]
	}
	r.AppRequests, x.requests = take(r.AppRequests[:0], x.requests)
	r.AppResponses, x.responses = take(r.AppResponses[:0], x.responses)
	return len(x.http)+len(x.dns)+len(x.requests)+len(x.responses) > 0
}
