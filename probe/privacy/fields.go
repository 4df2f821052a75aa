package privacy

import "github.com/tapwatch/tapwatch/proto/flow"

// class says what a field of a record tells, and so what is done to it.
type class uint8

const (
	// Harmless: numbers, digests of software, words of ours.
	_ class = iota
	// address: an IP address.
	address
	// hardware: a MAC address.
	hardware
	// name: of a host, server or domain. May be an address, or hold one.
	name
	// host: a name, perhaps with a port.
	host
	// uri: what is asked of a server.
	uri
	// httpRequest: "METHOD host/uri".
	httpRequest
	// answer: data of a DNS answer: an address, a name, or a text.
	answer
	// user: a person or account.
	user
	// request: "VERB object …" of some protocol; the objects may be names, users, anything.
	request
	// distinguished: a distinguished name of a certificate.
	distinguished
	// serverDigest: a digest that public records tie to a name.
	serverDigest
	// serverTime: a time that, to the second, public records tie to a name.
	serverTime
	// text: free text off the wire, such as a banner: may hold names and addresses.
	text
	// mediaType: of HTTP; its parameters are free text.
	mediaType
	// words: of a vocabulary that the protocol defines, comma separated; but anybody may send others.
	words
	// number: a version, as text.
	number
)

// field is one field of flow.Record. All fields are there; a test says so.
type field struct {
	name  string
	class class
	// One of these gets at it, unless it is harmless.
	addr  func(*flow.Record) *flow.Addr
	mac   func(*flow.Record) *flow.MAC
	str   func(*flow.Record) *string
	list  func(*flow.Record) *[]string
	epoch func(*flow.Record) *uint64
}

// fields: texts first, since they are searched for the names that stand in the other fields.
var fields = []field{
	{name: "HTTPUserAgent", class: text, str: func(r *flow.Record) *string { return &r.HTTPUserAgent }},
	{name: "SSHClient", class: text, str: func(r *flow.Record) *string { return &r.SSHClient }},
	{name: "SSHServer", class: text, str: func(r *flow.Record) *string { return &r.SSHServer }},
	{name: "ClientSoftware", class: text, str: func(r *flow.Record) *string { return &r.ClientSoftware }},
	{name: "ServerSoftware", class: text, str: func(r *flow.Record) *string { return &r.ServerSoftware }},
	{name: "HTTPURI", class: uri, str: func(r *flow.Record) *string { return &r.HTTPURI }},
	{name: "HTTPRequests", class: httpRequest, list: func(r *flow.Record) *[]string { return &r.HTTPRequests }},
	{name: "AppRequests", class: request, list: func(r *flow.Record) *[]string { return &r.AppRequests }},
	{name: "AppResponses", class: request, list: func(r *flow.Record) *[]string { return &r.AppResponses }},
	{name: "HTTPContentType", class: mediaType, str: func(r *flow.Record) *string { return &r.HTTPContentType }},
	{name: "HTTPMethod", class: words, str: func(r *flow.Record) *string { return &r.HTTPMethod }},
	{name: "TLSALPN", class: words, str: func(r *flow.Record) *string { return &r.TLSALPN }},
	{name: "AppVersion", class: number, str: func(r *flow.Record) *string { return &r.AppVersion }},

	{name: "TLSSNI", class: name, str: func(r *flow.Record) *string { return &r.TLSSNI }},
	{name: "HTTPHost", class: host, str: func(r *flow.Record) *string { return &r.HTTPHost }},
	{name: "DNSNames", class: name, list: func(r *flow.Record) *[]string { return &r.DNSNames }},
	{name: "DNSAnswers", class: answer, list: func(r *flow.Record) *[]string { return &r.DNSAnswers }},
	{name: "Domain", class: name, str: func(r *flow.Record) *string { return &r.Domain }},
	{name: "AppHost", class: name, str: func(r *flow.Record) *string { return &r.AppHost }},
	{name: "User", class: user, str: func(r *flow.Record) *string { return &r.User }},

	{name: "CertSubject", class: distinguished, str: func(r *flow.Record) *string { return &r.CertSubject }},
	{name: "CertIssuer", class: distinguished, str: func(r *flow.Record) *string { return &r.CertIssuer }},
	{name: "CertSHA256", class: serverDigest, str: func(r *flow.Record) *string { return &r.CertSHA256 }},
	{name: "CertNotBefore", class: serverTime, epoch: func(r *flow.Record) *uint64 { return &r.CertNotBefore }},
	{name: "CertNotAfter", class: serverTime, epoch: func(r *flow.Record) *uint64 { return &r.CertNotAfter }},
	{name: "CertNames", class: name, list: func(r *flow.Record) *[]string { return &r.CertNames }},

	{name: "SrcIP", class: address, addr: func(r *flow.Record) *flow.Addr { return &r.SrcIP }},
	{name: "DstIP", class: address, addr: func(r *flow.Record) *flow.Addr { return &r.DstIP }},
	{name: "OuterSrcIP", class: address, addr: func(r *flow.Record) *flow.Addr { return &r.OuterSrcIP }},
	{name: "OuterDstIP", class: address, addr: func(r *flow.Record) *flow.Addr { return &r.OuterDstIP }},
	{name: "SrcMAC", class: hardware, mac: func(r *flow.Record) *flow.MAC { return &r.SrcMAC }},
	{name: "DstMAC", class: hardware, mac: func(r *flow.Record) *flow.MAC { return &r.DstMAC }},
}

// listFields is the number of lists of texts in a record.
const listFields = 6

// listsOf are the lists of texts, which Record copies before it changes them.
func listsOf(r *flow.Record) [listFields]*[]string {
	return [listFields]*[]string{&r.HTTPRequests, &r.AppRequests, &r.AppResponses, &r.DNSNames, &r.DNSAnswers, &r.CertNames}
}

// apply does to the field of r what its class asks for.
func (d *field) apply(f *Filter, r *flow.Record) {
	switch {
	case d.addr != nil:
		a := d.addr(r)
		*a = f.address(*a)
	case d.mac != nil:
		m := d.mac(r)
		*m = f.hardwareAddress(*m)
	case d.epoch != nil:
		if e := d.epoch(r); hides(f.cfg.Names) || f.cfg.PayloadFree {
			*e -= *e % 86400
		}
	case d.str != nil:
		if s := d.str(r); *s != "" {
			*s = f.value(d.class, *s, r)
		}
	case d.list != nil:
		list := d.list(r)
		if f.cfg.PayloadFree && d.class != name {
			*list = (*list)[:0]
			return
		}
		for i, s := range *list { // those of names have other lists beside them, so their length stays
			if s != "" {
				(*list)[i] = f.value(d.class, s, r)
			}
		}
	}
}

// value is what becomes of a text of the class.
func (f *Filter) value(c class, s string, r *flow.Record) string {
	if f.cfg.PayloadFree {
		switch c {
		case words:
			return vocabulary(s)
		case number:
			return version(s)
		}
		return ""
	}
	switch c {
	case name:
		return f.name(s)
	case host:
		return f.host(s)
	case uri:
		return f.uri(s)
	case httpRequest:
		return f.httpRequest(s)
	case answer:
		return f.answer(s)
	case user:
		return f.user(s)
	case request:
		return f.request(s, r.App)
	case distinguished:
		return f.whole(s, kindName)
	case serverDigest:
		return f.serverDigest(s)
	case mediaType:
		return f.mediaType(s)
	default: // text, words, number
		return f.text(s)
	}
}
