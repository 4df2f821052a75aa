package eve

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// event is a line, as far as it is read.
type event struct {
	Timestamp string   `json:"timestamp"`
	FlowID    uint64   `json:"flow_id"`
	Interface string   `json:"in_iface"`
	Type      string   `json:"event_type"`
	VLAN      []uint16 `json:"vlan"`
	SrcIP     string   `json:"src_ip"`
	SrcPort   uint16   `json:"src_port"`
	DestIP    string   `json:"dest_ip"`
	DestPort  uint16   `json:"dest_port"`
	Proto     string   `json:"proto"`
	ICMPType  uint8    `json:"icmp_type"`
	ICMPCode  uint8    `json:"icmp_code"`
	AppProto  string   `json:"app_proto"`
	Direction string   `json:"direction"`

	Flow *struct {
		PacketsToServer uint64 `json:"pkts_toserver"`
		PacketsToClient uint64 `json:"pkts_toclient"`
		BytesToServer   uint64 `json:"bytes_toserver"`
		BytesToClient   uint64 `json:"bytes_toclient"`
		Start           string `json:"start"`
		End             string `json:"end"`
		State           string `json:"state"`
		Reason          string `json:"reason"`
		Alerted         bool   `json:"alerted"`
	} `json:"flow"`
	TCP *struct {
		FlagsToServer string `json:"tcp_flags_ts"`
		FlagsToClient string `json:"tcp_flags_tc"`
		State         string `json:"state"`
	} `json:"tcp"`
	Alert *struct {
		Signature string `json:"signature"`
		Severity  int    `json:"severity"`
	} `json:"alert"`

	DNS  *dnsEvent  `json:"dns"`
	HTTP *httpEvent `json:"http"`
	TLS  *tlsEvent  `json:"tls"`
	QUIC *quicEvent `json:"quic"`
	SSH  *sshEvent  `json:"ssh"`
	SMB  *smbEvent  `json:"smb"`
	KRB5 *krb5Event `json:"krb5"`
	FTP  *ftpEvent  `json:"ftp"`
	SMTP *smtpEvent `json:"smtp"`
}

type dnsEvent struct {
	Type    string   `json:"type"` // query, answer; request, response since version 8
	RRName  string   `json:"rrname"`
	RRType  string   `json:"rrtype"`
	RCode   string   `json:"rcode"`
	Answers []rr     `json:"answers"`
	Queries []rr     `json:"queries"` // version 3 of dns events
	Grouped *grouped `json:"grouped"`
}

type rr struct {
	RRName string          `json:"rrname"`
	RRType string          `json:"rrtype"`
	RData  json.RawMessage `json:"rdata"`
}

type grouped map[string]json.RawMessage

type httpEvent struct {
	Hostname    string `json:"hostname"`
	URL         string `json:"url"`
	UserAgent   string `json:"http_user_agent"`
	Method      string `json:"http_method"`
	Status      uint16 `json:"status"`
	ContentType string `json:"http_content_type"`
}

type tlsEvent struct {
	Version     string `json:"version"`
	SNI         string `json:"sni"`
	Subject     string `json:"subject"`
	Issuer      string `json:"issuerdn"`
	NotBefore   string `json:"notbefore"`
	NotAfter    string `json:"notafter"`
	Fingerprint string `json:"fingerprint"` // SHA-1: not kept
	JA3         struct {
		Hash string `json:"hash"`
	} `json:"ja3"`
	JA3S struct {
		Hash string `json:"hash"`
	} `json:"ja3s"`
	JA4   string   `json:"ja4"`
	Names []string `json:"subjectaltname"`
	ALPN  []string `json:"client_alpns"`
}

type quicEvent struct {
	Version string `json:"version"`
	SNI     string `json:"sni"`
	JA4     string `json:"ja4"`
	UA      string `json:"ua"`
}

type sshEvent struct {
	Client, Server sshSide
}

type sshSide struct {
	ProtoVersion string `json:"proto_version"`
	Software     string `json:"software_version"`
	HASSH        struct {
		Hash string `json:"hash"`
	} `json:"hassh"`
}

func (s sshSide) banner() string {
	if s.Software == "" {
		return ""
	}
	return "SSH-" + s.ProtoVersion + "-" + s.Software
}

type smbEvent struct {
	Command  string `json:"command"`
	Status   string `json:"status"`
	Dialect  string `json:"dialect"`
	Filename string `json:"filename"`
	Share    string `json:"share"`
	NTLMSSP  *struct {
		Domain, User, Host string
	} `json:"ntlmssp"`
	Kerberos *struct {
		Realm string `json:"realm"`
	} `json:"kerberos"`
}

type krb5Event struct {
	Type   string `json:"msg_type"`
	Client string `json:"cname"`
	Realm  string `json:"realm"`
	Server string `json:"sname"`
	Error  string `json:"error_code"`
}

type ftpEvent struct {
	Command   string   `json:"command"`
	Data      string   `json:"command_data"`
	Codes     []string `json:"completion_code"`
	Completed string   `json:"reply_received"`
}

type smtpEvent struct {
	HELO string   `json:"helo"`
	From string   `json:"mail_from"`
	To   []string `json:"rcpt_to"`
}

func hexadecimal(s string) uint8 {
	n, err := strconv.ParseUint(s, 16, 8)
	if err != nil {
		return 0
	}
	return uint8(n)
}

// ip is what is left of so many octets of frames without Ethernet's headers.
func ip(bytes, packets uint64, tags int) uint64 {
	header := uint64(14+4*tags) * packets
	if bytes < header+20*packets {
		return bytes // captured without Ethernet
	}
	return bytes - header
}

func reason(e *event) flow.EndReason {
	switch {
	case e.Flow.State == "closed":
		return flow.EndDetected
	case e.Flow.Reason == "timeout":
		return flow.EndIdle
	case e.Flow.Reason == "forced", e.Flow.Reason == "shutdown":
		return flow.EndForced
	}
	return flow.EndNone
}

var appNames = map[string]string{"krb5": "kerberos", "http1": "http", "ikev2": "ike", "rfb": "vnc", "dcerpc": "dce_rpc", "enip": "ethernetip",
	"bittorrent-dht": "bittorrent", "ftp-data": "ftp_data", "pgsql": "postgresql", "failed": "", "unknown": "", "alert": "", "anomaly": "",
	"fileinfo": "", "drop": "", "pkthdr": "", "snmp": "snmp"}

// appOf is our name of Suricata's app_proto, or of an event.
func appOf(name string, r *flow.Record) string {
	name = strings.ToLower(name)
	if n, ok := appNames[name]; ok {
		return n
	}
	if name == "dns" {
		switch r.DstPort {
		case 5353:
			return "mdns"
		case 5355:
			return "llmnr"
		}
	}
	return name
}
