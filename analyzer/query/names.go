package query

import (
	"github.com/tapwatch/tapwatch/proto/flow"
)

// namesOf gives what can be said by name: names of numbers and members of sets;
// all values of a text, where they are few; values worth proposing.
func namesOf(column string) (names []Name, values, usual []string) {
	switch column {
	case "protocol":
		return protocolNames, nil, nil
	case "src_tcp_flags", "dst_tcp_flags":
		return tcpFlagNames, nil, nil
	case "risks":
		for i := range 64 {
			if n := flow.Risk(1 << i).Names(); len(n) == 1 {
				names = append(names, Name{n[0], 1 << i})
			}
		}
		return names, nil, nil
	case "cut":
		return []Name{{"string", uint64(flow.CutString)}, {"list", uint64(flow.CutList)}, {"history", uint64(flow.CutHistory)}, {"stream", uint64(flow.CutStream)}, {"snaplen", uint64(flow.CutSnaplen)}}, nil, nil
	case "tls_version":
		return tlsVersionNames, nil, nil
	case "dns_qtypes":
		return dnsTypeNames, nil, nil
	case "dns_rcodes":
		return dnsCodeNames, nil, nil
	case "ethertype":
		return []Name{{"ipv4", 0x0800}, {"arp", 0x0806}, {"ipv6", 0x86dd}}, nil, nil
	case "src_dscp", "dst_dscp":
		return dscpNames, nil, nil
	case "conn_state":
		return nil, enumerate(func(i uint8) string { return flow.ConnState(i).String() }), nil
	case "end_reason":
		return nil, enumerate(func(i uint8) string { return flow.EndReason(i).String() }), nil
	case "tunnel":
		return nil, enumerate(func(i uint8) string { return flow.Tunnel(i).String() }), nil
	case "app_source":
		return nil, enumerate(func(i uint8) string { return flow.AppSource(i).String() }), nil
	case "app":
		return nil, nil, usualApps
	case "http_method":
		return nil, nil, []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH"}
	case "tls_alpn":
		return nil, nil, []string{"h2", "http/1.1", "h3"}
	}
	return nil, nil, nil
}

// enumerate collects the texts of an enumeration, the empty one first.
func enumerate(text func(uint8) string) []string {
	list := []string{""}
	for i := 1; i < 256; i++ {
		if s := text(uint8(i)); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// IANA, Protocol Numbers.
var protocolNames = []Name{
	{"icmp", 1}, {"igmp", 2}, {"ipip", 4}, {"tcp", 6}, {"egp", 8}, {"udp", 17}, {"dccp", 33}, {"ipv6", 41}, {"rsvp", 46}, {"gre", 47},
	{"esp", 50}, {"ah", 51}, {"icmp6", 58}, {"icmpv6", 58}, {"ipv6-icmp", 58}, {"eigrp", 88}, {"ospf", 89}, {"pim", 103}, {"vrrp", 112}, {"l2tp", 115}, {"sctp", 132}, {"udplite", 136},
}

// RFC 9293 section 3.1, RFC 3168.
var tcpFlagNames = []Name{{"fin", 1}, {"syn", 2}, {"rst", 4}, {"psh", 8}, {"ack", 16}, {"urg", 32}, {"ece", 64}, {"cwr", 128}}

var tlsVersionNames = []Name{
	{"ssl3", 0x0300}, {"tls1.0", 0x0301}, {"tls1.1", 0x0302}, {"tls1.2", 0x0303}, {"tls1.3", 0x0304}, {"dtls1.0", 0xfeff}, {"dtls1.2", 0xfefd}, {"dtls1.3", 0xfefc},
}

// IANA, DNS Parameters.
var (
	dnsTypeNames = []Name{{"a", 1}, {"ns", 2}, {"cname", 5}, {"soa", 6}, {"null", 10}, {"ptr", 12}, {"hinfo", 13}, {"mx", 15}, {"txt", 16}, {"aaaa", 28}, {"srv", 33}, {"naptr", 35},
		{"ds", 43}, {"rrsig", 46}, {"nsec", 47}, {"dnskey", 48}, {"tlsa", 52}, {"svcb", 64}, {"https", 65}, {"ixfr", 251}, {"axfr", 252}, {"any", 255}, {"caa", 257}}
	dnsCodeNames = []Name{{"noerror", 0}, {"formerr", 1}, {"servfail", 2}, {"nxdomain", 3}, {"notimp", 4}, {"refused", 5}, {"yxdomain", 6}, {"yxrrset", 7}, {"nxrrset", 8}, {"notauth", 9}, {"notzone", 10}}
)

// RFC 4594.
var dscpNames = []Name{{"cs0", 0}, {"cs1", 8}, {"af11", 10}, {"af12", 12}, {"af13", 14}, {"cs2", 16}, {"af21", 18}, {"af22", 20}, {"af23", 22}, {"cs3", 24}, {"af31", 26}, {"af32", 28}, {"af33", 30},
	{"cs4", 32}, {"af41", 34}, {"af42", 36}, {"af43", 38}, {"cs5", 40}, {"ef", 46}, {"cs6", 48}, {"cs7", 56}}

// The names of applications are open: these are only proposed.
var usualApps = []string{"dns", "tls", "http", "quic", "ssh", "smb", "kerberos", "ldap", "rdp", "dhcp", "ntp", "icmp", "smtp", "imap", "pop3", "ftp", "snmp", "sip", "rtp", "mqtt",
	"modbus", "mdns", "llmnr", "netbios", "mysql", "postgresql", "redis", "bittorrent", "wireguard", "openvpn", "stun", "syslog", "telnet", "tftp", "arp"}
