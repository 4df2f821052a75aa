package quality

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// zeekField says where a column of one of Zeek's logs is in a record.
type zeekField struct {
	log, column string
	in          func(*flow.Record) []string
	// want turns the column's value into ours; nil: it is the same. "" is not compared.
	want func(value string, row map[string]string) string
	// ok compares an element of in with what is wanted; nil: they are equal.
	ok func(got, want string) bool
}

func part(got, want string) bool   { return strings.Contains(got, want) }
func prefix(got, want string) bool { return strings.HasPrefix(got, want) }
func suffix(got, want string) bool { return strings.HasSuffix(got, want) }

// begins is for texts of which records have the beginning.
func begins(got, want string) bool { return got != "" && strings.HasPrefix(want, got) }

// eachPart is for lists, set apart by commas.
func eachPart(got, want string) bool {
	for v := range strings.SplitSeq(want, ",") {
		if !part(got, v) {
			return false
		}
	}
	return true
}

// fold is for what is of any case, and in any part of a text.
func fold(got, want string) bool {
	return strings.Contains(strings.ToLower(got), strings.ToLower(want))
}

func requests(r *flow.Record) []string  { return r.AppRequests }
func responses(r *flow.Record) []string { return r.AppResponses }
func both(r *flow.Record) []string      { return slices.Concat(r.AppRequests, r.AppResponses) }

// one makes a list of a field that has one value.
func one[T any](f func(*flow.Record) T) func(*flow.Record) []string {
	return func(r *flow.Record) []string { return []string{fmt.Sprint(f(r))} }
}

func user(r *flow.Record) string    { return r.User }
func domain(r *flow.Record) string  { return r.Domain }
func version(r *flow.Record) string { return r.AppVersion }
func host(r *flow.Record) string    { return r.AppHost }
func client(r *flow.Record) string  { return r.ClientSoftware }

func prefixed(before string) func(string, map[string]string) string {
	return func(v string, _ map[string]string) string { return before + v }
}

// seconds takes the fraction off a time.
func seconds(v string, _ map[string]string) string { s, _, _ := strings.Cut(v, "."); return s }

var zeekFields = []zeekField{
	{log: "modbus", column: "func", in: both, want: modbusName, ok: part},
	{log: "modbus", column: "exception", in: responses, ok: part},
	{log: "dnp3", column: "fc_request", in: requests, want: dnp3Name},
	{log: "dnp3", column: "fc_reply", in: responses, want: dnp3Name},
	{log: "mqtt_connect", column: "client_id", in: requests, want: prefixed("CONNECT ")},
	{log: "mqtt_connect", column: "proto_version", in: one(version)},
	{log: "mqtt_publish", column: "topic", in: requests, want: prefixed("PUBLISH ")},
	{log: "mqtt_subscribe", column: "topics", in: requests, ok: part},
	{log: "sip", column: "method", in: requests, want: func(v string, row map[string]string) string { return strings.TrimSpace(v + " " + row["uri"]) }},
	{log: "sip", column: "request_from", in: one(user), want: sipUser},
	{log: "sip", column: "user_agent", in: one(func(r *flow.Record) string { return r.ClientSoftware + r.ServerSoftware }), ok: part},
	{log: "sip", column: "status_code", in: responses},
	{log: "ssl", column: "version", in: one(tlsVersion)},
	{log: "ssl", column: "cipher", in: one(func(r *flow.Record) string { return tls.CipherSuiteName(r.TLSCipher) }), want: knownCipher},
	{log: "ssl", column: "server_name", in: one(func(r *flow.Record) string { return r.TLSSNI })},
	{log: "ssl", column: "subject", in: one(func(r *flow.Record) string { return r.CertSubject })},
	{log: "ssl", column: "issuer", in: one(func(r *flow.Record) string { return r.CertIssuer })},
	{log: "ssl", column: "cert_chain_fps", in: one(func(r *flow.Record) string { return r.CertSHA256 }), want: first},
	{log: "quic", column: "server_name", in: one(func(r *flow.Record) string { return r.TLSSNI })},
	{log: "quic", column: "client_protocol", in: one(func(r *flow.Record) string { return r.TLSALPN }), ok: part},
	{log: "websocket", column: "uri", in: one(func(r *flow.Record) string { return r.HTTPURI })},
	{log: "websocket", column: "user_agent", in: one(func(r *flow.Record) string { return r.HTTPUserAgent })},
	{log: "websocket", column: "uid", in: one(func(r *flow.Record) string { return r.App }), want: func(string, map[string]string) string { return "websocket" }},
	{log: "smtp", column: "helo", in: one(host)},
	{log: "smtp", column: "mailfrom", in: after("MAIL FROM:"), ok: part},
	{log: "smtp", column: "rcptto", in: func(r *flow.Record) []string { return []string{strings.Join(after("RCPT TO:")(r), "\n")} }, ok: eachPart},
	{log: "smtp", column: "last_reply", in: responses, want: func(v string, _ map[string]string) string { return v[:3] }},
	{log: "smtp", column: "user_agent", in: one(client)},
	{log: "ftp", column: "user", in: one(user), want: known},
	{log: "ftp", column: "command", in: requests, want: known, ok: prefix},
	{log: "ftp", column: "reply_code", in: responses, want: func(v string, row map[string]string) string {
		if row["command"] == "<init>" {
			return ""
		}
		return v
	}},
	{log: "mysql", column: "arg", in: func(r *flow.Record) []string { return []string{r.User} }, want: mysqlArg("login", "")},
	{log: "mysql", column: "arg", in: requests, want: mysqlArg("init_db", "INIT_DB ")},
	{log: "mysql", column: "arg", in: requests, want: mysqlArg("change_user", "CHANGE_USER ")},
	{log: "mysql", column: "arg", in: after("QUERY "), want: mysqlArg("query", ""), ok: begins},
	{log: "mysql", column: "cmd", in: requests, want: mysqlCommand, ok: func(got, want string) bool {
		return prefix(got, want) || prefix("STMT_"+got, want) || prefix(got, "COMMAND")
	}},
	{log: "kerberos", column: "client", in: func(r *flow.Record) []string { return []string{r.User, r.User + "/" + r.Domain} }, want: kerberosClient},
	{log: "kerberos", column: "service", in: requests, want: kerberosService},
	{log: "kerberos", column: "error_msg", in: responses, want: kerberosError, ok: fold},
	{log: "kerberos", column: "cipher", in: responses, want: prefixed(" "), ok: suffix},
	{log: "ntlm", column: "username", in: one(user)},
	{log: "ntlm", column: "hostname", in: one(host)},
	{log: "ntlm", column: "domainname", in: one(domain)},
	{log: "smb_files", column: "name", in: requests, want: zeekPath, ok: part},
	{log: "smb_mapping", column: "path", in: requests, want: func(v string, _ map[string]string) string { return "TREE_CONNECT " + unescaped(v) }},
	{log: "ldap", column: "object", in: requests, ok: part},
	{log: "ldap", column: "result", in: responses, want: func(v string, _ map[string]string) string { return strings.ReplaceAll(v, " ", "") }, ok: strings.EqualFold},
	{log: "ldap_search", column: "base_object", in: after("SEARCH "), ok: prefix},
	{log: "ldap_search", column: "filter", in: requests, want: func(v string, row map[string]string) string {
		return strings.TrimSpace("SEARCH "+row["base_object"]) + "\x00 " + v
	}, ok: func(got, want string) bool {
		base, filter, _ := strings.Cut(want, "\x00")
		return prefix(got, base) && suffix(got, filter)
	}},
	{log: "snmp", column: "version", in: one(version), want: func(v string, _ map[string]string) string {
		return map[string]string{"1": "v1", "2c": "v2c", "2": "v2c", "3": "v3"}[v]
	}},
	{log: "radius", column: "username", in: one(user)},
	{log: "radius", column: "mac", in: one(func(r *flow.Record) string { return strings.ReplaceAll(r.AppHost, "-", ":") }), ok: strings.EqualFold},
	{log: "radius", column: "result", in: responses, want: func(v string, _ map[string]string) string {
		return map[string]string{"success": "Access-Accept"}[v]
	}, ok: prefix},
	{log: "rdp", column: "cookie", in: one(user)},
	{log: "rdp", column: "security_protocol", in: responses, want: prefixed("CONFIRM ")},
	{log: "rfb", column: "server_major_version", in: one(version), want: func(_ string, row map[string]string) string {
		v := func(s string) string { return strings.TrimLeft(row[s], "0") }
		return v("client_major_version") + "." + v("client_minor_version")
	}},
	{log: "rfb", column: "authentication_method", in: requests, want: prefixed("AUTH ")},
	{log: "rfb", column: "desktop_name", in: one(func(r *flow.Record) string { return r.ServerSoftware })},
	{log: "rfb", column: "auth", in: responses, want: func(v string, _ map[string]string) string {
		return map[string]string{"T": "OK", "F": "failed"}[v]
	}},
	{log: "socks", column: "version", in: one(version), ok: prefix},
	{log: "socks", column: "request_p", in: requests, want: func(v string, row map[string]string) string {
		return "CONNECT " + row["request.host"] + row["request.name"] + ":" + v
	}},
	{log: "socks", column: "user", in: one(user)},
	{log: "redis", column: "cmd.name", in: requests, want: func(v string, row map[string]string) string {
		if key := row["cmd.key"]; key != "" {
			return strings.ToUpper(v) + " " + unescaped(key)
		}
		return strings.ToUpper(strings.Fields(v)[0])
	}, ok: prefix},
	{log: "postgresql", column: "user", in: one(user)},
	{log: "postgresql", column: "database", in: requests, want: prefixed("STARTUP ")},
	{log: "postgresql", column: "application_name", in: one(client)},
	{log: "postgresql", column: "frontend_arg", in: after("QUERY "), want: func(v string, row map[string]string) string {
		if row["frontend"] != "simple_query" {
			return ""
		}
		return statement(v)
	}, ok: begins},
	{log: "ssh", column: "client", in: one(func(r *flow.Record) string { return r.SSHClient })},
	{log: "ssh", column: "server", in: one(func(r *flow.Record) string { return r.SSHServer })},
	{log: "ntp", column: "version", in: one(version)},
	{log: "ntp", column: "mode", in: both, want: func(v string, _ map[string]string) string {
		n, _ := strconv.Atoi(v)
		return []string{"", "SYMMETRIC_ACTIVE", "SYMMETRIC_PASSIVE", "CLIENT", "SERVER", "BROADCAST", "CONTROL", "PRIVATE"}[n&7]
	}, ok: prefix},
}

// after are the requests of one verb, without it.
func after(verb string) func(*flow.Record) []string {
	return func(r *flow.Record) (all []string) {
		for _, s := range r.AppRequests {
			if len(s) >= len(verb) && strings.EqualFold(s[:len(verb)], verb) {
				all = append(all, s[len(verb):])
			}
		}
		return all
	}
}

// unescaped undoes what Zeek's logs escape.
func unescaped(s string) string {
	return strings.NewReplacer(`\x0a`, "\n", `\x09`, "\t", `\x0d`, "\r", `\\`, `\`).Replace(s)
}

// statement is the text of a statement as it is listed.
func statement(v string) string { return strings.TrimLeft(unescaped(v), " \n\r\t(") }

// mysqlArg is the argument of one command.
func mysqlArg(command, verb string) func(string, map[string]string) string {
	return func(v string, row map[string]string) string {
		switch {
		case row["cmd"] != command:
			return ""
		case command == "query":
			return statement(v)
		}
		return verb + v
	}
}

// mysqlCommand leaves out the commands whose arguments are compared.
func mysqlCommand(v string, row map[string]string) string {
	if row["arg"] != "" && slices.Contains([]string{"login", "query", "init_db", "change_user"}, v) || v == "login" {
		return ""
	}
	return strings.ToUpper(v)
}

// kerberosClient leaves out a realm without a name; a name without a realm is
// compared without.
func kerberosClient(v string, _ map[string]string) string {
	if strings.HasPrefix(v, "/") {
		return ""
	}
	return strings.TrimSuffix(v, "/")
}

// kerberosService is what is asked for. A ticket shown to a file server is in
// the request of its session.
func kerberosService(v string, row map[string]string) string {
	if row["request_type"] == "AP" {
		return "SESSION_SETUP " + v
	}
	return row["request_type"] + "-REQ " + v
}

// modbusName undoes Zeek's names of what it does not know, and of exceptions.
func modbusName(v string, _ map[string]string) string {
	v = strings.TrimSuffix(v, "_EXCEPTION")
	if code, ok := strings.CutPrefix(v, "unknown-"); ok {
		n, _ := strconv.Atoi(code)
		return fmt.Sprintf("FUNCTION_%d", n&0x7f)
	}
	return v
}

func dnp3Name(v string, _ map[string]string) string {
	if code, ok := strings.CutPrefix(v, "unknown-"); ok {
		return "FUNCTION_" + code
	}
	return v
}

func sipUser(v string, _ map[string]string) string {
	_, rest, ok := strings.Cut(v, "sip:")
	name, _, at := strings.Cut(rest, "@")
	if !ok || !at {
		return ""
	}
	return name
}

func tlsVersion(r *flow.Record) string {
	return map[uint16]string{0x0300: "SSLv3", 0x0301: "TLSv10", 0x0302: "TLSv11", 0x0303: "TLSv12", 0x0304: "TLSv13", 0xfeff: "DTLSv10", 0xfefd: "DTLSv12", 0xfefc: "DTLSv13"}[r.TLSVersion]
}

// knownCipher leaves out what Go's library has no name for.
func knownCipher(v string, _ map[string]string) string {
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if c.Name == v {
			return v
		}
	}
	return ""
}

func first(v string, _ map[string]string) string { s, _, _ := strings.Cut(v, ","); return s }

// known leaves out what Zeek says where it does not know.
func known(v string, _ map[string]string) string {
	if v == "<unknown>" || v == "<init>" {
		return ""
	}
	return v
}

// kerberosError gives the errors the names of RFC 4120, section 7.5.9.
func kerberosError(v string, _ map[string]string) string {
	if name := map[string]string{"CANT_FIND_CLIENT_KEY": "KDC_ERR_ETYPE_NOSUPP", "CLIENT EXPIRED": "KDC_ERR_NAME_EXP", "CLIENT KEY EXPIRED": "KDC_ERR_KEY_EXPIRED",
		"CLIENT_NOT_FOUND": "KDC_ERR_C_PRINCIPAL_UNKNOWN", "LOCKED_OUT": "KDC_ERR_CLIENT_REVOKED", "PREAUTH_FAILED": "KRB_AP_ERR_BAD_INTEGRITY",
		"SERVER_NOT_FOUND": "KDC_ERR_S_PRINCIPAL_UNKNOWN", "TICKET NOT RENEWABLE": "KDC_ERR_BADOPTION"}[v]; name != "" {
		return name
	}
	return v
}

// zeekPath undoes the escapes of Zeek's logs; <share_root> is a file without a name.
func zeekPath(v string, _ map[string]string) string {
	if v == "<share_root>" {
		return ""
	}
	return strings.ReplaceAll(v, `\\`, `\`)
}
