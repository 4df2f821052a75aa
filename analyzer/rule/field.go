package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// field is what a field of Sigma is in flows.
type field struct {
	columns []string // a value has to be in one of them
	kind    fieldKind
	refused string // why it cannot be answered
}

type fieldKind int

const (
	texty    fieldKind = iota // any case
	numeric                   // ports, statuses
	address                   // IPv4 or IPv6
	named                     // a word, or a number
	initiate                  // Initiated: flows are seen from their initiator
)

// Fields of all sources.
func commonFields() map[string]field {
	src, dst := field{columns: []string{"src_ip"}, kind: address}, field{columns: []string{"dst_ip"}, kind: address}
	sport, dport := field{columns: []string{"src_port"}, kind: numeric}, field{columns: []string{"dst_port"}, kind: numeric}
	protocol := field{columns: []string{"protocol"}, kind: named}
	host := field{columns: []string{"tls_sni", "http_host"}}
	process := field{refused: "which process it was is not seen on the wire"}
	return map[string]field{
		"src_ip": src, "sourceip": src, "source.ip": src, "id.orig_h": src, "c-ip": src, "clientip": src,
		"dst_ip": dst, "destinationip": dst, "destination.ip": dst, "id.resp_h": dst, "s-ip": dst, "serverip": dst,
		"src_port": sport, "sourceport": sport, "source.port": sport, "id.orig_p": sport,
		"dst_port": dport, "destinationport": dport, "destination.port": dport, "id.resp_p": dport, "s-port": dport,
		"protocol": protocol, "proto": protocol, "network.transport": protocol,
		"service": {columns: []string{"app"}}, "app": {columns: []string{"app"}}, "application": {columns: []string{"app"}},
		"destinationhostname": host, "dst_host": host, "destination.domain": host,
		"initiated": {kind: initiate},
		"image":     process, "processid": process, "processguid": process, "commandline": process, "parentimage": process, "originalfilename": process,
		"user":     {refused: "the user of the process is not seen on the wire"},
		"action":   {refused: "whether a firewall let it pass is not seen; see conn_state"},
		"blocked":  {refused: "whether a firewall let it pass is not seen; see conn_state"},
		"eventid":  {refused: "flows have no event ids of a host's log"},
		"computer": {refused: "which host wrote a log is not seen"},
		"hostname": {refused: "which host wrote a log is not seen"},
	}
}

func dnsFields() map[string]field {
	name, answer := field{columns: []string{"dns_names"}}, field{columns: []string{"dns_answers"}}
	kind, code := field{columns: []string{"dns_qtypes"}, kind: named}, field{columns: []string{"dns_rcodes"}, kind: named}
	return map[string]field{
		"query": name, "queryname": name, "dns.question.name": name, "qname": name,
		"answer": answer, "answers": answer, "queryresults": answer, "dns.answers.data": answer,
		"record_type": kind, "qtype_name": kind, "qtype": kind, "querytype": kind, "dns.question.type": kind,
		"rcode": code, "rcode_name": code, "dns.response_code": code,
		"querystatus": {refused: "it is a status of Windows; see rcode"},
	}
}

func httpFields() map[string]field {
	uri, agent, host := field{columns: []string{"http_uri", "http_requests"}}, field{columns: []string{"http_user_agent"}}, field{columns: []string{"http_host"}}
	path := field{columns: []string{"http_uri"}}
	status, method := field{columns: []string{"http_status", "http_statuses"}, kind: numeric}, field{columns: []string{"http_method"}}
	return map[string]field{
		"c-uri": uri, "cs-uri": uri, "uri": uri, "url.original": uri, "c-uri-query": uri, "cs-uri-query": uri, "cs-uri-stem": path, "c-uri-stem": path, "c-uri-extension": path,
		"c-useragent": agent, "cs-user-agent": agent, "user_agent": agent, "useragent": agent, "user_agent.original": agent,
		"cs-host": host, "r-dns": {columns: []string{"http_host", "tls_sni"}}, "host": host, "c-dns": host, "destination.domain": host,
		"cs-method": method, "method": method, "http.request.method": method,
		"sc-status": status, "status_code": status, "http.response.status_code": status,
		"content_type": {columns: []string{"http_content_type"}}, "resp_mime_types": {columns: []string{"http_content_type"}},
		"cs-cookie": {refused: "cookies are not kept"}, "c-cookie": {refused: "cookies are not kept"},
		"cs-referer": {refused: "referers are not kept"}, "cs-referrer": {refused: "referers are not kept"}, "referrer": {refused: "referers are not kept"},
		"cs-username": {columns: []string{"user"}},
	}
}

func tlsFields() map[string]field {
	return map[string]field{
		"server_name": {columns: []string{"tls_sni"}}, "sni": {columns: []string{"tls_sni"}}, "tls.client.server_name": {columns: []string{"tls_sni"}},
		"ja3": {columns: []string{"ja3"}}, "ja3s": {columns: []string{"ja3s"}}, "ja4": {columns: []string{"ja4"}},
		"subject": {columns: []string{"tls_cert_subject"}}, "certificate.subject": {columns: []string{"tls_cert_subject"}},
		"issuer": {columns: []string{"tls_cert_issuer"}}, "certificate.issuer": {columns: []string{"tls_cert_issuer"}},
		"next_protocol": {columns: []string{"tls_alpn"}},
		"cipher":        {refused: "ciphers are numbers here; see tls_cipher"}, "version": {refused: "versions are numbers here; see tls_version"},
	}
}

func sshFields() map[string]field {
	return map[string]field{"client": {columns: []string{"ssh_client"}}, "server": {columns: []string{"ssh_server"}},
		"hassh": {columns: []string{"hassh"}}, "hasshserver": {columns: []string{"hassh_server"}}}
}

// sourceOf returns the fields of a log source, or why it cannot be answered.
func sourceOf(n *yaml.Node) (map[string]field, error) {
	list, err := entries(n, "logsource")
	if err != nil {
		return nil, err
	}
	at := map[string]string{}
	for _, e := range list {
		at[e[0].Value] = strings.ToLower(e[1].Value)
	}
	category, product, service := at["category"], at["product"], at["service"]
	fields := commonFields()
	add := func(more map[string]field) {
		for k, v := range more {
			fields[k] = v
		}
	}
	switch {
	case category == "network_connection", category == "firewall", category == "flow", product == "zeek" && service == "conn", product == "cisco" && category == "firewall":
	case category == "dns", category == "dns_query", product == "zeek" && service == "dns":
		add(dnsFields())
	case category == "proxy", category == "webserver", product == "zeek" && service == "http":
		add(httpFields())
	case product == "zeek" && (service == "ssl" || service == "x509"):
		add(tlsFields())
	case product == "zeek" && service == "ssh":
		add(sshFields())
	default:
		return nil, fault(n, "logsource: category %q, product %q, service %q cannot be answered by flows: network_connection, firewall, dns, dns_query, proxy, webserver, and conn, dns, http, ssl, x509 and ssh of zeek can",
			category, product, service)
	}
	if product == "windows" || product == "linux" || product == "macos" {
		delete(fields, "destinationhostname") // as that host's log has it; on the wire it is another name
		fields["destinationhostname"] = field{columns: []string{"tls_sni", "http_host"}}
	}
	return fields, nil
}

// match writes a value of the field, with a modifier, in our language.
func (f field) match(op string, n *yaml.Node) (string, error) {
	if f.kind == initiate {
		if op != "" || !slices.Contains([]string{"true", "false"}, strings.ToLower(n.Value)) {
			return "", errors.New("true or false is expected")
		}
		if strings.EqualFold(n.Value, "true") { // each flow was initiated by its source
			return "protocol >= 0", nil
		}
		return "", errors.New("connections that others initiated are flows whose source they are: write the rule the other way round")
	}
	var list []string
	for _, column := range f.columns {
		text, err := f.one(column, op, n)
		if err != nil {
			return "", err
		}
		list = append(list, text)
	}
	return strings.Join(list, " or "), nil
}

func (f field) one(column, op string, n *yaml.Node) (string, error) {
	v := n.Value
	switch {
	case op == "exists":
		if strings.EqualFold(v, "false") {
			return "not " + column + " exists", nil
		}
		return column + " exists", nil
	case n.Tag == "!!null":
		return "not " + column + " exists", nil
	case v == "" && f.kind == texty && op == "":
		return "not " + column + " exists", nil
	}
	switch f.kind {
	case numeric:
		return f.number(column, op, v)
	case address:
		return f.address(column, op, v)
	case named:
		if op != "" || strings.ContainsAny(v, "*?") {
			return "", fmt.Errorf("the modifier %s and wildcards do not go with it", op)
		}
		return column + " = " + query.Quote(strings.ToLower(v)), nil
	}
	switch op {
	case "re":
		return column + " ~ " + query.Quote("(?s)"+v), nil
	case "gt", "gte", "lt", "lte", "cidr":
		return "", fmt.Errorf("the modifier %s does not go with a text", op)
	}
	word := " ilike "
	if op == "cased" {
		word = " like "
	}
	pattern := likeOf(v)
	if op == "contains" || op == "startswith" {
		pattern += "%"
	}
	if op == "contains" || op == "endswith" {
		pattern = "%" + pattern
	}
	return column + word + query.Quote(pattern), nil
}

func (f field) number(column, op, v string) (string, error) {
	if _, err := strconv.ParseUint(v, 10, 32); err != nil {
		return "", fmt.Errorf("%q is not a number", v)
	}
	sign, ok := map[string]string{"": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[op]
	if !ok {
		return "", fmt.Errorf("the modifier %s does not go with a number", op)
	}
	if sign != "=" && column == "http_statuses" {
		return "http_status exists and http_status " + sign + " " + v, nil
	}
	return column + " " + sign + " " + v, nil
}

func (f field) address(column, op, v string) (string, error) {
	if op == "startswith" {
		v += "*"
	}
	switch {
	case op != "" && op != "cidr" && op != "startswith":
		return "", fmt.Errorf("the modifier %s does not go with an address", op)
	case strings.HasSuffix(v, ".*"): // 10.* and 192.168.* are networks
		octets := strings.Split(strings.TrimSuffix(v, ".*"), ".")
		if len(octets) > 3 {
			return "", fmt.Errorf("%q is no network", v)
		}
		bits := 8 * len(octets)
		for len(octets) < 4 {
			octets = append(octets, "0")
		}
		v = strings.Join(octets, ".") + "/" + strconv.Itoa(bits)
	}
	if _, err := netip.ParsePrefix(v); err == nil {
		return column + " in " + v, nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return "", fmt.Errorf("%q is neither an address nor a network", v)
	}
	return column + " = " + v, nil
}

// likeOf turns a text of Sigma, with * ? and \, into a pattern of like.
func likeOf(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`*?\`, text[i+1]) >= 0:
			i++
			if c = text[i]; c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case c == '*':
			b.WriteByte('%')
		case c == '?':
			b.WriteByte('_')
		case c == '%' || c == '_' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
