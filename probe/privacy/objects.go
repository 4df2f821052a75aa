package privacy

import (
	"net/netip"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// keptWords are the objects, verbs and results of requests that protocols themselves define and that say nothing about anybody.
var keptWords = set(
	// results
	"success", "+OK", "-ERR", "OK", "OK,", "on", "off", "utf8", "UTF8", "failure",
	// Kerberos encryption types (RFC 3961, RFC 3962, RFC 4757, RFC 8009)
	"des-cbc-crc", "des-cbc-md4", "des-cbc-md5", "des3-cbc-sha1", "des3-cbc-sha1-kd", "rc4-hmac", "rc4-hmac-exp", "aes128-cts-hmac-sha1-96",
	"aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha384-192",
	// pipes and shares that every Windows host has
	"samr", "lsarpc", "lsass", "netlogon", "srvsvc", "svcctl", "wkssvc", "atsvc", "spoolss", "winreg", "eventlog", "epmapper", "browser", "ntsvcs",
	"drsuapi", "initshutdown", "trkwks", "IPC$", "ADMIN$", "C$", "D$", "print$", "SYSVOL", "NETLOGON",
	// STUN and TURN (RFC 8489, RFC 8656), RTP, NTP, LDAP, SSDP
	"Binding", "Allocate", "Refresh", "Send", "Data", "CreatePermission", "ChannelBind", "payload", "stratum", "info_hash",
	"(objectclass=*)", "(objectClass=*)", "GSS-SPNEGO", "GSSAPI", "NTLM", "PLAIN", "LOGIN", "simple", "anonymous", "upnp:rootdevice", "ssdp:all",
	"ssdp:discover", "urn:dial-multiscreen-org:service:dial:1",
	// RADIUS and SNMP
	"Access-Request", "Access-Accept", "Access-Reject", "Access-Challenge", "Accounting-Request", "Accounting-Response",
	"GetRequest", "GetNextRequest", "GetBulkRequest", "GetResponse", "SetRequest", "Response", "Report", "Trap", "SNMPv2-Trap", "InformRequest",
	"noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr", "noAccess", "authorizationError",
)

// sqlWords are kept in statements.
var sqlWords = set("SELECT", "INSERT", "UPDATE", "DELETE", "DROP", "CREATE", "ALTER", "TRUNCATE", "TABLE", "DATABASE", "SCHEMA", "INDEX", "VIEW", "USER", "ROLE",
	"INTO", "FROM", "VALUES", "WHERE", "IF", "NOT", "EXISTS", "SHOW", "SET", "USE", "BEGIN", "COMMIT", "ROLLBACK", "LIMIT", "AS", "AND", "OR", "JOIN", "ON",
	"ORDER", "GROUP", "BY", "UNION", "ALL", "GRANT", "REVOKE", "TO", "COPY", "EXEC", "EXECUTE", "CALL", "DECLARE", "COUNT(*)")

var sqlApps = set("mysql", "postgresql", "tds", "mssql", "oracle", "cassandra")

// plainWord says whether w is a word of the protocol, or a mark with no letter or digit in it.
func plainWord(w, app string) bool {
	return keptWords[w] || app == "rtp" && isVerb(w) || sqlApps[app] && sqlWords[strings.ToUpper(w)] ||
		!strings.ContainsFunc(w, func(c rune) bool { return alphanumeric(c) || c >= 0x80 })
}

// keptServices are the first parts of service principals.
var keptServices = set("krbtgt", "ldap", "http", "host", "cifs", "dns", "rpcss", "rpc", "termsrv", "gc", "mssqlsvc", "wsman", "smtp", "imap", "pop",
	"ftp", "nfs", "kadmin", "restrictedkrbhost", "exchangemdb", "exchangerfr", "exchangeab", "e3514235-4b06-11d1-ab04-00c04fc2dcd2")

// object replaces one word behind the verb of a request or answer: by what its own column would get where it can be told what it is, else as a
// whole.
func (f *Filter) object(w, app string) string {
	if p, ok := f.knownWord(w); ok {
		return p
	}
	switch {
	case plainWord(w, app):
		return w
	case decimal(w) && len(w) <= 5 && app != "sip": // there it may be a telephone
		return w
	case strings.HasPrefix(w, `\\`):
		return f.share(w)
	}
	if a, err := netip.ParseAddr(w); err == nil {
		return f.address(flow.AddrFrom(a)).String()
	}
	if a, err := netip.ParseAddrPort(w); err == nil {
		return netip.AddrPortFrom(f.Address(a.Addr()), a.Port()).String()
	}
	if service, server, ok := strings.Cut(w, "/"); ok && keptServices[strings.ToLower(service)] {
		return strings.TrimSuffix(service+"/"+f.host(server), "/")
	}
	if scheme, rest, ok := strings.Cut(w, ":"); ok {
		switch strings.ToLower(scheme) {
		case "sip", "sips":
			rest, _, _ = strings.Cut(rest, ";")
			if name, server, ok := strings.Cut(rest, "@"); ok {
				if name = f.user(name); name != "" {
					name += "@"
				}
				return scheme + ":" + name + f.host(server)
			}
			return scheme + ":" + f.host(rest)
		case "from", "to", "mailto": // MAIL FROM:<a@example.org>
			if rest == "" {
				return w // an address follows
			}
			return scheme + ":" + f.object(rest, app)
		}
	}
	if mail := strings.Trim(w, "<>"); mail != w && strings.Contains(mail, "@") {
		return "<" + f.person(mail) + ">"
	}
	if p, ok := f.word(w); ok {
		return p
	}
	return f.content(w)
}

// share replaces \\server\share\…: the server is a name, the share is kept when every host has it.
func (f *Filter) share(w string) string {
	server, path, ok := strings.Cut(w[2:], `\`)
	s := `\\` + f.name(server)
	if !ok {
		return s
	}
	for part := range strings.SplitSeq(path, `\`) {
		if !keptWords[part] && !keptWords[strings.ToUpper(part)] {
			part = f.content(part)
		}
		s += `\` + part
	}
	return s
}

// person replaces an e-mail address, where users or names are not kept.
func (f *Filter) person(w string) string {
	if hides(f.cfg.Users) {
		return f.whole(w, kindUser)
	}
	return f.whole(w, kindName)
}
