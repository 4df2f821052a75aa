package detect

import (
	"regexp"
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/baseline"
)

var comments = regexp.MustCompile(`(?m)^\s*--.*\n`)

// Compose makes the text of a statement from a file: without its comments, and
// with the shared expressions of expressions in place of /*name*/. Only text of
// detectors goes in, never data.
func Compose(file string) string {
	return strings.TrimSpace(comments.ReplaceAllString(expressions().Replace(file), ""))
}

// expressions are the definitions that the detectors share.
func expressions() *strings.Replacer {
	return strings.NewReplacer(
		// A connection from which no payload came back, of which the beginning
		// was seen, and which was no more than an attempt. Answers without a
		// question (backscatter) have a guessed initiator or a state without a
		// SYN. A connection that was made and closed in order without a word is a
		// health check, not a failure.
		"/*failed*/", `(segment = 0 AND NOT initiator_guessed AND dst_payload_bytes = 0 AND end_reason NOT IN ('active', 'list_full')
        AND multiIf(protocol = 6, conn_state IN ('S0', 'REJ', 'RSTOS0', 'SH')
                        OR conn_state = 'RSTO' AND src_payload_bytes = 0
                        OR conn_state = 'OTH' AND bitAnd(src_tcp_flags, 18) = 2,
                    dst_packets = 0))`,
		// The responder has shown that something listens.
		"/*open*/", `(segment = 0 AND NOT initiator_guessed AND (dst_payload_bytes > 0 OR protocol = 6 AND bitAnd(dst_tcp_flags, 18) = 18))`,
		// The content is none that the probe knows; app may be what the port says.
		"/*unrecognised*/", `(app IN ('', 'unknown') OR app_source = 'port' AND payload_entropy > 0)`,
		// To one host, not to a group, and neither a path trace nor the answer of
		// a service whose question was not seen.
		"/*unicast*/", `(dst_ip < toIPv6('ff00::') AND NOT (dst_ip >= toIPv6('::ffff:224.0.0.0') AND dst_ip <= toIPv6('::ffff:255.255.255.255')))`,
		"/*purposeful*/", `NOT (protocol = 17 AND (dst_port BETWEEN 33434 AND 33690 AND src_ttl < 33 OR src_port BETWEEN 1 AND 1023 AND dst_port >= 1024)) AND app != 'bittorrent'`,
		"/*src_inside*/", `arrayExists((a, b) -> src_ip >= a AND src_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})`,
		"/*dst_inside*/", `arrayExists((a, b) -> dst_ip >= a AND dst_ip <= b, {inside_first:Array(IPv6)}, {inside_last:Array(IPv6)})`,
		"/*exempt*/", `arrayExists((a, b) -> src_ip >= a AND src_ip <= b, {exempt_first:Array(IPv6)}, {exempt_last:Array(IPv6)})`,
		// Roles of those who are there to reach into other hosts.
		"/*operators*/", `('jump', 'scanner', 'monitor', 'admin', 'automation', 'backup')`,
		"/*src_text*/", `replaceRegexpOne(toString(src_ip), '^::ffff:', '')`,
		"/*dst_text*/", `replaceRegexpOne(toString(dst_ip), '^::ffff:', '')`,
		"/*flow_id*/", `concat(probe, '/', toString(epoch), '/', toString(worker), '/', toString(flow_id))`,
		// The protocol of a login, by what was recognised or else by the port; empty:
		// the flow is none. Of HTTP only what asks for a name and refuses it.
		"/*login_service*/", `multiIf(app IN ('ssh', 'ftp', 'telnet', 'rdp', 'vnc', 'smb', 'kerberos', 'ldap', 'smtp', 'pop3', 'imap', 'radius', 'mysql', 'postgresql', 'mssql'), toString(app),
            app = 'http' AND user != '' AND has(http_statuses, 401), 'http',
            app IN ('', 'unknown', 'tls') AND protocol = 6, transform(dst_port, [21, 22, 23, 3389, 5900], ['ftp', 'ssh', 'telnet', 'rdp', 'vnc'], ''), '')`,
		// How many logins of the flow were refused in words.
		"/*login_refused*/", `toUInt64(multiIf(
            app IN ('pop3', 'imap'), if(arrayExists(q -> match(q, '^(PASS|AUTH|APOP|LOGIN|AUTHENTICATE)'), app_requests), arrayCount(r -> r IN ('-ERR', 'NO'), app_responses), 0),
            app = 'http', if(user != '' AND NOT arrayExists(s -> s BETWEEN 200 AND 399, http_statuses), countEqual(http_statuses, 401), 0),
            arrayCount(r -> (toString(app), r) IN (('ftp', '530'), ('smtp', '535'), ('radius', 'Access-Reject'), ('ldap', 'invalidCredentials'), ('mysql', 'ERR 1045'), ('mssql', 'ERROR 18456'),
                ('postgresql', 'FATAL 28P01'), ('postgresql', 'FATAL 28000'), ('vnc', 'failed'),
                ('smb', 'STATUS_LOGON_FAILURE'), ('smb', 'STATUS_WRONG_PASSWORD'), ('smb', 'STATUS_NO_SUCH_USER'), ('smb', 'STATUS_ACCOUNT_LOCKED_OUT'), ('smb', 'STATUS_ACCOUNT_DISABLED'),
                ('kerberos', 'KDC_ERR_PREAUTH_FAILED'), ('kerberos', 'KDC_ERR_C_PRINCIPAL_UNKNOWN'), ('kerberos', 'KDC_ERR_CLIENT_REVOKED')), app_responses)))`,
		// A login of the flow was accepted in words.
		"/*login_accepted*/", `multiIf(app = 'ftp', has(app_responses, '230'), app = 'smtp', has(app_responses, '235'), app = 'mssql', has(app_responses, 'LOGIN OK'),
            app = 'postgresql', has(app_responses, 'AUTH OK'), app = 'vnc', has(app_responses, 'OK'), app = 'radius', has(app_responses, 'Access-Accept'),
            app = 'smb', arrayExists((q, r) -> startsWith(q, 'SESSION_SETUP') AND r = 'STATUS_SUCCESS', arrayResize(app_requests, least(length(app_requests), length(app_responses))),
                arrayResize(app_responses, least(length(app_requests), length(app_responses)))), false)`,
		"/*judged*/", strings.TrimSpace(baseline.SeriesSQL()),
		"/*window*/", windowsOf("start"),
		"/*window_of_hour*/", windowsOf("hour"),
	)
}

// windowsOf are, for a Finder, the starts of those windows of its span that hold the
// moment of a column: a row for each.
func windowsOf(column string) string {
	at := "intDiv(toInt64(toUnixTimestamp(" + column + ")), {step:Int64})"
	return "arrayJoin(range(greatest(" + at + " - {overlap:Int64} + 1, intDiv(toInt64(toUnixTimestamp({from:DateTime('UTC')})), {step:Int64})), " +
		"least(" + at + ", intDiv(toInt64(toUnixTimestamp({to:DateTime('UTC')})), {step:Int64}) - {overlap:Int64}) + 1)) * {step:Int64}"
}
