package quality

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// zeekField says where a column of one of Zeek's logs is in a record.
type zeekField struct {
	log, column string
	in          func(*flow.Record) []string
	// want turns the column's value into ours; nil: it is the same. "" is not compared.
	want func(value string, row map[string]string) string
	part bool // want is contained in the field
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

func prefixed(before string) func(string, map[string]string) string {
	return func(v string, _ map[string]string) string { return before + v }
}

// seconds takes the fraction off a time.
func seconds(v string, _ map[string]string) string { s, _, _ := strings.Cut(v, "."); return s }

var zeekFields = []zeekField{
	{log: "modbus", column: "func", in: both, want: modbusName, part: true},
	{log: "modbus", column: "exception", in: responses, part: true},
	{log: "dnp3", column: "fc_request", in: requests, want: dnp3Name},
	{log: "dnp3", column: "fc_reply", in: responses, want: dnp3Name},
	{log: "mqtt_connect", column: "client_id", in: requests, want: prefixed("CONNECT ")},
	{log: "mqtt_connect", column: "proto_version", in: one(version)},
	{log: "mqtt_publish", column: "topic", in: requests, want: prefixed("PUBLISH ")},
	{log: "mqtt_subscribe", column: "topics", in: requests, part: true},
	{log: "sip", column: "method", in: requests, want: func(v string, row map[string]string) string { return strings.TrimSpace(v + " " + row["uri"]) }},
	{log: "sip", column: "request_from", in: one(user), want: sipUser},
	{log: "sip", column: "user_agent", in: one(func(r *flow.Record) string { return r.ClientSoftware + r.ServerSoftware }), part: true},
	{log: "sip", column: "status_code", in: responses},
	{log: "ssl", column: "version", in: one(tlsVersion)},
	{log: "ssl", column: "cipher", in: one(func(r *flow.Record) string { return tls.CipherSuiteName(r.TLSCipher) }), want: knownCipher},
	{log: "ssl", column: "server_name", in: one(func(r *flow.Record) string { return r.TLSSNI })},
	{log: "ssl", column: "subject", in: one(func(r *flow.Record) string { return r.CertSubject })},
	{log: "ssl", column: "issuer", in: one(func(r *flow.Record) string { return r.CertIssuer })},
	{log: "ssl", column: "cert_chain_fps", in: one(func(r *flow.Record) string { return r.CertSHA256 }), want: first},
	{log: "quic", column: "server_name", in: one(func(r *flow.Record) string { return r.TLSSNI })},
	{log: "quic", column: "client_protocol", in: one(func(r *flow.Record) string { return r.TLSALPN }), part: true},
	{log: "websocket", column: "uri", in: one(func(r *flow.Record) string { return r.HTTPURI })},
	{log: "websocket", column: "user_agent", in: one(func(r *flow.Record) string { return r.HTTPUserAgent })},
	{log: "websocket", column: "uid", in: one(func(r *flow.Record) string { return r.App }), want: func(string, map[string]string) string { return "websocket" }},
	{log: "smtp", column: "mailfrom", in: requests, part: true},
	{log: "smtp", column: "rcptto", in: requests, want: first, part: true},
	{log: "ftp", column: "user", in: one(user), want: known},
	{log: "ftp", column: "command", in: requests, want: known, part: true},
	{log: "mysql", column: "arg", in: func(r *flow.Record) []string { return []string{r.User} }, want: func(v string, row map[string]string) string {
		if row["cmd"] == "login" {
			return v
		}
		return ""
	}},
	{log: "kerberos", column: "client", in: one(user), want: beforeSlash},
	{log: "kerberos", column: "service", in: requests, want: beforeSlash, part: true},
	{log: "kerberos", column: "error_msg", in: responses, want: kerberosError, part: true},
	{log: "ntlm", column: "username", in: one(user)},
	{log: "ntlm", column: "domainname", in: one(domain)},
	{log: "smb_files", column: "name", in: requests, want: zeekPath, part: true},
	{log: "smb_mapping", column: "path", in: requests, want: zeekPath, part: true},
	{log: "ldap_search", column: "base_object", in: requests, part: true},
	{log: "snmp", column: "version", in: one(version), part: true},
	{log: "radius", column: "username", in: one(user)},
	{log: "rdp", column: "cookie", in: one(user)},
	{log: "rfb", column: "server_major_version", in: one(version), want: func(_ string, row map[string]string) string {
		v := func(s string) string { return strings.TrimLeft(row[s], "0") }
		return v("client_major_version") + "." + v("client_minor_version")
	}},
	{log: "socks", column: "request_p", in: requests, want: func(v string, row map[string]string) string {
		return row["request.host"] + row["request.name"] + ":" + v
	}, part: true},
	{log: "socks", column: "user", in: one(user)},
	{log: "redis", column: "cmd.name", in: requests, part: true},
	{log: "postgresql", column: "user", in: one(user)},
	{log: "postgresql", column: "database", in: both, part: true},
	{log: "ssh", column: "client", in: one(func(r *flow.Record) string { return r.SSHClient })},
	{log: "ssh", column: "server", in: one(func(r *flow.Record) string { return r.SSHServer })},
	{log: "ntp", column: "version", in: one(version), part: true},
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

func beforeSlash(v string, _ map[string]string) string {
	if i := strings.LastIndexByte(v, '/'); i >= 0 {
		return v[:i]
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

// ends are a flow's addresses and ports as Zeek's logs have them: without the
// protocol.
func ends(row map[string]string) (pair, bool) {
	end := func(side string) netip.AddrPort {
		ip, _ := netip.ParseAddr(row["id."+side+"_h"])
		port, _ := strconv.ParseUint(row["id."+side+"_p"], 10, 16)
		return netip.AddrPortFrom(ip, uint16(port))
	}
	a, b := end("orig"), end("resp")
	return pairOf(0, a, b), a.IsValid() && b.IsValid()
}

// TestZeekFields: what the logs of Zeek's own tests tell of a connection is in
// its records.
func TestZeekFields(t *testing.T) {
	a := tally{name: "fields as Zeek's"}
	certificates := tally{name: "certificates as Zeek's"}
	for _, trace := range corpus.ZeekTraces(t) {
		all := records(t, trace.Path)
		ours := map[pair][]*flow.Record{}
		prints := map[string]*flow.Record{}
		for i := range all {
			k := keyOf(&all[i])
			k.proto = 0
			ours[k] = append(ours[k], &all[i])
			prints[all[i].CertSHA256] = &all[i]
		}
		for _, log := range trace.Logs {
			kind := strings.TrimSuffix(filepath.Base(log), ".log")
			rows := corpus.ZeekSet(t, log)
			for _, row := range rows {
				if kind == "x509" {
					checkCertificate(&certificates, trace.Name, row, prints)
				}
				for _, f := range zeekFields {
					if f.log == kind {
						checkField(&a, trace.Name, &f, row, ours)
					}
				}
			}
		}
	}
	for _, part := range slices.Sorted(maps.Keys(a.by)) {
		t.Logf("quality: fields as Zeek's: %-27s %6d of %6d", part, a.by[part][0], a.by[part][1])
	}
	a.report(t, 95, "testdata/zeek.tsv")
	certificates.report(t, 95, "testdata/zeek.tsv")
}

func checkField(a *tally, name string, f *zeekField, row map[string]string, ours map[pair][]*flow.Record) {
	value := row[f.column]
	k, ok := ends(row)
	if value == "" || !ok {
		return
	}
	want := value
	if f.want != nil {
		want = f.want(value, row)
	}
	if want == "" {
		return
	}
	var got []string
	for _, r := range ours[k] {
		got = append(got, f.in(r)...)
	}
	if len(ours[k]) == 0 {
		got = []string{"no such flow"}
	}
	same := slices.ContainsFunc(got, func(g string) bool {
		return strings.EqualFold(g, want) || f.part && strings.Contains(strings.ToLower(g), strings.ToLower(want))
	})
	slices.Sort(got)
	got = slices.Compact(got)
	a.check(f.log+" "+f.column, same, "%s\t%s %s: %q, here %.100q", name, f.log, f.column, want, got[:min(len(got), 4)])
}

// checkCertificate compares a certificate that we have seen too; of a chain,
// records have the first.
func checkCertificate(a *tally, name string, row map[string]string, prints map[string]*flow.Record) {
	if row["host_cert"] != "T" || row["client_cert"] == "T" || row["fingerprint"] == "" {
		return
	}
	r := prints[row["fingerprint"]]
	if r == nil {
		a.check("seen", false, "%s\tx509 %s is not seen", name, row["certificate.subject"])
		return
	}
	a.check("seen", true, "")
	for column, got := range map[string]string{"certificate.subject": r.CertSubject, "certificate.issuer": r.CertIssuer,
		"certificate.not_valid_before": strconv.FormatUint(r.CertNotBefore, 10), "certificate.not_valid_after": strconv.FormatUint(r.CertNotAfter, 10),
		"san.dns": strings.Join(r.CertNames, ",")} {
		want := row[column]
		if strings.HasPrefix(column, "certificate.not_") {
			want = seconds(want, nil)
		}
		same := strings.EqualFold(got, want) // short names of attributes are of any case
		if column == "san.dns" {
			same = strings.HasPrefix(want, got) || strings.HasPrefix(got, want) // 32 names; others than DNS come last
		}
		a.check(column, same, "%s\tx509 %s: %q, here %q", name, column, want, got)
	}
}
