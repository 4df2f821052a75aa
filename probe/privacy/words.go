package privacy

import "strings"

// mediaTypes are the top-level types (IANA).
var mediaTypes = set("application", "audio", "font", "image", "message", "model", "multipart", "text", "video", "chemical", "binary")

// protocolWords are the HTTP methods and the ALPN identifiers (IANA) that are common: where payload is not quoted, only what stands here.
var protocolWords = set(
	"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT", "BIND", "MKCALENDAR", "ACL",
	"NOTIFY", "M-SEARCH", "SUBSCRIBE", "UNSUBSCRIBE", "RPC_IN_DATA", "RPC_OUT_DATA", "ICY", "BITS_POST", "CCM_POST",
	"http/0.9", "http/1.0", "http/1.1", "h2", "h2c", "h3", "h3-29", "h3-27", "hq", "hq-29", "hq-interop", "spdy/1", "spdy/2", "spdy/3", "spdy/3.1",
	"stun.turn", "stun.nat-discovery", "webrtc", "c-webrtc", "ftp", "imap", "pop3", "managesieve", "coap", "co", "xmpp-client", "xmpp-server",
	"acme-tls/1", "mqtt", "dot", "doq", "ntske/1", "sunrpc", "smb", "irc", "nntp", "nnsp", "sip/2", "tds/8.0", "dicom", "postgresql",
	"radius/1.0", "radius/1.1", "grpc-exp", "apns-security-v3",
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// vocabulary keeps of a comma separated list what is a known word.
func vocabulary(s string) string {
	var kept []string
	for w := range strings.SplitSeq(s, ",") {
		if protocolWords[w] {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, ",")
}

// version keeps a version number: up to 12 characters such as "v2c", "3.1.1", "TLSv1.2".
func version(s string) string {
	digit, letters := false, 0
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9':
			digit = true
		case alphanumeric(c):
			letters++
		case c != '.':
			return ""
		}
	}
	if !digit || letters > 4 || len(s) > 12 {
		return ""
	}
	return s
}

// isVerb says whether s looks like the word of a protocol for a request or answer: capitals and digits, as AS-REQ, READ_COILS or 530 are.
func isVerb(s string) bool {
	capitals := false
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z':
			capitals = true
		case '0' <= c && c <= '9' || c == '_' || c == '-':
		default:
			return false
		}
	}
	return capitals && len(s) <= 40 || decimal(s) && len(s) <= 5
}

func decimal(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

func alphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isName says whether s looks like a domain name: labels of letters, digits, hyphen and underscore with dots between them, the last of letters
// only, or as IDNA writes it.
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	last := strings.LastIndexByte(s, '.')
	if last < 1 || len(s) > 253 {
		return false
	}
	top := s[last+1:]
	if !strings.HasPrefix(strings.ToLower(top), "xn--") {
		if len(top) < 2 || strings.ContainsFunc(top, func(c rune) bool { return !alphanumeric(c) || c <= '9' }) {
			return false
		}
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range label {
			if !alphanumeric(c) && c != '-' && c != '_' && c != '*' && c < 0x80 {
				return false
			}
		}
	}
	return true
}
