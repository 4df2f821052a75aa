package zeek

import (
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// request adds "VERB object" and its answer; either may be empty.
func (e *extra) request(verb, object, response string) {
	if verb != "" {
		e.requests = append(e.requests, clone(strings.TrimSpace(verb+" "+object)))
	}
	if response != "" {
		e.responses = append(e.responses, clone(response))
	}
}

// once sets a field that has no value yet.
func once(to *string, from string) {
	if *to == "" && from != "" {
		*to = clone(from)
	}
}

func readSSH(e *extra, row *row) {
	s := &e.said
	once(&s.SSHClient, row.get("client"))
	once(&s.SSHServer, row.get("server"))
	once(&s.HASSH, hash(row.get("hassh"), 32))
	once(&s.HASSHServer, hash(row.first("hasshServer", "hassh_server"), 32))
	// Attempts that failed: all, or all but the last.
	attempts := uint32(row.number("auth_attempts", 32))
	switch ok, known := row.bool("auth_success"); {
	case known && ok:
		e.errors += max(attempts, 1) - 1
	case known:
		e.errors += max(attempts, 1)
	}
}

func readQUIC(e *extra, row *row) {
	switch v := row.get("version"); v {
	case "1", "quicv1":
		e.said.QUICVersion = 1
	case "2", "quicv2":
		e.said.QUICVersion = 0x6b3343cf
	default:
		if n, err := strconv.ParseUint(strings.TrimPrefix(v, "draft-"), 10, 8); err == nil && strings.HasPrefix(v, "draft-") {
			e.said.QUICVersion = 0xff000000 | uint32(n)
		}
	}
	if e.tls == nil {
		e.tls = &tlsHandshake{sni: clone(row.get("server_name")), alpn: clone(row.get("client_protocol"))}
	}
}

func readKerberos(e *extra, row *row) {
	if kind := row.get("request_type"); kind != "" {
		e.request(kind+"-REQ", row.get("service"), "")
		if ok, known := row.bool("success"); known && ok {
			e.responses = append(e.responses, clone(kind+"-REP"))
		}
	}
	if client := row.get("client"); client != "" {
		user, realm, _ := cutLast(client, "/")
		once(&e.said.User, user)
		once(&e.said.Domain, realm)
	}
	if m := row.get("error_msg"); m != "" {
		e.responses = append(e.responses, clone(m))
		e.errors++
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func readNTLM(e *extra, row *row) {
	once(&e.said.User, row.get("username"))
	once(&e.said.Domain, row.get("domainname"))
	once(&e.said.AppHost, row.get("hostname"))
	once(&e.said.ServerSoftware, row.get("server_dns_computer_name"))
	status := row.get("status")
	if ok, known := row.bool("success"); known && !ok {
		e.errors++
		if status == "" {
			status = "STATUS_LOGON_FAILURE"
		}
	}
	e.request("", "", status)
}

func readSMBMapping(e *extra, row *row) { e.request("TREE_CONNECT", row.get("path"), "") }

func readSMBFile(e *extra, row *row) {
	action := strings.TrimPrefix(row.get("action"), "SMB::")
	verb, known := map[string]string{"FILE_OPEN": "CREATE", "PIPE_OPEN": "CREATE", "FILE_RENAME": "RENAME", "FILE_DELETE": "DELETE",
		"FILE_READ": "READ", "PIPE_READ": "READ", "FILE_WRITE": "WRITE", "PIPE_WRITE": "WRITE", "FILE_CLOSE": "CLOSE", "PIPE_CLOSE": "CLOSE"}[action]
	if !known {
		verb = action
	}
	e.request(verb, row.get("name"), "")
}

func readSMBCommand(e *extra, row *row) {
	e.request(row.get("command"), row.get("argument"), row.get("status"))
	once(&e.said.User, row.get("username"))
	once(&e.said.AppVersion, strings.TrimPrefix(row.get("version"), "SMB"))
}

func readDCERPC(e *extra, row *row) {
	e.request("RPC", strings.Trim(row.get("endpoint")+"::"+row.get("operation"), ":"), "")
}

func readFTP(e *extra, row *row) {
	if u := row.get("user"); u != "" && u != "<unknown>" {
		once(&e.said.User, u)
		if u != "anonymous" && u != "ftp" {
			e.risks |= flow.RiskClearTextCredentials
		}
	}
	arg := row.get("arg")
	if row.get("command") == "PASS" {
		arg = ""
	}
	e.request(row.get("command"), arg, row.get("reply_code"))
	if row.number("reply_code", 16) >= 400 {
		e.errors++
	}
}

func readSMTP(e *extra, row *row) {
	once(&e.said.AppHost, row.get("helo"))
	once(&e.said.ClientSoftware, row.get("user_agent"))
	if from := row.get("mailfrom"); from != "" {
		e.request("MAIL", "FROM:<"+from+">", "")
	}
	for _, to := range row.list("rcptto") {
		e.request("RCPT", "TO:<"+to+">", "")
	}
	reply := row.get("last_reply")
	e.request("", "", reply)
	if len(reply) > 0 && (reply[0] == '4' || reply[0] == '5') {
		e.errors++
	}
}

func readRDP(e *extra, row *row) {
	once(&e.said.User, row.get("cookie"))
	once(&e.said.AppHost, row.get("client_name"))
	once(&e.said.ClientSoftware, row.get("client_build"))
	e.request("", "", row.get("result"))
}

func readLDAP(e *extra, row *row) {
	if strings.HasPrefix(row.get("opcode"), "bind") {
		once(&e.said.User, row.get("object"))
	}
	once(&e.said.AppVersion, row.get("version"))
	e.request(strings.ToUpper(row.get("opcode")), row.get("object"), row.get("result"))
	if r := row.get("result"); r != "" && r != "success" && r != "saslBindInProgress" {
		e.errors++
	}
}

func readLDAPSearch(e *extra, row *row) {
	e.request("SEARCH", strings.TrimSpace(row.get("base_object")+" "+row.get("filter")), row.get("result"))
}

func readMySQL(e *extra, row *row) {
	verb, arg := strings.ToUpper(row.get("cmd")), row.get("arg")
	if verb == "LOGIN" {
		once(&e.said.User, arg)
	}
	e.request(verb, arg, row.get("response"))
	if ok, known := row.bool("success"); known && !ok {
		e.errors++
	}
}

func readRADIUS(e *extra, row *row) {
	once(&e.said.User, row.get("username"))
	once(&e.said.AppHost, row.get("mac"))
	result := row.get("result")
	e.request("ACCESS_REQUEST", "", result)
	if result == "failed" {
		e.errors++
	}
}

func readDHCP(e *extra, row *row) {
	once(&e.said.AppHost, row.first("host_name", "client_fqdn"))
	once(&e.said.ClientSoftware, row.get("client_software"))
	once(&e.said.ServerSoftware, row.get("server_software"))
	for _, m := range row.list("msg_types") {
		switch m {
		case "OFFER", "ACK", "NAK":
			e.responses = append(e.responses, clone(strings.TrimSpace(m+" "+row.get("assigned_addr"))))
		default:
			e.requests = append(e.requests, clone(strings.TrimSpace(m+" "+row.get("requested_addr"))))
		}
	}
}

func readSIP(e *extra, row *row) {
	once(&e.said.ClientSoftware, row.get("user_agent"))
	e.request(row.get("method"), row.get("uri"), row.get("status_code"))
	if row.number("status_code", 16) >= 400 {
		e.errors++
	}
}

func readSNMP(e *extra, row *row) {
	once(&e.said.AppVersion, "v"+strings.TrimPrefix(row.get("version"), "v"))
	for _, verb := range []string{"get", "get_bulk", "get_next", "set"} {
		if n := row.number(verb+"_requests", 32); n > 0 {
			e.request(strings.ToUpper(verb), strconv.FormatUint(n, 10), "")
		}
	}
}

func readModbus(e *extra, row *row) {
	e.request(row.get("func"), "", row.get("exception"))
	if row.get("exception") != "" {
		e.errors++
	}
}

func readDNP3(e *extra, row *row) { e.request(row.get("fc_request"), "", row.get("fc_reply")) }

func readSOCKS(e *extra, row *row) {
	once(&e.said.User, row.get("user"))
	once(&e.said.AppVersion, row.get("version"))
	host := row.first("request.name", "request.host")
	e.request("CONNECT", host+":"+row.get("request_p"), row.get("status"))
}

func readIRC(e *extra, row *row) {
	once(&e.said.User, row.first("user", "nick"))
	e.request(row.get("command"), row.get("value"), "")
}

func readMQTT(e *extra, row *row) {
	once(&e.said.AppVersion, row.get("proto_version"))
	e.request("CONNECT", row.get("client_id"), row.get("connect_status"))
}

// readFile tells the type of a body that http.log left open.
func readFile(e *extra, row *row) {
	if n := len(e.http); n > 0 && e.http[n-1].content == "" {
		if orig, known := row.bool("is_orig"); known && !orig {
			e.http[n-1].content = clone(row.get("mime_type"))
		}
	}
}

func readRFB(e *extra, row *row) {
	once(&e.said.AppVersion, strings.TrimLeft(row.get("client_major_version"), "0")+"."+strings.TrimLeft(row.get("client_minor_version"), "0"))
	if ok, known := row.bool("auth"); known && !ok {
		e.errors++
	}
}

func readRedis(e *extra, row *row) {
	e.request(strings.ToUpper(row.get("cmd.name")), row.get("cmd.key"), "")
	if ok, known := row.bool("success"); known && !ok {
		e.errors++
	}
}

func readNTP(e *extra, row *row) { once(&e.said.AppVersion, row.get("version")) }
